package ncn_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/bss"
	"github.com/ncnkit/lifecycle/fakes"
	"github.com/ncnkit/lifecycle/ncn"
)

func armed(t *testing.T, w *fakes.Cluster, node string) bool {
	e, err := w.BSS().Get(t.Context(), w.Machine(node).XName())
	require.NoError(t, err)
	return bss.Armed(e)
}

func count(w *fakes.Cluster, op fakes.Op, detail string) int {
	n := 0
	for _, c := range w.Calls() {
		if c.Op == op && (detail == "" || c.Detail == detail || c.Name == detail) {
			n++
		}
	}
	return n
}

// Faults that a rebuild must get over: it ends where one without faults ends.
func TestFaultsGotOver(t *testing.T) {
	const node = "ncn-w001"
	for name, arm := range map[string]func(*fakes.Cluster){
		"the BMC accepts off and ignores it":       func(w *fakes.Cluster) { w.Ignore(fakes.PowerSet.On(node)) },
		"the BMC accepts on and ignores it":        func(w *fakes.Cluster) { w.Ignore(fakes.PowerSet.On(node).After(1)) },
		"the BMC obeys half a minute later":        func(w *fakes.Cluster) { w.Late(fakes.PowerSet.On(node), 30*time.Second) },
		"the answer to off is lost":                func(w *fakes.Cluster) { w.LoseReply(fakes.PowerSet.On(node)) },
		"the answer to on is lost":                 func(w *fakes.Cluster) { w.LoseReply(fakes.PowerSet.On(node).After(1)) },
		"the BMC is busy":                          func(w *fakes.Cluster) { w.Fail(fakes.PowerState.On(node).After(2), lifecycle.Unavailable) },
		"the boot device does not stick at first":  func(w *fakes.Cluster) { w.Ignore(fakes.PowerSetBoot.On(node)) },
		"BSS loses the write of the image":         func(w *fakes.Cluster) { w.Ignore(fakes.BSSPatch.On(node)) },
		"BSS loses the arming":                     func(w *fakes.Cluster) { w.Ignore(fakes.BSSPatch.On(node).After(1)) },
		"BSS loses the disarming":                  func(w *fakes.Cluster) { w.Ignore(fakes.BSSPatch.On(node).After(2)) },
		"the answer of BSS is lost":                func(w *fakes.Cluster) { w.LoseReply(fakes.BSSPatch.On(node)) },
		"BSS answers from before the write":        func(w *fakes.Cluster) { w.Stale(fakes.BSSGet.On(node).After(6)) },
		"the connection is cut as the wipe starts": func(w *fakes.Cluster) { w.LoseReply(fakes.Exec.Command("ncn.wipe-start")) },
		"the node is not reached during the wipe": func(w *fakes.Cluster) {
			w.Fail(fakes.Exec.Command("ncn.wipe-look").After(1).Times(2), lifecycle.Unavailable)
		},
		"the connection is cut during the restore": func(w *fakes.Cluster) { w.LoseReply(fakes.Exec.Command("ncn.restore")) },
		"the node hangs when asked after its boot": func(w *fakes.Cluster) { w.Slow(fakes.Exec.Command("ncn.inspect").After(5), time.Minute) },
	} {
		t.Run(name, func(t *testing.T) {
			end := func(arm func(*fakes.Cluster)) (snapshot string) {
				synctest.Test(t, func(t *testing.T) {
					w := fakes.NewCluster(t, fakes.Layout{Workers: 1})
					site := w.Site()
					site.NewID = func() string { return "run-1" }
					require.NoError(t, rebuild(t.Context(), w, site, func() { arm(w) }))
					snapshot = w.Snapshot(node)
				})
				return snapshot
			}
			if diff := cmp.Diff(end(func(*fakes.Cluster) {}), end(arm)); diff != "" {
				t.Fatalf("the end differs from that without faults (-want +got):\n%s", diff)
			}
		})
	}
}

