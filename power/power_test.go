package power_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/power"
	"github.com/ncnkit/lifecycle/power/powertest"
)

var node = power.BMC{Name: "x3000c0s7b0", Host: "10.1.0.7"}

type hook = func(ctx context.Context, c powertest.Call) (bool, error)

// fail fails the first n calls of op; effect says whether they have their effect all the same.
func fail(op powertest.Op, n int, effect bool, kind lifecycle.Kind) hook {
	return func(_ context.Context, c powertest.Call) (bool, error) {
		if c.Op == op && c.N <= n {
			return effect, lifecycle.Errorf(kind, "test", "", "the %s failed as told", op)
		}
		return true, nil
	}
}

// ignore has the first n commands accepted without effect.
func ignore(n int) hook {
	return func(_ context.Context, c powertest.Call) (bool, error) { return c.Op != powertest.Do || c.N > n, nil }
}

// hang answers the first n calls of op only when the context ends.
func hang(op powertest.Op, n int) hook {
	return func(ctx context.Context, c powertest.Call) (bool, error) {
		if c.Op == op && c.N <= n {
			<-ctx.Done()
			return false, ctx.Err()
		}
		return true, nil
	}
}

const many = 1 << 30

func on() *powertest.Machine  { return &powertest.Machine{Initial: power.On} }
func off() *powertest.Machine { return &powertest.Machine{} }

