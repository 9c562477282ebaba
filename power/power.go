package power

import (
	"context"
	"fmt"

	"github.com/ncnkit/lifecycle"
)

// State is a chassis's power state.
type State string

// The states.
const (
	On  State = "on"
	Off State = "off"
)

// Action is one command to a BMC (IPMI v2.0 §28.3, Chassis Control; Redfish, ComputerSystem.Reset).
type Action string

// The actions. All but ActionSoftOff are hard: the operating system is not asked.
const (
	ActionOn      Action = "on"
	ActionOff     Action = "off"
	ActionSoftOff Action = "soft-off" // asks the operating system to shut down
	ActionCycle   Action = "cycle"    // off, and after an interval of the BMC's own on again
	ActionReset   Action = "reset"    // the power stays on
)

// Device is what a machine boots from. A BMC may keep a device that has no constant here; its transport then names it in
// its own words.
type Device string

// The devices that can be asked for.
const (
	DeviceNone Device = "none" // no override: the firmware's own order
	PXE        Device = "pxe"
	Disk       Device = "disk"
)

// Boot is the boot override of a BMC. It is a plain value.
type Boot struct {
	Device     Device
	EFI        bool // UEFI, not legacy
	Persistent bool // until changed, not only at the next boot
}

// String names the override in one line: "pxe, UEFI, next boot only".
func (b Boot) String() string {
	if b.Device == DeviceNone || b.Device == "" {
		return "no override"
	}
	firmware, scope := "legacy", "next boot only"
	if b.EFI {
		firmware = "UEFI"
	}
	if b.Persistent {
		scope = "persistent"
	}
	return fmt.Sprintf("%s, %s, %s", b.Device, firmware, scope)
}

// same reports whether two overrides mean the same boot. Without a device, the rest says nothing.
func (b Boot) same(other Boot) bool {
	if b.Device == DeviceNone && other.Device == DeviceNone {
		return true
	}
	return b == other
}

// BMC says which controller is meant. It is a plain value.
type BMC struct {
	Name string // its xname, by which credentials are asked for and events speak: "x3000c0s7b0"; empty means Host
	Host string // "host" or "host:port"
}

// String returns the name, or the host where there is no name.
func (b BMC) String() string {
	if b.Name != "" {
		return b.Name
	}
	return b.Host
}

// Controller is one transport to BMCs. It sends one command and reports what the BMC answered; whether the machine obeyed
// is for [TurnOn], [TurnOff], [Cycle], [Reset] and [SetBoot] to find out. Implementations are safe for concurrent use, keep
// at most one session per BMC, never send a command of Do twice by themselves, and honour the context.
//
// Kinds of their errors: Invalid, Unauthenticated, Denied, NotFound, Precondition, Conflict and Unavailable all promise
// that the command had no effect. Unknown means that it was sent and that no answer tells what became of it.
type Controller interface {
	// State asks whether the machine is on.
	State(ctx context.Context, bmc BMC) (State, error)
	// Do sends one command, once.
	Do(ctx context.Context, bmc BMC, a Action) error
	// Boot reads the boot override that the BMC keeps.
	Boot(ctx context.Context, bmc BMC) (Boot, error)
	// SetBoot writes the boot override.
	SetBoot(ctx context.Context, bmc BMC, b Boot) error
}

// check refuses what no verb can work with, before any effect.
func check(op string, ctl Controller, bmc BMC) error {
	if ctl == nil {
		return lifecycle.Errorf(lifecycle.Invalid, op, bmc.String(), "the power.Controller is nil: set one, such as ipmi.New(…)")
	}
	if bmc.Host == "" {
		return lifecycle.Errorf(lifecycle.Invalid, op, bmc.Name, "the BMC has no Host: give its address")
	}
	return nil
}