// Faults that end a rebuild: it says why, and leaves no node armed.
func TestFaultsThatEnd(t *testing.T) {
	const node = "ncn-w001"
	for name, c := range map[string]struct {
		arm   func(*fakes.Cluster)
		kind  lifecycle.Kind
		state lifecycle.State
		says  string
	}{
		"the BMC never obeys": {
			arm:  func(w *fakes.Cluster) { w.Ignore(fakes.PowerSet.On(node).Times(100)) },
			kind: lifecycle.Timeout, state: lifecycle.Failed, says: "power-off",
		},
		"the node never fetches its boot script": {
			arm:  func(w *fakes.Cluster) { w.Ignore(fakes.PowerSet.On(node).After(1).Times(100)) },
			kind: lifecycle.Timeout, state: lifecycle.Failed, says: "power-on",
		},
		"BSS undoes every write": {
			arm:  func(w *fakes.Cluster) { w.Ignore(fakes.BSSPatch.On(node).Times(100)) },
			kind: lifecycle.Conflict, state: lifecycle.Failed, says: "boot-parameters",
		},
		"the disarming fails too": {
			arm: func(w *fakes.Cluster) {
				w.Ignore(fakes.PowerSet.On(node).Times(100))
				w.Fail(fakes.BSSPatch.On(node).After(2).Times(100), lifecycle.Denied)
			},
			kind: lifecycle.Timeout, state: lifecycle.NeedsHuman, says: "and then",
		},
		"the backup's store is full": {
			arm:  func(w *fakes.Cluster) { w.Fail(fakes.StorePut.On(node).Times(100), lifecycle.Unavailable) },
			kind: lifecycle.Unavailable, state: lifecycle.Failed, says: "backup",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := fakes.NewCluster(t, fakes.Layout{Workers: 1})
				err := rebuild(t.Context(), w, w.Site(), func() { c.arm(w) })
				require.ErrorIs(t, err, c.kind)
				require.Equal(t, c.state, lifecycle.StateOf(err), "%v", err)
				require.ErrorContains(t, err, c.says)
				require.Equal(t, c.state == lifecycle.NeedsHuman, armed(t, w, node))
			})
		})
	}
}

// The connection drops in the middle of a wipe, and the controller dies: the erasing goes on, the resumed run finds its
// result, and nothing is erased twice (I5, I9).
func TestConnectionCutInTheMiddleOfAWipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := fakes.NewCluster(t, fakes.Layout{Workers: 1, Erase: 10 * time.Minute})
		site := w.Site()
		site.NewID = func() string { return "run-1" }
		first := w.Journal().Controller("first")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w.OnCall(nil, func(c fakes.Call) error {
			if c.Name == "ncn.wipe-start" {
				first.Kill()
				cancel()
				return lifecycle.Errorf(lifecycle.Unknown, "test", "", "cut")
			}
			return nil
		})
		require.Error(t, rebuild(ctx, w, site, nil, lifecycle.WithJournal(first)))
		time.Sleep(5 * time.Minute)
		require.NotEmpty(t, w.Machine("ncn-w001").Probe("/dev/sdc"), "not erased yet")
		began := time.Now()
		require.NoError(t, lifecycle.Resume(t.Context(), "run-1", ncn.Planner(site), lifecycle.WithJournal(w.Journal().Controller("second"))))
		require.Greater(t, time.Since(began), 5*time.Minute, "it waited for the erasing to end")
		require.Equal(t, 1, count(w, fakes.Exec, "ncn.wipe-start"))
	})
}

// A journal that cannot be written stops the run where it is: the step is not begun, and the run can be resumed.
func TestJournalFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := fakes.NewCluster(t, fakes.Layout{Workers: 1})
		site := w.Site()
		site.NewID = func() string { return "run-1" }
		full := true
		w.Journal().OnAppend(func(before bool, _ lifecycle.Lease, r lifecycle.Record) error {
			if before && full && r.Step == "wipe" {
				return lifecycle.Errorf(lifecycle.Unavailable, "test", "", "no space left on device")
			}
			return nil
		})
		err := rebuild(t.Context(), w, site, nil)
		require.ErrorIs(t, err, lifecycle.Unavailable)
		require.Equal(t, lifecycle.Open, lifecycle.StateOf(err))
		require.ErrorContains(t, err, "can be resumed")
		require.Zero(t, count(w, fakes.Exec, "ncn.wipe-start"))
		full = false
		require.NoError(t, lifecycle.Resume(t.Context(), "run-1", ncn.Planner(site), lifecycle.WithJournal(w.Journal())))
	})
}