func TestVerbs(t *testing.T) {
	type verb = func(context.Context, power.Controller, power.BMC, ...power.Option) error
	var (
		turnOn, turnOff, cycle, reset verb = power.TurnOn, power.TurnOff, power.Cycle, power.Reset
	)
	with := func(v verb, opts ...power.Option) verb {
		return func(ctx context.Context, ctl power.Controller, bmc power.BMC, _ ...power.Option) error {
			return v(ctx, ctl, bmc, opts...)
		}
	}
	acts := func(a ...power.Action) []power.Action { return a }
	for _, tt := range []struct {
		name    string
		machine *powertest.Machine
		hook    hook
		delay   time.Duration
		offFor  time.Duration
		do      verb
		kind    lifecycle.Kind
		message string // part of the error's text
		sent    []power.Action
		state   power.State // at the end
		atMost  time.Duration
	}{
		{name: "on already: nothing is sent", machine: on(), do: turnOn, state: power.On},
		{name: "off already: nothing is sent", machine: off(), do: turnOff, state: power.Off},
		{name: "on", machine: off(), do: turnOn, sent: acts(power.ActionOn), state: power.On, atMost: time.Second},
		{name: "off", machine: on(), do: turnOff, sent: acts(power.ActionOff), state: power.Off, atMost: time.Second},
		{name: "late, but within the quiet interval", machine: off(), delay: 15 * time.Second, do: turnOn, sent: acts(power.ActionOn), state: power.On, atMost: 20 * time.Second},
		{name: "accepted and ignored once", machine: off(), hook: ignore(1), do: turnOn, sent: acts(power.ActionOn, power.ActionOn), state: power.On, atMost: 30 * time.Second},
		{name: "ignored for ever: three commands, then Timeout", machine: on(), hook: ignore(many), do: turnOff, kind: lifecycle.Timeout,
			message: "waited 2m0s for the machine of the BMC at 10.1.0.7 to be off; last seen on, commands sent: 3", sent: acts(power.ActionOff, power.ActionOff, power.ActionOff), state: power.On, atMost: 2 * time.Minute},
		{name: "the answer is lost: seen, not sent again", machine: off(), hook: fail(powertest.Do, 1, true, lifecycle.Unknown), do: turnOn, sent: acts(power.ActionOn), state: power.On},
		{name: "the command is lost: sent again", machine: off(), hook: fail(powertest.Do, 1, false, lifecycle.Unknown), do: turnOn, sent: acts(power.ActionOn, power.ActionOn), state: power.On},
		{name: "no session for commands: not counted as sent", machine: off(), hook: fail(powertest.Do, 5, false, lifecycle.Unavailable), do: turnOn,
			sent: acts(power.ActionOn, power.ActionOn, power.ActionOn, power.ActionOn, power.ActionOn, power.ActionOn), state: power.On, atMost: 30 * time.Second},
		{name: "unreachable for a while", machine: off(), hook: fail(powertest.State, 4, false, lifecycle.Unavailable), do: turnOn, sent: acts(power.ActionOn), state: power.On, atMost: time.Minute},
		{name: "never reachable: nothing is sent", machine: off(), hook: fail(powertest.State, many, false, lifecycle.Unavailable), do: turnOn, kind: lifecycle.Timeout,
			message: "it never told its state, commands sent: 0: test: the State failed as told", atMost: 2 * time.Minute},
		{name: "one question hangs", machine: off(), hook: hang(powertest.State, 1), do: turnOn, sent: acts(power.ActionOn), state: power.On, atMost: time.Minute},
		{name: "wrong password ends at once", machine: off(), hook: fail(powertest.State, many, false, lifecycle.Unauthenticated), do: turnOn, kind: lifecycle.Unauthenticated, atMost: time.Nanosecond},
		{name: "refused for now, then accepted", machine: on(), hook: fail(powertest.Do, 1, false, lifecycle.Precondition), do: turnOff, sent: acts(power.ActionOff, power.ActionOff), state: power.Off, atMost: 30 * time.Second},
		{name: "denied", machine: on(), hook: fail(powertest.Do, many, false, lifecycle.Denied), do: turnOff, kind: lifecycle.Denied, sent: acts(power.ActionOff), state: power.On},

		{name: "soft first, obeyed", machine: on(), delay: 30 * time.Second, do: with(turnOff, power.WithSoftFirst(time.Minute)), sent: acts(power.ActionSoftOff), state: power.Off, atMost: 40 * time.Second},
		{name: "soft first, ignored, then hard", machine: on(), hook: ignore(1), do: with(turnOff, power.WithSoftFirst(time.Minute)), sent: acts(power.ActionSoftOff, power.ActionOff), state: power.Off, atMost: 70 * time.Second},
		{name: "soft first, not implemented: hard at the next look", machine: on(), hook: fail(powertest.Do, 1, false, lifecycle.Invalid), do: with(turnOff, power.WithSoftFirst(time.Minute)),
			sent: acts(power.ActionSoftOff, power.ActionOff), state: power.Off, atMost: 5 * time.Second},
		{name: "soft only, ignored: no force", machine: on(), hook: ignore(many), do: with(turnOff, power.WithSoftOnly()), kind: lifecycle.Timeout, sent: acts(power.ActionSoftOff), state: power.On},

		{name: "cycle", machine: on(), do: cycle, sent: acts(power.ActionOff, power.ActionOn), state: power.On, atMost: 10 * time.Second},
		{name: "cycle of a machine that is off", machine: off(), do: cycle, sent: acts(power.ActionOn), state: power.On, atMost: 10 * time.Second},
		{name: "cycle: off is ignored", machine: on(), hook: ignore(1), do: cycle, sent: acts(power.ActionOff, power.ActionOff, power.ActionOn), state: power.On, atMost: time.Minute},
		{name: "cycle: never off, so never on", machine: on(), hook: ignore(many), do: cycle, kind: lifecycle.Timeout, sent: acts(power.ActionOff, power.ActionOff, power.ActionOff), state: power.On},
		{name: "cycle soft", machine: on(), do: with(cycle, power.WithSoftFirst(time.Minute)), sent: acts(power.ActionSoftOff, power.ActionOn), state: power.On},

		{name: "native cycle, seen", machine: on(), offFor: 5 * time.Second, do: with(cycle, power.WithNative()), sent: acts(power.ActionCycle), state: power.On, atMost: 10 * time.Second},
		{name: "native cycle, the answer is lost, seen", machine: on(), offFor: 5 * time.Second, hook: fail(powertest.Do, 1, true, lifecycle.Unknown), do: with(cycle, power.WithNative()), sent: acts(power.ActionCycle), state: power.On},
		{name: "native cycle, the command is lost", machine: on(), hook: fail(powertest.Do, 1, false, lifecycle.Unknown), do: with(cycle, power.WithNative()), kind: lifecycle.Unknown,
			message: "the cycle command was sent and not answered", sent: acts(power.ActionCycle), state: power.On},
		{name: "native cycle, too short to be seen", machine: on(), delay: 100 * time.Millisecond, offFor: 100 * time.Millisecond, do: with(cycle, power.WithNative()), kind: lifecycle.Unknown,
			message: "the cycle command was accepted, and its effect was not seen", sent: acts(power.ActionCycle), state: power.On},
		{name: "native cycle, the BMC hangs on it", machine: on(), hook: hang(powertest.Do, 1), do: with(cycle, power.WithNative()), kind: lifecycle.Unknown, sent: acts(power.ActionCycle), state: power.On},
		{name: "native cycle, unsupported", machine: on(), hook: fail(powertest.Do, many, false, lifecycle.Invalid), do: with(cycle, power.WithNative()), kind: lifecycle.Invalid, sent: acts(power.ActionCycle), state: power.On, atMost: time.Nanosecond},
		{name: "native cycle of a machine that is off", machine: off(), do: with(cycle, power.WithNative()), sent: acts(power.ActionOn), state: power.On},
		{name: "native cycle that stays off", machine: on(), offFor: time.Hour, do: with(cycle, power.WithNative()), kind: lifecycle.Timeout, message: "last seen off", sent: acts(power.ActionCycle), state: power.Off},

		{name: "reset", machine: on(), do: reset, sent: acts(power.ActionReset), state: power.On},
		{name: "reset of a machine that is off", machine: off(), do: reset, kind: lifecycle.Precondition, state: power.Off},
		{name: "reset, the answer is lost", machine: on(), hook: fail(powertest.Do, 1, true, lifecycle.Unknown), do: reset, kind: lifecycle.Unknown, sent: acts(power.ActionReset), state: power.On},
		{name: "reset, an error that promises nothing", machine: on(), hook: fail(powertest.Do, 1, true, lifecycle.Internal), do: reset, kind: lifecycle.Unknown, sent: acts(power.ActionReset), state: power.On},
		{name: "reset, not sent", machine: on(), hook: fail(powertest.Do, 1, false, lifecycle.Unavailable), do: reset, kind: lifecycle.Unavailable, sent: acts(power.ActionReset), state: power.On},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := tt.machine
				m.Hook, m.Delay, m.OffFor = tt.hook, tt.delay, tt.offFor
				start := time.Now()
				err := tt.do(t.Context(), m, node)
				took := time.Since(start)

				require.Equal(t, tt.kind, lifecycle.KindOf(err), "error: %v", err)
				if tt.message != "" {
					require.ErrorContains(t, err, tt.message)
				}
				if err != nil {
					var e *lifecycle.Error
					require.ErrorAs(t, err, &e)
					require.Equal(t, node.Name, e.Host)
					require.True(t, strings.HasPrefix(e.Op, "power."), e.Op)
				}
				if diff := cmp.Diff(tt.sent, m.Actions()); diff != "" {
					t.Errorf("commands (-want +got):\n%s", diff)
				}
				if tt.atMost != 0 {
					require.LessOrEqual(t, took, tt.atMost)
				}
				if tt.state != "" {
					m.Hook = nil
					state, err := m.State(t.Context(), node)
					require.NoError(t, err)
					require.Equal(t, tt.state, state)
				}
			})
		})
	}
}

