package power

import (
	"context"
	"time"

	"github.com/ncnkit/lifecycle"
)

// SetBoot writes the boot override, reads it back and returns nil when the BMC keeps what was asked: device, firmware and
// persistence. It writes even when the BMC shows that already, because nobody knows how long what it shows will last (a
// BMC may drop it after 60 seconds, IPMI v2.0 §28.12).
//
// A BMC that keeps something else, or is slow to show it, is given the override three times at most, a quiet interval
// apart; then the error is Unavailable and names what it keeps. Kinds: Invalid for a device other than DeviceNone, PXE
// and Disk; Timeout, Canceled; the BMC's refusals.
func SetBoot(ctx context.Context, ctl Controller, bmc BMC, b Boot, opts ...Option) error {
	const op = "power.SetBoot"
	if err := check(op, ctl, bmc); err != nil {
		return err
	}
	switch b.Device {
	case DeviceNone, PXE, Disk:
	default:
		return lifecycle.Errorf(lifecycle.Invalid, op, bmc.String(), "cannot boot from %q: want none, pxe or disk", string(b.Device))
	}
	return within(ctx, op, ctl, bmc, gather(opts), func(ctx context.Context, w *wait) error {
		for {
			kept, err := w.writeBoot(ctx, b)
			switch {
			case err != nil || kept.same(b):
				return err
			case w.sends < maxSends:
				continue
			case w.lastErr != nil:
				return lifecycle.Wrap(w.lastErr, op, bmc.String())
			}
			return lifecycle.Errorf(lifecycle.Unavailable, op, bmc.String(),
				"asked the BMC for %q, it keeps %q after %d writes: set it in the firmware's setup, or ask for what it can keep",
				b, kept, w.sends)
		}
	})
}

// writeBoot writes the override once and reads it back until it is what was asked for, or the quiet interval is over.
func (w *wait) writeBoot(ctx context.Context, b Boot) (kept Boot, err error) {
	want := "to keep the boot override " + b.String()
	call, cancel := context.WithTimeout(ctx, callTimeout)
	err = w.ctl.SetBoot(call, w.bmc, b)
	cancel()
	w.lastErr = err
	switch {
	case err != nil && refused(err):
		return kept, lifecycle.Wrap(err, w.op, w.bmc.String())
	case err != nil && lifecycle.KindOf(err) == lifecycle.Unavailable:
		return kept, w.sleep(ctx, want) // nothing was written: what could be read now proves nothing
	}
	w.sends++
	w.pause = w.o.first
	for end := time.Now().Add(w.o.quietOr(bootQuiet)); ; {
		kept, err = w.readBoot(ctx)
		if err != nil || kept.same(b) || !time.Now().Before(end) {
			return kept, err
		}
		if err := w.sleep(ctx, want); err != nil {
			return kept, err
		}
	}
}

// readBoot reads the override. A transient failure is remembered in w.lastErr.
func (w *wait) readBoot(ctx context.Context) (Boot, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	kept, err := w.ctl.Boot(ctx, w.bmc)
	w.lastErr = err
	switch {
	case err == nil:
		return kept, nil
	case refused(err):
		return Boot{}, lifecycle.Wrap(err, w.op, w.bmc.String())
	}
	return Boot{}, nil
}

// refused reports whether the BMC will not do it, however often it is asked.
func refused(err error) bool {
	return final(err) || lifecycle.KindOf(err) == lifecycle.Precondition
}
