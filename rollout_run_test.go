package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
)

var failures = lifecycle.Budget{Total: lifecycle.Amount{Percent: 100}} // any number of them

func TestRolloutRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, j, began := newFleet(), lifecycle.NewMemJournal(), time.Now()
		r := f.rollout(lifecycle.Policy{Width: 3}, names(10))
		require.NoError(t, f.run(t, r, lifecycle.WithJournal(j), lifecycle.WithActor("ops"))())
		require.Equal(t, 3, f.peak)
		require.Equal(t, 2*time.Hour, time.Since(began))
		f.checkOnce(t, names(10))

		status, err := lifecycle.StatusOf(t.Context(), j, "r1")
		require.NoError(t, err)
		require.Equal(t, lifecycle.Done, status.State)
		require.Equal(t, "rollout", status.Kind)
		require.Equal(t, "ops", status.Actor)
		require.Len(t, status.Steps, 10)
		for _, s := range status.Steps {
			require.Equal(t, lifecycle.OutcomeDone, s.Outcome)
			host, err := lifecycle.StatusOf(t.Context(), j, "r1-"+s.ID)
			require.NoError(t, err)
			require.Equal(t, lifecycle.Done, host.State)
			require.Equal(t, "ops", host.Actor)
		}
		require.ErrorIs(t, r.Run(t.Context(), lifecycle.WithJournal(j)), lifecycle.Precondition, "it has ended")
	})
}

func TestRolloutWithoutJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		r := f.rollout(lifecycle.Policy{}, names(3))
		r.ID, r.Planner, r.Out = "", nil, nil
		require.NoError(t, f.run(t, r)())
		require.Equal(t, 1, f.peak)
		require.NotEmpty(t, r.ID)
		f.checkOnce(t, names(3))
	})
}

func TestRolloutRefuses(t *testing.T) {
	plan := func(context.Context, string) (*lifecycle.Plan, error) { return nil, errors.New("not called") }
	for name, r := range map[string]*lifecycle.Rollout{
		"no plan":           {ID: "r", Hosts: names(1)},
		"no hosts":          {ID: "r", Plan: plan},
		"a host twice":      {ID: "r", Plan: plan, Hosts: []string{"a", "a"}},
		"a host unnamed":    {ID: "r", Plan: plan, Hosts: []string{""}},
		"no file name":      {ID: "r", Plan: plan, Hosts: []string{"a/b"}},
		"negative":          {ID: "r", Plan: plan, Hosts: names(1), Policy: lifecycle.Policy{Width: -1}},
		"too much":          {ID: "r", Plan: plan, Hosts: names(1), Policy: lifecycle.Policy{MaxUnavailable: lifecycle.Amount{Percent: 101}}},
		"shrinking waves":   {ID: "r", Plan: plan, Hosts: names(1), Policy: lifecycle.Policy{Waves: lifecycle.Waves{Growth: 0.5}}},
		"no such zone":      {ID: "r", Plan: plan, Hosts: names(1), Policy: lifecycle.Policy{Windows: []lifecycle.Window{{Location: "Mars/Base", Start: "01:00", End: "02:00"}}}},
		"this machine zone": {ID: "r", Plan: plan, Hosts: names(1), Policy: lifecycle.Policy{Windows: []lifecycle.Window{{Location: "Local", Start: "01:00", End: "02:00"}}}},
		"no such time":      {ID: "r", Plan: plan, Hosts: names(1), Policy: lifecycle.Policy{Windows: []lifecycle.Window{{Start: "25:00", End: "02:00"}}}},
		"no such day":       {ID: "r", Plan: plan, Hosts: names(1), Policy: lifecycle.Policy{Windows: []lifecycle.Window{{Start: "01:00", End: "02:00", Days: []time.Weekday{7}}}}},
	} {
		j := lifecycle.NewMemJournal()
		require.ErrorIs(t, r.Run(t.Context(), lifecycle.WithJournal(j)), lifecycle.Invalid, name)
		runs, err := j.Runs(t.Context())
		require.NoError(t, err)
		require.Empty(t, runs, name)
	}
}

