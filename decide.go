package lifecycle

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/ncnkit/lifecycle/internal/mutant"
)

// Outage says that a host is not available, for a reason that is not this rollout's. It is a plain value.
type Outage struct {
	Host string `json:"host"`
	// By is who took it out on purpose: "ops". Such a host is not started until they return it. Empty means that nobody
	// did: the host is down, and its turn comes as if it were not.
	By  string `json:"by,omitempty"`
	Why string `json:"why,omitempty"` // for people: "cordoned"
}

// String returns the host, and why and by whom it is out.
func (o Outage) String() string { return fmt.Sprintf("%s (%s)", o.Host, o.reason()) }

func (o Outage) reason() string {
	why := cmp.Or(o.Why, "out")
	if o.By != "" {
		why += " by " + o.By
	}
	return why
}

// RolloutState is where a rollout stands: everything that [Decide] looks at besides the policy and the time. It is a plain
// value, but shares its Hosts when copied.
type RolloutState struct {
	Hosts        []HostState // in the order in which they are taken
	Others       []Outage    // hosts that are out and not among Hosts
	OutUnknown   string      // why it is not known who is out; empty when it is
	Paused       string      // by whom and why; empty when it is not
	Canceled     string      // by whom and why; empty when it is not
	Halted       string      // why nothing is started any more; empty when it goes on
	LastStarted  int         // index of the host that was started last, from 1; 0 means none was
	Healthy      int         // the last wave, from 0, that the health gate let through
	Unhealthy    string      // what Health said last; empty when nothing is wrong
	GateSince    time.Time   // since when Health has been asked before the next wave; zero when it is not
	BlockedSince time.Time   // since when nothing runs and nothing can be started because of outages; zero when that is not so
}

// HostState is where one host of a rollout stands: it waits, runs, or has ended. It is a plain value.
type HostState struct {
	Host    string
	Group   string
	Started time.Time // zero before it was started
	Since   time.Time // from which its deadline counts; zero means Started
	Ended   time.Time
	Outcome Outcome // empty until it ended
	Kind    Kind    // of the error, when it failed
	Message string  // what failed, or by whom and why it was skipped
	Late    bool    // it was told to stop because it is over its deadline
	Held    string  // by whom and why it is not to be started; empty when it may
	Out     *Outage // nil when it is available
}

func (h *HostState) waits() bool    { return h.Outcome == "" && h.Started.IsZero() }
func (h *HostState) runs() bool     { return h.Outcome == "" && !h.Started.IsZero() }
func (h *HostState) setAside() bool { return h.Held != "" || h.Out != nil && h.Out.By != "" }

// Decision is what a rollout does next.
type Decision struct {
	Start     []string  // these hosts
	Stop      []string  // tell these to stop: they are over their deadline; nothing else is decided then
	AskHealth bool      // ask Health whether the next wave may begin
	WaitUntil time.Time // when to decide again even if nothing happens; zero means that only events matter
	Blocked   bool      // nothing runs, and nothing can be started because of outages
	Halt      string    // why nothing is started any more, when that is decided now
	Done      bool      // nothing runs and nothing is left to be started
	State     State     // with Done: [lifecycle.Done], Failed or CanceledBy
	Why       []Block   // what keeps hosts that wait from being started
}

// Block is one reason why nothing (more) is started now. It is a plain value.
type Block struct {
	// Rule is what blocks: "halted", "paused", "out-unknown", "window", "canary", "wave", "soak", "health", "stagger",
	// "width", "unavailable", "per-group", "serial", "held" or "out".
	Rule   string
	Have   int       // of "width" and "unavailable": how many there are
	Limit  int       // and how many there may be
	Until  time.Time // when it ends by itself; zero when it does not
	Detail string    // for people; String makes a sentence of it
}

// String returns the reason for people.
func (b Block) String() string {
	switch {
	case b.Rule == "width":
		return fmt.Sprintf("%d of %d are running", b.Have, b.Limit)
	case !b.Until.IsZero():
		return fmt.Sprintf("%s until %s", b.Detail, b.Until.Format(time.RFC3339))
	}
	return b.Detail
}

// Decide says what a rollout does next, given its policy, where it stands, and the time. It has no effects, and gives the
// same answer to the same question; it looks at each host a few times. With Start, AskHealth or Stop, whoever carries the
// decision out changes the state accordingly and decides again.
//
// A policy that makes no sense is a decision to halt. The zone data of windows are read each time.
func Decide(p Policy, s RolloutState, now time.Time) Decision {
	r, err := newRules(p, s.Hosts)
	if err != nil {
		return Decision{Halt: err.Error(), Done: true, State: Failed}
	}
	return r.decide(&s, now)
}

