//go:build mutant

package lifecycle_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/internal/mutant"
)

// The oracle catches each known bug of the decisions within 5,000 seeds.
func TestMutantsOfDecide(t *testing.T) {
	for _, name := range []string{"budget-counts-only-own", "percent-before-minimum", "window-end-starts"} {
		t.Run(name, func(t *testing.T) {
			mutant.Set(name)
			defer mutant.Set("")
			for seed := uint64(1); seed <= 5000; seed++ {
				w := newRolloutWorld(seed, 1)
				if w.run(); w.problem != "" {
					t.Logf("seed %d: %s", seed, w.problem)
					return
				}
			}
			require.Fail(t, "the mutant survived")
		})
	}
}

// A rollout that was stopped and is resumed runs as many hosts at once as its policy says.
func TestMutantResumeLosesWidth(t *testing.T) {
	for name, want := range map[string]int{"": 2, "resume-loses-width": 6} {
		mutant.Set(name)
		defer mutant.Set("")
		synctest.Test(t, func(t *testing.T) {
			f, j := newFleet(), lifecycle.NewMemJournal()
			stop := make(chan struct{})
			time.AfterFunc(15*time.Minute, func() { close(stop) })
			r := f.rollout(lifecycle.Policy{Width: 2}, names(6))
			require.Error(t, r.Run(t.Context(), lifecycle.WithJournal(j), lifecycle.WithStop(stop)))
			require.NoError(t, r.Run(t.Context(), lifecycle.WithJournal(j)))
			require.Equal(t, want, f.peak, name)
		})
	}
}