// An administrator takes 7 of 10 hosts out in the middle: nothing is started any more from the next poll on, it is said
// why, and all goes on when they return.
func TestRolloutCountsOutages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, began := newFleet(), time.Now()
		r := f.rollout(lifecycle.Policy{Width: 3, MaxUnavailable: lifecycle.Amount{Count: 3}, Stagger: 7 * time.Minute}, names(10))
		ended := f.run(t, r, lifecycle.WithJournal(lifecycle.NewMemJournal()))
		time.Sleep(10 * time.Minute)
		require.Equal(t, 2, f.begun())
		f.takeOut("ops", "cordoned", names(10)[:7]...) // two of which run
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.True(t, f.said("7 of 10 are unavailable, the limit is 3: w003 (cordoned by ops), w004 (cordoned by ops)"))
		time.Sleep(5 * time.Hour)
		require.Equal(t, 2, f.begun(), "started meanwhile")
		f.takeOut("ops", "cordoned")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Equal(t, 3, f.begun())
		require.NoError(t, ended())
		require.Less(t, time.Since(began), 8*time.Hour)
		f.checkOnce(t, names(10))
	})
}

// Without a limit of its own, what others took out leaves less for the rollout; a host that is broken has its turn.
func TestRolloutOfBrokenHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		f.out = []lifecycle.Outage{{Host: "w002", Why: "NotReady"}, {Host: "elsewhere", By: "ops"}}
		r := f.rollout(lifecycle.Policy{Width: 3}, names(4))
		ended := f.run(t, r)
		time.Sleep(time.Second)
		require.Equal(t, []string{"w001", "w002"}, f.working())
		f.takeOut("", "NotReady", "w002") // its repair does not help
		require.NoError(t, ended())
		require.LessOrEqual(t, f.peak, 3)
	})
}

// What nobody knows counts as unsafe, and a rollout does not wait for ever.
func TestRolloutOutFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		f.outErr = errors.New("connection refused")
		r := f.rollout(lifecycle.Policy{OutDeadline: time.Hour}, names(2))
		began := time.Now()
		err := f.run(t, r, lifecycle.WithJournal(lifecycle.NewMemJournal()))()
		require.Equal(t, lifecycle.Failed, lifecycle.StateOf(err))
		require.ErrorContains(t, err, "nothing could be started for 1h0m0s: it is not known who is out: connection refused")
		require.True(t, f.said("no new start: it is not known who is out: connection refused"))
		require.Zero(t, f.begun())
		require.Equal(t, time.Hour, time.Since(began))
	})
}

func TestRolloutPauseHoldSkip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, j := newFleet(), lifecycle.NewMemJournal()
		ask := lifecycle.Control{Rollout: "r1", Journal: j.Controller("another process"), Actor: "ops"}
		ctx := t.Context()
		require.ErrorIs(t, ask.Pause(ctx, "x"), lifecycle.NotFound)
		ended := f.run(t, f.rollout(lifecycle.Policy{Width: 2}, names(8)), lifecycle.WithJournal(j.Controller("driver")))
		time.Sleep(time.Minute)

		require.ErrorIs(t, ask.Pause(ctx, ""), lifecycle.Invalid, "no reason")
		require.ErrorIs(t, ask.Hold(ctx, "w099", "x"), lifecycle.NotFound)
		require.ErrorIs(t, ask.Hold(ctx, "w001", "x"), lifecycle.Precondition, "it has begun")
		require.ErrorIs(t, ask.Skip(ctx, "w001", "x"), lifecycle.Precondition, "it has begun")

		require.NoError(t, ask.Pause(ctx, "a storm"))
		time.Sleep(5 * time.Hour)
		require.Equal(t, 2, f.begun())
		require.Empty(t, f.working(), "what runs goes on to its end")
		require.True(t, f.said("no new start: paused by ops: a storm"))

		require.NoError(t, ask.Hold(ctx, "w003", "its DIMM is replaced"))
		require.NoError(t, ask.Skip(ctx, "w004", "it is gone"))
		require.NoError(t, ask.Resume(ctx, "the storm is over"))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Equal(t, []string{"w005", "w006"}, f.working())

		time.Sleep(5 * time.Hour)
		require.Equal(t, 6, f.begun())
		require.True(t, f.said("1 wait to be unheld or skipped: w003 (held by ops: its DIMM is replaced)"))
		p, state, err := lifecycle.LoadRollout(ctx, j, "r1")
		require.NoError(t, err)
		require.Equal(t, 2, p.Width)
		require.Equal(t, "by ops: its DIMM is replaced", state.Hosts[2].Held)
		require.Equal(t, lifecycle.OutcomeSkipped, state.Hosts[3].Outcome)
		require.Equal(t, "skipped by ops: it is gone", state.Hosts[3].Message)

		require.NoError(t, ask.Unhold(ctx, "w003", "done"))
		require.NoError(t, ended())
		require.Zero(t, f.wiped["w004"])
		require.Equal(t, 1, f.wiped["w003"])
		require.ErrorIs(t, ask.Pause(ctx, "x"), lifecycle.Precondition, "it has ended")
	})
}