// rules are a policy, made ready for the hosts of one rollout. They are not safe for concurrent use.
type rules struct {
	Policy
	width   int
	limit   int   // of unavailable hosts
	wave    []int // by host
	group   []int // by host
	waves   int
	windows windows

	isOpen    bool // what windows said last, which holds from openFrom until openUntil
	openFrom  time.Time
	openUntil time.Time

	count    tally   // scratch
	perWave  []tried // scratch, by wave
	perGroup []int   // scratch, by group: how many run
}

type tried struct{ hosts, failed int }

// tally is what the hosts come to.
type tally struct {
	running     int
	unavailable int
	waiting     int // set aside or not
	nextWave    int // the first with a host that waits and is not set aside; rules.waves when there is none
	opened      int // the last wave of which a host was started
	runs        int // a host that runs; -1 when none does
	asideOut    int // wait, and are not started because somebody took them out
	canaryOpen  bool
	canaryFail  int // from 1; 0 when no canary failed
	all         tried
	lastEnd     time.Time // of a host that ran
	until       time.Time // of the next deadline of a host
}

func newRules(p Policy, hosts []HostState) (*rules, error) {
	ws, err := p.parseWindows()
	if err != nil {
		return nil, err
	}
	r := &rules{Policy: p, width: max(1, p.Width), windows: ws, wave: p.waveOf(len(hosts)), group: make([]int, len(hosts))}
	r.limit = r.width
	if p.MaxUnavailable != (Amount{}) {
		r.limit = p.MaxUnavailable.Of(len(hosts))
	}
	groups := map[string]int{}
	for i := range hosts {
		name := hosts[i].Group
		if _, ok := groups[name]; !ok {
			groups[name] = len(groups)
		}
		r.group[i] = groups[name]
		r.waves = max(r.waves, r.wave[i]+1)
	}
	r.perWave, r.perGroup = make([]tried, r.waves), make([]int, len(groups))
	return r, nil
}

func (r *rules) decide(s *RolloutState, now time.Time) Decision {
	var d Decision
	r.tally(s, now, &d)
	if len(d.Stop) > 0 {
		return d
	}
	c := &r.count
	d.WaitUntil = c.until
	halted := s.Halted
	if halted == "" && s.Canceled == "" {
		d.Halt = r.halts(s)
		halted = d.Halt
	}
	switch {
	case c.running == 0 && (c.waiting == 0 || halted != "" || s.Canceled != ""):
		d.Done, d.State = true, r.endState(s, halted)
	case c.waiting == 0:
	case halted != "":
		d.block(Block{Rule: "halted", Detail: halted})
	case s.Canceled != "":
		d.block(Block{Rule: "halted", Detail: "canceled " + s.Canceled})
	case s.Paused != "":
		d.block(Block{Rule: "paused", Detail: "paused " + s.Paused})
	default:
		r.starts(s, now, &d)
		r.giveUp(s, now, &d)
	}
	return d
}

func (r *rules) endState(s *RolloutState, halted string) State {
	switch {
	case halted != "":
		return Failed
	case s.Canceled != "" && (r.count.waiting > 0 || r.count.all.failed > 0):
		return CanceledBy
	}
	return Done
}

func (d *Decision) block(b Block) { d.Why = append(d.Why, b) }

func (d *Decision) until(t time.Time) { d.WaitUntil = earlier(d.WaitUntil, t) }

// tally counts the hosts, and finds those that are over their deadline.
func (r *rules) tally(s *RolloutState, now time.Time, d *Decision) {
	r.count = tally{nextWave: r.waves, runs: -1}
	clear(r.perWave)
	clear(r.perGroup)
	c := &r.count
	for i := range s.Hosts {
		h := &s.Hosts[i]
		if h.Out != nil && !h.runs() && !mutant.On("budget-counts-only-own") {
			c.unavailable++
		}
		switch {
		case h.Outcome != "":
			r.tallyEnded(h, i)
		case h.Started.IsZero():
			r.tallyWaiting(h, i)
		default:
			r.tallyRunning(h, i, now, d)
		}
	}
	if !mutant.On("budget-counts-only-own") {
		c.unavailable += len(s.Others)
	}
}

