package ipmi

import (
	"context"

	"github.com/bougou/go-ipmi/pkg/command/chassis"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/power"
)

var controls = map[power.Action]chassis.ChassisControl{
	power.ActionOn:      chassis.ChassisControlPowerUp,
	power.ActionOff:     chassis.ChassisControlPowerDown,
	power.ActionSoftOff: chassis.ChassisControlSoftShutdown,
	power.ActionCycle:   chassis.ChassisControlPowerCycle,
	power.ActionReset:   chassis.ChassisControlHardReset,
}

// Do sends Chassis Control (IPMI v2.0 §28.3), once. Kinds as for [Controller.State], and: Precondition when the BMC
// cannot do it in the machine's present state, Invalid for an action that the BMC does not have, Unavailable when the
// command was not sent, Unknown when it was sent and no answer tells what became of it.
func (c *Controller) Do(ctx context.Context, bmc power.BMC, a power.Action) error {
	const op = "ipmi.Do"
	control, ok := controls[a]
	if !ok {
		return lifecycle.Errorf(lifecycle.Invalid, op, bmc.String(), "unknown action %q", string(a))
	}
	return c.within(ctx, op, bmc, func(ctx context.Context, s *session) error {
		sent, err := s.tell(ctx, func(ctx context.Context) error {
			_, err := s.client.ChassisControl(ctx, control)
			return err
		})
		return told(op, bmc, "the command "+string(a), sent, err)
	})
}
