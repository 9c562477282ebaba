//go:build mutant

package mutant_test

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/bss"
	"github.com/ncnkit/lifecycle/fakes"
	"github.com/ncnkit/lifecycle/internal/mutant"
	"github.com/ncnkit/lifecycle/ncn"
	"github.com/ncnkit/lifecycle/power"
)

const node = "ncn-w001"

// exhibit is one known bug: where it was seen, what it breaks, and a scene in which it does.
type exhibit struct {
	name      string
	source    string
	invariant string
	scene     func(*testing.T, *fakes.Cluster)
}

var museum = []exhibit{
	{"record-before-do", "docs-csm ncn-rebuild-master-nodes.sh records INSTALL_DOCS_NEW_MASTER before the copy", "I14", plain},
	{"no-readback", "hms-bss loses concurrent updates, and answers 200 to each (CASMTRIAGE-6537)", "I7", func(t *testing.T, w *fakes.Cluster) {
		w.Ignore(fakes.BSSPatch.On(node).After(2).Times(2))
		plain(t, w)
	}},
	{"delete-then-set", "docs-csm drain-worker.yaml deletes metal.no-wipe, then sets it", "I7", plain},
	{"drop-finally", "cray-nls: killed between no-wipe=0 and no-wipe=1 leaves a node that erases itself", "I7", func(t *testing.T, w *fakes.Cluster) {
		w.Ignore(fakes.PowerSet.On(node).Times(100))
		plain(t, w)
	}},
	{"retry-unknown", "go-ipmi resends a power cycle whose answer was lost, and it is executed twice", "I9", func(t *testing.T, w *fakes.Cluster) {
		w.LoseReply(fakes.PowerSet.On(node))
		_ = power.Cycle(t.Context(), w.Power(), power.BMC{Host: w.Machine(node).BMC()}, power.WithNative())
	}},
	{"power-done-on-accept", "docs-csm: off, sleep 20, on; an off that the BMC ignored makes on a no-op", "I9", plain},
	{"wipe-without-identity", "docs-csm wipes over ssh with StrictHostKeyChecking=no; GitLab 2017: the wrong host", "I2", func(t *testing.T, w *fakes.Cluster) {
		w.Route(node, "ncn-w002")
		keeper := w.Exec().(lifecycle.HostKeyKeeper)
		require.NoError(t, keeper.KeepHostKeys(t.Context(), lifecycle.Node{Name: node}, []string{w.Machine("ncn-w002").AuthorizedKey()}))
		plain(t, w)
	}},
	{"check-inside-loop", "ironic-python-agent checks a disk when its turn comes: disk 1 is erased before disk 2 is looked at", "I3", func(t *testing.T, w *fakes.Cluster) {
		w.Machine(node).Disks(func(disks []*fakes.Device) []*fakes.Device {
			return append(disks, &fakes.Device{Name: "/dev/sdd", Type: "disk", Size: 1 << 40, Tran: "sas", WWN: "0x9000c500a1b2c3d4", Signature: "xfs"})
		})
		onIntent(w, "wipe", func() {
			w.Machine(node).Disks(func(disks []*fakes.Device) []*fakes.Device { disks[3].Mount = "/srv"; return disks })
		})
		plain(t, w)
	}},
	{"replan-on-resume", "a wipe that is planned anew after a crash chooses other disks (tinkerbell, ironic clean steps)", "I3", func(t *testing.T, w *fakes.Cluster) {
		killed(t, w, func(c fakes.Call) bool { return c.Op == fakes.StorePut && strings.HasSuffix(c.Detail, "manifest.json") }, func() {
			w.Machine(node).Disks(func(disks []*fakes.Device) []*fakes.Device {
				return append(disks, &fakes.Device{Name: "/dev/sdd", Type: "disk", Size: 1 << 40, Tran: "sas", WWN: "0x9000c500a1b2c3d4"})
			})
		})
	}},
	{"token-in-journal-only", "argo-workflows#16294 ran a step again that had succeeded; only the engine knew", "I5", func(t *testing.T, w *fakes.Cluster) {
		w.Machine(node).Disks(func(disks []*fakes.Device) []*fakes.Device {
			disks[2].Children, disks[2].Signature = nil, "xfs"
			return disks
		})
		killed(t, w, func(c fakes.Call) bool { return c.Name == "ncn.wipe-start" }, func() {})
	}},
	{"no-backup-readback", "velero#3407, GitLab 2017: a backup that is complete by its status, and cannot be restored", "I4", func(t *testing.T, w *fakes.Cluster) {
		w.OnCall(nil, func(c fakes.Call) error {
			if c.Op == fakes.StorePut && strings.HasSuffix(c.Detail, "manifest.json") {
				w.Corrupt("archive")
			}
			return nil
		})
		plain(t, w)
	}},
	{"no-fence", "kured, CEO PR#1663: a controller that was paused past its lease acts when it wakes", "I6", func(t *testing.T, w *fakes.Cluster) {
		site := w.Site()
		first, second := w.Journal().Controller("first"), w.Journal().Controller("second")
		p, err := ncn.Rebuild(t.Context(), site.Host(node), ncn.Worker)
		require.NoError(t, err)
		onIntent(w, "power-off", func() {
			w.Journal().OnAppend(nil)
			first.Expire()
			_ = lifecycle.Resume(t.Context(), p.ID, ncn.Planner(site), lifecycle.WithJournal(second))
		})
		_ = lifecycle.Run(t.Context(), p, lifecycle.WithJournal(first))
	}},
	{"disk-by-name", "talos#11288, nixops#1103: the names of disks swap at boot", "I3", plain},
	{"unknown-signature-accepted", "ironic-python-agent: the gfs2 guard reads a column that lsblk was not asked for", "I3", func(t *testing.T, w *fakes.Cluster) {
		w.Machine(node).Disks(func(disks []*fakes.Device) []*fakes.Device {
			return append(disks, &fakes.Device{Name: "/dev/sdd", Type: "disk", Size: 1 << 40, Tran: "sas", WWN: "0x9000c500a1b2c3d4", Signature: "gfs2"})
		})
		plain(t, w)
	}},
	{"old-boot-accepted", "baremetal-operator#1182: the old operating system rejoined the cluster", "I12", func(t *testing.T, w *fakes.Cluster) {
		w.OnCall(nil, func(c fakes.Call) error {
			if c.Op == fakes.PowerSet && c.Detail == "off" {
				return bss.Disarm(t.Context(), w.BSS(), w.Machine(node).XName()) // somebody means well
			}
			return nil
		})
		plain(t, w)
	}},
	{"cancel-mid-wipe", "a wipe that is interrupted half-way; argo terminates the pod of the step", "I14", func(t *testing.T, w *fakes.Cluster) {
		site := w.Site()
		p, err := ncn.Rebuild(t.Context(), site.Host(node), ncn.Worker)
		require.NoError(t, err)
		other := w.Journal().Controller("other")
		w.OnCall(nil, func(c fakes.Call) error {
			if c.Name == "ncn.wipe-start" {
				return lifecycle.Cancel(t.Context(), p.ID, ncn.Planner(site), "in a hurry", lifecycle.WithJournal(other))
			}
			return nil
		})
		_ = lifecycle.Run(t.Context(), p, lifecycle.WithJournal(w.Journal()))
		time.Sleep(time.Hour)
	}},
	{"empty-means-all", "Google's Diskerase: the empty set was taken to mean everything", "I10", func(t *testing.T, w *fakes.Cluster) {
		w.Confine()
		site := w.Site()
		hosts, err := site.Hosts(t.Context())
		if err != nil {
			return
		}
		for _, h := range hosts {
			_ = ncn.SetBootParameters(t.Context(), h, ncn.Image("ncn-images/k8s", "0.1.110"))
		}
	}},
}