// Canceling ends the runs of hosts between two steps, with their Finally steps.
func TestRolloutCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, j := newFleet(), lifecycle.NewMemJournal()
		ended := f.run(t, f.rollout(lifecycle.Policy{Width: 2}, names(5)), lifecycle.WithJournal(j))
		time.Sleep(5 * time.Minute) // in the first step of three
		require.NoError(t, lifecycle.Control{Rollout: "r1", Journal: j, Actor: "ops"}.Cancel(t.Context(), "wrong image"))
		err := ended()
		require.Equal(t, lifecycle.CanceledBy, lifecycle.StateOf(err))
		require.ErrorIs(t, err, lifecycle.Canceled)
		require.ErrorContains(t, err, "canceled by ops: wrong image")
		require.Equal(t, map[string]int{"w001": 1, "w002": 1}, f.tidied)
		require.Empty(t, f.wiped)
		for _, h := range []string{"w001", "w002"} {
			status, err := lifecycle.StatusOf(t.Context(), j, "r1-"+h)
			require.NoError(t, err)
			require.Equal(t, lifecycle.CanceledBy, status.State)
			require.Equal(t, lifecycle.OutcomeDone, status.Steps[0].Outcome, "not in the middle of a step")
		}
	})
}

func TestRolloutBudget(t *testing.T) {
	for name, c := range map[string]struct {
		budget lifecycle.Budget
		canary int
		fail   []int
		begun  int // how many hosts were
		says   string
	}{
		"none accepted":        {fail: []int{2}, begun: 2, says: "the budget is spent: 1 of 1 tried failed, 0 accepted: w002"},
		"within":               {budget: lifecycle.Budget{Total: lifecycle.Amount{Count: 2}}, fail: []int{2, 5}, begun: 10},
		"a count":              {budget: lifecycle.Budget{Total: lifecycle.Amount{Count: 1}}, fail: []int{2, 5}, begun: 6, says: "2 of 5 tried failed, 1 accepted: w002, w005"},
		"a share":              {budget: lifecycle.Budget{Total: lifecycle.Amount{Percent: 30}}, fail: []int{3}, begun: 4, says: "1 of 3 tried failed, 30% accepted"},
		"a share, not so soon": {budget: lifecycle.Budget{Total: lifecycle.Amount{Percent: 30}, MinTried: 5}, fail: []int{3}, begun: 10},
		"a wave":               {budget: lifecycle.Budget{Total: lifecycle.Amount{Count: 9}, PerWave: lifecycle.Amount{Count: 1}}, canary: 1, fail: []int{2, 4}, begun: 5, says: "the budget of wave 2 of 2 is spent: 2 of 3 tried failed"},
		"a canary":             {budget: failures, canary: 2, fail: []int{2}, begun: 2, says: "the canary w002 failed"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, j := newFleet(), lifecycle.NewMemJournal()
				f.takes = func(host string) time.Duration { // so that one ends after the other
					return 30*time.Minute + time.Duration(host[3]-'0')*time.Second
				}
				for _, i := range c.fail {
					f.fail[fmt.Sprintf("w%03d", i)] = lifecycle.Errorf(lifecycle.Denied, "wipe", "", "no")
				}
				err := f.run(t, f.rollout(lifecycle.Policy{Width: 2, Budget: c.budget, Canary: c.canary}, names(10)), lifecycle.WithJournal(j))()
				status, read := lifecycle.StatusOf(t.Context(), j, "r1")
				require.NoError(t, read)
				require.Equal(t, lifecycle.StateOf(err), status.State)
				if c.says == "" {
					require.NoError(t, err)
					require.Contains(t, status.Message, fmt.Sprintf("%d failed", len(c.fail)))
				} else {
					require.Equal(t, lifecycle.Failed, lifecycle.StateOf(err))
					require.ErrorIs(t, err, lifecycle.Denied)
					require.ErrorContains(t, err, c.says)
				}
				require.Equal(t, c.begun, f.begun())
				require.Empty(t, f.working(), "what runs goes on to its end")
			})
		})
	}
}

