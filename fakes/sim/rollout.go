package sim

import (
	"context"
	"errors"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/ncn"
)

const rolloutID = "rollout"

// Rollout returns a [Work] that rebuilds every worker of the layout as one [lifecycle.Rollout] under the policy, and takes
// it up until it has ended. Who is out is what the cluster says: every node that does not answer.
func Rollout(policy lifecycle.Policy, opts ...ncn.Option) Work {
	return func(ctx context.Context, p *Process) error {
		for {
			r := lifecycle.Rollout{
				ID: rolloutID, Policy: policy, Hosts: workers(p.Cluster), Out: p.out, Planner: ncn.Planner(p.Site, opts...),
				Plan: func(ctx context.Context, host string) (*lifecycle.Plan, error) {
					site := *p.Site // the rollout names the run; a backup bears the name that the plan was made with
					site.NewID = func() string { return rolloutID + "-" + host }
					return ncn.Rebuild(ctx, site.Host(host), ncn.Worker, opts...)
				},
			}
			err := r.Run(ctx, p.Options()...)
			switch state := lifecycle.StateOf(err); {
			case ctx.Err() != nil:
				return ctx.Err()
			case state != "" && state != lifecycle.Open:
				return nil
			case state == "" && lifecycle.KindOf(err) == lifecycle.Precondition: // it has ended
				return nil
			case state == "" && !passing(err) && !errors.Is(err, lifecycle.Conflict):
				return err
			}
			if err := pauseFor(ctx, wait); err != nil {
				return err
			}
		}
	}
}

// out names the nodes that do not answer.
func (p *Process) out(ctx context.Context) ([]lifecycle.Outage, error) {
	nodes, err := p.Site.Inventory.Nodes(ctx)
	var list []lifecycle.Outage
	for _, n := range nodes {
		if m := p.Cluster.Machine(n.Name); m != nil && !m.Up() {
			list = append(list, lifecycle.Outage{Host: n.Name, Why: "does not answer"})
		}
	}
	return list, err
}
