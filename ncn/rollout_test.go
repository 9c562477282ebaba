package ncn_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes"
	"github.com/ncnkit/lifecycle/ncn"
)

// An administrator takes 7 of 10 nodes out in the middle of a rollout of rebuilds: nothing is started any more within one
// poll, and all goes on when they return.
func TestRolloutWaitsForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := fakes.NewCluster(t, fakes.Layout{Workers: 10})
		site := w.Site()
		var hosts []string
		for i := range 10 {
			hosts = append(hosts, fmt.Sprintf("ncn-w%03d", i+1))
		}
		const poll = 10 * time.Second
		var took, returned time.Time
		var mu sync.Mutex
		begun := map[string]time.Time{}
		r := lifecycle.Rollout{
			ID: "r1", Policy: lifecycle.Policy{Width: 2, MaxUnavailable: lifecycle.Amount{Count: 3}}, Hosts: hosts, Out: w.Out, Poll: poll,
			Plan: func(ctx context.Context, h string) (*lifecycle.Plan, error) {
				mu.Lock()
				begun[h] = time.Now()
				mu.Unlock()
				return ncn.Rebuild(ctx, site.Host(h), ncn.Worker)
			},
			Planner: ncn.Planner(site),
		}
		time.AfterFunc(8*time.Minute, func() {
			took = time.Now()
			w.TakeOut("ops", "a broken switch", hosts[3:]...)
		})
		time.AfterFunc(3*time.Hour, func() {
			returned = time.Now()
			w.Return(hosts...)
		})
		var why []string
		require.NoError(t, r.Run(t.Context(), lifecycle.WithJournal(w.Journal()), lifecycle.WithObserver(func(e lifecycle.Event) {
			if e.Type == lifecycle.EventWait && e.Target == "rollout-r1" {
				why = append(why, e.Detail)
			}
		})))
		for h, at := range begun {
			require.False(t, at.After(took.Add(poll)) && at.Before(returned), "%s was started at %v, between %v and %v", h, at, took, returned)
			require.Equal(t, 2, w.Machine(h).Generation(), h)
		}
		require.Len(t, begun, 10)
		require.Contains(t, fmt.Sprint(why), "ops")
	})
}
