package ipmi

import (
	"context"
	"fmt"

	"github.com/bougou/go-ipmi/pkg/command/chassis"
	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/power"
)

// The boot option parameters that are written (IPMI v2.0, table 28-14).
const (
	paramClear = types.BootOptionParamSelector(3) // when the BMC makes the flags invalid by itself
	paramAck   = types.BootOptionParamSelector(4) // who has seen them
	paramFlags = types.BootOptionParamSelector(5)

	dontClearOnTimeout = 0x08
	flagValid          = 0x80
	flagPersistent     = 0x40
	flagEFI            = 0x20
	flagsLen           = 5
)

// SetBoot writes the boot flags (IPMI v2.0 §28.12, parameter 5). Before, it tells the BMC not to drop them after 60
// seconds (parameter 3) and that the firmware has not seen them (parameter 4); a BMC that knows no such parameter is
// forgiven. Whether the BMC keeps every bit is for [Controller.Boot] to say; power.SetBoot asks. Kinds as for
// [Controller.Do].
func (c *Controller) SetBoot(ctx context.Context, bmc power.BMC, b power.Boot) error {
	const op = "ipmi.SetBoot"
	flags, err := encode(b)
	if err != nil {
		return lifecycle.Errorf(lifecycle.Invalid, op, bmc.String(), "%w", err)
	}
	return c.within(ctx, op, bmc, func(ctx context.Context, s *session) error {
		for _, option := range []func(context.Context) error{
			s.setOption(paramClear, []byte{dontClearOnTimeout}),
			s.setOption(paramAck, []byte{0x01, 0x01}), // BIOS and POST have not handled it yet; 0 would say they have
		} {
			err := s.ask(ctx, option) // may be repeated: it is not the override yet
			if _, answered := codeOf(err); err != nil && !answered {
				return told(op, bmc, "the boot override", false, err)
			}
		}
		sent, err := s.tell(ctx, s.setOption(paramFlags, flags))
		return told(op, bmc, "the boot override", sent, err)
	})
}

func (s *session) setOption(param types.BootOptionParamSelector, data []byte) func(context.Context) error {
	return func(ctx context.Context) error {
		request := &chassis.SetSystemBootOptionsParamRequest{ParamSelector: param, ParamData: data}
		_, err := s.client.SetSystemBootOptionsParam(ctx, request)
		return err
	}
}

// Boot reads the boot flags (IPMI v2.0 §28.13, parameter 5). Flags that are not marked valid are no override. A device
// that package power does not know is named as in the standard's table, "cdrom" say, or by its number. Kinds as for
// [Controller.State].
func (c *Controller) Boot(ctx context.Context, bmc power.BMC) (power.Boot, error) {
	const op = "ipmi.Boot"
	var kept power.Boot
	err := c.within(ctx, op, bmc, func(within context.Context, s *session) error {
		err := s.ask(within, func(ctx context.Context) error {
			r, err := s.client.GetSystemBootOptionsParam(ctx, paramFlags, 0, 0)
			if err != nil {
				return err
			}
			kept = decode(r.ParamData, r.ParameterInValid)
			return nil
		})
		return asked(op, bmc, "tell its boot override", ctx.Err(), err)
	})
	return kept, err
}

var selectors = map[power.Device]byte{power.DeviceNone: 0x0, power.PXE: 0x1, power.Disk: 0x2}

// deviceNames are the boot device selectors of the standard's table 28-14.
var deviceNames = map[byte]power.Device{
	0x0: power.DeviceNone, 0x1: power.PXE, 0x2: power.Disk, 0x3: "disk-safe", 0x4: "diagnostic", 0x5: "cdrom", 0x6: "bios-setup",
	0x7: "remote-floppy", 0x8: "remote-cdrom", 0x9: "remote-media", 0xb: "remote-disk", 0xf: "floppy",
}

// encode gives the bytes of parameter 5. "No override" is valid flags without a device: a BMC may ignore flags that are
// not valid, and keep the old ones.
func encode(b power.Boot) ([]byte, error) {
	selector, ok := selectors[b.Device]
	if !ok {
		return nil, fmt.Errorf("cannot ask a BMC to boot from %q: want none, pxe or disk", string(b.Device))
	}
	flags := make([]byte, flagsLen)
	flags[0], flags[1] = flagValid, selector<<2
	if b.EFI {
		flags[0] |= flagEFI
	}
	if b.Persistent {
		flags[0] |= flagPersistent
	}
	return flags, nil
}

// decode reads the bytes of parameter 5. A BMC that sends fewer than it should says nothing.
func decode(flags []byte, invalid bool) power.Boot {
	if invalid || len(flags) < 2 || flags[0]&flagValid == 0 {
		return power.Boot{Device: power.DeviceNone}
	}
	selector := flags[1] >> 2 & 0x0f
	device, ok := deviceNames[selector]
	if !ok {
		device = power.Device(fmt.Sprintf("selector %#x", selector))
	}
	if device == power.DeviceNone {
		return power.Boot{Device: power.DeviceNone}
	}
	return power.Boot{Device: device, EFI: flags[0]&flagEFI != 0, Persistent: flags[0]&flagPersistent != 0}
}
