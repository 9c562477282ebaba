package lifecycle_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
)

var (
	decideRuns = flag.Int("decide-runs", 3000, "how many random rollouts TestDecide goes through")
	decideSeed = flag.Uint64("decide-seed", 0, "the one seed that TestDecide goes through; 0 means 1 to -decide-runs")
)

// The oracle knows what happened, as whole seconds since a beginning, and works out from that alone what may be done. It
// shares no code with the package.

const never = int64(-1)

// fact is what happened to one host so far, and what will.
type fact struct {
	started, ended  int64
	failed, skipped bool
	late            bool
	held            bool
	out             bool   // others took it out
	by              string // on purpose, when not empty
	group           int

	takes int64 // how long it will run
	fails bool
	lags  int64 // how long it takes to stop when told
}

func (f *fact) waits() bool { return f.started == never && f.ended == never }
func (f *fact) runs() bool  { return f.started != never && f.ended == never }
func (f *fact) aside() bool { return f.held || f.out && f.by != "" }

type trouble struct {
	at    int64
	host  int
	apply func()
}

// rolloutWorld is a rollout without any I/O: what will happen is drawn from the seed; what is started when, is decided.
type rolloutWorld struct {
	rng    *rand.Rand
	policy lifecycle.Policy
	zone   int // of the windows and the beginning; -1 for no windows
	base   time.Time
	hosts  []fact
	others int

	events   []trouble
	sick     [][2]int64 // Health fails from, until
	now      int64
	paused   bool
	canceled bool
	halted   bool
	unknown  bool
	last     int // host started last
	healthy  int // wave
	waves    []int

	state   lifecycle.RolloutState
	decide  func(time.Time) lifecycle.Decision
	shuffle *rand.Rand
	starts  []string // "time host", for comparison
	problem string
	turns   int
	seen    map[string]int // what came up, by rule
}

func amountOf(rng *rand.Rand, n int) lifecycle.Amount {
	switch rng.IntN(4) {
	case 0:
		return lifecycle.Amount{Count: 1 + rng.IntN(max(1, n/4))}
	case 1:
		return lifecycle.Amount{Percent: 1 + rng.IntN(60)}
	case 2:
		return lifecycle.Amount{Percent: 1 + rng.IntN(60), Count: 1 + rng.IntN(max(1, n/4))}
	}
	return lifecycle.Amount{}
}

func chance(rng *rand.Rand, percent int) bool { return rng.IntN(100) < percent }

// windowSets are windows and beginnings, the latter near changes of the clock.
var windowSets = []struct {
	base    time.Time
	windows []lifecycle.Window
}{
	{date("2026-03-27T12:00:00Z"), []lifecycle.Window{{Location: "Europe/Zurich", Start: "22:00", End: "05:00"}}},
	{date("2026-03-28T20:00:00Z"), []lifecycle.Window{{Location: "Europe/Zurich", Start: "02:30", End: "04:00"}}},
	{date("2026-10-24T15:00:00Z"), []lifecycle.Window{{Location: "Europe/Zurich", Start: "22:00", End: "02:30"}}},
	{date("2026-10-24T15:00:00Z"), []lifecycle.Window{{Location: "Europe/Zurich", Start: "02:15", End: "02:45"}, {Location: "UTC", Start: "12:00", End: "13:00"}}},
	{date("2026-11-20T09:00:00Z"), []lifecycle.Window{{Start: "00:00", End: "00:00", Days: []time.Weekday{time.Saturday, time.Sunday}}}},
	{date("2026-11-01T00:00:00Z"), []lifecycle.Window{{Location: "America/New_York", Start: "01:00", End: "03:00"}, {Location: "Asia/Kolkata", Start: "23:45", End: "06:10"}}},
}

func date(text string) time.Time {
	t, _ := time.Parse(time.RFC3339, text) // a mistake is a time far from what the test expects
	return t
}

const windowDays = 60

// openMinutes says, for each set and minute since its beginning, whether a window is open. It looks at the clocks minute
// by minute: a window opens when they first show its start, or a later time, on a day, and closes when they first show
// its end, or a later time, after that.
var openMinutes = sync.OnceValue(func() (all [][]bool) {
	for _, set := range windowSets {
		open := make([]bool, windowDays*24*60)
		for _, w := range set.windows {
			watchClock(set.base, w, open)
		}
		all = append(all, open)
	}
	return all
})

