package ncn_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes"
	"github.com/ncnkit/lifecycle/ncn"
)

// killer ends a controller at one of the points at which a process can die: before or after a durable write, before or
// after a call into the world (after means that the effect has happened, and the answer was lost).
type killer struct {
	at     int // which point; 0 is never
	seen   int
	where  string
	dead   bool
	onKill func()
}

var errKilled = errors.New("the controller was killed here")

func (k *killer) point(format string, args ...any) error {
	if k.dead {
		return errKilled
	}
	k.seen++
	if k.seen != k.at {
		return nil
	}
	k.dead, k.where = true, fmt.Sprintf(format, args...)
	k.onKill()
	return errKilled
}

func (k *killer) install(w *fakes.Cluster) {
	w.OnCall(
		func(c fakes.Call) error { return k.point("before %s %s %s", c.Op, c.Name, c.Detail) },
		func(c fakes.Call) error { return k.point("after %s %s %s", c.Op, c.Name, c.Detail) },
	)
	w.Journal().OnAppend(func(before bool, _ lifecycle.Lease, r lifecycle.Record) error {
		return k.point("journal, before=%v: %s %s", before, r.Type, r.Step)
	})
}

// rebuildKilledAt runs a rebuild that is killed at the point, takes it up again, and returns the killer and the end.
func rebuildKilledAt(t *testing.T, at int) (k *killer, end string, breaches []fakes.Breach) {
	synctest.Test(t, func(t *testing.T) {
		w := fakes.New(fakes.Layout{Workers: 2})
		site := w.Site()
		site.NewID = func() string { return "run-1" }
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		first := w.Journal().Controller("first")
		k = &killer{at: at, onKill: func() { first.Kill(); cancel() }}
		image := ncn.Image("ncn-images/k8s", "0.1.110")
		p, err := ncn.Rebuild(ctx, site.Host("ncn-w001"), ncn.Worker, image)
		require.NoError(t, err)

		k.install(w)
		err = lifecycle.Run(ctx, p, lifecycle.WithJournal(first))
		w.OnCall(nil, nil)
		w.Journal().OnAppend(nil)
		if k.dead {
			require.Error(t, err, k.where)
		} else {
			require.NoError(t, err)
		}

		second := lifecycle.WithJournal(w.Journal().Controller("second"))
		switch err := lifecycle.Resume(t.Context(), "run-1", ncn.Planner(site), second); {
		case errors.Is(err, lifecycle.NotFound): // killed before the plan was durable: nothing has happened
			p, err := ncn.Rebuild(t.Context(), site.Host("ncn-w001"), ncn.Worker, image)
			require.NoError(t, err)
			require.NoError(t, lifecycle.Run(t.Context(), p, second))
		case errors.Is(err, lifecycle.Precondition):
			status, err := lifecycle.StatusOf(t.Context(), w.Journal(), "run-1")
			require.NoError(t, err)
			require.Equal(t, lifecycle.Done, status.State, "killed %s", k.where)
		default:
			require.NoError(t, err, "killed %s", k.where)
		}
		end, breaches = w.Snapshot("ncn-w001"), w.Check()
	})
	return k, end, breaches
}

// Killed before or after every durable write and every call into the world, and resumed, a rebuild ends where the one
// that was not killed ends, and erases at most once (I5, I12).
func TestKillEnumeration(t *testing.T) {
	k, want, breaches := rebuildKilledAt(t, 0)
	require.Empty(t, breaches)
	points := k.seen
	const steps = 14
	require.GreaterOrEqual(t, points, 6*steps)
	for at := 1; at <= points; at++ {
		k, got, breaches := rebuildKilledAt(t, at)
		require.Empty(t, breaches, "killed %s", k.where)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("killed at point %d, %s: the end differs from the unkilled run's (-want +got):\n%s", at, k.where, diff)
		}
	}
	t.Logf("killed at each of %d points of %d steps, and resumed", points, steps)
}
