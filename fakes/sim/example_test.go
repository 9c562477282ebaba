package sim_test

import (
	"context"
	"errors"
	"testing"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes"
	"github.com/ncnkit/lifecycle/fakes/sim"
	"github.com/ncnkit/lifecycle/ncn"
)

// A test of one's own program: it rebuilds a node, and takes up what a controller before it left open.
func ExampleCheck() {
	_ = func(t *testing.T) {
		for seed := range uint64(200) {
			sim.Check(t, sim.Config{
				Seed: seed, Layout: fakes.Layout{Workers: 1}, MaxFaults: 3, Faults: []sim.Kind{sim.Crash, sim.CrashAfter},
				Work: func(ctx context.Context, p *sim.Process) error {
					runs, err := p.Journal.Runs(ctx)
					if err != nil {
						return err
					}
					if len(runs) > 0 { // what was begun is brought to its end
						err := lifecycle.Resume(ctx, runs[0], ncn.Planner(p.Site), p.Options()...)
						if errors.Is(err, lifecycle.Precondition) {
							return nil // it has ended
						}
						return err
					}
					plan, err := ncn.Rebuild(ctx, p.Site.Host("ncn-w001"), ncn.Worker)
					if err != nil {
						return err
					}
					return lifecycle.Run(ctx, plan, p.Options()...)
				},
			})
		}
	}
	// Output:
}