// That a rollout was halted is not forgotten when a share of failures falls again, nor in a crash.
func TestRolloutStaysHalted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, j := newFleet(), lifecycle.NewMemJournal()
		f.takes = func(host string) time.Duration { return time.Duration(host[3]-'0') * 30 * time.Minute }
		f.fail["w001"] = lifecycle.Errorf(lifecycle.Denied, "wipe", "", "no")
		p := lifecycle.Policy{Width: 4, Budget: lifecycle.Budget{Total: lifecycle.Amount{Percent: 30}}}
		ctx, die := context.WithCancel(t.Context())
		first := j.Controller("first")
		time.AfterFunc(91*time.Minute, func() { first.Kill(); die() })
		require.Equal(t, lifecycle.Open, lifecycle.StateOf(f.rollout(p, names(8)).Run(ctx, lifecycle.WithJournal(first))))
		err := f.run(t, f.rollout(p, names(8)), lifecycle.WithJournal(j))()
		require.Equal(t, lifecycle.Failed, lifecycle.StateOf(err))
		require.ErrorContains(t, err, "1 of 1 tried failed, 30% accepted: w001")
		require.Equal(t, 4, f.begun())
	})
}

func TestRolloutWavesAndHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		f.takes = func(string) time.Duration { return time.Hour }
		p := lifecycle.Policy{Width: 10, Canary: 1, Waves: lifecycle.Waves{First: lifecycle.Amount{Count: 2}, Growth: 2, Soak: 10 * time.Minute}}
		r := f.rollout(p, names(10))
		var sick atomic.Bool
		sick.Store(true)
		r.Health = func(context.Context) error {
			if sick.Load() {
				return errors.New("2 pods are pending")
			}
			return nil
		}
		began := time.Now()
		ended := f.run(t, r, lifecycle.WithJournal(lifecycle.NewMemJournal()))
		time.Sleep(90 * time.Minute)
		require.Equal(t, 1, f.begun())
		require.True(t, f.said("no new start: the health gate before wave 2 of 4 has not passed: 2 pods are pending"))
		sick.Store(false)
		require.NoError(t, ended())
		var got []time.Duration
		for _, h := range names(10) {
			got = append(got, f.started[h].Sub(began).Round(time.Minute))
		}
		second := 90 * time.Minute
		third, fourth := second+70*time.Minute, second+140*time.Minute
		require.Empty(t, cmp.Diff([]time.Duration{0, second, second, third, third, third, third, fourth, fourth, fourth}, got))
	})
}

func TestRolloutHealthDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		r := f.rollout(lifecycle.Policy{Canary: 1, HealthDeadline: 20 * time.Minute}, names(3))
		r.Health = func(context.Context) error { return errors.New("2 pods are pending") }
		began := time.Now()
		err := f.run(t, r, lifecycle.WithJournal(lifecycle.NewMemJournal()))()
		require.Equal(t, lifecycle.Failed, lifecycle.StateOf(err))
		require.ErrorContains(t, err, "the health gate before wave 2 of 2 did not pass within 20m0s: 2 pods are pending")
		require.Equal(t, 50*time.Minute, time.Since(began))
	})
}

// Groups: no more than some of one at once, or one after the other.
func TestRolloutGroups(t *testing.T) {
	rack := func(host string) string { return string(host[3]%2 + 'a') }
	t.Run("spread", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet()
			r := f.rollout(lifecycle.Policy{Width: 5, PerGroup: 1}, names(8))
			r.Group = rack
			began := time.Now()
			ended := f.run(t, r)
			time.Sleep(time.Minute)
			require.Equal(t, []string{"w001", "w002"}, f.working())
			require.True(t, f.said("no new start: 1 of their group run already: w003, w004"))
			require.NoError(t, ended())
			require.Equal(t, 2*time.Hour, time.Since(began))
		})
	})
	t.Run("serial", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet()
			r := f.rollout(lifecycle.Policy{Width: 3, Serial: true}, names(8))
			r.Group = rack
			require.NoError(t, f.run(t, r)())
			for _, first := range []string{"w001", "w003", "w005", "w007"} {
				for _, second := range []string{"w002", "w004", "w006", "w008"} {
					require.GreaterOrEqual(t, f.started[second].Sub(f.started[first]), 30*time.Minute)
				}
			}
		})
	})
}

func TestRolloutStaggerAndDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, j := newFleet(), lifecycle.NewMemJournal()
		f.takes = func(host string) time.Duration {
			if host == "w002" {
				return 90 * time.Minute
			}
			return 30 * time.Minute
		}
		began := time.Now()
		p := lifecycle.Policy{Width: 2, Stagger: 5 * time.Minute, HostDeadline: 40 * time.Minute, Budget: failures}
		require.NoError(t, f.run(t, f.rollout(p, names(4)), lifecycle.WithJournal(j))())
		var got []time.Duration
		for _, h := range names(4) {
			got = append(got, f.started[h].Sub(began))
		}
		m := time.Minute
		require.Equal(t, []time.Duration{0, 5 * m, 30 * m, 60 * m}, got)
		status, err := lifecycle.StatusOf(t.Context(), j, "r1-w002")
		require.NoError(t, err)
		require.Equal(t, lifecycle.CanceledBy, status.State)
		require.Equal(t, 1, f.tidied["w002"])
		_, state, err := lifecycle.LoadRollout(t.Context(), j, "r1")
		require.NoError(t, err)
		require.Equal(t, lifecycle.OutcomeFailed, state.Hosts[1].Outcome)
		require.Contains(t, state.Hosts[1].Message, "canceled by rollout r1: it ran longer than 40m0s")
		require.Equal(t, 65*m, state.Hosts[1].Ended.Sub(began), "at its next safe point")
	})
}

// Nothing is started at the end of a window or after it, also in the night in which the clocks change.
func TestRolloutWindow(t *testing.T) {
	zurich, err := time.LoadLocation("Europe/Zurich")
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2000, 3, 25, 12, 0, 0, 0, zurich))) // the clocks change in the night that follows
		f := newFleet()
		f.takes = func(string) time.Duration { return time.Hour }
		p := lifecycle.Policy{Windows: []lifecycle.Window{{Location: "Europe/Zurich", Start: "22:00", End: "05:00"}}}
		ended := f.run(t, f.rollout(p, names(8)), lifecycle.WithJournal(lifecycle.NewMemJournal()))
		require.NoError(t, ended())
		require.True(t, f.said("no new start: the windows are closed until 2000-03-25T22:00:00+01:00"))
		var got []string
		for _, h := range names(8) {
			got = append(got, f.started[h].In(zurich).Format("02 15:04"))
		}
		require.Equal(t, []string{"25 22:00", "25 23:00", "26 00:00", "26 01:00", "26 03:00", "26 04:00", "26 22:00", "26 23:00"}, got)
	})
}

func TestRolloutStops(t *testing.T) {
	for _, how := range []string{"stop", "interrupt"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, j := newFleet(), lifecycle.NewMemJournal()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				stop := make(chan struct{})
				time.AfterFunc(15*time.Minute, func() {
					if how == "stop" {
						close(stop)
					} else {
						cancel()
					}
				})
				r := f.rollout(lifecycle.Policy{Width: 2}, names(5))
				err := r.Run(ctx, lifecycle.WithJournal(j), lifecycle.WithStop(stop))
				require.Equal(t, lifecycle.Open, lifecycle.StateOf(err))
				require.ErrorIs(t, err, lifecycle.Canceled)
				require.Empty(t, f.tidied)

				status, err := lifecycle.StatusOf(t.Context(), j, "r1-w001")
				require.NoError(t, err)
				require.Equal(t, lifecycle.Open, status.State)

				other := f.rollout(lifecycle.Policy{Width: 9}, names(9)) // which the journal knows better
				require.NoError(t, f.run(t, other, lifecycle.WithJournal(j))())
				require.Equal(t, 2, f.peak)
				f.checkOnce(t, names(5))
				require.Len(t, f.wiped, 5)
			})
		})
	}
}

