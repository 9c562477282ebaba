package fakes

import (
	"context"
	"fmt"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/power"
)

// Power returns the BMCs of the cluster as one [power.Controller]. A BMC is found by its name, else by its host.
func (c *Cluster) Power() power.Controller { return powerFace{c} }

type powerFace struct{ c *Cluster }

// machineOf returns the machine behind a BMC, and the node's name for faults and records.
func (c *Cluster) machineOf(b power.BMC) (*Machine, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, at := range []string{b.Name, b.Host} {
		if m := c.byBMC[at]; m != nil {
			return m, m.node.Name
		}
	}
	return nil, b.Name
}

func (f powerFace) call(ctx context.Context, b power.BMC, call Call, effect func(*Machine, *Call) error) error {
	m, name := f.c.machineOf(b)
	call.Host = name
	return f.c.do(ctx, call, func(call *Call) error {
		if m == nil {
			return lifecycle.Errorf(lifecycle.Unavailable, "fakes.Power", b.Name, "no BMC answers at %q", b.Host)
		}
		return effect(m, call)
	})
}

func (f powerFace) State(ctx context.Context, b power.BMC) (power.State, error) {
	var state power.State
	err := f.call(ctx, b, Call{Op: PowerState}, func(m *Machine, call *Call) error {
		state = m.power
		if call.fault.lie {
			state = m.lied()
			return nil
		}
		f.c.looked(m)
		return nil
	})
	return state, err
}

func (f powerFace) Do(ctx context.Context, b power.BMC, a power.Action) error {
	switch a {
	case power.ActionOn, power.ActionOff, power.ActionSoftOff, power.ActionCycle, power.ActionReset:
	default:
		return lifecycle.Errorf(lifecycle.Invalid, "fakes.Power", b.Name, "there is no action %q", a)
	}
	return f.call(ctx, b, Call{Op: PowerSet, Writes: true, Detail: string(a)}, func(m *Machine, _ *Call) error {
		if m.power == power.Off && (a == power.ActionCycle || a == power.ActionReset) {
			return lifecycle.Errorf(lifecycle.Precondition, "fakes.Power", b.Name, "the chassis is off (completion code 0xd5)")
		}
		f.c.schedule(f.c.layout.PowerDelay, func() { m.obey(a) })
		return nil
	})
}

// cycleOff is how long a chassis stays off in a power cycle (IPMI v2.0, section 28.3: at least a second).
const cycleOff = 3 * time.Second

// obey is what the chassis does some time after the BMC has accepted a command.
func (m *Machine) obey(action power.Action) {
	switch action {
	case power.ActionOff, power.ActionSoftOff:
		if m.power == power.On {
			m.losePower()
		}
	case power.ActionOn:
		if m.power == power.Off {
			m.powerOn()
		}
	case power.ActionCycle, power.ActionReset:
		if m.power == power.On {
			m.losePower()
			m.c.schedule(cycleOff, func() {
				if m.power == power.Off {
					m.powerOn()
				}
			})
		}
	}
}

func (f powerFace) Boot(ctx context.Context, b power.BMC) (power.Boot, error) {
	var boot power.Boot
	err := f.call(ctx, b, Call{Op: PowerBoot}, func(m *Machine, _ *Call) error {
		boot = m.boot
		return nil
	})
	return boot, err
}

func (f powerFace) SetBoot(ctx context.Context, b power.BMC, boot power.Boot) error {
	switch boot.Device {
	case power.DeviceNone, power.PXE, power.Disk:
	default:
		return lifecycle.Errorf(lifecycle.Invalid, "fakes.Power", b.Name, "there is no boot device %q", boot.Device)
	}
	return f.call(ctx, b, Call{Op: PowerSetBoot, Writes: true, Detail: fmt.Sprint(boot)}, func(m *Machine, _ *Call) error {
		m.boot = boot
		return nil
	})
}
