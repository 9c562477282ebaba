package sim_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes"
	"github.com/ncnkit/lifecycle/fakes/sim"
	"github.com/ncnkit/lifecycle/ncn"
	"github.com/ncnkit/lifecycle/power"
)

var (
	seeds   = flag.Int("sim.seeds", 600/scale, "how many seeds TestSeeds runs; fewer by default under the race detector")
	seed    = flag.String("sim.seed", "", "the one seed that TestSeeds runs, or the first of -sim.seeds; \"new\" draws it")
	without = flag.String("sim.without", "", "faults of the seed to leave out, by number")
	fleets  = flag.Int("sim.fleets", 60/scale, "how many seeds TestFleets runs, from -sim.seed on")
	replays = flag.Int("sim.replays", 200/scale, "how many seeds TestReplay runs twice")
	kinds   = flag.String("sim.faults", "", "the kinds of faults that may befall TestSeeds, separated by commas; empty means all")
	story   = flag.Bool("sim.story", false, "tell what happened, also when nothing broke")
)

// scenario is what a seed stands for: a few workers, rebuilt, rebooted or power-cycled, and faults.
func scenario(seed uint64) sim.Config {
	rng := rand.New(rand.NewPCG(seed, 1))
	workers := 1 + rng.IntN(3)
	if rng.IntN(20) == 0 {
		workers = 5 + rng.IntN(16)
	}
	cfg := sim.Config{Seed: seed, Layout: fakes.Layout{Workers: workers}, MaxFaults: 1 + rng.IntN(6)}
	width := 1 + rng.IntN(workers)
	image := ncn.Image("ncn-images/k8s", "0.1.110")
	switch rng.IntN(8) {
	case 0:
		cfg.Work, cfg.Horizon = verbs(width), 20*workers
	case 1:
		cfg.Work = sim.Rebuilds(width)
	case 2:
		cfg.Bound = 2 * lifecycle.DefaultOutDeadline // a rollout may wait that long for a node that is down
		cfg.Work = sim.Rollout(lifecycle.Policy{Width: width, Budget: lifecycle.Budget{Total: lifecycle.Amount{Count: workers}}}, image)
	default:
		cfg.Work = sim.Rebuilds(width, image)
	}
	variety := rng.Uint64()
	cfg.Prepare = func(w *fakes.Cluster) { prepare(w, rand.New(rand.NewPCG(variety, 2))) }
	return cfg
}

// prepare makes nodes that are not all alike.
func prepare(w *fakes.Cluster, rng *rand.Rand) {
	for _, m := range w.Machines() {
		switch rng.IntN(7) {
		case 6:
			if rng.IntN(4) == 0 {
				sim.AddDisk(m, "gfs2")
			}
		case 0:
			sim.AddDisk(m, "xfs")
		case 1:
			sim.AddDisk(m, "")
		case 2: // a file system right on the data disk
			m.Disks(func(disks []*fakes.Device) []*fakes.Device {
				disks[2].Children, disks[2].Signature = nil, "xfs"
				return disks
			})
		}
	}
}

// verbs is what is done to nodes without a run: each is cycled and reset a few times.
func verbs(width int) sim.Work {
	return func(ctx context.Context, p *sim.Process) error {
		var hosts []string
		for _, m := range p.Cluster.Machines() {
			hosts = append(hosts, m.Name())
		}
		return p.Each(ctx, hosts, width, func(ctx context.Context, host string) error {
			bmc := power.BMC{Host: p.Cluster.Machine(host).BMC()}
			rng := p.Rand(host)
			for range 3 {
				switch rng.IntN(4) {
				case 0, 1:
					_ = power.Cycle(ctx, p.Site.Power, bmc, power.WithNative())
				case 2:
					_ = power.Reset(ctx, p.Site.Power, bmc)
				case 3:
					_ = power.Cycle(ctx, p.Site.Power, bmc)
				}
			}
			return ctx.Err()
		})
	}
}

// parallel calls f with every number below n, on all processors, and stops early when stop says so.
func parallel(t *testing.T, n int, f func(t *testing.T, i int)) {
	var next atomic.Int64
	for w := range runtime.GOMAXPROCS(0) {
		t.Run(fmt.Sprint(w), func(t *testing.T) {
			t.Parallel()
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(t, i)
			}
		})
	}
}

// No seed breaks an invariant, and every run comes to an end.
func TestSeeds(t *testing.T) {
	first, n := uint64(1), *seeds
	switch {
	case *seed == "new":
		first = uint64(time.Now().UnixNano())
		t.Logf("first seed: %d", first)
	case *seed != "":
		var err error
		first, err = strconv.ParseUint(*seed, 10, 64)
		require.NoError(t, err)
		if !flagSet("sim.seeds") {
			n = 1
		}
	}
	list := known(t, "seeds.txt")
	if *seed != "" {
		list = nil
	}
	for i := range n {
		list = append(list, first+uint64(i))
	}
	runSeeds(t, list, scenario)
}