// A run that is stopped at a safe point stays open and armed nodes stay owned; canceled, it disarms.
func TestStopThenCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := fakes.NewCluster(t, fakes.Layout{Workers: 1})
		site := w.Site()
		site.NewID = func() string { return "run-1" }
		stop := make(chan struct{})
		err := rebuild(t.Context(), w, site, nil, lifecycle.WithStop(stop), lifecycle.WithObserver(func(e lifecycle.Event) {
			if e.Type == lifecycle.EventResult && e.Step == "arm" {
				close(stop)
			}
		}))
		require.Equal(t, lifecycle.Open, lifecycle.StateOf(err))
		require.True(t, armed(t, w, "ncn-w001"))
		require.Empty(t, w.Check())

		err = lifecycle.Cancel(t.Context(), "run-1", ncn.Planner(site), "changed our minds", lifecycle.WithJournal(w.Journal()), lifecycle.WithActor("ops"))
		require.NoError(t, err)
		require.False(t, armed(t, w, "ncn-w001"))
		status, err := lifecycle.StatusOf(t.Context(), w.Journal(), "run-1")
		require.NoError(t, err)
		require.Equal(t, lifecycle.CanceledBy, status.State)
		require.Contains(t, status.Message, "changed our minds")
	})
}

// A driver that was paused past its lease does nothing more when it wakes. Before it commands a BMC or the boot script
// service it reads the journal once more; the node itself refuses its wipe (I5, I6).
func TestDriverThatWakesTooLate(t *testing.T) {
	for name, pause := range map[string]func(w *fakes.Cluster, takeOver func() error){
		"after the intent to power off":     pauseAfterIntent("power-off"),
		"after the intent to set PXE":       pauseAfterIntent("boot-device"),
		"after the intent to arm":           pauseAfterIntent("arm"),
		"after the intent to wipe":          pauseAfterIntent("wipe"),
		"as the wipe is on its way to node": pauseInWipe,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := fakes.NewCluster(t, fakes.Layout{Workers: 1})
				site := w.Site()
				site.NewID = func() string { return "run-1" }
				first, second := w.Journal().Controller("first"), w.Journal().Controller("second")
				took := false
				pause(w, func() error {
					if took {
						return nil
					}
					took = true
					first.Expire()
					return lifecycle.Resume(t.Context(), "run-1", ncn.Planner(site), lifecycle.WithJournal(second))
				})
				require.Error(t, rebuild(t.Context(), w, site, nil, lifecycle.WithJournal(first)))
				require.True(t, took)
				status, err := lifecycle.StatusOf(t.Context(), w.Journal(), "run-1")
				require.NoError(t, err)
				require.Equal(t, lifecycle.Done, status.State)
				require.Equal(t, 2, w.Machine("ncn-w001").Generation(), "rebuilt once")
			})
		})
	}
}

func pauseAfterIntent(step string) func(*fakes.Cluster, func() error) {
	return func(w *fakes.Cluster, takeOver func() error) {
		w.Journal().OnAppend(func(before bool, _ lifecycle.Lease, r lifecycle.Record) error {
			if !before && r.Type == lifecycle.RecordIntent && r.Step == step {
				return takeOver()
			}
			return nil
		})
	}
}

func pauseInWipe(w *fakes.Cluster, takeOver func() error) {
	w.OnCall(func(c fakes.Call) error {
		if c.Name == "ncn.wipe-start" {
			return takeOver()
		}
		return nil
	}, nil)
}
