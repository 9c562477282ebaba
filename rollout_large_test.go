package lifecycle_test

import (
	"context"
	"encoding/json"
	"flag"
	"hash/fnv"
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
)

var largeHosts = flag.Int("rollout-hosts", 10_000, "how many hosts TestRolloutLarge takes through a rollout")

// machines go on with what was begun when the controller dies, as a node that boots does.
type machines struct {
	mu      sync.Mutex
	begun   map[string]time.Time // by host and step
	redone  int
	at      map[string]bool
	peak    int
	perStep func(host string) time.Duration
}

func (m *machines) plan(host string) *lifecycle.Plan {
	args, _ := json.Marshal(host)
	p := &lifecycle.Plan{ID: "x", Kind: "toy", Target: host, Args: args}
	for _, id := range []string{"drain", "boot", "join"} {
		p.Steps = append(p.Steps, lifecycle.Step{
			ID: id, Effect: lifecycle.OneShot, Timeout: 2 * time.Hour,
			Done: func(context.Context) (bool, error) { return m.isDone(host, id), nil },
			Do:   func(ctx context.Context) error { return m.do(ctx, host, id) },
		})
	}
	return p
}

func (m *machines) isDone(host, id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	begun, ok := m.begun[host+id]
	return ok && time.Since(begun) >= m.perStep(host)
}

func (m *machines) do(ctx context.Context, host, id string) error {
	m.mu.Lock()
	begun, ok := m.begun[host+id]
	if !ok {
		begun = time.Now()
		m.begun[host+id] = begun
	} else if time.Since(begun) >= m.perStep(host) {
		m.redone++
	}
	m.at[host] = true
	m.peak = max(m.peak, len(m.at))
	m.mu.Unlock()
	err := nap(ctx, time.Until(begun.Add(m.perStep(host))))
	m.mu.Lock()
	delete(m.at, host)
	m.mu.Unlock()
	return err
}

// realTime is the time outside of a synctest bubble.
func realTime() time.Duration {
	var tv syscall.Timeval
	_ = syscall.Gettimeofday(&tv)
	return time.Duration(tv.Nano())
}

// timedJournal adds up the real time that calls take.
type timedJournal struct {
	*lifecycle.MemController
	spent, calls *atomic.Int64
}

func (j timedJournal) timed() func() {
	began := realTime()
	return func() { j.spent.Add(int64(realTime() - began)); j.calls.Add(1) }
}

func (j timedJournal) Acquire(ctx context.Context, target, run, owner string) (lifecycle.Lease, error) {
	defer j.timed()()
	return j.MemController.Acquire(ctx, target, run, owner)
}

func (j timedJournal) Append(ctx context.Context, l lifecycle.Lease, rec lifecycle.Record) error {
	defer j.timed()()
	return j.MemController.Append(ctx, l, rec)
}

func (j timedJournal) Records(ctx context.Context, run string) ([]lifecycle.Record, error) {
	defer j.timed()()
	return j.MemController.Records(ctx, run)
}

func (j timedJournal) Asked(ctx context.Context, run string) ([]lifecycle.Request, error) {
	defer j.timed()()
	return j.MemController.Asked(ctx, run)
}

// watchHeap returns a function that stops watching, and says how many bytes of objects the heap had at most.
func watchHeap() func() uint64 {
	stop, peak := make(chan struct{}), make(chan uint64)
	go func() {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		var highest uint64
		for {
			metrics.Read(sample)
			highest = max(highest, sample[0].Value.Uint64())
			select {
			case <-stop:
				peak <- highest
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return func() uint64 { close(stop); return <-peak }
}

// 10,000 hosts, and a controller that is killed 20 times on the way: the time is that of the work, the preview knew it, and
// memory and the journal stay small. Time in the journal is real, and is compared with the time that the run would really
// have taken, which here is that of the bubble: the steps of the toy plan do nothing but wait.
func TestRolloutLarge(t *testing.T) {
	const width, kills = 100, 20
	hosts := names(*largeHosts)
	if raceDetector {
		hosts = hosts[:min(len(hosts), 1000)] // the detector takes ten times as long
	}
	takes := func(host string) time.Duration {
		h := fnv.New32()
		_, _ = h.Write([]byte(host))
		return time.Duration(10+h.Sum32()%20) * time.Minute
	}
	var work, longest time.Duration
	for _, h := range hosts {
		work += takes(h)
		longest = max(longest, takes(h))
	}
	var spent, calls atomic.Int64
	runtime.GC()
	peakHeap, began := watchHeap(), realTime()
	var makespan, preview, previewTook time.Duration
	synctest.Test(t, func(t *testing.T) {
		m := &machines{begun: map[string]time.Time{}, at: map[string]bool{}, perStep: func(h string) time.Duration { return takes(h) / 3 }}
		rollout := func() *lifecycle.Rollout {
			return &lifecycle.Rollout{
				ID: "large", Policy: lifecycle.Policy{Width: width}, Hosts: hosts,
				Plan: func(_ context.Context, host string) (*lifecycle.Plan, error) { return m.plan(host), nil },
				Planner: func(_ context.Context, _ string, args, _ json.RawMessage) (*lifecycle.Plan, error) {
					var host string
					err := json.Unmarshal(args, &host)
					return m.plan(host), err
				},
			}
		}
		previewTook = realTime()
		schedule, err := rollout().Preview(takes, time.Now())
		previewTook = realTime() - previewTook
		require.NoError(t, err)
		preview = schedule.End.Sub(schedule.Start)

		j, start := lifecycle.NewMemJournal(), time.Now()
		killed := 0
		for range kills {
			ctx, die := context.WithCancel(t.Context())
			c := j.Controller("controller")
			timer := time.AfterFunc(preview/(kills+2), func() { c.Kill(); die() })
			if rollout().Run(ctx, lifecycle.WithJournal(timedJournal{c, &spent, &calls})) != nil {
				killed++
			}
			timer.Stop()
			die()
		}
		require.Equal(t, kills, killed)
		require.NoError(t, rollout().Run(t.Context(), lifecycle.WithJournal(timedJournal{j.Controller("last"), &spent, &calls})))
		makespan = time.Since(start)
		require.Equal(t, width, m.peak)
		require.Zero(t, m.redone, "effects that were had twice")
		require.Len(t, m.begun, 3*len(hosts))
	})
	peak, took := peakHeap(), realTime()-began
	t.Logf("makespan %v (work/width %v, longest %v), preview %v (computed in %v), real time %v, journal %v in %d calls (%.2f%% of the run), peak heap %d MiB",
		makespan, work/width, longest, preview, previewTook, took, time.Duration(spent.Load()), calls.Load(),
		100*float64(spent.Load())/float64(makespan), peak>>20)
	require.LessOrEqual(t, makespan, work/width+longest)
	require.InEpsilon(t, preview, makespan, 0.02)
	require.Less(t, float64(spent.Load()), 0.05*float64(makespan))
	if !raceDetector {
		require.Less(t, peak, uint64(200<<20))
	}
}