func watchClock(base time.Time, w lifecycle.Window, open []bool) {
	zone, err := time.LoadLocation(w.Location)
	if err != nil {
		return // and Decider says so
	}
	const lead = 3 * 24 * 60
	seen := map[string]bool{} // days on which it has opened
	isOpen, closeKey := false, ""
	for m := -lead; m < len(open); m++ {
		local := base.Add(time.Duration(m) * time.Minute).In(zone)
		day, clock := local.Format("2006-01-02"), local.Format("15:04")
		if isOpen && day+clock >= closeKey {
			isOpen = false
		}
		if clock >= w.Start && !seen[day] {
			seen[day] = true
			closeDay := day
			if w.End <= w.Start {
				closeDay = time.Date(local.Year(), local.Month(), local.Day()+1, 0, 0, 0, 0, time.UTC).Format("2006-01-02")
			}
			if m > -lead && (len(w.Days) == 0 || slices.Contains(w.Days, local.Weekday())) && day+clock < closeDay+w.End {
				isOpen, closeKey = true, closeDay+w.End
			}
		}
		if m >= 0 && isOpen {
			open[m] = true
		}
	}
}

func newRolloutWorld(seed, shuffle uint64) *rolloutWorld {
	rng := rand.New(rand.NewPCG(seed, 1))
	w := &rolloutWorld{rng: rng, shuffle: rand.New(rand.NewPCG(seed, shuffle)), zone: -1, last: -1, base: date("2026-11-20T00:00:00Z")}
	n := 10 + rng.IntN(20)
	if chance(rng, 25) {
		n = 10 + rng.IntN(191)
	}
	p := &w.policy
	p.Width = rng.IntN(min(n, 20))
	p.MaxUnavailable = amountOf(rng, n)
	p.OutDeadline = time.Duration(1+rng.IntN(4)) * time.Hour
	p.HealthDeadline = time.Duration(1+rng.IntN(3)) * time.Hour
	if chance(rng, 30) {
		p.Canary = rng.IntN(4)
	}
	if chance(rng, 40) {
		p.Waves = lifecycle.Waves{First: amountOf(rng, n), Growth: []float64{0, 1, 1.5, 2, 3}[rng.IntN(5)]}
		p.Waves.Soak = time.Duration(rng.IntN(3)*rng.IntN(900)) * time.Second
	}
	p.Budget = lifecycle.Budget{Total: amountOf(rng, n), PerWave: amountOf(rng, n), MinTried: rng.IntN(10)}
	if chance(rng, 50) {
		p.Budget.Total = lifecycle.Amount{Percent: 100}
	}
	groups := 1 + rng.IntN(6)
	if chance(rng, 30) {
		p.PerGroup = 1 + rng.IntN(3)
	}
	p.Serial = chance(rng, 15)
	if chance(rng, 20) {
		p.Stagger = time.Duration(rng.IntN(120)) * time.Second
	}
	if chance(rng, 20) {
		p.HostDeadline = time.Duration(900+rng.IntN(900)) * time.Second
	}
	if chance(rng, 20) {
		w.zone = rng.IntN(len(windowSets))
		w.base, p.Windows = windowSets[w.zone].base, windowSets[w.zone].windows
	}
	failing := []int{0, 0, 3, 20}[rng.IntN(4)]
	coarse := int64(1 + rng.IntN(2)*299) // makes many things happen at one time
	span := int64(max(1, n/max(1, p.Width))) * 1200
	w.state.Hosts = make([]lifecycle.HostState, n)
	for i := range n {
		f := fact{started: never, ended: never, group: rng.IntN(groups), takes: coarse * (1 + rng.Int64N(1800)/coarse), fails: chance(rng, failing), lags: rng.Int64N(300)}
		if p.Serial {
			f.group = i * groups / n
		}
		w.hosts = append(w.hosts, f)
		w.state.Hosts[i] = lifecycle.HostState{Host: fmt.Sprintf("n%03d", i), Group: string(rune('a' + f.group))}
	}
	w.plot(span, coarse)
	w.cut()
	if p.Waves.First != (lifecycle.Amount{}) || p.Canary > 0 {
		for range rng.IntN(3) {
			from := rng.Int64N(span + 1)
			w.sick = append(w.sick, [2]int64{from, from + rng.Int64N(4*3600)})
		}
	}
	return w
}

