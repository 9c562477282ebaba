package ncn

import (
	"context"

	"github.com/ncnkit/lifecycle"
)

// Rebuild plans the rebuild of a node: back up, erase, set what it boots, arm, boot from the network, disarm, restore. It
// reads, and writes nothing; the plan is for [lifecycle.Run], and [Planner] makes its steps again for [lifecycle.Resume].
//
// Only workers can be rebuilt so far; other roles are Invalid.
func Rebuild(ctx context.Context, h Host, role lifecycle.Role, opts ...Option) (*lifecycle.Plan, error) {
	const op = "ncn.Rebuild"
	if role != Worker {
		err := lifecycle.Errorf(lifecycle.Invalid, "ncn.plan", "", "a %s cannot be rebuilt by this version; only a worker can", role)
		return nil, refused(err, op, h.Name)
	}
	p, _, err := newPlan(ctx, op, "ncn.rebuild", h, role, opts)
	return p, err
}

func (w *work) rebuild() (steps, finally []lifecycle.Step) {
	steps = []lifecycle.Step{w.identifyStep(), w.backupStep(), w.wipeStep(), w.bootParametersStep(), w.armStep()}
	steps = append(steps, w.rebootSteps()...)
	steps = append(steps, w.disarmStep("disarm"), w.restoreStep())
	return steps, []lifecycle.Step{w.disarmStep("disarm-at-last")}
}
