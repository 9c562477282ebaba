package lifecycle_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
)

// fleet is many hosts that can be worked on: a plan takes a host's time in three steps, of which the second must happen
// once, and puts something right at the end.
type fleet struct {
	takes func(host string) time.Duration // all steps together; nil means 30 minutes
	fail  map[string]error                // by host: what its second step ends with

	mu      sync.Mutex
	at      map[string]bool // hosts that are being worked on
	peak    int
	started map[string]time.Time
	wiped   map[string]int // how often the second step happened
	tidied  map[string]int // how often the Finally step did
	out     []lifecycle.Outage
	outErr  error
	events  []lifecycle.Event
}

func newFleet() *fleet {
	return &fleet{
		fail: map[string]error{}, at: map[string]bool{}, started: map[string]time.Time{}, wiped: map[string]int{}, tidied: map[string]int{},
	}
}

func names(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("w%03d", i+1)
	}
	return out
}

func nap(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func (f *fleet) duration(host string) time.Duration {
	if f.takes == nil {
		return 30 * time.Minute
	}
	return f.takes(host)
}

func (f *fleet) enter(host string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.started[host]; !ok {
		f.started[host] = time.Now()
	}
	f.at[host] = true
	f.peak = max(f.peak, len(f.at))
}

func (f *fleet) leave(host string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.at, host)
}

func (f *fleet) plan(host string) *lifecycle.Plan {
	third := f.duration(host) / 3
	work := func(ctx context.Context) error {
		f.enter(host)
		defer f.leave(host)
		return nap(ctx, third)
	}
	args, _ := json.Marshal(host)
	return &lifecycle.Plan{
		ID: "x", Kind: "toy", Target: host, Args: args,
		Steps: []lifecycle.Step{
			{ID: "prepare", Effect: lifecycle.Idempotent, Timeout: time.Hour, Do: work},
			{
				ID: "wipe", Effect: lifecycle.OneShot, Timeout: time.Hour,
				Done: func(context.Context) (bool, error) {
					f.mu.Lock()
					defer f.mu.Unlock()
					return f.wiped[host] > 0, nil
				},
				Do: func(ctx context.Context) error {
					if err := work(ctx); err != nil {
						return err
					}
					f.mu.Lock()
					defer f.mu.Unlock()
					if err := f.fail[host]; err != nil {
						return err
					}
					f.wiped[host]++
					return nil
				},
			},
			{ID: "join", Effect: lifecycle.Idempotent, Timeout: time.Hour, Do: work},
		},
		Finally: []lifecycle.Step{{ID: "tidy", Effect: lifecycle.Idempotent, Do: func(context.Context) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.tidied[host]++
			return nil
		}}},
	}
}

func (f *fleet) planner(_ context.Context, _ string, args, _ json.RawMessage) (*lifecycle.Plan, error) {
	var host string
	if err := json.Unmarshal(args, &host); err != nil {
		return nil, err
	}
	return f.plan(host), nil
}

func (f *fleet) rollout(p lifecycle.Policy, hosts []string) *lifecycle.Rollout {
	return &lifecycle.Rollout{
		ID: "r1", Policy: p, Hosts: hosts, Planner: f.planner,
		Plan: func(_ context.Context, host string) (*lifecycle.Plan, error) { return f.plan(host), nil },
		Out: func(context.Context) ([]lifecycle.Outage, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.out, f.outErr
		},
	}
}

func (f *fleet) takeOut(by, why string, hosts ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out = nil
	for _, h := range hosts {
		f.out = append(f.out, lifecycle.Outage{Host: h, By: by, Why: why})
	}
}

// working returns the hosts that are being worked on.
func (f *fleet) working() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.at))
}

// begun returns how many hosts have been worked on.
func (f *fleet) begun() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.started)
}

func (f *fleet) observe(e lifecycle.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, e)
}

// said reports whether an event tells that.
func (f *fleet) said(text string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.events {
		if strings.Contains(e.Detail, text) {
			return true
		}
	}
	return false
}

// run runs the rollout in a goroutine of its own; the function that it returns waits for the end.
func (f *fleet) run(t *testing.T, r *lifecycle.Rollout, opts ...lifecycle.Option) func() error {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- r.Run(t.Context(), append(opts, lifecycle.WithObserver(f.observe))...) }()
	return func() error { return <-ended }
}

func (f *fleet) checkOnce(t *testing.T, hosts []string) {
	t.Helper()
	for _, h := range hosts {
		require.Equal(t, 1, f.wiped[h], "%s was wiped %d times", h, f.wiped[h])
	}
}
