package fakes

import (
	"context"

	"github.com/ncnkit/lifecycle/power"
)

// Context returns the context of the call, or nil when the call was not made by one: a hook tells by it on whose behalf
// the call is, and when its caller stops waiting.
func (c Call) Context() context.Context { return c.ctx }

// Lie makes matching reads of the power state answer the opposite of the truth. m's Op is [PowerState].
func (c *Cluster) Lie(m Match) { c.arm(&fault{Match: m, lie: true}) }

// lied is a BMC telling the wrong state. Whoever was told what he waited for could not know better: for him it was seen.
func (m *Machine) lied() power.State {
	told := power.On
	if m.power == power.On {
		told = power.Off
	}
	if m.unseen == told {
		m.unseen = ""
	}
	return told
}
