package sim

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes"
)

// Config says what is simulated. Together with the version of the code it decides everything that happens in a run.
type Config struct {
	Seed   uint64
	Layout fakes.Layout

	// Work is what each controller does: the main function of the program under test. Required.
	Work Work
	// Prepare changes the cluster before the first controller starts. nil means that it stays as New makes it.
	Prepare func(w *fakes.Cluster)

	// Faults are the kinds that may be injected; nil means [Kinds]. How many of them, and when, is the seed's to decide,
	// up to MaxFaults; 0 means none.
	Faults    []Kind
	MaxFaults int
	// Horizon is the number of calls within which all faults begin; 0 means 120 for each node of the layout.
	Horizon int
	// Without leaves out faults of the seed, by their numbers: what shrinking found not to matter.
	Without []int

	// Poll is the site's; 0 means 30 s.
	Poll time.Duration
	// Bound is how long after the end of the last fault the runs may take to end; 0 means 24 h.
	Bound time.Duration
	// MaxSteps is how many calls a run may make; 0 means 50,000.
	MaxSteps int
	// CheckEvery is after how many calls all invariants are checked, besides the end; 0 means 100. Those that a single
	// call can break are checked at each call anyway.
	CheckEvery int
}

// Work is the main function of a controller: it takes up the runs that it finds open, begins what is missing, and returns
// when all has ended. The context ends when the controller is killed. Several processes may be at it at the same time.
type Work func(ctx context.Context, p *Process) error

// End is where a run of the journal stood at the end.
type End struct {
	Run, Target string
	State       lifecycle.State
	Message     string
}

// Result is what happened.
type Result struct {
	Config   Config
	Hash     uint64 // of everything in the trace: equal for equal runs
	Trace    []Event
	Faults   []Fault // that were injected
	Breaches []fakes.Breach
	At       int // how many calls had been made when the first breach was seen
	Ends     []End
	Err      error // of the Works that gave up in a process that lived
	Steps    int
	Elapsed  time.Duration // of the cluster's time

	test string // that ran it, for who replays it
}

// Broken reports whether the invariant was broken; "" stands for any.
func (r Result) Broken(invariant string) bool {
	for _, b := range r.Breaches {
		if invariant == "" || b.Invariant == invariant {
			return true
		}
	}
	return false
}

// Run simulates what cfg says, in a bubble of its own, and tells what happened. It fails t only when the simulation itself
// cannot run. t must not be in a bubble already.
func Run(t *testing.T, cfg Config) Result {
	t.Helper()
	if cfg.Work == nil {
		t.Fatalf("sim.Run: Config.Work is nil; set what a controller does")
	}
	var r Result
	synctest.Test(t, func(t *testing.T) {
		s := newSim(cfg)
		s.run(t.Context())
		r = s.result()
	})
	r.test, _, _ = strings.Cut(t.Name(), "/")
	return r
}

// Check is [Run] for a test: when an invariant is broken, the seed is shrunk, and the test fails with the story of what
// mattered.
func Check(t *testing.T, cfg Config) Result {
	t.Helper()
	r := Run(t, cfg)
	if len(r.Breaches) > 0 {
		t.Errorf("%s", Shrink(t, r).Story())
	}
	return r
}

func (c Config) withDefaults() Config {
	if c.Faults == nil {
		c.Faults = likely()
	}
	if c.Horizon == 0 {
		c.Horizon = 120 * max(1, c.Layout.Masters+c.Layout.Workers+c.Layout.Storage+len(c.Layout.Nodes))
	}
	set := func(n *int, def int) {
		if *n == 0 {
			*n = def
		}
	}
	set(&c.MaxSteps, 50_000)
	set(&c.CheckEvery, 100)
	if c.Poll == 0 {
		c.Poll = 30 * time.Second
	}
	if c.Bound == 0 {
		c.Bound = 24 * time.Hour
	}
	return c
}

// result gathers what happened. The bubble is quiet.
func (s *sim) result() Result {
	r := Result{
		Config: s.asked, Hash: s.hash.Sum64(), Trace: s.trace, Steps: s.step, Elapsed: s.elapsed,
		Breaches: s.breaches, At: s.firstBreach, Ends: s.ends, Err: s.givenUp,
	}
	for _, f := range s.faults {
		if f.Fired {
			r.Faults = append(r.Faults, *f)
		}
	}
	return r
}

func (e End) String() string {
	return fmt.Sprintf("%s of %s: %s %s", e.Run, e.Target, e.State, e.Message)
}
