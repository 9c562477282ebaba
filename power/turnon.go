package power

import "context"

// TurnOn turns a machine on and returns when the BMC reports it on. It looks first: a machine that is on is left alone.
//
// A command that was accepted and changes nothing is sent again after a quiet interval, three times in all; on is on,
// however often it is said. Kinds: Invalid; Unauthenticated, Denied, NotFound and Conflict from the BMC at once; Timeout
// after the deadline, naming the BMC, its last state and the number of commands; Canceled. While the BMC cannot be
// reached, TurnOn keeps asking until the deadline.
func TurnOn(ctx context.Context, ctl Controller, bmc BMC, opts ...Option) error {
	const op = "power.TurnOn"
	if err := check(op, ctl, bmc); err != nil {
		return err
	}
	return drive(ctx, op, ctl, bmc, On, gather(opts))
}