// While somebody drives a rollout, nobody else does.
func TestRolloutIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, j := newFleet(), lifecycle.NewMemJournal()
		ended := f.run(t, f.rollout(lifecycle.Policy{Width: 2}, names(3)), lifecycle.WithJournal(j.Controller("first")))
		time.Sleep(time.Minute)
		err := f.rollout(lifecycle.Policy{}, names(3)).Run(t.Context(), lifecycle.WithJournal(j.Controller("second")))
		var held *lifecycle.Held
		require.ErrorAs(t, err, &held)
		require.ErrorIs(t, err, lifecycle.Conflict)
		require.NoError(t, ended())
	})
}

// A driver whose lease has lapsed stops at the next safe point; the next one waits until it has let go of the hosts.
func TestRolloutIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, j := newFleet(), lifecycle.NewMemJournal()
		first := j.Controller("first")
		ended := f.run(t, f.rollout(lifecycle.Policy{Width: 2}, names(4)), lifecycle.WithJournal(first))
		time.Sleep(5 * time.Minute)
		first.Expire()
		second := f.rollout(lifecycle.Policy{}, nil)
		require.NoError(t, second.Run(t.Context(), lifecycle.WithJournal(j.Controller("second"))))
		err := ended()
		require.Equal(t, lifecycle.Open, lifecycle.StateOf(err))
		require.ErrorIs(t, err, lifecycle.Conflict)
		f.checkOnce(t, names(4))
	})
}

// A host whose journal fails for a moment is taken up again.
func TestRolloutOutlivesAJournalFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, j := newFleet(), lifecycle.NewMemJournal()
		faults := 2
		j.OnAppend(func(before bool, l lifecycle.Lease, rec lifecycle.Record) error {
			if before && l.Run == "r1-w001" && rec.Type == lifecycle.RecordResult && faults > 0 {
				faults--
				return lifecycle.Errorf(lifecycle.Unavailable, "test", "", "the disk is full")
			}
			return nil
		})
		require.NoError(t, f.run(t, f.rollout(lifecycle.Policy{}, names(2)), lifecycle.WithJournal(j))())
		require.Zero(t, faults)
		require.True(t, f.said("is taken up again"))
		f.checkOnce(t, names(2))
	})
}

// Wherever the controller is killed, the next one brings the rollout to the same end.
func TestRolloutKills(t *testing.T) {
	hosts := names(3)
	run := func(t *testing.T, kill int, before bool) (appends int) {
		synctest.Test(t, func(t *testing.T) {
			f, j := newFleet(), lifecycle.NewMemJournal()
			ctx, die := context.WithCancel(t.Context())
			defer die()
			first := j.Controller("first")
			var mu sync.Mutex
			j.OnAppend(func(now bool, _ lifecycle.Lease, _ lifecycle.Record) error {
				mu.Lock()
				defer mu.Unlock()
				if !now {
					appends++
				}
				if kill > 0 && appends >= kill && now == before { // appends may overlap
					first.Kill()
					die()
				}
				return nil
			})
			err := f.rollout(lifecycle.Policy{Width: 2}, hosts).Run(ctx, lifecycle.WithJournal(first))
			j.OnAppend(nil)
			if kill > 0 {
				require.Error(t, err, "killed at %d of %d", kill, appends)
				second := f.rollout(lifecycle.Policy{Width: 2}, hosts)
				require.NoError(t, second.Run(t.Context(), lifecycle.WithJournal(j.Controller("second"))), "killed at %d", kill)
			} else {
				require.NoError(t, err)
			}
			require.LessOrEqual(t, f.peak, 2, "killed at %d", kill)
			f.checkOnce(t, hosts)
			for _, h := range hosts {
				require.Equal(t, 1, min(f.tidied[h], 1), "killed at %d", kill)
			}
			_, state, err := lifecycle.LoadRollout(t.Context(), j, "r1")
			require.NoError(t, err)
			for _, h := range state.Hosts {
				require.Equal(t, lifecycle.OutcomeDone, h.Outcome, "killed at %d", kill)
			}
		})
		return appends
	}
	total := run(t, -1, false)
	require.Greater(t, total, 30)
	for kill := 1; kill < total; kill++ {
		run(t, kill, true)
		run(t, kill, false)
	}
}

