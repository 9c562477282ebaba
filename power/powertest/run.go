package powertest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/power"
)

// TB is what the suite needs of a *testing.T.
type TB interface {
	Helper()
	Context() context.Context
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Harness is what [Run] tests: a Controller, and a BMC whose machine may be turned off and on. The other fields say how
// this BMC is known to differ.
type Harness struct {
	Controller power.Controller
	BMC        power.BMC
	Silent     power.BMC     // an address where nobody answers; without a Host that is not tested
	Wait       time.Duration // how long a command may take to have its effect; 0 means 10 s
	Poll       time.Duration // between two looks; 0 means 10 ms

	NoCycle      bool // ActionCycle is refused (the BMC does not implement it)
	CycleTurnsOn bool // ActionCycle turns on a machine that is off, instead of refusing
	ResetIgnored bool // ActionReset of a machine that is off is accepted and ignored
	NoSoftOff    bool // ActionSoftOff is refused, or nobody obeys it
	LosesBoot    bool // the boot override is accepted and not kept, or never marked valid
	LosesEFI     bool // the boot override does not keep UEFI
	LosesPersist bool // the boot override does not keep persistence
}

// Run tests h.Controller. It leaves the machine on, without a boot override.
func Run(tb TB, h Harness) {
	tb.Helper()
	if h.Wait == 0 {
		h.Wait = 10 * time.Second
	}
	if h.Poll == 0 {
		h.Poll = 10 * time.Millisecond
	}
	s := suite{TB: tb, Harness: h}
	s.refusesNonsense()
	s.onAndOff()
	s.cycle()
	s.reset()
	s.softOff()
	s.boot()
	s.canceled()
	s.together()
	s.verbs()
	if h.Silent.Host != "" {
		s.silent()
	}
	if err := s.Controller.SetBoot(tb.Context(), h.BMC, power.Boot{Device: power.DeviceNone}); err != nil {
		tb.Errorf("clear the boot override at the end: %v", err)
	}
	s.to(power.On)
}

type suite struct {
	TB
	Harness
}

// state asks for the state, and fails the test when there is no answer.
func (s suite) state() power.State {
	s.Helper()
	got, err := s.Controller.State(s.Context(), s.BMC)
	if err != nil {
		s.Fatalf("State: %v", err)
	}
	if got != power.On && got != power.Off {
		s.Fatalf("State = %q, want on or off", got)
	}
	return got
}

// do sends a command that must be accepted.
func (s suite) do(a power.Action) {
	s.Helper()
	if err := s.Controller.Do(s.Context(), s.BMC, a); err != nil {
		s.Fatalf("Do(%s): %v", a, err)
	}
}

// until waits for a state.
func (s suite) until(want power.State, after string) {
	s.Helper()
	for end := time.Now().Add(s.Wait); s.state() != want; time.Sleep(s.Poll) {
		if time.Now().After(end) {
			s.Fatalf("the machine is not %s within %v after %s", want, s.Wait, after)
		}
	}
}

// to brings the machine to a state.
func (s suite) to(want power.State) {
	s.Helper()
	if s.state() == want {
		return
	}
	a := power.ActionOn
	if want == power.Off {
		a = power.ActionOff
	}
	s.do(a)
	s.until(want, string(a))
}

// kind checks an error of the Controller.
func (s suite) kind(what string, err error, want ...lifecycle.Kind) {
	s.Helper()
	var e *lifecycle.Error
	if !errors.As(err, &e) && !errors.Is(err, context.Canceled) {
		s.Errorf("%s: %v (%T) is not a *lifecycle.Error", what, err, err)
	}
	for _, k := range want {
		if lifecycle.KindOf(err) == k {
			return
		}
	}
	s.Errorf("%s: kind %q (%v), want one of %q", what, lifecycle.KindOf(err), err, want)
}

func (s suite) refusesNonsense() {
	s.Helper()
	before := s.state()
	s.kind("an unknown action", s.Controller.Do(s.Context(), s.BMC, "explode"), lifecycle.Invalid)
	s.kind("an unknown device", s.Controller.SetBoot(s.Context(), s.BMC, power.Boot{Device: "toaster"}), lifecycle.Invalid)
	if got := s.state(); got != before {
		s.Errorf("an unknown action turned the machine %s", got)
	}
}

func (s suite) onAndOff() {
	s.Helper()
	s.to(power.Off)
	s.do(power.ActionOff) // is off: nothing to do, nothing wrong
	s.until(power.Off, "off, off")
	s.do(power.ActionOn)
	s.until(power.On, "on")
	s.do(power.ActionOn)
	s.until(power.On, "on, on")
	s.do(power.ActionOff)
	s.until(power.Off, "off")
}

func (s suite) cycle() {
	s.Helper()
	s.to(power.Off)
	err := s.Controller.Do(s.Context(), s.BMC, power.ActionCycle)
	switch {
	case s.NoCycle:
		s.kind("cycle", err, lifecycle.Invalid, lifecycle.Precondition)
		return
	case s.CycleTurnsOn:
		s.until(power.On, "a cycle of a machine that was off")
	default:
		s.kind("cycle of a machine that is off", err, lifecycle.Precondition, lifecycle.Unknown)
		s.until(power.Off, "a refused cycle")
	}
	s.to(power.On)
	s.do(power.ActionCycle)
	s.until(power.On, "cycle")
}

func (s suite) reset() {
	s.Helper()
	s.to(power.On)
	s.do(power.ActionReset)
	s.until(power.On, "reset")
	s.to(power.Off)
	err := s.Controller.Do(s.Context(), s.BMC, power.ActionReset)
	if !s.ResetIgnored {
		s.kind("reset of a machine that is off", err, lifecycle.Precondition, lifecycle.Unknown)
	}
	s.until(power.Off, "a reset of a machine that was off")
}

func (s suite) softOff() {
	s.Helper()
	s.to(power.On)
	err := s.Controller.Do(s.Context(), s.BMC, power.ActionSoftOff)
	if s.NoSoftOff {
		return
	}
	if err != nil {
		s.Errorf("Do(%s): %v", power.ActionSoftOff, err)
		return
	}
	s.until(power.Off, "soft-off")
}

func (s suite) boot() {
	s.Helper()
	for _, device := range []power.Device{power.PXE, power.Disk, power.DeviceNone} {
		for _, efi := range []bool{true, false} {
			for _, persistent := range []bool{true, false} {
				if s.LosesBoot && device != power.DeviceNone {
					continue
				}
				s.bootRoundTrip(power.Boot{Device: device, EFI: efi, Persistent: persistent})
			}
		}
	}
}

func (s suite) bootRoundTrip(want power.Boot) {
	s.Helper()
	if err := s.Controller.SetBoot(s.Context(), s.BMC, want); err != nil {
		s.Errorf("SetBoot(%v): %v", want, err)
		return
	}
	want.EFI = want.EFI && !s.LosesEFI
	want.Persistent = want.Persistent && !s.LosesPersist
	var got power.Boot
	for end := time.Now().Add(s.Wait); ; time.Sleep(s.Poll) {
		var err error
		if got, err = s.Controller.Boot(s.Context(), s.BMC); err != nil {
			s.Errorf("Boot after SetBoot(%v): %v", want, err)
			return
		}
		if got == want || got.Device == power.DeviceNone && want.Device == power.DeviceNone {
			return
		}
		if time.Now().After(end) {
			s.Errorf("Boot = %v, want %v", got, want)
			return
		}
	}
}

func (s suite) canceled() {
	s.Helper()
	s.to(power.On)
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	_, err := s.Controller.State(ctx, s.BMC)
	s.kind("State under a canceled context", err, lifecycle.Canceled)
	s.kind("Do under a canceled context", s.Controller.Do(ctx, s.BMC, power.ActionOff), lifecycle.Canceled)
	if got := s.state(); got != power.On {
		s.Errorf("a command under a canceled context turned the machine %s", got)
	}
}

// together asks from several goroutines at once: a Controller sorts out by itself that a BMC has few sessions.
func (s suite) together() {
	s.Helper()
	const goroutines, each = 8, 20
	errs := make([]error, goroutines)
	var wg sync.WaitGroup
	for i := range goroutines {
		wg.Go(func() {
			for range each {
				if _, err := s.Controller.State(s.Context(), s.BMC); err != nil {
					errs[i] = err
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		s.Errorf("%d goroutines asking %d times each: %v", goroutines, each, err)
	}
}

// verbs runs the verbs of package power over the Controller.
func (s suite) verbs() {
	s.Helper()
	wait := []power.Option{
		power.WithTimeout(s.Wait), power.WithPoll(s.Poll, 10*s.Poll), power.WithQuiet(s.Wait / 4), power.WithSettle(s.Poll),
	}
	boot := power.Boot{Device: power.PXE, EFI: !s.LosesEFI}
	for _, step := range []struct {
		name string
		do   func() error
		want power.State
	}{
		{"TurnOff", func() error { return power.TurnOff(s.Context(), s.Controller, s.BMC, wait...) }, power.Off},
		{"SetBoot", func() error { return s.setBoot(boot, wait) }, power.Off},
		{"TurnOn", func() error { return power.TurnOn(s.Context(), s.Controller, s.BMC, wait...) }, power.On},
		{"Cycle", func() error { return power.Cycle(s.Context(), s.Controller, s.BMC, wait...) }, power.On},
		{"Reset", func() error { return power.Reset(s.Context(), s.Controller, s.BMC, wait...) }, power.On},
	} {
		if err := step.do(); err != nil {
			s.Errorf("power.%s: %v", step.name, err)
		} else if got := s.state(); got != step.want {
			s.Errorf("after power.%s the machine is %s, want %s", step.name, got, step.want)
		}
	}
}

// setBoot runs the verb, which must notice a BMC that keeps nothing.
func (s suite) setBoot(b power.Boot, wait []power.Option) error {
	s.Helper()
	err := power.SetBoot(s.Context(), s.Controller, s.BMC, b, wait...)
	if s.LosesBoot {
		s.kind("power.SetBoot on a BMC that keeps nothing", err, lifecycle.Unavailable)
		return nil
	}
	return err
}

// silent asks where nobody answers. That must end by itself, or with the context at the latest.
func (s suite) silent() {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), s.Wait)
	defer cancel()
	_, err := s.Controller.State(ctx, s.Silent)
	s.kind("State where nobody answers", err, lifecycle.Unavailable, lifecycle.Timeout)
	err = s.Controller.Do(ctx, s.Silent, power.ActionOff)
	s.kind("Do where nobody answers", err, lifecycle.Unavailable, lifecycle.Timeout)
}