func TestInvalid(t *testing.T) {
	ctx := t.Context()
	for name, err := range map[string]error{
		"nil controller": power.TurnOn(ctx, nil, node),
		"no host":        power.TurnOff(ctx, on(), power.BMC{Name: "x3000c0s7b0"}),
		"cycle":          power.Cycle(ctx, nil, node),
		"reset":          power.Reset(ctx, on(), power.BMC{}),
		"set boot":       power.SetBoot(ctx, nil, node, power.Boot{Device: power.PXE}),
		"device":         power.SetBoot(ctx, on(), node, power.Boot{Device: "toaster"}),
		"no device":      power.SetBoot(ctx, on(), node, power.Boot{}),
	} {
		require.ErrorIs(t, err, lifecycle.Invalid, name)
	}
}

// A wait that its caller ends says so, and says what it knew.
func TestCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := on()
		m.Hook = ignore(many)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(7*time.Second, cancel)
		start := time.Now()
		err := power.TurnOff(ctx, m, node)
		require.Equal(t, lifecycle.Canceled, lifecycle.KindOf(err))
		require.ErrorContains(t, err, "last seen on, commands sent: 1")
		require.Equal(t, 7*time.Second, time.Since(start))

		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(2*time.Second, cancel)
		m.Hook = nil
		err = power.Cycle(ctx, m, node, power.WithSettle(time.Minute))
		require.Equal(t, lifecycle.Canceled, lifecycle.KindOf(err))
		require.ErrorContains(t, err, "while the machine is off; turn it on again")
	})
}

