package ipmi

import (
	"context"

	"github.com/ncnkit/lifecycle/power"
)

// State asks for the chassis status (IPMI v2.0 §28.2). Kinds: Invalid for an unusable Config or address; Unauthenticated
// and Denied for the user; Unavailable when the BMC does not answer or has no free session; Timeout and Canceled when ctx
// ends while an answer is waited for.
func (c *Controller) State(ctx context.Context, bmc power.BMC) (power.State, error) {
	const op = "ipmi.State"
	state := power.Off
	err := c.within(ctx, op, bmc, func(within context.Context, s *session) error {
		err := s.ask(within, func(ctx context.Context) error {
			status, err := s.client.GetChassisStatus(ctx)
			if err == nil && status.PowerIsOn {
				state = power.On
			}
			return err
		})
		return asked(op, bmc, "tell its power state", ctx.Err(), err)
	})
	if err != nil {
		return "", err
	}
	return state, nil
}