// plot draws what will happen besides what the rollout does.
func (w *rolloutWorld) plot(span, coarse int64) {
	rng, n := w.rng, len(w.hosts)
	at := func() int64 { return rng.Int64N(span+1) / coarse * coarse }
	add := func(at int64, host int, f func()) { w.events = append(w.events, trouble{at, host, f}) }
	pair := func(host int, on, off func()) {
		from := at()
		add(from, host, on)
		add(from+coarse*(1+rng.Int64N(5400)/coarse), host, off)
	}
	used := map[int]bool{} // one trouble per host
	for range rng.IntN(1 + n/4) {
		i := rng.IntN(n)
		if used[i] {
			continue
		}
		used[i] = true
		f, s := &w.hosts[i], &w.state.Hosts[i]
		hold := func() {
			if f.waits() {
				f.held, s.Held = true, "by ops"
			}
		}
		switch rng.IntN(6) {
		case 0:
			pair(i, hold, func() { f.held, s.Held = false, "" })
		case 1:
			pair(i, hold, func() { w.skip(i) })
		case 2:
			add(at(), i, func() { w.skip(i) })
		default:
			by := []string{"", "ops"}[rng.IntN(2)]
			on := func() { f.out, f.by, s.Out = true, by, &lifecycle.Outage{Host: s.Host, By: by} }
			off := func() { f.out, f.by, s.Out = false, "", nil }
			if chance(rng, 5) {
				add(at(), i, on) // for ever
			} else {
				pair(i, on, off)
			}
		}
	}
	if chance(rng, 20) {
		pair(-1, func() { w.others++; w.state.Others = []lifecycle.Outage{{Host: "x"}} }, func() { w.others--; w.state.Others = nil })
	}
	if chance(rng, 20) {
		pair(-1, func() { w.paused, w.state.Paused = true, "by ops" }, func() { w.paused, w.state.Paused = false, "" })
	}
	if chance(rng, 10) {
		pair(-1, func() { w.unknown, w.state.OutUnknown = true, "no answer" }, func() { w.unknown, w.state.OutUnknown = false, "" })
	}
	if chance(rng, 3) {
		add(at(), -1, func() { w.canceled, w.state.Canceled = true, "by ops" })
	}
	slices.SortStableFunc(w.events, func(a, b trouble) int { return int(a.at - b.at) })
}

func (w *rolloutWorld) skip(i int) {
	if f := &w.hosts[i]; f.waits() {
		f.skipped, f.ended, f.held = true, w.now, false
		s := &w.state.Hosts[i]
		s.Outcome, s.Ended, s.Held = lifecycle.OutcomeSkipped, w.time(w.now), ""
	}
}

func (w *rolloutWorld) time(at int64) time.Time { return w.base.Add(time.Duration(at) * time.Second) }

func share(a lifecycle.Amount, n, none int) int {
	out := none
	if a.Count > 0 {
		out = a.Count
	}
	if a.Percent > 0 {
		s := int(float64(n*a.Percent)/100 + 1e-9)
		if s < 1 {
			s = 1
		}
		if a.Count == 0 || s < out {
			out = s
		}
	}
	return out
}

// cut gives every host its wave: canaries, then first, first*growth, first*growth*growth, ...
func (w *rolloutWorld) cut() {
	n, p := len(w.hosts), w.policy
	wave := 0
	take := func(k int) {
		for ; k > 0 && len(w.waves) < n; k-- {
			w.waves = append(w.waves, wave)
		}
		wave++
	}
	if p.Canary > 0 {
		take(p.Canary)
	}
	if p.Waves.First == (lifecycle.Amount{}) {
		take(n)
	}
	growth := p.Waves.Growth
	if growth == 0 {
		growth = 1
	}
	for size := float64(share(p.Waves.First, n, 0)); len(w.waves) < n; size *= growth {
		take(int(size))
	}
}

// sum is what the facts come to at this moment.
type sum struct {
	running, unavailable, opened int
	inGroup                      [8]int
	lastEnd                      int64
	openBelow                    int  // the lowest wave with a host that neither ended nor is set aside
	canaryOpen                   bool // a canary has not ended
	turn                         int  // the only group that may go on; -1 for any
}

