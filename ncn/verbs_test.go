package ncn_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/backup"
	"github.com/ncnkit/lifecycle/bss"
	"github.com/ncnkit/lifecycle/fakes"
	"github.com/ncnkit/lifecycle/ncn"
)

func readFile(t *testing.T, w *fakes.Cluster, name string) string {
	data, err := w.Machine("ncn-w001").ReadFile(name)
	require.NoError(t, err)
	return string(data)
}

func entry(t *testing.T, w *fakes.Cluster, host string) bss.Entry {
	e, err := w.BSS().Get(t.Context(), host)
	require.NoError(t, err)
	return e
}

// The verbs one by one do what a rebuild does; each is recorded.
func TestVerbs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := fakes.NewCluster(t, fakes.Layout{Workers: 1})
		site := w.Site()
		host := site.Host("ncn-w001")
		m := w.Machine("ncn-w001")
		keys := readFile(t, w, "/root/.ssh/authorized_keys")

		require.NoError(t, ncn.Backup(t.Context(), host))
		list, err := backup.List(t.Context(), site.Backups, "ncn-w001")
		require.NoError(t, err)
		require.Len(t, list, 1)

		require.NoError(t, ncn.Wipe(t.Context(), host, ncn.Worker))
		require.Empty(t, m.Probe("/dev/sdc"))
		require.Equal(t, "gpt", m.Probe("/dev/sda"), "the disks of the running system are left to the armed boot")
		require.True(t, armed(t, w, "ncn-w001"))
		require.Empty(t, w.Check(), "a wipe by itself answers for the node's being armed")

		require.NoError(t, ncn.SetBootParameters(t.Context(), host, ncn.Image("ncn-images/k8s", "0.1.110")))
		e := entry(t, w, m.XName())
		require.Equal(t, "s3://ncn-images/k8s/0.1.110/kernel", e.Kernel)
		require.Equal(t, "s3://ncn-images/k8s/0.1.110/initrd", e.Initrd)
		require.Contains(t, e.Params, " metal.server=http://rgw-vip.nmn/ncn-images/k8s/0.1.110 metal.no-wipe=0 ")

		require.NoError(t, ncn.Reboot(t.Context(), host))
		require.Equal(t, 2, m.Generation())
		require.NotEqual(t, keys, readFile(t, w, "/root/.ssh/authorized_keys"))

		require.NoError(t, ncn.Disarm(t.Context(), host))
		require.False(t, armed(t, w, "ncn-w001"))

		require.NoError(t, ncn.Restore(t.Context(), host))
		require.Equal(t, keys, readFile(t, w, "/root/.ssh/authorized_keys"))

		runs, err := w.Journal().Runs(t.Context())
		require.NoError(t, err)
		var kinds []string
		for _, id := range runs {
			s, err := lifecycle.StatusOf(t.Context(), w.Journal(), id)
			require.NoError(t, err)
			require.Equal(t, lifecycle.Done, s.State)
			kinds = append(kinds, strings.TrimPrefix(s.Kind, "ncn."))
		}
		require.ElementsMatch(t, []string{"backup", "wipe", "boot-parameters", "reboot", "disarm", "restore"}, kinds)
	})
}

// A reboot of a node that is not armed keeps its disks, its files and its generation.
func TestRebootKeepsADisarmedNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := fakes.NewCluster(t, fakes.Layout{Workers: 1})
		m := w.Machine("ncn-w001")
		before := m.BootID()
		require.NoError(t, ncn.Reboot(t.Context(), w.Site().Host("ncn-w001")))
		require.NotEqual(t, before, m.BootID())
		require.Equal(t, 1, m.Generation())
	})
}

// A node that booted something else than the plan has is an error that names both.
func TestWrongImageIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := fakes.NewCluster(t, fakes.Layout{Workers: 1})
		w.OnCall(nil, func(c fakes.Call) error {
			if c.Op == fakes.PowerSet && c.Detail == "off" { // somebody else changes the image while the node is off
				return bss.Update(context.Background(), w.BSS(), w.Machine("ncn-w001").XName(), func(e *bss.Entry) error {
					return bss.SetImage(e, ncn.Worker, bss.Image{Path: "ncn-images/k8s", Version: "0.9.9"})
				})
			}
			return nil
		})
		err := rebuild(t.Context(), w, w.Site(), nil)
		require.ErrorIs(t, err, lifecycle.Precondition)
		require.ErrorContains(t, err, "ncn-images/k8s/0.9.9")
		require.ErrorContains(t, err, "ncn-images/k8s/0.1.110")
		require.False(t, armed(t, w, "ncn-w001"))
	})
}

