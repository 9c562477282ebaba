package ncn_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes"
	"github.com/ncnkit/lifecycle/ncn"
)

// rebuild plans and runs the rebuild of ncn-w001. What between does happens between the two.
func rebuild(ctx context.Context, w *fakes.Cluster, site *ncn.Site, between func(), opts ...lifecycle.Option) error {
	p, err := ncn.Rebuild(ctx, site.Host("ncn-w001"), ncn.Worker, ncn.Image("ncn-images/k8s", "0.1.110"))
	if err != nil {
		return err
	}
	if between != nil {
		between()
	}
	return lifecycle.Run(ctx, p, append([]lifecycle.Option{lifecycle.WithJournal(w.Journal())}, opts...)...)
}

func disk(c *fakes.Cluster, change func([]*fakes.Device) []*fakes.Device) func() {
	return func() { c.Machine("ncn-w001").Disks(change) }
}

func extraDisk(disks []*fakes.Device) []*fakes.Device {
	return append(disks, &fakes.Device{Name: "/dev/sdd", Type: "disk", Size: 1 << 40, Tran: "sas", WWN: "0x5000c500a1b2c3d4"})
}

// Whatever is wrong is said with its reason before anything is changed, and says what to do.
func TestRefusals(t *testing.T) {
	mount := func(at string) func([]*fakes.Device) []*fakes.Device {
		return func(disks []*fakes.Device) []*fakes.Device {
			disks = extraDisk(disks)
			disks[3].Mount = at
			return disks
		}
	}
	sign := func(sig string) func([]*fakes.Device) []*fakes.Device {
		return func(disks []*fakes.Device) []*fakes.Device {
			disks = extraDisk(disks)
			disks[3].Signature = sig
			return disks
		}
	}
	for name, c := range map[string]struct {
		before  func(*fakes.Cluster, *ncn.Site) // the plan is made
		between func(*fakes.Cluster)            // planning and running
		call    func(context.Context, *fakes.Cluster, *ncn.Site) error
		kind    lifecycle.Kind
		says    []string
	}{
		"wrong host key": {
			before: func(w *fakes.Cluster, _ *ncn.Site) { w.Route("ncn-w001", "ncn-w002") },
			kind:   lifecycle.Denied, says: []string{"host key", "console"},
		},
		"right key, wrong xname": {
			before: func(w *fakes.Cluster, _ *ncn.Site) { w.Machine("ncn-w001").SetXName("x9000c0s1b0n0") },
			kind:   lifecycle.Precondition, says: []string{"x9000c0s1b0n0", "swapped cable"},
		},
		"the machine changes after planning": {
			between: func(w *fakes.Cluster) { w.Machine("ncn-w001").SetXName("x9000c0s1b0n0") },
			kind:    lifecycle.Precondition, says: []string{"x9000c0s1b0n0"},
		},
		"a disk appeared since the plan": {
			between: func(w *fakes.Cluster) { disk(w, extraDisk)() },
			kind:    lifecycle.Precondition, says: []string{"wwn-0x5000c500a1b2c3d4", "appeared", "make a new plan"},
		},
		"a mounted disk": {
			before: func(w *fakes.Cluster, _ *ncn.Site) { disk(w, mount("/srv/data"))() },
			kind:   lifecycle.Precondition, says: []string{"/srv/data", "unmount it"},
		},
		"an unknown signature": {
			before: func(w *fakes.Cluster, _ *ncn.Site) { disk(w, sign("gpfs"))() },
			kind:   lifecycle.Precondition, says: []string{"gpfs", "by hand"},
		},
		"a foreign volume group": {
			before: func(w *fakes.Cluster, _ *ncn.Site) {
				disk(w, func(d []*fakes.Device) []*fakes.Device {
					d = extraDisk(d)
					d[3].Signature = "LVM2_member"
					d[3].Children = []*fakes.Device{{Name: "/dev/mapper/customer--data-home", Type: "lvm", Signature: "xfs"}}
					return d
				})()
			},
			kind: lifecycle.Precondition, says: []string{"customer-data"},
		},
		"a disk without an identity": {
			before: func(w *fakes.Cluster, _ *ncn.Site) {
				disk(w, func(d []*fakes.Device) []*fakes.Device { d[2].WWN, d[2].Serial = "", ""; return d })()
			},
			kind: lifecycle.Precondition, says: []string{"WWN", "serial"},
		},
		"no disk to erase": {
			before: func(w *fakes.Cluster, _ *ncn.Site) {
				disk(w, func(d []*fakes.Device) []*fakes.Device { return d[:2] })()
			},
			kind: lifecycle.Precondition, says: []string{"no disk would be erased"},
		},
		"no host": {
			call: func(ctx context.Context, _ *fakes.Cluster, s *ncn.Site) error { _, err := s.Hosts(ctx); return err },
			kind: lifecycle.Invalid, says: []string{"name each one"},
		},
		"a host twice": {
			call: func(ctx context.Context, _ *fakes.Cluster, s *ncn.Site) error {
				_, err := s.Hosts(ctx, "ncn-w001", "ncn-w001")
				return err
			},
			kind: lifecycle.Invalid, says: []string{"twice"},
		},
		"an unknown host": {
			call: func(ctx context.Context, _ *fakes.Cluster, s *ncn.Site) error {
				_, err := ncn.Rebuild(ctx, s.Host("ncn-w099"), ncn.Worker)
				return err
			},
			kind: lifecycle.NotFound, says: []string{"ncn-w099"},
		},
		"a name that is none": {
			call: func(ctx context.Context, _ *fakes.Cluster, s *ncn.Site) error {
				_, err := ncn.Rebuild(ctx, s.Host("ncn-w001; rm -rf /"), ncn.Worker)
				return err
			},
			kind: lifecycle.Invalid, says: []string{"RFC 1123"},
		},
		"a transport that is nil": {
			before: func(_ *fakes.Cluster, s *ncn.Site) { s.Power = nil },
			kind:   lifecycle.Invalid, says: []string{"Site.Power is nil", "set it"},
		},
		"a master given as a worker": {
			call: func(ctx context.Context, _ *fakes.Cluster, s *ncn.Site) error {
				_, err := ncn.Rebuild(ctx, s.Host("ncn-m001"), ncn.Worker)
				return err
			},
			kind: lifecycle.Precondition, says: []string{"ncn-m001 is a master, not a worker", "the inventory decides"},
		},
		"an image that is none": {
			call: func(ctx context.Context, _ *fakes.Cluster, s *ncn.Site) error {
				return ncn.SetBootParameters(ctx, s.Host("ncn-w001"), ncn.Image("ncn-images/k8s", "1 init=/bin/sh"))
			},
			kind: lifecycle.Invalid, says: []string{"no image version"},
		},
		"neither an image nor data": {
			call: func(ctx context.Context, _ *fakes.Cluster, s *ncn.Site) error {
				return ncn.SetBootParameters(ctx, s.Host("ncn-w001"))
			},
			kind: lifecycle.Invalid, says: []string{"neither"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := fakes.NewCluster(t, fakes.Layout{Masters: 1, Workers: 2})
				site := w.Site()
				if c.before != nil {
					c.before(w, site)
				}
				if c.call == nil {
					c.call = func(ctx context.Context, w *fakes.Cluster, s *ncn.Site) error {
						between := func() {}
						if c.between != nil {
							between = func() { c.between(w) }
						}
						return rebuild(ctx, w, s, between)
					}
				}
				err := c.call(t.Context(), w, site)
				require.ErrorIs(t, err, c.kind)
				require.Equal(t, lifecycle.Refused, lifecycle.StateOf(err))
				require.ErrorContains(t, err, "nothing was changed")
				for _, word := range c.says {
					require.ErrorContains(t, err, word)
				}
				require.Empty(t, w.Calls(), "something was changed")
			})
		})
	}
}