func (w *rolloutWorld) sum() sum {
	s := sum{lastEnd: never, openBelow: 1 << 30, turn: -1, unavailable: w.others}
	for i := range w.hosts {
		f := &w.hosts[i]
		if f.runs() {
			s.running++
			s.inGroup[f.group]++
		}
		if f.runs() || f.out {
			s.unavailable++
		}
		if f.started != never {
			s.opened = max(s.opened, w.waves[i])
			s.lastEnd = max(s.lastEnd, f.ended)
		}
		if f.ended == never && (f.runs() || !f.aside()) {
			s.openBelow = min(s.openBelow, w.waves[i])
		}
		if f.ended == never && i < w.policy.Canary {
			s.canaryOpen = true
		}
	}
	return s
}

func (w *rolloutWorld) staggerEnd() int64 {
	if w.last < 0 {
		return 0
	}
	return w.hosts[w.last].started + int64(w.policy.Stagger/time.Second)
}

func (w *rolloutWorld) windowOpen(at int64) bool {
	return w.zone < 0 || openMinutes()[w.zone][at/60]
}

// waveOpen says whether hosts of that wave may be started, but for Health.
func (w *rolloutWorld) waveOpen(s *sum, wave int) bool {
	if wave <= s.opened {
		return true
	}
	soaked := s.lastEnd == never || w.now >= s.lastEnd+int64(w.policy.Waves.Soak/time.Second)
	return s.openBelow == wave && s.running == 0 && !s.canaryOpen && soaked
}

// group works out whose turn it is when groups are taken one after the other.
func (w *rolloutWorld) groupTurn(s *sum) {
	if !w.policy.Serial {
		return
	}
	first := -1
	for i := range w.hosts {
		f := &w.hosts[i]
		if f.runs() {
			s.turn = f.group
			return
		}
		if !f.waits() || f.aside() || !w.waveOpen(s, w.waves[i]) {
			continue
		}
		if w.last >= 0 && f.group == w.hosts[w.last].group {
			first = f.group
			break
		}
		if first < 0 {
			first = f.group
		}
	}
	s.turn = first
	for i := range w.hosts { // somebody may run further down
		if w.hosts[i].runs() {
			s.turn = w.hosts[i].group
		}
	}
}

// forbids says which rule forbids to start a host that waits, and is not set aside; "" when none does.
func (w *rolloutWorld) forbids(s *sum, i int) string {
	f, more := &w.hosts[i], 1
	if f.out {
		more = 0 // it counts already
	}
	limit := share(w.policy.MaxUnavailable, len(w.hosts), max(1, w.policy.Width))
	switch {
	case !w.waveOpen(s, w.waves[i]):
		return "waves"
	case w.waves[i] > max(s.opened, w.healthy):
		return "health gate"
	case !w.windowOpen(w.now):
		return "windows"
	case s.running >= max(1, w.policy.Width):
		return "width"
	case w.now < w.staggerEnd():
		return "stagger"
	case s.unavailable+more > limit:
		return fmt.Sprintf("max unavailable: %d are, %d may be", s.unavailable, limit)
	case w.policy.PerGroup > 0 && s.inGroup[f.group] >= w.policy.PerGroup:
		return "per group"
	case s.turn >= 0 && f.group != s.turn:
		return "serial groups"
	}
	return ""
}

// mayStart returns the first host that may be started now, or -1; and whether Health has to be asked first.
func (w *rolloutWorld) mayStart() (host int, ask bool) {
	if w.stopped() != "" {
		return -1, false
	}
	s := w.sum()
	w.groupTurn(&s)
	for i := range w.hosts {
		if f := &w.hosts[i]; !f.waits() || f.aside() {
			continue
		}
		switch w.forbids(&s, i) {
		case "":
			return i, false
		case "health gate":
			return -1, true
		}
	}
	return -1, false
}

// stopped says what forbids every start.
func (w *rolloutWorld) stopped() string {
	for why, on := range map[string]bool{"canceled": w.canceled, "halted": w.halted, "paused": w.paused, "nobody knows who is out": w.unknown} {
		if on {
			return why
		}
	}
	return ""
}