// I11: what is waited for is told at every look, and the wait begins with short pauses.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := on()
		m.Delay = 9 * time.Second
		type said struct {
			At               time.Duration
			WaitingFor, Why_ string
		}
		var got []said
		start := time.Now()
		err := power.Cycle(t.Context(), m, node, power.WithSettle(3*time.Second), power.WithProgress(func(waitingFor, why string) {
			got = append(got, said{time.Since(start), waitingFor, why})
		}))
		require.NoError(t, err)
		want := []said{
			{0, "x3000c0s7b0 to be off", "last seen on, commands sent: 1"},
			{1 * time.Second, "x3000c0s7b0 to be off", "last seen on, commands sent: 1"},
			{3 * time.Second, "x3000c0s7b0 to be off", "last seen on, commands sent: 1"},
			{7 * time.Second, "x3000c0s7b0 to be off", "last seen on, commands sent: 1"},
			{12 * time.Second, "x3000c0s7b0 to settle", "off for 3s"},
			{15 * time.Second, "x3000c0s7b0 to be on", "last seen off, commands sent: 1"},
			{16 * time.Second, "x3000c0s7b0 to be on", "last seen off, commands sent: 1"},
			{18 * time.Second, "x3000c0s7b0 to be on", "last seen off, commands sent: 1"},
			{22 * time.Second, "x3000c0s7b0 to be on", "last seen off, commands sent: 1"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("progress (-want +got):\n%s", diff)
		}
	})
}

// The machine is off for as long as it was told to be.
func TestSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := on()
		require.NoError(t, power.Cycle(t.Context(), m, node, power.WithSettle(42*time.Second)))
		calls := m.Calls(powertest.Do)
		require.Len(t, calls, 2)
		require.GreaterOrEqual(t, calls[1].At.Sub(calls[0].At), 42*time.Second)
	})
}

func TestOptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := off()
		m.Hook = ignore(many)
		start := time.Now()
		err := power.TurnOn(t.Context(), m, node, power.WithTimeout(10*time.Second), power.WithPoll(100*time.Millisecond, 200*time.Millisecond),
			power.WithPoll(0, 0), power.WithQuiet(2*time.Second), power.WithProgress(nil))
		require.ErrorIs(t, err, lifecycle.Timeout)
		require.Equal(t, 10*time.Second, time.Since(start))
		sent := m.Calls(powertest.Do)
		require.Len(t, sent, 3)
		for i := 1; i < len(sent); i++ {
			require.InDelta(t, 2*time.Second, sent[i].At.Sub(sent[i-1].At), float64(200*time.Millisecond))
		}
		looks := m.Calls(powertest.State)
		require.InDelta(t, 50, len(looks), 8, "looks in 10 s, 200 ms apart")
	})
}

