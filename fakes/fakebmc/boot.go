package fakebmc

import (
	"bytes"
	"context"

	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/ncnkit/lifecycle/power"
)

// The boot option parameters that are kept (IPMI v2.0, table 28-14).
const (
	paramClear = 3 // what makes the flags invalid
	paramAck   = 4
	paramFlags = 5

	dontClearOnTimeout = 0x08 // of parameter 3
	flagsLen           = 5
	flagValid          = 0x80 // of the first byte of parameter 5
	flagPersistent     = 0x40
	flagEFI            = 0x20
)

// bootFlags is what a BMC remembers of the boot options, byte for byte. The server's mutex guards it.
type bootFlags struct {
	clear byte
	ack   []byte
	raw   []byte // as written last; the backend's override decides while it means the same
	stop  func() bool
	seq   int // of the timer, so that one that fires late does nothing
}

// commanded notes a chassis command, after which the flags last until the machine boots.
func (f *bootFlags) commanded() { f.disarm() }

func (f *bootFlags) disarm() {
	f.seq++
	if f.stop != nil {
		f.stop()
		f.stop = nil
	}
}

// setBootOption answers Set System Boot Options (IPMI v2.0 §28.12).
func (s *Server) setBootOption(ctx context.Context, e *Event, req []byte) ([]byte, error) {
	e.What = BootWritten
	if len(req) < 1 {
		return nil, types.CodeRequestDataTruncated
	}
	e.Param, e.Data = int(req[0]&0x7f), bytes.Clone(req[1:])
	if len(e.Data) == 0 {
		return nil, nil // only the lock bit, which is not kept
	}
	switch e.Param {
	case paramClear:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.flags.clear = e.Data[0] & 0x1f
		if s.flags.clear&dontClearOnTimeout != 0 {
			s.flags.disarm()
		}
		return nil, nil
	case paramAck:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.flags.ack = e.Data
		return nil, nil
	case paramFlags:
		return nil, s.setBootFlags(ctx, e.Data)
	}
	return nil, types.CodeParameterNotSupported
}

func (s *Server) setBootFlags(ctx context.Context, raw []byte) error {
	if len(raw) != flagsLen {
		return types.CodeRequestDataLengthInvalid
	}
	// The backend goes last but its effect may stay when its answer is lost, so the bytes are kept either way.
	s.mu.Lock()
	s.flags.disarm()
	s.flags.raw = raw
	if raw[0]&flagValid != 0 && s.flags.clear&dontClearOnTimeout == 0 && !s.closed {
		seq := s.flags.seq
		s.flags.stop = s.cfg.AfterFunc(flagsValidFor, func() { s.invalidate(seq) })
	}
	s.mu.Unlock()
	return s.cfg.Backend.SetBoot(ctx, s.cfg.BMC, decode(raw))
}

// invalidate clears the valid bit when no chassis command came in time.
func (s *Server) invalidate(seq int) {
	if !s.enter() {
		return
	}
	defer s.calls.Done()
	s.mu.Lock()
	due := seq == s.flags.seq && s.flags.stop != nil
	if due {
		s.flags.stop = nil
		s.flags.raw = bytes.Clone(s.flags.raw)
		s.flags.raw[0] &^= flagValid
	}
	s.mu.Unlock()
	if !due {
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.CallTimeout)
	defer cancel()
	_ = s.cfg.Backend.SetBoot(ctx, s.cfg.BMC, power.Boot{Device: power.DeviceNone})
}

// getBootOption answers Get System Boot Options (IPMI v2.0 §28.13).
func (s *Server) getBootOption(ctx context.Context, e *Event, req []byte) ([]byte, error) {
	e.What = BootRead
	if len(req) < 1 {
		return nil, types.CodeRequestDataTruncated
	}
	e.Param = int(req[0] & 0x7f)
	switch e.Param {
	case paramClear:
		s.mu.Lock()
		e.Data = []byte{s.flags.clear}
		s.mu.Unlock()
	case paramAck:
		s.mu.Lock()
		e.Data = append(bytes.Clone(s.flags.ack), 0, 0)[:2]
		s.mu.Unlock()
	case paramFlags:
		kept, err := s.cfg.Backend.Boot(ctx, s.cfg.BMC)
		if err != nil {
			return nil, err
		}
		e.Data = s.bootBytes(kept)
	default:
		return nil, types.CodeParameterNotSupported
	}
	const version = 1
	return append([]byte{version, byte(e.Param)}, e.Data...), nil
}

// bootBytes returns the bytes as they were written while they still mean what the backend keeps, else made from that: a
// machine has booted in between, or the backend does not keep every bit.
func (s *Server) bootBytes(kept power.Boot) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flags.raw != nil && decode(s.flags.raw) == normal(kept) {
		return bytes.Clone(s.flags.raw)
	}
	return encode(kept)
}

// devices are the boot device selectors of parameter 5; those that power has no constant for go by their name here.
var devices = map[byte]power.Device{
	0x0: power.DeviceNone, 0x1: power.PXE, 0x2: power.Disk, 0x3: "disk-safe", 0x4: "diagnostic", 0x5: "cdrom", 0x6: "bios-setup",
	0x7: "remote-floppy", 0x8: "remote-cdrom", 0x9: "remote-media", 0xb: "remote-disk", 0xf: "floppy",
}

func decode(raw []byte) power.Boot {
	device, ok := devices[raw[1]>>2&0x0f]
	if raw[0]&flagValid == 0 || !ok {
		device = power.DeviceNone
	}
	return normal(power.Boot{Device: device, EFI: raw[0]&flagEFI != 0, Persistent: raw[0]&flagPersistent != 0})
}

// normal gives every override without a device the same form.
func normal(b power.Boot) power.Boot {
	if b.Device == "" || b.Device == power.DeviceNone {
		return power.Boot{Device: power.DeviceNone}
	}
	return b
}

func encode(b power.Boot) []byte {
	raw := make([]byte, flagsLen)
	for selector, device := range devices {
		if device == b.Device && selector != 0 {
			raw[0], raw[1] = flagValid, selector<<2
		}
	}
	if raw[0] == 0 {
		return raw
	}
	if b.EFI {
		raw[0] |= flagEFI
	}
	if b.Persistent {
		raw[0] |= flagPersistent
	}
	return raw
}