func (r *rules) tallyEnded(h *HostState, i int) {
	if h.Outcome == OutcomeSkipped {
		return
	}
	c, w := &r.count, r.wave[i]
	c.opened = max(c.opened, w)
	if r.Waves.Soak > 0 && h.Ended.After(c.lastEnd) {
		c.lastEnd = h.Ended
	}
	r.tried(i, h.Outcome == OutcomeFailed)
}

func (r *rules) tried(i int, failed bool) {
	wave := &r.perWave[r.wave[i]]
	r.count.all.hosts++
	wave.hosts++
	if !failed {
		return
	}
	r.count.all.failed++
	wave.failed++
	if i < r.Canary && r.count.canaryFail == 0 {
		r.count.canaryFail = i + 1
	}
}

func (r *rules) tallyWaiting(h *HostState, i int) {
	c := &r.count
	c.waiting++
	c.canaryOpen = c.canaryOpen || i < r.Canary
	switch {
	case !h.setAside():
		c.nextWave = min(c.nextWave, r.wave[i])
	case h.Held == "":
		c.asideOut++
	}
}

func (r *rules) tallyRunning(h *HostState, i int, now time.Time, d *Decision) {
	c := &r.count
	c.running++
	c.unavailable++
	c.runs = i
	c.opened = max(c.opened, r.wave[i])
	c.canaryOpen = c.canaryOpen || i < r.Canary
	r.perGroup[r.group[i]]++
	if r.HostDeadline == 0 {
		return
	}
	since := h.Since
	if since.IsZero() {
		since = h.Started
	}
	switch deadline := since.Add(r.HostDeadline); {
	case h.Late:
		r.tried(i, true)
	case !now.Before(deadline):
		d.Stop = append(d.Stop, h.Host)
	default:
		c.until = earlier(c.until, deadline)
	}
}

// halts says why nothing must be started any more; "" when something may.
func (r *rules) halts(s *RolloutState) string {
	c := &r.count
	if c.canaryFail > 0 {
		h := &s.Hosts[c.canaryFail-1]
		return fmt.Sprintf("the canary %s failed: %s", h.Host, cmp.Or(h.Message, "it is over its deadline"))
	}
	if over := r.over(r.Budget.Total, c.all); over != "" {
		return "the budget is spent: " + over + r.failedHosts(s, -1)
	}
	if r.Budget.PerWave == (Amount{}) {
		return ""
	}
	for w := range r.perWave[:c.opened+1] {
		if over := r.over(r.Budget.PerWave, r.perWave[w]); over != "" {
			return fmt.Sprintf("the budget of wave %d of %d is spent: %s%s", w+1, r.waves, over, r.failedHosts(s, w))
		}
	}
	return ""
}

// over says how the hosts that failed are more than a accepts; "" when they are not.
func (r *rules) over(a Amount, t tried) string {
	if (a.Count > 0 || a.Percent == 0) && t.failed > a.Count {
		return fmt.Sprintf("%d of %d tried failed, %d accepted", t.failed, t.hosts, a.Count)
	}
	enough := t.hosts >= r.Budget.MinTried || mutant.On("percent-before-minimum")
	if a.Percent > 0 && enough && t.failed*100 > a.Percent*t.hosts {
		return fmt.Sprintf("%d of %d tried failed, %d%% accepted", t.failed, t.hosts, a.Percent)
	}
	return ""
}

// failedHosts lists those of a wave, or of all for -1.
func (r *rules) failedHosts(s *RolloutState, wave int) string {
	var names list
	for i := range s.Hosts {
		h := &s.Hosts[i]
		failed := h.Outcome == OutcomeFailed || h.runs() && h.Late
		if failed && (wave < 0 || r.wave[i] == wave) {
			names.add(h.Host)
		}
	}
	if names.n == 0 {
		return ""
	}
	return ": " + names.String()
}

// starts chooses what is started, or says why nothing is.
func (r *rules) starts(s *RolloutState, now time.Time, d *Decision) {
	if s.OutUnknown != "" {
		d.block(Block{Rule: "out-unknown", Detail: "it is not known who is out: " + s.OutUnknown})
		d.Blocked = r.count.running == 0
		return
	}
	later := r.notYet(s, now, d)
	wave, ok := r.gate(s, now, d)
	slots := r.width - r.count.running
	switch {
	case !ok:
	case slots <= 0:
		d.block(Block{Rule: "width", Have: r.count.running, Limit: r.width})
	case r.Stagger > 0:
		r.choose(s, wave, 1, d)
	default:
		r.choose(s, wave, slots, d)
	}
	if later { // what else blocks is seen all the same, and its deadlines go on
		d.Start = nil
	}
}

