package sim

import (
	"slices"
	"testing"

	"github.com/ncnkit/lifecycle/fakes"
)

// Shrink runs a broken seed again with fewer nodes and fewer faults, as long as the same invariant breaks, and returns the
// smallest run that it found, with its invariants checked after each call.
func Shrink(t *testing.T, r Result) Result {
	t.Helper()
	if len(r.Breaches) == 0 {
		return r
	}
	invariant := r.Breaches[0].Invariant
	again := func(cfg Config) bool {
		if got := Run(t, cfg); got.Broken(invariant) {
			r = got
			return true
		}
		return false
	}
	cfg := r.Config
	cfg.Horizon = cfg.withDefaults().Horizon // it must not change with the layout
	for _, layout := range smaller(cfg.Layout) {
		fewer := cfg
		fewer.Layout = layout
		if again(fewer) {
			cfg = fewer
			break
		}
	}
	for _, f := range slices.Backward(slices.Clone(r.Faults)) {
		fewer := cfg
		fewer.Without = append(slices.Clone(cfg.Without), f.Number)
		if again(fewer) {
			cfg = fewer
		}
	}
	cfg.CheckEvery = 1
	again(cfg)
	return r
}

// smaller returns layouts with fewer nodes, the smallest first.
func smaller(l fakes.Layout) []fakes.Layout {
	var all []fakes.Layout
	for n := 1; n < l.Workers; n++ {
		fewer := l
		fewer.Workers = n
		all = append(all, fewer)
	}
	return all
}