// elsewhere are the exhibits whose scenes need what only their own package has.
var elsewhere = map[string]string{
	"fsync-skipped":          "I14, lifecycle.TestMutantFsyncSkipped: a record that was acknowledged, and is gone after a power failure",
	"torn-tail-accepted":     "I12, lifecycle.TestMutantTornTailAccepted: a log that trusts its last record, whatever its checksum says",
	"budget-counts-only-own": "I10, lifecycle.TestMutantsOfDecide: system-upgrade-controller and others count only the nodes that they took out themselves",
	"percent-before-minimum": "I10, lifecycle.TestMutantsOfDecide: a share of failures that is judged before enough hosts were tried: the first failure is 100 percent",
	"window-end-starts":      "I10, lifecycle.TestMutantsOfDecide: kured#620: a start at the end of the maintenance window",
	"resume-loses-width":     "I12, lifecycle.TestMutantResumeLosesWidth: a rollout that is taken up again with everything at once",
}

// plain is a rebuild; how it ends does not matter, only what it breaks.
func plain(t *testing.T, w *fakes.Cluster) {
	p, err := ncn.Rebuild(t.Context(), w.Site().Host(node), ncn.Worker, ncn.Image("ncn-images/k8s", "0.1.110"))
	if err == nil {
		_ = lifecycle.Run(t.Context(), p, lifecycle.WithJournal(w.Journal()))
	}
}