// notYet says until when nothing is started whatever else holds.
func (r *rules) notYet(s *RolloutState, now time.Time, d *Decision) (later bool) {
	if closed, until := r.closed(now); closed {
		d.block(Block{Rule: "window", Detail: "the windows are closed", Until: until})
		d.until(until)
		later = true
	}
	if next := r.staggered(s); next.After(now) {
		d.block(Block{Rule: "stagger", Detail: "starts are staggered: the next has to wait", Until: next})
		d.until(next)
		later = true
	}
	return later
}

// staggered returns when the next host may be started at the earliest; the zero time is no bound.
func (r *rules) staggered(s *RolloutState) time.Time {
	if r.Stagger == 0 || s.LastStarted == 0 {
		return time.Time{}
	}
	return s.Hosts[s.LastStarted-1].Started.Add(r.Stagger)
}

// closed reports whether no window is open, and until when. It goes by the last tally.
func (r *rules) closed(now time.Time) (bool, time.Time) {
	if len(r.windows) == 0 {
		return false, time.Time{}
	}
	if r.count.running > 0 && mutant.On("window-end-starts") {
		return false, time.Time{}
	}
	if r.openFrom.IsZero() || now.Before(r.openFrom) || !now.Before(r.openUntil) {
		r.isOpen, r.openUntil = r.windows.at(now)
		r.openFrom = now
	}
	return !r.isOpen, r.openUntil
}

// gate returns the last wave of which hosts may be started. When none may be, it says why.
func (r *rules) gate(s *RolloutState, now time.Time, d *Decision) (wave int, ok bool) {
	c := &r.count
	switch {
	case c.nextWave == r.waves: // what waits is set aside
		r.blockAside(s, d)
		return 0, false
	case c.nextWave <= c.opened:
		return c.opened, true
	case c.running > 0:
		d.block(Block{Rule: "wave", Detail: fmt.Sprintf("wave %d of %d has not ended: %d run", c.opened+1, r.waves, c.running)})
		return 0, false
	case c.canaryOpen:
		r.blockAside(s, d)
		d.block(Block{Rule: "canary", Detail: "the canaries have not all succeeded"})
		return 0, false
	}
	if soaked := c.lastEnd.Add(r.Waves.Soak); !c.lastEnd.IsZero() && soaked.After(now) {
		d.block(Block{Rule: "soak", Detail: fmt.Sprintf("wave %d of %d soaks", c.opened+1, r.waves), Until: soaked})
		d.until(soaked)
		return 0, false
	}
	if s.Healthy < c.nextWave {
		r.askHealth(s, now, d)
		return 0, false
	}
	return c.nextWave, true
}

func (r *rules) askHealth(s *RolloutState, now time.Time, d *Decision) {
	limit := orDefault(r.HealthDeadline, DefaultHealthDeadline)
	since := s.GateSince
	if since.IsZero() {
		since = now
	}
	deadline := since.Add(limit)
	if !now.Before(deadline) {
		d.Halt = fmt.Sprintf("the health gate before wave %d of %d did not pass within %v: %s", r.count.nextWave+1, r.waves, limit,
			cmp.Or(s.Unhealthy, "Health has not answered"))
		d.Done, d.State = true, Failed // nothing runs between two waves
		return
	}
	d.AskHealth = true
	d.until(deadline)
	d.block(Block{Rule: "health", Detail: fmt.Sprintf("the health gate before wave %d of %d has not passed: %s", r.count.nextWave+1,
		r.waves, cmp.Or(s.Unhealthy, "not asked yet"))})
}

