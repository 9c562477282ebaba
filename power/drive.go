package power

import (
	"context"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/internal/mutant"
)

// rung is one command of the ladder that leads to a state, and how long it may stay without effect before the next.
type rung struct {
	action   Action
	patience time.Duration
}

// ladder lists the commands that lead to target, each of which may be repeated without harm.
func (o options) ladder(target State) []rung {
	action := ActionOn
	var rungs []rung
	if target == Off {
		action = ActionOff
		switch o.soft {
		case softOnly:
			return []rung{{ActionSoftOff, o.timeout}}
		case softFirst:
			rungs = append(rungs, rung{ActionSoftOff, o.grace})
		}
	}
	for range maxSends {
		rungs = append(rungs, rung{action, o.quietOr(defaultQuiet)})
	}
	return rungs
}

// drive brings a machine to target and returns when it was seen there.
func drive(ctx context.Context, op string, ctl Controller, bmc BMC, target State, o options) error {
	return within(ctx, op, ctl, bmc, o, func(ctx context.Context, w *wait) error {
		rungs := o.ladder(target)
		var due time.Time // when the next command may be sent
		for {
			seen, err := w.look(ctx)
			if err != nil || seen == target {
				return err
			}
			// Nothing is sent to a machine whose state is not known: it may be where it should.
			if seen != "" && len(rungs) > 0 && !time.Now().Before(due) {
				had, err := w.send(ctx, rungs[0].action)
				switch {
				case err != nil && rungs[0].action == ActionSoftOff && len(rungs) > 1 && lifecycle.KindOf(err) == lifecycle.Invalid:
					rungs = rungs[1:] // a BMC that cannot ask the operating system; force was allowed
				case err != nil:
					return err
				case had:
					if mutant.On("power-done-on-accept") {
						return nil
					}
					due = time.Now().Add(rungs[0].patience)
					rungs = rungs[1:]
					w.pause = o.first
				}
			}
			if err := w.sleep(ctx, "to be "+string(target)); err != nil {
				return err
			}
		}
	})
}
