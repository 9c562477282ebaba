//go:build mutant

package sim_test

import (
	"flag"
	"runtime"
	"sync"
	"testing"

	"github.com/ncnkit/lifecycle/fakes/sim"
	"github.com/ncnkit/lifecycle/internal/mutant"
)

var only = flag.String("sim.mutant", "", "the one mutant that TestMutants looks for")

// mutants are the known bugs that seeds must find, and the invariant that each breaks.
var mutants = []struct{ name, invariant string }{
	{"record-before-do", "I14"},
	{"no-readback", "I7"},
	{"delete-then-set", "I7"},
	{"drop-finally", "I7"},
	{"retry-unknown", "I9"},
	{"power-done-on-accept", "I9"},
	{"wipe-without-identity", "I2"},
	{"check-inside-loop", "I3"},
	{"replan-on-resume", "I3"},
	{"token-in-journal-only", "I5"},
	{"no-backup-readback", "I4"},
	{"no-fence", "I6"},
	{"disk-by-name", "I3"},
	{"unknown-signature-accepted", "I3"},
	{"old-boot-accepted", "I12"},
	{"cancel-mid-wipe", "I14"},
}

const enough = 5000

// Each known bug is found by one of the first seeds, which break nothing of the kind without it.
func TestMutants(t *testing.T) {
	defer mutant.Set("")
	for _, m := range mutants {
		if *only != "" && *only != m.name {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			for next := uint64(1); ; {
				mutant.Set(m.name)
				found := search(t, next, m.invariant)
				mutant.Set("")
				if found.seed == 0 {
					t.Errorf("%s survived %s for %d seeds", m.name, m.invariant, enough)
					return
				}
				if r := sim.Run(t, scenario(found.seed)); r.Broken(m.invariant) {
					t.Logf("seed %d breaks %s without the bug", found.seed, m.invariant)
					next = found.seed + 1
					continue
				}
				t.Logf("%s: seed %d: %s", m.name, found.seed, found.breach)
				return
			}
		})
	}
}

type hit struct {
	seed   uint64
	breach string
}

// search returns the lowest seed from first on that breaks the invariant.
func search(t *testing.T, first uint64, invariant string) hit {
	var mu sync.Mutex
	var lowest hit
	next := first - 1
	take := func() uint64 {
		mu.Lock()
		defer mu.Unlock()
		if next++; next > enough || lowest.seed != 0 {
			return 0
		}
		return next
	}
	t.Run("seeds", func(t *testing.T) {
		for range runtime.GOMAXPROCS(0) {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for seed := take(); seed != 0; seed = take() {
					for _, b := range sim.Run(t, scenario(seed)).Breaches {
						if b.Invariant != invariant {
							continue
						}
						mu.Lock()
						if lowest.seed == 0 || seed < lowest.seed {
							lowest = hit{seed, b.String()}
						}
						mu.Unlock()
					}
				}
			})
		}
	})
	return lowest
}
