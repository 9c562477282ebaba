package sim_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes"
	"github.com/ncnkit/lifecycle/fakes/sim"
	"github.com/ncnkit/lifecycle/ncn"
)

// How many whole rebuilds of one node are simulated in a second on one processor; the figure is told, not judged.
func TestSpeed(t *testing.T) {
	n := 200 / scale
	if flagSet("sim.seeds") {
		n = *seeds
	}
	start := time.Now()
	calls := 0
	for i := range n {
		r := sim.Run(t, sim.Config{Seed: uint64(i), Layout: fakes.Layout{Workers: 1}, Work: sim.Rebuilds(1, ncn.Image("ncn-images/k8s", "0.1.110"))})
		require.Empty(t, r.Breaches)
		require.Len(t, r.Ends, 1)
		require.Equal(t, lifecycle.Done, r.Ends[0].State)
		calls += r.Steps
	}
	took := time.Since(start)
	t.Logf("%d rebuilds, %d calls in %v: %.0f rebuilds a second", n, calls, took.Round(time.Millisecond), float64(n)/took.Seconds())
}
