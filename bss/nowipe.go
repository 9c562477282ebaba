package bss

import (
	"context"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/internal/mutant"
)

const noWipe = "metal.no-wipe"

// Armed reports whether a node that boots with e erases its disks: dracut's metal modules do so unless metal.no-wipe is
// on, and its default is off (Cray-HPE/dracut-metal-mdsquash, README, "metal.no-wipe"). Armed is false only when
// metal.no-wipe occurs and is "1" each time; anything else is taken for armed, because no reader of the line should have
// to be asked which occurrence wins. For nodes that boot without those modules it means nothing.
func Armed(e Entry) bool {
	values := ParseParams(e.Params).All(noWipe)
	for _, v := range values {
		if v != "1" {
			return true
		}
	}
	return len(values) == 0
}

// Arm sets metal.no-wipe=0 for the node with that xname: its next boot erases its disks, on a storage node the data of its
// OSDs too. Whoever arms a node disarms it again on every outcome.
//
// It is one write after which the key occurs exactly once, and it is read back; errors are those of [Update]. A name that
// is no node's xname is Invalid.
func Arm(ctx context.Context, api API, xname string, opts ...Option) error {
	return setNoWipe(ctx, "bss.Arm", api, xname, "0", opts)
}

// Disarm sets metal.no-wipe=1 for the node with that xname: its next boot leaves its disks alone. See [Arm].
func Disarm(ctx context.Context, api API, xname string, opts ...Option) error {
	return setNoWipe(ctx, "bss.Disarm", api, xname, "1", opts)
}

func setNoWipe(ctx context.Context, op string, api API, xname, value string, opts []Option) error {
	if !nodeName.MatchString(xname) {
		return lifecycle.Errorf(lifecycle.Invalid, op, "", "%q is not the xname of a node: want one such as x3000c0s7b0n0", xname)
	}
	if mutant.On("delete-then-set") {
		_ = Update(ctx, api, xname, func(e *Entry) error {
			p := ParseParams(e.Params)
			p.Remove(noWipe)
			e.Params = p.String()
			return nil
		}, opts...)
	}
	err := Update(ctx, api, xname, func(e *Entry) error {
		p := ParseParams(e.Params)
		if err := p.Set(noWipe, value); err != nil {
			return err
		}
		e.Params = p.String()
		return nil
	}, opts...)
	return lifecycle.Wrap(err, op, xname)
}