func onIntent(w *fakes.Cluster, step string, f func()) {
	w.Journal().OnAppend(func(before bool, _ lifecycle.Lease, r lifecycle.Record) error {
		if !before && r.Type == lifecycle.RecordIntent && r.Step == step {
			f()
		}
		return nil
	})
}

// killed is a rebuild whose controller dies when the call that f names has had its effect, and is resumed.
func killed(t *testing.T, w *fakes.Cluster, f func(fakes.Call) bool, meanwhile func()) {
	site := w.Site()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first := w.Journal().Controller("first")
	w.OnCall(nil, func(c fakes.Call) error {
		if f(c) {
			first.Kill()
			cancel()
			return errors.New("killed")
		}
		return nil
	})
	p, err := ncn.Rebuild(ctx, site.Host(node), ncn.Worker)
	require.NoError(t, err)
	require.Error(t, lifecycle.Run(ctx, p, lifecycle.WithJournal(first)))
	w.OnCall(nil, nil)
	meanwhile()
	_ = lifecycle.Resume(t.Context(), p.ID, ncn.Planner(site), lifecycle.WithJournal(w.Journal().Controller("second")))
}

func (e exhibit) breaches(t *testing.T, name string) (list []fakes.Breach) {
	mutant.Set(name)
	defer mutant.Set("")
	synctest.Test(t, func(t *testing.T) {
		w := fakes.New(fakes.Layout{Workers: 2, Erase: 10 * time.Second})
		e.scene(t, w)
		list = w.Check()
	})
	return list
}

// Each known bug is caught by the invariant that its row names; without it the same scene breaks nothing.
func TestMuseum(t *testing.T) {
	for _, e := range museum {
		t.Run(e.name, func(t *testing.T) {
			require.Empty(t, e.breaches(t, ""), "the scene breaks an invariant without the bug")
			found := e.breaches(t, e.name)
			caught := slices.ContainsFunc(found, func(b fakes.Breach) bool { return b.Invariant == e.invariant })
			require.True(t, caught, "the mutant survived %s; reported: %v", e.invariant, found)
			t.Logf("caught: %v\nsource: %s", found, e.source)
		})
	}
}

// Every switch in the code has a row, and every row a switch.
func TestEverySwitchIsInTheMuseum(t *testing.T) {
	inCode := map[string]string{}
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 1 {
				return true
			}
			if fun, ok := call.Fun.(*ast.SelectorExpr); ok && fun.Sel.Name == "On" {
				if x, ok := fun.X.(*ast.Ident); ok && x.Name == "mutant" {
					inCode[strings.Trim(call.Args[0].(*ast.BasicLit).Value, `"`)] = path
				}
			}
			return true
		})
		return nil
	})
	require.NoError(t, err)
	for _, e := range museum {
		require.Contains(t, inCode, e.name, "a row without a switch")
		delete(inCode, e.name)
	}
	for name := range elsewhere {
		require.Contains(t, inCode, name, "a row without a switch")
		delete(inCode, name)
	}
	require.Empty(t, inCode, "switches without a row")
}
