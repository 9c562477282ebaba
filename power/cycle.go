package power

import (
	"context"
	"errors"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/internal/mutant"
)

// Cycle turns a machine off, sees it off, leaves it off for a while, turns it on and sees it on. A machine that is off
// already is turned on. An interrupted Cycle may leave the machine off; call it again, or [TurnOn].
//
// Errors are those of [TurnOff] and [TurnOn]. A nil error says that the machine was off and is on; that its operating
// system has started anew is for the caller to see, by its boot ID.
//
// With [WithNative] the BMC's own cycle command is sent instead, exactly once, whatever happens. It is taken as done when
// the machine was seen off and then on. Not every BMC stays off long enough to be seen: then, and when the command was
// lost on the way, the error is of kind Unknown, and nothing is sent again. A BMC that refuses the command has done
// nothing (Invalid, Precondition, Unavailable). Prefer the default wherever both work.
func Cycle(ctx context.Context, ctl Controller, bmc BMC, opts ...Option) error {
	const op = "power.Cycle"
	if err := check(op, ctl, bmc); err != nil {
		return err
	}
	o := gather(opts)
	if o.native {
		return nativeCycle(ctx, op, ctl, bmc, o)
	}
	if err := drive(ctx, op, ctl, bmc, Off, o); err != nil {
		return err
	}
	if err := settle(ctx, op, bmc, o); err != nil {
		return err
	}
	return drive(ctx, op, ctl, bmc, On, o)
}

// settle leaves the machine off for as long as the options say.
func settle(ctx context.Context, op string, bmc BMC, o options) error {
	o.progress(bmc.String()+" to settle", "off for "+o.settle.String())
	t := time.NewTimer(o.settle)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return lifecycle.Errorf(lifecycle.KindOf(ctx.Err()), op, bmc.String(),
			"interrupted while the machine is off; turn it on again: %w", ctx.Err())
	}
}

func nativeCycle(ctx context.Context, op string, ctl Controller, bmc BMC, o options) error {
	before, err := lookUntilKnown(ctx, op, ctl, bmc, o)
	if err != nil {
		return err
	}
	if before == Off {
		return drive(ctx, op, ctl, bmc, On, o)
	}
	o.max = o.first // the time off is short: look often
	if err := once(ctx, op, ctl, bmc, o, ActionCycle, Off); err != nil {
		return err
	}
	if mutant.On("power-done-on-accept") {
		return nil
	}
	return seen(ctx, op, ctl, bmc, o, On)
}

// once sends a command that must not be repeated, and watches for the state that proves that it was obeyed.
func once(ctx context.Context, op string, ctl Controller, bmc BMC, o options, a Action, proof State) error {
	return within(ctx, op, ctl, bmc, o, func(ctx context.Context, w *wait) error {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		err := ctl.Do(call, bmc, a)
		if err != nil && !effectless(err) && mutant.On("retry-unknown") {
			err = ctl.Do(call, bmc, a)
		}
		cancel()
		w.sends, w.refusal = 1, err
		switch {
		case err != nil && effectless(err):
			return lifecycle.Wrap(err, op, bmc.String())
		case err == nil && mutant.On("power-done-on-accept"):
			return nil
		}
		sent := err
		for {
			s, err := w.look(ctx)
			if err == nil && s == proof {
				return nil
			}
			if err == nil {
				err = w.sleep(ctx, "to be "+string(proof)+" after "+string(a))
			}
			if err != nil {
				return unproven(op, bmc, a, sent, err)
			}
		}
	})
}

// unproven is the error for a command that was sent, and of which nobody saw the effect.
func unproven(op string, bmc BMC, a Action, sent, watched error) error {
	how, cause := "was accepted", watched
	if e := (*lifecycle.Error)(nil); errors.As(watched, &e) && e.Op == op {
		cause = e.Err // it names op and BMC, as this one will
	}
	if sent != nil {
		how, cause = "was sent and not answered", sent
	}
	return lifecycle.Errorf(lifecycle.Unknown, op, bmc.String(),
		"the %s command %s, and its effect was not seen; it is not sent again: compare the machine's boot ID, then decide: %w",
		a, how, cause)
}

// seen waits until the machine is in the state, and sends nothing.
func seen(ctx context.Context, op string, ctl Controller, bmc BMC, o options, target State) error {
	return within(ctx, op, ctl, bmc, o, func(ctx context.Context, w *wait) error {
		for {
			s, err := w.look(ctx)
			if err != nil || s == target {
				return err
			}
			if err := w.sleep(ctx, "to be "+string(target)); err != nil {
				return err
			}
		}
	})
}

// lookUntilKnown asks for the state until the BMC has told it.
func lookUntilKnown(ctx context.Context, op string, ctl Controller, bmc BMC, o options) (state State, err error) {
	err = within(ctx, op, ctl, bmc, o, func(ctx context.Context, w *wait) error {
		for {
			s, err := w.look(ctx)
			if err != nil || s != "" {
				state = s
				return err
			}
			if err := w.sleep(ctx, "to tell its state"); err != nil {
				return err
			}
		}
	})
	return state, err
}
