package power

import (
	"context"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/internal/mutant"
)

// Reset resets a running machine: the power stays on, the operating system is not asked. The command is sent exactly
// once, whatever happens.
//
// A reset cannot be seen in the power state. A nil error says that the BMC accepted the command and that the machine is
// on; whether it started anew is for the caller to see, by its boot ID. Kinds: Precondition for a machine that is off
// (turn it on instead); Unknown when the command was sent and no answer came, because looking cannot tell; Timeout when
// the BMC never told its state, before or after; the BMC's own refusals.
func Reset(ctx context.Context, ctl Controller, bmc BMC, opts ...Option) error {
	const op = "power.Reset"
	if err := check(op, ctl, bmc); err != nil {
		return err
	}
	o := gather(opts)
	before, err := lookUntilKnown(ctx, op, ctl, bmc, o)
	if err != nil {
		return err
	}
	if before == Off {
		return lifecycle.Errorf(lifecycle.Precondition, op, bmc.String(), "the machine is off, nothing was sent: use power.TurnOn")
	}
	call, cancel := context.WithTimeout(ctx, min(callTimeout, o.timeout))
	defer cancel()
	err = ctl.Do(call, bmc, ActionReset)
	if err != nil && !effectless(err) && mutant.On("retry-unknown") {
		err = ctl.Do(call, bmc, ActionReset)
	}
	switch {
	case err != nil && effectless(err):
		return lifecycle.Wrap(err, op, bmc.String())
	case err != nil:
		return unproven(op, bmc, ActionReset, err, nil)
	}
	return seen(ctx, op, ctl, bmc, o, On)
}