// fleet is what a seed stands for in TestFleets: 5 to 20 workers, rebuilt by a rollout.
func fleet(seed uint64) sim.Config {
	rng := rand.New(rand.NewPCG(seed, 3))
	workers := 5 + rng.IntN(16)
	policy := lifecycle.Policy{Width: 1 + rng.IntN(6), Budget: lifecycle.Budget{Total: lifecycle.Amount{Count: workers}}}
	switch rng.IntN(4) {
	case 0:
		policy.MaxUnavailable = lifecycle.Amount{Count: 2 + rng.IntN(4)}
	case 1:
		policy.Waves = lifecycle.Waves{First: lifecycle.Amount{Count: 2}, Growth: 2, Soak: time.Minute}
	case 2:
		policy.Stagger = 30 * time.Second
	}
	return sim.Config{
		Seed: seed, Layout: fakes.Layout{Workers: workers}, MaxFaults: 1 + rng.IntN(8), Bound: 2 * lifecycle.DefaultOutDeadline,
		Work: sim.Rollout(policy, ncn.Image("ncn-images/k8s", "0.1.110")),
	}
}

// No rollout of 5 to 20 nodes breaks an invariant, and every run comes to an end.
func TestFleets(t *testing.T) {
	first := uint64(1)
	if n, err := strconv.ParseUint(*seed, 10, 64); err == nil {
		first = n
	}
	var list []uint64
	if *seed == "" {
		list = known(t, "fleets.txt")
	}
	n := *fleets
	if *seed != "" && !flagSet("sim.fleets") {
		n = 1
	}
	for i := range n {
		list = append(list, first+uint64(i))
	}
	runSeeds(t, list, fleet)
}

func runSeeds(t *testing.T, list []uint64, scenario func(uint64) sim.Config) {
	var sum tally
	start := time.Now()
	t.Run("all", func(t *testing.T) {
		parallel(t, len(list), func(t *testing.T, i int) {
			cfg := scenario(list[i])
			cfg.Without = numbers(t, *without)
			for kind := range strings.SplitSeq(*kinds, ",") {
				if kind != "" {
					cfg.Faults = append(cfg.Faults, sim.Kind(kind))
				}
			}
			r := sim.Check(t, cfg)
			if *story {
				t.Log(r.Story())
			}
			sum.add(r)
		})
	})
	t.Logf("%s; %v", &sum, time.Since(start).Round(time.Millisecond))
}

// tally counts what many runs had.
type tally struct {
	mu     sync.Mutex
	runs   int
	calls  int
	broken int
	faults map[sim.Kind]int
	ends   map[lifecycle.State]int
}

func (s *tally) add(r sim.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.faults == nil {
		s.faults, s.ends = map[sim.Kind]int{}, map[lifecycle.State]int{}
	}
	s.runs++
	s.calls += r.Steps
	if len(r.Breaches) > 0 {
		s.broken++
	}
	for _, f := range r.Faults {
		s.faults[f.Kind]++
	}
	for _, e := range r.Ends {
		s.ends[e.State]++
	}
}

func (s *tally) String() string {
	return fmt.Sprintf("%d seeds, %d calls, %d broken; faults %v; ends %v", s.runs, s.calls, s.broken, s.faults, s.ends)
}

// known returns the seeds that failed once.
func known(t *testing.T, file string) []uint64 {
	data, err := os.ReadFile("testdata/" + file)
	require.NoError(t, err)
	var list []uint64
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line != "" {
			n, err := strconv.ParseUint(line, 10, 64)
			require.NoError(t, err)
			list = append(list, n)
		}
	}
	return list
}

func numbers(t *testing.T, text string) []int {
	var list []int
	for part := range strings.SplitSeq(text, ",") {
		if part != "" {
			n, err := strconv.Atoi(part)
			require.NoError(t, err)
			list = append(list, n)
		}
	}
	return list
}

func flagSet(name string) bool {
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}

// The same seed gives the same run, to the last call and its time.
func TestReplay(t *testing.T) {
	parallel(t, *replays, func(t *testing.T, i int) {
		a, b := sim.Run(t, scenario(uint64(i))), sim.Run(t, scenario(uint64(i)))
		if a.Hash != b.Hash {
			t.Errorf("seed %d: %s", i, firstDifference(a, b))
		}
	})
}

func firstDifference(a, b sim.Result) string {
	for i := range min(len(a.Trace), len(b.Trace)) {
		if a.Trace[i] != b.Trace[i] {
			return fmt.Sprintf("the runs differ from\n%v\n%v", a.Trace[i], b.Trace[i])
		}
	}
	return fmt.Sprintf("%d and %d calls, ends %v and %v, breaches %v and %v", len(a.Trace), len(b.Trace), a.Ends, b.Ends, a.Breaches, b.Breaches)
}