func TestSetBoot(t *testing.T) {
	pxe := power.Boot{Device: power.PXE, EFI: true}
	for _, tt := range []struct {
		name    string
		keep    func(power.Boot) power.Boot
		hook    hook
		want    power.Boot
		kind    lifecycle.Kind
		message string
		writes  int
	}{
		{name: "kept", want: pxe, writes: 1},
		{name: "cleared", want: power.Boot{Device: power.DeviceNone, EFI: true}, writes: 1,
			keep: func(power.Boot) power.Boot { return power.Boot{Device: power.DeviceNone} }},
		{name: "UEFI is lost", want: pxe, writes: 3, kind: lifecycle.Unavailable,
			keep:    func(b power.Boot) power.Boot { b.EFI = false; return b },
			message: `asked the BMC for "pxe, UEFI, next boot only", it keeps "pxe, legacy, next boot only" after 3 writes`},
		{name: "persistence is lost", want: power.Boot{Device: power.Disk, Persistent: true}, writes: 3, kind: lifecycle.Unavailable,
			keep: func(b power.Boot) power.Boot { b.Persistent = false; return b }},
		{name: "the write is ignored once", want: pxe, writes: 2,
			hook: func(_ context.Context, c powertest.Call) (bool, error) {
				return c.Op != powertest.SetBoot || c.N > 1, nil
			}},
		{name: "the answer is lost", want: pxe, hook: fail(powertest.SetBoot, 1, true, lifecycle.Unknown), writes: 1},
		{name: "the write is lost", want: pxe, hook: fail(powertest.SetBoot, 1, false, lifecycle.Unknown), writes: 2},
		{name: "not written: an old override proves nothing", want: pxe, hook: fail(powertest.SetBoot, 2, true, lifecycle.Unavailable), writes: 3},
		{name: "reading fails for a while", want: pxe, hook: fail(powertest.Boot, 2, false, lifecycle.Unavailable), writes: 1},
		{name: "reading always fails", want: pxe, hook: fail(powertest.Boot, many, false, lifecycle.Unavailable), writes: 3, kind: lifecycle.Unavailable, message: "the Boot failed as told"},
		{name: "refused", want: pxe, hook: fail(powertest.SetBoot, many, false, lifecycle.Precondition), writes: 1, kind: lifecycle.Precondition},
		{name: "never reachable", want: pxe, hook: fail(powertest.SetBoot, many, false, lifecycle.Unavailable), writes: -1, kind: lifecycle.Timeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &powertest.Machine{Keep: tt.keep, Hook: tt.hook}
				err := power.SetBoot(t.Context(), m, node, tt.want)
				require.Equal(t, tt.kind, lifecycle.KindOf(err), "error: %v", err)
				if tt.message != "" {
					require.ErrorContains(t, err, tt.message)
				}
				if tt.writes >= 0 {
					require.Len(t, m.Calls(powertest.SetBoot), tt.writes)
				}
			})
		})
	}
}

func TestBMCString(t *testing.T) {
	require.Equal(t, "x3000c0s7b0", node.String())
	require.Equal(t, "10.1.0.7", power.BMC{Host: "10.1.0.7"}.String())
}

func TestMachineConforms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		powertest.Run(t, powertest.Harness{Controller: &powertest.Machine{Delay: 3 * time.Second, OffFor: 2 * time.Second}, BMC: node})
	})
}

