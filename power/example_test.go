package power_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/power"
	"github.com/ncnkit/lifecycle/power/powertest"
)

// The examples use a machine in memory; ipmi.New returns a Controller for real ones.

func ExampleTurnOn() {
	var ctl power.Controller = &powertest.Machine{}
	bmc := power.BMC{Name: "x3000c0s7b0", Host: "10.1.0.7"}
	err := power.TurnOn(context.Background(), ctl, bmc, power.WithPoll(time.Millisecond, time.Second))
	state, _ := ctl.State(context.Background(), bmc)
	fmt.Println(err, state)
	// Output: <nil> on
}

func ExampleTurnOff() {
	// The BMC accepts every command, and does nothing.
	ctl := &powertest.Machine{Initial: power.On, Hook: func(_ context.Context, c powertest.Call) (bool, error) {
		return c.Op != powertest.Do, nil
	}}
	bmc := power.BMC{Name: "x3000c0s7b0", Host: "10.1.0.7"}
	err := power.TurnOff(context.Background(), ctl, bmc, power.WithTimeout(20*time.Millisecond))
	fmt.Println("is it off?", err == nil)
	fmt.Println("timed out?", errors.Is(err, lifecycle.Timeout))
	// Output:
	// is it off? false
	// timed out? true
}

func ExampleCycle() {
	ctl := &powertest.Machine{Initial: power.On}
	err := power.Cycle(context.Background(), ctl, power.BMC{Host: "10.1.0.7"}, power.WithPoll(time.Millisecond, time.Second),
		power.WithSettle(10*time.Millisecond), power.WithProgress(func(waitingFor, why string) {
			fmt.Printf("waiting for %s: %s\n", waitingFor, why)
		}))
	fmt.Println(err, ctl.Actions())
	// Output:
	// waiting for 10.1.0.7 to be off: last seen on, commands sent: 1
	// waiting for 10.1.0.7 to settle: off for 10ms
	// waiting for 10.1.0.7 to be on: last seen off, commands sent: 1
	// <nil> [off on]
}

func ExampleReset() {
	ctl := &powertest.Machine{} // off
	err := power.Reset(context.Background(), ctl, power.BMC{Host: "10.1.0.7"})
	fmt.Println(err)
	// Output: power.Reset: 10.1.0.7: the machine is off, nothing was sent: use power.TurnOn
}

func ExampleSetBoot() {
	ctl := &powertest.Machine{}
	bmc := power.BMC{Name: "x3000c0s7b0", Host: "10.1.0.7"}
	err := power.SetBoot(context.Background(), ctl, bmc, power.Boot{Device: power.PXE, EFI: true})
	kept, _ := ctl.Boot(context.Background(), bmc)
	fmt.Println(err, kept)
	// Output: <nil> pxe, UEFI, next boot only
}