// A node that was disarmed by somebody while it was off boots what it had; the run notices.
func TestNodeThatWasNotInstalledIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := fakes.NewCluster(t, fakes.Layout{Workers: 1})
		w.OnCall(nil, func(c fakes.Call) error {
			if c.Op == fakes.PowerSet && c.Detail == "off" {
				return bss.Disarm(context.Background(), w.BSS(), w.Machine("ncn-w001").XName())
			}
			return nil
		})
		err := rebuild(t.Context(), w, w.Site(), nil)
		require.ErrorIs(t, err, lifecycle.Precondition)
		require.ErrorContains(t, err, "was not installed anew")
	})
}

func TestGlobalData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := fakes.NewCluster(t, fakes.Layout{Workers: 1})
		require.NoError(t, w.BSS().Put(t.Context(), bss.Entry{Hosts: []string{bss.Global}, CloudInit: bss.CloudInit{MetaData: map[string]any{"keep": "me"}}}))
		err := ncn.SetBootParameters(t.Context(), w.Site().Host("ncn-w001"), ncn.GlobalData(map[string]any{"kubernetes-weave-mtu": "1376", "spire.domain": "shasta"}))
		require.NoError(t, err)
		want := map[string]any{"keep": "me", "kubernetes-weave-mtu": "1376", "spire": map[string]any{"domain": "shasta"}}
		if diff := cmp.Diff(want, entry(t, w, bss.Global).CloudInit.MetaData); diff != "" {
			t.Errorf("Global's meta-data (-want +got):\n%s", diff)
		}
	})
}

// A dry run of a rebuild tells every step, and changes nothing anywhere.
func TestDryRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := fakes.NewCluster(t, fakes.Layout{Workers: 1})
		w.Confine()
		p, err := ncn.Rebuild(t.Context(), w.Site().Host("ncn-w001"), ncn.Worker, ncn.Image("ncn-images/k8s", "0.1.110"))
		require.NoError(t, err)
		forecast, err := lifecycle.DryRun(t.Context(), p)
		require.NoError(t, err)
		got := map[string]lifecycle.Verdict{}
		for _, f := range forecast {
			got[f.Step] = f.Verdict
			require.NotEqual(t, lifecycle.WouldFail, f.Verdict, "%s: %s", f.Step, f.Detail)
		}
		require.Equal(t, lifecycle.WouldDo, got["backup"])
		require.Equal(t, lifecycle.AtItsTurn, got["wipe"], "its backup is not there yet")
		require.Equal(t, lifecycle.InPlace, got["power-on"])
		require.Equal(t, lifecycle.AtItsTurn, got["restore"])
		require.Empty(t, w.Calls())
		runs, err := w.Journal().Runs(t.Context())
		require.NoError(t, err)
		require.Empty(t, runs)
	})
}

// A user's own step is part of the plan, and of the plan that is made again when the run is resumed.
func TestWithOwnStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := fakes.NewCluster(t, fakes.Layout{Workers: 1})
		site := w.Site()
		flashed := 0
		flash := ncn.With(func(p *lifecycle.Plan) error {
			return p.InsertAfter("restore", lifecycle.Step{
				ID: "flash", Summary: "flash the NIC", Effect: lifecycle.OneShot,
				Done: func(context.Context) (bool, error) { return flashed > 0, nil },
				Do:   func(context.Context) error { flashed++; return nil },
			})
		})
		stop := make(chan struct{})
		p, err := ncn.Rebuild(t.Context(), site.Host("ncn-w001"), ncn.Worker, flash)
		require.NoError(t, err)
		err = lifecycle.Run(t.Context(), p, lifecycle.WithJournal(w.Journal()), lifecycle.WithStop(stop), lifecycle.WithObserver(func(e lifecycle.Event) {
			if e.Type == lifecycle.EventResult && e.Step == "wipe" {
				close(stop)
			}
		}))
		require.Equal(t, lifecycle.Open, lifecycle.StateOf(err))

		err = lifecycle.Resume(t.Context(), p.ID, ncn.Planner(site), lifecycle.WithJournal(w.Journal()))
		require.ErrorIs(t, err, lifecycle.Conflict)
		require.ErrorContains(t, err, `"flash"`, "the first difference is named")

		require.NoError(t, lifecycle.Resume(t.Context(), p.ID, ncn.Planner(site, flash), lifecycle.WithJournal(w.Journal())))
		require.Equal(t, 1, flashed)
	})
}

// The backup's secrets and the like never get into the journal (I13): what is there is checked for every registered value.
func TestNoSecretInTheJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := fakes.NewCluster(t, fakes.Layout{Workers: 1})
		w.Secret("private key of ncn-w001")
		require.NoError(t, rebuild(t.Context(), w, w.Site(), nil))
	})
}