// spent says whether more hosts failed than the policy accepts.
func (w *rolloutWorld) spent() bool {
	over := func(a lifecycle.Amount, wave int) bool {
		tried, failed := 0, 0
		for i := range w.hosts {
			f := &w.hosts[i]
			if wave >= 0 && w.waves[i] != wave || f.skipped {
				continue
			}
			if f.ended != never || f.late {
				tried++
			}
			if f.failed || f.late {
				failed++
			}
		}
		if a.Percent == 0 || a.Count > 0 {
			if failed > a.Count {
				return true
			}
		}
		return a.Percent > 0 && tried >= w.policy.Budget.MinTried && tried > 0 && float64(failed)/float64(tried) > float64(a.Percent)/100+1e-9
	}
	for i := range min(w.policy.Canary, len(w.hosts)) {
		if w.hosts[i].failed || w.hosts[i].late {
			return true
		}
	}
	if over(w.policy.Budget.Total, -1) {
		return true
	}
	if w.policy.Budget.PerWave != (lifecycle.Amount{}) {
		for wave := range w.waves[len(w.waves)-1] + 1 {
			if over(w.policy.Budget.PerWave, wave) {
				return true
			}
		}
	}
	return false
}

func (w *rolloutWorld) complain(format string, args ...any) {
	if w.problem == "" {
		w.problem = fmt.Sprintf("at %d s: ", w.now) + fmt.Sprintf(format, args...)
	}
}

// run goes through the rollout, and watches every decision. It returns how it ended.
func (w *rolloutWorld) run() (state lifecycle.State) {
	decide, err := lifecycle.Decider(w.policy, &w.state)
	if err != nil {
		w.complain("%v", err)
		return ""
	}
	w.decide = decide
	var waitUntil time.Time
	byTime := false // nothing happened but that time went by
	for w.problem == "" {
		before := len(w.starts)
		d := w.settle()
		if byTime && len(w.starts) > before && (waitUntil.IsZero() || waitUntil.After(w.time(w.now))) {
			w.complain("a start was possible, but the decision before said to wait until %v", waitUntil)
		}
		if d.Done {
			w.checkEnd(d)
			return d.State
		}
		waitUntil = d.WaitUntil
		if !waitUntil.IsZero() && !waitUntil.After(w.time(w.now)) {
			w.complain("told to wait until %v, which is not in the future", waitUntil)
		}
		if byTime = w.advance(waitUntil); w.turns > 100_000 {
			w.complain("it does not end")
		}
	}
	return ""
}

// settle decides until nothing is left to be done now.
func (w *rolloutWorld) settle() lifecycle.Decision {
	for {
		w.turns++
		d := w.decide(w.time(w.now))
		w.see(d)
		for since, on := range map[*time.Time]bool{&w.state.BlockedSince: d.Blocked, &w.state.GateSince: d.AskHealth} {
			if !on {
				*since = time.Time{}
			} else if since.IsZero() {
				*since = w.time(w.now)
			}
		}
		switch {
		case len(d.Stop) > 0:
			w.stop(d.Stop)
			continue
		case w.policy.HostDeadline > 0:
			w.checkLate()
		}
		w.checkHalt(d)
		if d.Done || w.problem != "" {
			return d
		}
		for _, name := range d.Start {
			w.start(name)
		}
		if len(d.Start) > 0 {
			continue
		}
		host, ask := w.mayStart()
		switch {
		case host >= 0:
			w.complain("%s may be started, and is not: %v", w.state.Hosts[host].Host, d.Why)
			return d
		case ask != d.AskHealth:
			w.complain("asks Health: %v, want %v: %v", d.AskHealth, ask, d.Why)
			return d
		case ask && w.isHealthy():
			next := 1 << 30
			for i := range w.hosts {
				if w.hosts[i].waits() && !w.hosts[i].aside() {
					next = min(next, w.waves[i])
				}
			}
			w.healthy, w.state.Healthy = next, next
			continue
		case len(d.Why) == 0 && w.anyWaits():
			w.complain("hosts wait, and no reason is given")
		}
		return d
	}
}

// see counts what a decision was about.
func (w *rolloutWorld) see(d lifecycle.Decision) {
	if w.seen == nil {
		return
	}
	for _, b := range d.Why {
		w.seen[b.Rule]++
	}
	w.seen["stop"] += len(d.Stop)
	if d.Halt != "" {
		w.seen["halt: "+strings.Join(strings.Fields(d.Halt)[:2], " ")]++
	}
}

func (w *rolloutWorld) anyWaits() bool {
	return slices.ContainsFunc(w.hosts, func(f fact) bool { return f.waits() })
}

