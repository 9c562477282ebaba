package power

import "context"

// TurnOff turns a machine off and returns when the BMC reports it off. It looks first: a machine that is off is left
// alone. By default the operating system is not asked; see [WithSoftFirst] and [WithSoftOnly].
//
// Commands are repeated, and errors returned, as for [TurnOn]. Only a nil error says that the machine is off: fence on
// nothing else.
func TurnOff(ctx context.Context, ctl Controller, bmc BMC, opts ...Option) error {
	const op = "power.TurnOff"
	if err := check(op, ctl, bmc); err != nil {
		return err
	}
	return drive(ctx, op, ctl, bmc, Off, gather(opts))
}