// Requests outlive the controller that was to see to them.
func TestRolloutKillsAndRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, j := newFleet(), lifecycle.NewMemJournal()
		ctx, die := context.WithCancel(t.Context())
		first := j.Controller("first")
		ended := make(chan error, 1)
		go func() {
			ended <- f.rollout(lifecycle.Policy{Width: 2}, names(6)).Run(ctx, lifecycle.WithJournal(first))
		}()
		time.Sleep(5 * time.Minute)
		ask := lifecycle.Control{Rollout: "r1", Journal: j, Actor: "ops"}
		require.NoError(t, ask.Hold(t.Context(), "w003", "not now"))
		require.NoError(t, ask.Skip(t.Context(), "w004", "gone"))
		time.Sleep(time.Minute)
		first.Kill()
		die()
		require.Error(t, <-ended)
		require.NoError(t, ask.Skip(t.Context(), "w005", "gone"))
		require.NoError(t, ask.Pause(t.Context(), "a storm"))

		second := f.run(t, f.rollout(lifecycle.Policy{}, nil), lifecycle.WithJournal(j))
		time.Sleep(5 * time.Hour)
		require.Equal(t, 2, f.begun(), "those that were begun go on to their end, and no others begin")
		f.checkOnce(t, names(2))
		require.NoError(t, ask.Resume(t.Context(), "over"))
		time.Sleep(5 * time.Hour)
		require.NoError(t, ask.Cancel(t.Context(), "enough"))
		require.Equal(t, lifecycle.CanceledBy, lifecycle.StateOf(second()))
		done := []string{}
		for h := range f.wiped {
			done = append(done, h)
		}
		slices.Sort(done)
		require.Equal(t, []string{"w001", "w002", "w006"}, done)
	})
}

// A rollout that is canceled while nobody drives it does not go on with another step.
func TestRolloutIsCanceledWhileDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, j := newFleet(), lifecycle.NewMemJournal()
		stop := make(chan struct{})
		time.AfterFunc(5*time.Minute, func() { close(stop) })
		r := f.rollout(lifecycle.Policy{Width: 2}, names(4))
		require.Equal(t, lifecycle.Open, lifecycle.StateOf(r.Run(t.Context(), lifecycle.WithJournal(j), lifecycle.WithStop(stop))))
		require.NoError(t, lifecycle.Control{Rollout: "r1", Journal: j, Actor: "ops"}.Cancel(t.Context(), "wrong image"))
		at := time.Now()
		require.Equal(t, lifecycle.CanceledBy, lifecycle.StateOf(r.Run(t.Context(), lifecycle.WithJournal(j))))
		require.Equal(t, at, time.Now())
		require.Equal(t, map[string]int{"w001": 1, "w002": 1}, f.tidied)
		require.Empty(t, f.wiped)
	})
}

// Nothing is begun when the rollout was told to stop before.
func TestRolloutIsStoppedAtOnce(t *testing.T) {
	f, j, stop := newFleet(), lifecycle.NewMemJournal(), make(chan struct{})
	close(stop)
	err := f.rollout(lifecycle.Policy{}, names(2)).Run(t.Context(), lifecycle.WithJournal(j), lifecycle.WithStop(stop))
	require.Equal(t, lifecycle.Open, lifecycle.StateOf(err))
	require.Zero(t, f.begun())
}

// A host without a Planner cannot be resumed, and says what to do.
func TestRolloutWithoutPlanner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, j, stop := newFleet(), lifecycle.NewMemJournal(), make(chan struct{})
		time.AfterFunc(5*time.Minute, func() { close(stop) })
		r := f.rollout(lifecycle.Policy{}, names(2))
		require.Error(t, r.Run(t.Context(), lifecycle.WithJournal(j), lifecycle.WithStop(stop)))
		r.Planner = nil
		err := r.Run(t.Context(), lifecycle.WithJournal(j))
		require.Equal(t, lifecycle.Failed, lifecycle.StateOf(err))
		require.ErrorIs(t, err, lifecycle.Invalid)
		require.ErrorContains(t, err, "run r1-w001 was interrupted, and the rollout has no Planner")
	})
}