func (w *rolloutWorld) isHealthy() bool {
	for _, s := range w.sick {
		if s[0] <= w.now && w.now < s[1] {
			return false
		}
	}
	return true
}

func (w *rolloutWorld) start(name string) {
	i := slices.IndexFunc(w.state.Hosts, func(h lifecycle.HostState) bool { return h.Host == name })
	if want, _ := w.mayStart(); want != i {
		s := w.sum()
		w.groupTurn(&s)
		w.complain("%s is started, against: %s%s; may be started: %d", name, w.stopped(), w.forbids(&s, i), want)
		return
	}
	f := &w.hosts[i]
	f.started, w.last = w.now, i
	w.state.Hosts[i].Started, w.state.LastStarted = w.time(w.now), i+1
	w.starts = append(w.starts, fmt.Sprintf("%08d %s", w.now, name))
}

func (w *rolloutWorld) stop(names []string) {
	for _, name := range names {
		i := slices.IndexFunc(w.state.Hosts, func(h lifecycle.HostState) bool { return h.Host == name })
		f := &w.hosts[i]
		if !f.runs() || f.late || w.now < f.started+int64(w.policy.HostDeadline/time.Second) {
			w.complain("%s is told to stop, and is not over its deadline", name)
		}
		f.late, w.state.Hosts[i].Late = true, true
		f.takes = min(f.takes, w.now-f.started+f.lags)
	}
}

func (w *rolloutWorld) checkLate() {
	for i := range w.hosts {
		if f := &w.hosts[i]; f.runs() && !f.late && w.now >= f.started+int64(w.policy.HostDeadline/time.Second) {
			w.complain("host %d is over its deadline, and not told to stop", i)
		}
	}
}

func (w *rolloutWorld) checkHalt(d lifecycle.Decision) {
	was := w.halted
	if !w.canceled && w.spent() {
		w.halted = true
	}
	gaveUp := d.Halt != "" && (strings.Contains(d.Halt, "health gate") || strings.Contains(d.Halt, "could be started"))
	switch {
	case d.Halt == "" && w.halted && !was:
		w.complain("the budget is spent, and it goes on")
	case d.Halt != "" && (was || !w.halted && !gaveUp):
		w.complain("it halts for no reason: %s", d.Halt)
	case gaveUp && (!d.Done || w.sum().running > 0):
		w.complain("it gives up while hosts run")
	case gaveUp && w.time(w.sum().lastEnd).Add(min(w.policy.OutDeadline, w.policy.HealthDeadline)).After(w.time(w.now)):
		w.complain("it gives up too early: %s", d.Halt)
	}
	if d.Halt != "" {
		w.halted, w.state.Halted = true, d.Halt
	}
}

func (w *rolloutWorld) checkEnd(d lifecycle.Decision) {
	if w.sum().running > 0 {
		w.complain("it ends while hosts run")
	}
	want, waits := lifecycle.Done, w.anyWaits()
	failed := slices.ContainsFunc(w.hosts, func(f fact) bool { return f.failed })
	switch {
	case w.halted:
		want = lifecycle.Failed
	case w.canceled && (waits || failed):
		want = lifecycle.CanceledBy
	case waits:
		w.complain("it ends while hosts wait")
	}
	if d.State != want {
		w.complain("it ends %s, want %s", d.State, want)
	}
}

// advance goes to the next moment, in which something happens or may be possible, and reports whether nothing happened.
func (w *rolloutWorld) advance(waitUntil time.Time) (byTime bool) {
	next := int64(1) << 40
	consider := func(at int64) {
		if at > w.now {
			next = min(next, at)
		}
	}
	if len(w.events) > 0 {
		consider(max(w.events[0].at, w.now+1))
	}
	for i := range w.hosts {
		if f := &w.hosts[i]; f.runs() {
			consider(max(f.started+f.takes, w.now+1))
			if !f.late && w.policy.HostDeadline > 0 {
				consider(f.started + int64(w.policy.HostDeadline/time.Second))
			}
		}
	}
	event := next
	consider(w.staggerEnd())
	if s := w.sum(); s.lastEnd != never && w.policy.Waves.Soak > 0 {
		consider(s.lastEnd + int64(w.policy.Waves.Soak/time.Second))
	}
	for _, s := range w.sick {
		consider(s[1])
	}
	if w.zone >= 0 && !w.windowOpen(w.now) {
		m := w.now / 60
		for ; m < int64(len(openMinutes()[w.zone])) && !openMinutes()[w.zone][m]; m++ {
		}
		consider(m * 60)
	}
	if !waitUntil.IsZero() {
		consider(int64(waitUntil.Sub(w.base) / time.Second))
	}
	if next == 1<<40 || next >= windowDays*86400 {
		w.complain("nothing is to happen any more, and it has not ended")
		return false
	}
	w.now = next
	for _, s := range w.sick {
		if s[1] == next {
			event = next // whoever polls Health notices
		}
	}
	w.happen()
	return next < event
}

