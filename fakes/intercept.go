package fakes

import (
	"context"

	"github.com/ncnkit/lifecycle"
)

// Intercept lets hooks and armed faults act on a call that came over the wire, and runs its effect without the cluster's
// lock, so that the effect may take its time and may call the exported methods of machines. The effect's error is
// returned. [lifecycle.Unknown] after the effect has run means that the answer is to be lost; nil without the effect's
// having run means that success is to be pretended. A call's Writes is filled in for [Exec].
//
// [Cluster.Late] is refused as [lifecycle.Invalid], because a command's input and output do not outlive its session;
// [Cluster.Stale] has no meaning here.
func (c *Cluster) Intercept(ctx context.Context, call Call, effect func(*Call) error) error {
	if call.Op == Exec {
		call.Writes = writes(call.Name)
	}
	return c.enter(ctx, call, func(call *Call) error {
		if call.fault.late > 0 {
			return lifecycle.Errorf(lifecycle.Invalid, string(call.Op), call.Host, "a late effect is not imitated on the wire")
		}
		return c.applyUnlocked(call, effect)
	})
}

// applyUnlocked is apply, with the lock held only around the effect.
func (c *Cluster) applyUnlocked(call *Call, effect func(*Call) error) error {
	c.mu.Lock()
	c.advance()
	call.Time = c.now()
	if call.Writes {
		c.judge(*call)
	}
	c.mu.Unlock()

	var err error
	if !call.fault.ignore {
		err = effect(call)
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && call.Writes && !call.fault.ignore {
		c.record = append(c.record, *call)
	}
	if m := c.machines[call.Host]; m != nil && call.fault.crash && !call.fault.ignore {
		m.losePower()
	}
	return err
}
