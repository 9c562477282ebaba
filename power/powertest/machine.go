package powertest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/power"
)

// Op names a method of power.Controller.
type Op string

// The methods.
const (
	State   Op = "State"
	Do      Op = "Do"
	Boot    Op = "Boot"
	SetBoot Op = "SetBoot"
)

// Call is one call that a [Machine] got. It is a plain value.
type Call struct {
	Op     Op
	Action power.Action // of Do
	Boot   power.Boot   // of SetBoot
	N      int          // number of the call among those of this Op, from 1
	At     time.Time
}

// Machine is a power.Controller of one machine in memory; it has one answer for every BMC. The zero Machine is off, obeys
// at once and keeps what it is told. Set the fields before the first call. It is safe for concurrent use, and starts no
// goroutine and no timer: time passes when it is asked.
type Machine struct {
	Initial power.State                 // empty means off
	Delay   time.Duration               // from a command to its effect
	OffFor  time.Duration               // how long ActionCycle leaves the machine off
	Keep    func(power.Boot) power.Boot // what is kept of a boot override; nil means all of it

	// Hook decides about a call: whether it has its effect, and what is returned. Nil means (true, nil). An effect with an
	// error of kind Unknown is a lost answer; no effect and no error is a BMC that ignores what it accepted.
	Hook func(ctx context.Context, c Call) (effect bool, err error)

	mu    sync.Mutex
	state power.State
	due   []change
	boot  power.Boot
	calls []Call
	count map[Op]int
}

type change struct {
	at    time.Time
	state power.State
}

var _ power.Controller = (*Machine)(nil)

// State implements power.Controller.
func (m *Machine) State(ctx context.Context, _ power.BMC) (power.State, error) {
	if _, err := m.called(ctx, Call{Op: State}); err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now(), nil
}

// Do implements power.Controller. ActionCycle and ActionReset of a machine that is off are refused.
func (m *Machine) Do(ctx context.Context, bmc power.BMC, a power.Action) error {
	effect, err := m.called(ctx, Call{Op: Do, Action: a})
	if !effect {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	at := time.Now().Add(m.Delay)
	switch a {
	case power.ActionOn:
		m.due = append(m.due, change{at, power.On})
	case power.ActionOff, power.ActionSoftOff:
		m.due = append(m.due, change{at, power.Off})
	case power.ActionCycle, power.ActionReset:
		if m.now() == power.Off {
			return lifecycle.Errorf(lifecycle.Precondition, "powertest.Do", bmc.String(), "the machine is off")
		}
		if a == power.ActionCycle {
			m.due = append(m.due, change{at, power.Off}, change{at.Add(m.OffFor), power.On})
		}
	default:
		return lifecycle.Errorf(lifecycle.Invalid, "powertest.Do", bmc.String(), "unknown action %q", string(a))
	}
	return err
}

// Boot implements power.Controller.
func (m *Machine) Boot(ctx context.Context, _ power.BMC) (power.Boot, error) {
	if _, err := m.called(ctx, Call{Op: Boot}); err != nil {
		return power.Boot{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.boot.Device == "" {
		m.boot.Device = power.DeviceNone
	}
	return m.boot, nil
}

// SetBoot implements power.Controller.
func (m *Machine) SetBoot(ctx context.Context, bmc power.BMC, b power.Boot) error {
	effect, err := m.called(ctx, Call{Op: SetBoot, Boot: b})
	if !effect {
		return err
	}
	switch b.Device {
	case power.DeviceNone, power.PXE, power.Disk:
	default:
		return lifecycle.Errorf(lifecycle.Invalid, "powertest.SetBoot", bmc.String(), "unknown device %q", string(b.Device))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Keep != nil {
		b = m.Keep(b)
	}
	m.boot = b
	return err
}

// Calls returns the calls of these kinds so far, all of them where none is named.
func (m *Machine) Calls(ops ...Op) []Call {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Call
	for _, c := range m.calls {
		for _, op := range ops {
			if c.Op == op {
				out = append(out, c)
			}
		}
		if len(ops) == 0 {
			out = append(out, c)
		}
	}
	return out
}

// Actions returns the actions of Do so far.
func (m *Machine) Actions() []power.Action {
	var out []power.Action
	for _, c := range m.Calls(Do) {
		out = append(out, c.Action)
	}
	return out
}

// called records a call and asks the hook about it.
func (m *Machine) called(ctx context.Context, c Call) (effect bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	m.mu.Lock()
	if m.count == nil {
		m.count = make(map[Op]int)
	}
	m.count[c.Op]++
	c.N, c.At = m.count[c.Op], time.Now()
	m.calls = append(m.calls, c)
	m.mu.Unlock()
	if m.Hook == nil {
		return true, nil
	}
	return m.Hook(ctx, c)
}

// now lets the changes happen that are due, and returns the state.
func (m *Machine) now() power.State {
	if m.state == "" {
		m.state = power.Off
		if m.Initial != "" {
			m.state = m.Initial
		}
	}
	slices.SortStableFunc(m.due, func(a, b change) int { return a.at.Compare(b.at) })
	for len(m.due) > 0 && !m.due[0].at.After(time.Now()) {
		m.state = m.due[0].state
		m.due = m.due[1:]
	}
	return m.state
}