// What a BMC is known to do differently is tested too: it must differ in that way, and in no other.
func TestDifferences(t *testing.T) {
	for _, tt := range []struct {
		name    string
		machine *powertest.Machine
		known   powertest.Harness
	}{
		{"loses UEFI and persistence", &powertest.Machine{Keep: func(b power.Boot) power.Boot { return power.Boot{Device: b.Device} }},
			powertest.Harness{LosesEFI: true, LosesPersist: true}},
		{"loses the override", &powertest.Machine{Keep: func(power.Boot) power.Boot { return power.Boot{Device: power.DeviceNone} }},
			powertest.Harness{LosesBoot: true}},
		{"has no cycle and no soft-off", &powertest.Machine{Hook: func(_ context.Context, c powertest.Call) (bool, error) {
			if c.Action == power.ActionCycle || c.Action == power.ActionSoftOff {
				return false, lifecycle.Errorf(lifecycle.Invalid, "test", "", "0xcc")
			}
			return true, nil
		}}, powertest.Harness{NoCycle: true, NoSoftOff: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := tt.known
				h.Controller, h.BMC = tt.machine, node
				powertest.Run(t, h)
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		powertest.Run(t, powertest.Harness{Controller: eager{&powertest.Machine{}}, BMC: node, CycleTurnsOn: true})
	})
}

// recorder is a TB that notes failures instead of failing.
type recorder struct {
	ctx  context.Context
	said []string
}

func (*recorder) Helper()                    {}
func (r *recorder) Context() context.Context { return r.ctx }
func (r *recorder) Errorf(format string, args ...any) {
	r.said = append(r.said, fmt.Sprintf(format, args...))
}
func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// The suite must be able to fail: each of these machines breaks one promise.
func TestSuiteFinds(t *testing.T) {
	itself := func(m *powertest.Machine) power.Controller { return m }
	for _, tt := range []struct {
		name, want string
		machine    *powertest.Machine
		as         func(*powertest.Machine) power.Controller
	}{
		{"deaf", "the machine is not on within 10s after on", &powertest.Machine{Hook: ignore(many)}, itself},
		{"mute", "State: test: the State failed as told", &powertest.Machine{Hook: fail(powertest.State, many, false, lifecycle.Unavailable)}, itself},
		{"forgetful", "Boot = no override, want pxe, UEFI, persistent", &powertest.Machine{Keep: func(power.Boot) power.Boot { return power.Boot{} }}, itself},
		{"loses UEFI", "Boot = pxe, legacy, persistent, want pxe, UEFI, persistent", &powertest.Machine{Keep: func(b power.Boot) power.Boot { b.EFI = false; return b }}, itself},
		{"no session left", "goroutines asking 20 times each", &powertest.Machine{}, func(m *powertest.Machine) power.Controller { return &jealous{Machine: m} }},
		{"cycles what is off", "cycle of a machine that is off: kind", &powertest.Machine{}, func(m *powertest.Machine) power.Controller { return eager{m} }},
		{"deaf to cancellation", "under a canceled context", &powertest.Machine{}, func(m *powertest.Machine) power.Controller { return stubborn{m} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &recorder{ctx: t.Context()}
				done := make(chan struct{})
				go func() {
					defer close(done)
					powertest.Run(r, powertest.Harness{Controller: tt.as(tt.machine), BMC: node, Poll: time.Second})
				}()
				<-done
				require.Contains(t, strings.Join(r.said, "\n"), tt.want)
			})
		})
	}
}

// jealous refuses a second question while it thinks about the first.
type jealous struct {
	*powertest.Machine
	busy atomic.Bool
}

func (j *jealous) State(ctx context.Context, bmc power.BMC) (power.State, error) {
	if !j.busy.CompareAndSwap(false, true) {
		return "", lifecycle.Errorf(lifecycle.Unavailable, "test", "", "no session left")
	}
	defer j.busy.Store(false)
	time.Sleep(time.Millisecond)
	return j.Machine.State(ctx, bmc)
}

// eager turns on what it is told to cycle.
type eager struct{ *powertest.Machine }

func (e eager) Do(ctx context.Context, bmc power.BMC, a power.Action) error {
	if a == power.ActionCycle {
		a = power.ActionOn
	}
	return e.Machine.Do(ctx, bmc, a)
}

// stubborn does not look at its context.
type stubborn struct{ *powertest.Machine }

func (s stubborn) Do(ctx context.Context, bmc power.BMC, a power.Action) error {
	return s.Machine.Do(context.WithoutCancel(ctx), bmc, a)
}