// A backup that does not read back stops the run before anything is erased (I4).
func TestBackupThatDoesNotReadBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := fakes.NewCluster(t, fakes.Layout{Workers: 1})
		w.OnCall(nil, func(c fakes.Call) error {
			if c.Op == fakes.StorePut && strings.HasSuffix(c.Detail, "archive.tar.zst") {
				w.Corrupt("archive")
			}
			return nil
		})
		err := rebuild(t.Context(), w, w.Site(), nil)
		require.ErrorIs(t, err, lifecycle.Precondition)
		require.Equal(t, 1, w.Machine("ncn-w001").Generation())
		touched := slices.ContainsFunc(w.Calls(), func(c fakes.Call) bool { return c.Op != fakes.StorePut && c.Op != fakes.StoreDelete })
		require.False(t, touched, "the node or its boot parameters were changed: %v", w.Calls())
	})
}

// Two processes on one node: the second is refused, and told who is there.
func TestSecondDriverIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := fakes.NewCluster(t, fakes.Layout{Workers: 1})
		site := w.Site()
		first, second := w.Journal().Controller("first"), w.Journal().Controller("second")
		var other error
		w.OnCall(func(c fakes.Call) error {
			if c.Op == fakes.PowerSet && other == nil {
				p, err := ncn.Rebuild(t.Context(), site.Host("ncn-w001"), ncn.Worker)
				if err != nil {
					return err
				}
				other = lifecycle.Run(t.Context(), p, lifecycle.WithJournal(second), lifecycle.WithOwner("second"))
			}
			return nil
		}, nil)
		require.NoError(t, rebuild(t.Context(), w, site, nil, lifecycle.WithJournal(first), lifecycle.WithOwner("first")))
		var held *lifecycle.Held
		require.ErrorAs(t, other, &held)
		require.Equal(t, "first", held.Owner)
		require.ErrorIs(t, other, lifecycle.Conflict)
	})
}
