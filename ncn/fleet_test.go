package ncn_test

import (
	"errors"
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

// A fleet, ten at a time, with a loop and a semaphore: 500 workers, or 50 under the race detector, which has enough to see
// with them. What takes the cluster hours takes seconds here.
func TestFleet(t *testing.T) {
	const width = 10
	began := time.Now()
	synctest.Test(t, func(t *testing.T) {
		w := fakes.NewCluster(t, fakes.Layout{Workers: workers})
		site := w.Site()
		virtual := time.Now()
		slots := make(chan struct{}, width)
		errs := make([]error, workers)
		var wg sync.WaitGroup
		for i := range workers {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				p, err := ncn.Rebuild(t.Context(), site.Host(fmt.Sprintf("ncn-w%03d", i+1)), ncn.Worker, ncn.Image("ncn-images/k8s", "0.1.110"))
				if err == nil {
					err = lifecycle.Run(t.Context(), p, lifecycle.WithJournal(w.Journal()))
				}
				errs[i] = err
			})
		}
		wg.Wait()
		require.NoError(t, errors.Join(errs...))
		for _, m := range w.Machines() {
			require.Equal(t, 2, m.Generation(), m.Name())
		}
		t.Logf("%d workers, %d at a time: %v of the cluster's time", workers, width, time.Since(virtual))
	})
	t.Logf("%v of real time", time.Since(began))
}