// choose takes the first hosts that nothing keeps from being started.
func (r *rules) choose(s *RolloutState, wave, slots int, d *Decision) {
	only := r.serialGroup(s, wave)
	unavailable := r.count.unavailable
	var limited, grouped, serial int // how many hosts each rule kept back
	inGroup := list{}
	for i := range s.Hosts {
		if len(d.Start) == slots || r.wave[i] > wave {
			break
		}
		h, group := &s.Hosts[i], r.group[i]
		if !h.waits() || h.setAside() {
			continue
		}
		more := 1
		if h.Out != nil && !mutant.On("budget-counts-only-own") {
			more = 0 // it counts already
		}
		switch {
		case only >= 0 && group != only:
			serial++
		case r.PerGroup > 0 && r.perGroup[group] >= r.PerGroup:
			grouped++
			inGroup.add(h.Host)
		case unavailable+more > r.limit:
			limited++
		default:
			d.Start = append(d.Start, h.Host)
			unavailable += more
			r.perGroup[group]++
		}
	}
	switch {
	case len(d.Start) == slots:
		return
	case limited > 0:
		d.block(r.blockUnavailable(s, unavailable))
		d.Blocked = r.count.running+len(d.Start) == 0
	}
	if grouped > 0 {
		d.block(Block{Rule: "per-group", Detail: fmt.Sprintf("%d of their group run already: %s", r.PerGroup, inGroup.String())})
	}
	if serial > 0 {
		d.block(Block{Rule: "serial", Detail: fmt.Sprintf("a group has not ended, and %d hosts are of other groups", serial)})
	}
}

// serialGroup returns the only group of which hosts may be started; -1 when any may.
func (r *rules) serialGroup(s *RolloutState, wave int) int {
	switch {
	case !r.Serial:
		return -1
	case r.count.runs >= 0:
		return r.group[r.count.runs]
	}
	last, first := -1, -1
	if s.LastStarted > 0 {
		last = r.group[s.LastStarted-1]
	}
	for i := range s.Hosts {
		if h := &s.Hosts[i]; r.wave[i] > wave || !h.waits() || h.setAside() {
			continue
		}
		if r.group[i] == last {
			return last // it was begun, and is not finished
		}
		if first < 0 {
			first = r.group[i]
		}
	}
	return first
}

// blockUnavailable names who is unavailable, first of all whom others took out.
func (r *rules) blockUnavailable(s *RolloutState, unavailable int) Block {
	var names list
	for i := range s.Hosts {
		if h := &s.Hosts[i]; h.Out != nil && !h.runs() {
			names.add(h.Out.String())
		}
	}
	for _, o := range s.Others {
		names.add(o.String())
	}
	if names.n == 0 {
		names.add("all of this rollout")
	}
	return Block{Rule: "unavailable", Have: unavailable, Limit: r.limit, Detail: fmt.Sprintf(
		"%d of %d are unavailable, the limit is %d: %s", unavailable, len(s.Hosts), r.limit, names.String())}
}

// blockAside names the hosts that wait for a person.
func (r *rules) blockAside(s *RolloutState, d *Decision) {
	var held, out list
	for i := range s.Hosts {
		switch h := &s.Hosts[i]; {
		case !h.waits():
		case h.Held != "":
			held.add(fmt.Sprintf("%s (held %s)", h.Host, h.Held))
		case h.setAside():
			out.add(h.Out.String())
		}
	}
	if held.n > 0 {
		d.block(Block{Rule: "held", Detail: fmt.Sprintf("%d wait to be unheld or skipped: %s", held.n, held.String())})
	}
	if out.n > 0 {
		d.block(Block{Rule: "out", Detail: fmt.Sprintf("%d wait to be returned or skipped: %s", out.n, out.String())})
		d.Blocked = r.count.running == 0
	}
}

// giveUp halts a rollout that outages have kept from everything for too long.
func (r *rules) giveUp(s *RolloutState, now time.Time, d *Decision) {
	if !d.Blocked {
		return
	}
	limit := orDefault(r.OutDeadline, DefaultOutDeadline)
	since := s.BlockedSince
	if since.IsZero() {
		since = now
	}
	deadline := since.Add(limit)
	if now.Before(deadline) {
		d.until(deadline)
		return
	}
	d.Halt = fmt.Sprintf("nothing could be started for %v: %s", limit, whyText(d.Why))
	d.Done, d.State = true, Failed // nothing runs
}

// whyText returns the reasons for people; "" for none.
func whyText(why []Block) string {
	parts := make([]string, len(why))
	for i, b := range why {
		parts[i] = b.String()
	}
	return strings.Join(parts, "; ")
}

// list is the first few of many names.
type list struct {
	names []string
	n     int
}

const listed = 10

func (l *list) add(name string) {
	if l.n++; l.n <= listed {
		l.names = append(l.names, name)
	}
}

// String returns the names, and how many more there are.
func (l *list) String() string {
	text := strings.Join(l.names, ", ")
	if l.n > len(l.names) {
		text += fmt.Sprintf(" and %d more", l.n-len(l.names))
	}
	return text
}