// happen applies what happens at this moment, in an order that the seed says.
func (w *rolloutWorld) happen() {
	var now []trouble
	for len(w.events) > 0 && w.events[0].at <= w.now {
		now = append(now, w.events[0])
		w.events = w.events[1:]
	}
	for i := range w.hosts {
		if f := &w.hosts[i]; f.runs() && f.started+f.takes <= w.now {
			now = append(now, trouble{w.now, i, func() { w.end(i) }})
		}
	}
	w.shuffle.Shuffle(len(now), func(i, j int) {
		if now[i].host != now[j].host { // what happens to one keeps its order
			now[i], now[j] = now[j], now[i]
		}
	})
	slices.SortStableFunc(now, func(a, b trouble) int {
		if a.host == b.host {
			return int(a.at - b.at)
		}
		return 0
	})
	for _, e := range now {
		e.apply()
	}
}

func (w *rolloutWorld) end(i int) {
	f, s := &w.hosts[i], &w.state.Hosts[i]
	f.ended, f.failed = w.now, f.fails || f.late
	s.Ended, s.Outcome = w.time(w.now), lifecycle.OutcomeDone
	if f.failed {
		s.Outcome = lifecycle.OutcomeFailed
	}
}

// Whatever the policy, and whatever happens: nothing is started that must not be, nothing waits that need not, it ends.
func TestDecide(t *testing.T) {
	if *decideSeed != 0 {
		w := newRolloutWorld(*decideSeed, 1)
		t.Logf("%d hosts, %+v", len(w.hosts), w.policy)
		state := w.run()
		t.Log(state, w.starts)
		require.Empty(t, w.problem)
		return
	}
	began, turns, hosts, ends := time.Now(), 0, 0, map[lifecycle.State]int{}
	seen, runs := map[string]int{}, uint64(*decideRuns)
	if raceDetector {
		runs /= 10 // there is one goroutine
	}
	for seed := uint64(1); seed <= runs; seed++ {
		w := newRolloutWorld(seed, 1)
		w.seen = seen
		ends[w.run()]++
		if w.problem != "" {
			t.Fatalf("seed %d (%d hosts, %+v): %s\nreplay: go test -run TestDecide$ -decide-seed %d", seed, len(w.hosts), w.policy, w.problem, seed)
		}
		turns += w.turns
		hosts += len(w.hosts)
	}
	t.Logf("%d rollouts, %d hosts, %d decisions in %v: %v, %v", runs, hosts, turns, time.Since(began).Round(time.Millisecond), ends, seen)
	for _, state := range []lifecycle.State{lifecycle.Done, lifecycle.Failed, lifecycle.CanceledBy} {
		require.NotZero(t, ends[state], "no rollout ended %s: the test looks at less than it says", state)
	}
	if runs < 3000 {
		return // too few for what is rare
	}
	for _, what := range []string{
		"halted", "paused", "out-unknown", "window", "canary", "wave", "soak", "health", "stagger", "width", "unavailable", "per-group", "serial",
		"held", "out", "stop", "halt: the budget", "halt: the canary", "halt: the health", "halt: nothing could",
	} {
		require.NotZero(t, seen[what], "%s never came up: the test looks at less than it says", what)
	}
}

// The order in which things arrive that happen at one time makes no difference.
func TestDecideOrder(t *testing.T) {
	for seed := uint64(1); seed <= 100; seed++ {
		a, b := newRolloutWorld(seed, 1), newRolloutWorld(seed, 2)
		ended := []lifecycle.State{a.run(), b.run()}
		require.Equal(t, ended[0], ended[1], "seed %d", seed)
		require.Empty(t, cmp.Diff(a.starts, b.starts), "seed %d", seed)
	}
}
