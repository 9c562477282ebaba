package sim_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/bss"
	"github.com/ncnkit/lifecycle/fakes"
	"github.com/ncnkit/lifecycle/fakes/sim"
	"github.com/ncnkit/lifecycle/ncn"
)

// plan returns a Work that runs one step on every worker, under a journal.
func plan(step lifecycle.Step) sim.Work {
	planner := func(p *sim.Process, host string) *lifecycle.Plan {
		s := step
		s.ID = "only"
		do := s.Do
		s.Do = func(ctx context.Context) error { return do(context.WithValue(ctx, hostKey{}, p.Site.Host(host))) }
		return &lifecycle.Plan{Kind: "test", Target: host, Args: fmt.Appendf(nil, "%q", host), Steps: []lifecycle.Step{s}}
	}
	return sim.Plans(1, func(_ context.Context, p *sim.Process, host string) (*lifecycle.Plan, error) {
		plan := planner(p, host)
		plan.ID = p.Site.NewID()
		return plan, nil
	}, func(p *sim.Process) lifecycle.Planner {
		return func(_ context.Context, _ string, args, _ json.RawMessage) (*lifecycle.Plan, error) {
			return planner(p, string(args[1:len(args)-1])), nil
		}
	})
}

type hostKey struct{}

// A program that waits for ever is found, and the story names what it waited for.
func TestFindsSilentWait(t *testing.T) {
	r := sim.Run(t, sim.Config{
		Layout: fakes.Layout{Workers: 1},
		Work: plan(lifecycle.Step{Effect: lifecycle.Idempotent, Timeout: 1000 * time.Hour, Do: func(ctx context.Context) error {
			return lifecycle.Wait(ctx, "the cows to come home", time.Minute, 1000*time.Hour, func(context.Context) (bool, string, error) {
				return false, "none is in sight", nil
			})
		}}),
	})
	require.True(t, r.Broken("I11"), "%v", r.Breaches)
	require.Contains(t, r.Story(), "the cows to come home: none is in sight")
}

// A panic is a breach with a seed, and does not take the test down.
func TestFindsPanic(t *testing.T) {
	r := sim.Run(t, sim.Config{
		Layout: fakes.Layout{Workers: 1},
		Work: plan(lifecycle.Step{Effect: lifecycle.Read, Do: func(context.Context) error {
			return errors.New(strings.Repeat("x", -1))
		}}),
	})
	require.True(t, r.Broken("panic"), "%v", r.Breaches)
}

// A step that is not safe to repeat says that it is, and is found: it arms a node and does not answer for it.
func TestShrink(t *testing.T) {
	cfg := sim.Config{
		Layout: fakes.Layout{Workers: 3}, MaxFaults: 8, Horizon: 30,
		Faults: []sim.Kind{sim.Slow, sim.Refuse, sim.AdminParam, sim.ClockStep},
		Work: plan(lifecycle.Step{Effect: lifecycle.Idempotent, Do: func(ctx context.Context) error {
			h := ctx.Value(hostKey{}).(ncn.Host)
			api := fakesOf(ctx)
			if err := bss.Arm(ctx, api.BSS(), api.Machine(h.Name).XName()); err != nil {
				return err
			}
			if _, err := api.BSS().LastFetch(ctx, api.Machine(h.Name).XName(), bss.BootScript); err != nil {
				return err // it stays armed
			}
			return bss.Disarm(ctx, api.BSS(), api.Machine(h.Name).XName())
		}}),
	}
	work := cfg.Work
	cfg.Work = func(ctx context.Context, p *sim.Process) error {
		return work(context.WithValue(ctx, clusterKey{}, p.Cluster), p)
	}
	for cfg.Seed = 1; cfg.Seed < 200; cfg.Seed++ {
		r := sim.Run(t, cfg)
		if !r.Broken("I7") || len(r.Faults) < 3 {
			continue
		}
		small := sim.Shrink(t, r)
		require.True(t, small.Broken("I7"))
		require.Len(t, small.Faults, 1, "%s", small.Story())
		require.Equal(t, sim.Refuse, small.Faults[0].Kind)
		again := sim.Run(t, small.Config)
		require.Equal(t, small.Hash, again.Hash, "what is printed can be replayed")
		return
	}
	t.Fatal("no seed breaks I7 with three faults")
}

type clusterKey struct{}

func fakesOf(ctx context.Context) *fakes.Cluster { return ctx.Value(clusterKey{}).(*fakes.Cluster) }

// A controller that is killed at any call reaches nothing any more, and another one ends what it began.
func TestKilledReachNothing(t *testing.T) {
	kills := 0
	for seed := range uint64(50 / scale) {
		r := sim.Run(t, sim.Config{
			Seed: seed, Layout: fakes.Layout{Workers: 2}, MaxFaults: 4, Faults: []sim.Kind{sim.Crash, sim.CrashAfter}, Work: sim.Rebuilds(2),
		})
		dead := map[string]int{}
		for _, f := range r.Faults {
			kills++
			dead[f.Detail[:2]] = f.Step
		}
		for _, e := range r.Trace {
			if at, ok := dead[e.Process]; ok && e.Step > at {
				t.Fatalf("seed %d: %v, killed at call %d", seed, e, at)
			}
		}
	}
	require.Positive(t, kills)
}

// A Work that gives up is told of.
func TestGivenUp(t *testing.T) {
	r := sim.Run(t, sim.Config{Layout: fakes.Layout{Workers: 1}, Work: func(ctx context.Context, p *sim.Process) error {
		return errors.New("not today")
	}})
	require.Empty(t, r.Ends)
	require.ErrorContains(t, r.Err, "not today")
}
