package lifecycle

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ncnkit/lifecycle/internal/mutant"
)

// KindRollout is the kind of a rollout's own run. Its target is "rollout-" and the ID, and its steps are the hosts.
const KindRollout = "rollout"

// DefaultPoll is how often a rollout looks who is out and what was asked of it when it does not say.
const DefaultPoll = 10 * time.Second

// pollTimeout bounds one call of [Rollout.Out] or [Rollout.Health].
const pollTimeout = 30 * time.Second

// Rollout runs a plan on each of many hosts, under a [Policy]. Each host is planned when its turn comes, and has a run of
// its own, whose ID is the rollout's, a dash, and the host. The rollout is a run too, of [KindRollout]: [StatusOf] and
// [LoadRollout] tell where it stands, and [Control] asks it to pause, resume, cancel, and to hold or skip hosts.
//
// A Rollout must not be copied or changed while it runs. Its functions are called by several goroutines at once, except
// Out and Health, which one goroutine calls.
type Rollout struct {
	// ID is of the run: unique, and usable as a file name. Empty makes Run choose one, and set it.
	ID string
	// Policy and Hosts say how, and which in what order. A rollout that is resumed takes both from the journal.
	Policy Policy
	Hosts  []string
	// Plan makes the plan of one host, in at most [DefaultStepTimeout]. The plan's ID is replaced by that of the host's run.
	Plan func(ctx context.Context, host string) (*Plan, error)
	// Planner makes the steps again of a host's run that was interrupted. Without it such a host fails.
	Planner Planner
	// Group returns what a host belongs to: its rack, say. nil puts all hosts into one group.
	Group func(host string) string
	// Out tells who is not available already, and by whom; it may name hosts of this rollout that run, which count once. It
	// is asked before every decision and every Poll. While it fails nothing is started: unknown counts as unsafe. nil means
	// that nobody is out.
	Out func(ctx context.Context) ([]Outage, error)
	// Health returns nil when the next wave may begin. It is asked between waves, every Poll. nil means always.
	Health func(ctx context.Context) error
	// Poll is how often Out, Health and the journal's requests are looked at; 0 means [DefaultPoll].
	Poll time.Duration
}

// Run starts the rollout, or takes it up where it stopped when the journal knows its ID: hosts that have ended stay as they
// are, and those that were begun are resumed. It returns when every host has ended, or when the policy has halted the
// rollout, somebody has canceled it, or it was stopped; with [WithStop] and the context as in [Run]. Without a journal it
// leaves no record, and takes no requests.
//
// The error is nil when the rollout is [Done]: every host succeeded, was skipped, or failed within the budget. Else it
// carries a [StateError]: [Failed] for one that was halted, and names why; [CanceledBy]; [Open] for one that was stopped,
// or lost its journal or its lease. A policy or a list of hosts that makes no sense is [Invalid], a rollout that has ended
// [Precondition], and one that somebody drives [Conflict] with a [Held].
//
// Observers are told of the rollout, whose steps are the hosts, and of every host's run; one event at a time.
func (r *Rollout) Run(ctx context.Context, opts ...Option) error {
	const op = "lifecycle.Rollout.Run"
	if r.Plan == nil {
		return Errorf(Invalid, op, "", "the rollout has no Plan: say what is to be done to a host")
	}
	c := newConfig(opts)
	c.observer = []Observer{oneAtATime(c.observer)}
	if r.ID == "" {
		r.ID = newRolloutID(c.now())
	}
	d := &rolloutDriver{config: c, rollout: r, results: make(chan hostResult), stopHosts: make(chan struct{})}
	switch _, err := c.journal.Records(ctx, r.ID); {
	case err == nil:
		if err := d.takeUp(ctx); err != nil {
			return Wrap(err, op, "")
		}
	case errors.Is(err, NotFound):
		if err := d.begin(ctx); err != nil {
			return Wrap(err, op, "")
		}
	default:
		return Wrap(err, op, "")
	}
	return d.drive(ctx, op)
}

// oneAtATime returns an observer that several runs can share.
func oneAtATime(all []Observer) Observer {
	var mu sync.Mutex
	return func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		for _, o := range all {
			o(e)
		}
	}
}

func newRolloutID(now time.Time) string {
	b := make([]byte, 4)
	_, _ = rand.Read(b) // never fails
	return "rollout-" + now.UTC().Format("20060102t150405") + "-" + hex.EncodeToString(b)
}

// rolloutArgs is what the journal keeps of a rollout: it is resumed with these, whatever the program says then.
type rolloutArgs struct {
	Policy Policy   `json:"policy"`
	Hosts  []string `json:"hosts"`
	Groups []string `json:"groups,omitempty"` // by host; none when all are in one
}

// args checks the rollout, and puts its hosts into the order in which they are taken.
func (r *Rollout) args() (rolloutArgs, error) {
	const op = "lifecycle.Rollout"
	a := rolloutArgs{Policy: r.Policy, Hosts: slices.Clone(r.Hosts)}
	if len(a.Hosts) == 0 {
		return a, Errorf(Invalid, op, "", "no hosts are selected; none never means all")
	}
	seen := make(map[string]bool, len(a.Hosts))
	for _, h := range a.Hosts {
		if h == "" || seen[h] {
			return a, Errorf(Invalid, op, "", "a host is named twice, or has no name: %q", h)
		}
		seen[h] = true
	}
	if err := r.Policy.Check(); err != nil {
		return a, err
	}
	if r.Group == nil {
		return a, nil
	}
	order := map[string]int{}
	groups := make(map[string]string, len(a.Hosts))
	for _, h := range a.Hosts {
		g := r.Group(h)
		if groups[h] = g; order[g] == 0 {
			order[g] = len(order) + 1
		}
	}
	if a.Policy.Serial {
		slices.SortStableFunc(a.Hosts, func(x, y string) int { return order[groups[x]] - order[groups[y]] })
	}
	for _, h := range a.Hosts {
		a.Groups = append(a.Groups, groups[h])
	}
	return a, nil
}

func (a rolloutArgs) state() RolloutState {
	s := RolloutState{Hosts: make([]HostState, len(a.Hosts))}
	for i, h := range a.Hosts {
		s.Hosts[i].Host = h
		if len(a.Groups) > 0 {
			s.Hosts[i].Group = a.Groups[i]
		}
	}
	return s
}

// rolloutDriver is one execution of a rollout under one lease. Only the goroutine that drives changes it.
type rolloutDriver struct {
	*config
	rollout *Rollout
	run     driver // writes the rollout's own records
	rules   *rules
	state   RolloutState
	index   map[string]int
	open    []int // hosts that were begun before this driver took the rollout up
	seen    int   // requests that were taken in

	running   map[int]*hostRun
	results   chan hostResult
	stopHosts chan struct{} // closed: the runs of hosts stop at their next safe point, and stay open
	stopped   error         // why; nil while the rollout goes on
	why       string        // what was told last about why nothing is started
	healthAt  time.Time     // when Health was asked last
}

// begin records a new rollout.
func (d *rolloutDriver) begin(ctx context.Context) error {
	a, err := d.rollout.args()
	if err != nil {
		return err
	}
	for _, h := range a.Hosts {
		if err := checkRunName(d.hostRunID(h)); err != nil {
			return err
		}
	}
	if err := d.prepare(a.Policy, a.state()); err != nil {
		return err
	}
	text, err := json.Marshal(a)
	if err != nil {
		return Errorf(Invalid, "lifecycle.Rollout", "", "the policy cannot be written as JSON: %w", err)
	}
	plan := &PlanRecord{Kind: KindRollout, Target: "rollout-" + d.rollout.ID, Args: text}
	for _, h := range a.Hosts {
		plan.Steps = append(plan.Steps, StepRecord{ID: h, Effect: Idempotent})
	}
	if err := d.acquire(ctx, plan); err != nil {
		return err
	}
	if _, err := d.journal.Records(ctx, d.rollout.ID); !errors.Is(err, NotFound) {
		if err == nil {
			err = Errorf(Conflict, "lifecycle.Rollout", "", "rollout %s was begun meanwhile: run this one again to resume it", d.rollout.ID)
		}
		return errors.Join(err, d.run.release(ctx))
	}
	if err := d.run.append(ctx, Record{Type: RecordPlan, Plan: plan}); err != nil {
		err = &Error{Op: "lifecycle.Rollout", Kind: KindOf(err), Err: &StateError{d.rollout.ID, Refused, err}}
		return errors.Join(err, d.run.release(ctx))
	}
	return nil
}

// takeUp brings the driver to where the records of a rollout end.
func (d *rolloutDriver) takeUp(ctx context.Context) error {
	records, err := d.journal.Records(ctx, d.rollout.ID)
	if err != nil {
		return err
	}
	if _, err := rolloutArgsOf(records); err != nil {
		return err
	}
	if err := d.acquire(ctx, records[0].Plan); err != nil {
		return err
	}
	// Somebody may have driven the rollout between the first look and the lease.
	if records, err = d.journal.Records(ctx, d.rollout.ID); err != nil {
		return errors.Join(err, d.run.release(ctx))
	}
	err = d.replay(records)
	if err == nil {
		if err = d.run.append(ctx, Record{Type: RecordResume}); err != nil {
			err = &Error{Op: "lifecycle.Rollout", Kind: KindOf(err), Err: &StateError{d.rollout.ID, Open, err}}
		}
	}
	if err != nil {
		return errors.Join(err, d.run.release(ctx))
	}
	return nil
}

func (d *rolloutDriver) replay(records []Record) error {
	if end := records[len(records)-1]; end.Type == RecordEnd {
		return Errorf(Precondition, "lifecycle.Rollout", "", "rollout %s has ended %s: make a new one, with another ID", d.rollout.ID, end.State)
	}
	a, err := rolloutArgsOf(records)
	if err != nil {
		return err
	}
	if mutant.On("resume-loses-width") {
		a.Policy.Width, a.Policy.MaxUnavailable = len(a.Hosts), Amount{}
	}
	s := a.state()
	s.replay(records)
	for i := range s.Hosts {
		if h := &s.Hosts[i]; h.runs() {
			h.Since = d.now()
			d.open = append(d.open, i)
		}
	}
	return d.prepare(a.Policy, s)
}

func (d *rolloutDriver) acquire(ctx context.Context, plan *PlanRecord) (err error) {
	d.run.config = d.config
	d.run.plan = &Plan{ID: d.rollout.ID, Kind: plan.Kind, Target: plan.Target, Steps: make([]Step, len(plan.Steps))}
	d.run.lease, err = d.journal.Acquire(ctx, plan.Target, d.rollout.ID, d.owner)
	return err
}

func (d *rolloutDriver) prepare(p Policy, s RolloutState) (err error) {
	if d.rules, err = newRules(p, s.Hosts); err != nil {
		return err
	}
	if d.rollout.Health == nil {
		s.Healthy = d.rules.waves
	}
	d.state, d.running, d.index = s, map[int]*hostRun{}, s.index()
	return nil
}

func (d *rolloutDriver) hostRunID(host string) string { return d.rollout.ID + "-" + host }

// drive takes the rollout from where it stands to its end.
func (d *rolloutDriver) drive(ctx context.Context, op string) error {
	d.emit(Event{Type: EventPlan, Summary: KindRollout})
	d.takeRequests(ctx) // a rollout that was canceled meanwhile does not go on with another step first
	for _, i := range d.open {
		if d.stopped == nil {
			d.launch(ctx, i, true)
		}
	}
	var err error
	state := Open
	for state == Open && d.stopped == nil {
		state = d.turn(ctx)
	}
	if d.stopped == nil {
		err = d.outcome(state)
		d.recordEnd(ctx, state, err)
	}
	if d.stopped != nil {
		d.drain(ctx)
		state, err = Open, d.stopped
	}
	if released := d.run.release(ctx); released != nil && err == nil {
		err = released
	}
	end := Event{Type: EventEnd, State: state, Detail: d.summary()}
	if err != nil {
		end.Detail = err.Error()
	}
	d.emit(end)
	if err == nil {
		return nil
	}
	return &Error{Op: op, Kind: KindOf(err), Err: &StateError{d.rollout.ID, state, err}}
}

// turn looks, decides, acts, and waits until there is something to be decided again. It returns [Open] until the rollout
// has ended.
func (d *rolloutDriver) turn(ctx context.Context) State {
	d.takeRequests(ctx)
	d.lookOut(ctx)
	var next Decision
	for again := true; again && d.stopped == nil; {
		next = d.rules.decide(&d.state, d.now())
		again = d.act(ctx, next)
	}
	switch {
	case d.stopped != nil:
		return Open
	case next.Done:
		return next.State
	}
	d.tell(next.Why)
	d.wait(ctx, next.WaitUntil)
	return Open
}

// act does what was decided, and reports whether it has to be decided again.
func (d *rolloutDriver) act(ctx context.Context, next Decision) bool {
	now := d.now()
	d.state.waits(next, now)
	if next.Halt != "" {
		d.halt(ctx, next.Halt)
		return d.stopped == nil
	}
	for _, host := range next.Stop {
		i := d.index[host]
		d.state.Hosts[i].Late = true
		d.stopHost(i, "rollout "+d.rollout.ID, fmt.Sprintf("it ran longer than %v", d.rules.HostDeadline))
	}
	for _, host := range next.Start {
		if closed, _ := d.rules.closed(d.now()); closed { // the records of other starts took their time
			return true
		}
		if !d.start(ctx, d.index[host]) {
			return false
		}
	}
	answered := next.AskHealth && d.askHealth(ctx, now)
	return answered || len(next.Start)+len(next.Stop) > 0
}

// halt makes durable that nothing is started any more, so that whoever takes the rollout up knows it too.
func (d *rolloutDriver) halt(ctx context.Context, why string) {
	if d.append(ctx, Record{Type: RecordResult, Outcome: OutcomeFailed, Kind: Precondition, Message: why}) {
		d.state.Halted = why
		d.emit(Event{Type: EventWait, Detail: "halted: " + why})
	}
}

func (d *rolloutDriver) start(ctx context.Context, i int) bool {
	h := &d.state.Hosts[i]
	if !d.append(ctx, Record{Type: RecordIntent, Step: h.Host}) {
		return false
	}
	h.Started, d.state.LastStarted = d.now(), i+1
	d.emit(Event{Type: EventStep, Step: h.Host, Index: i + 1})
	d.launch(ctx, i, false)
	return true
}

// append makes a record of the rollout durable. Without that the rollout stops, and can be resumed.
func (d *rolloutDriver) append(ctx context.Context, rec Record) bool {
	err := d.run.append(ctx, rec)
	if err != nil {
		d.stop(err)
	}
	return err == nil
}

// stop makes the rollout stop where it can be resumed.
func (d *rolloutDriver) stop(why error) {
	if d.stopped == nil {
		d.stopped = why
		close(d.stopHosts)
	}
}

// lookOut asks who is out.
func (d *rolloutDriver) lookOut(ctx context.Context) {
	if d.rollout.Out == nil || d.stopped != nil || !d.state.anyWaits() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	out, err := d.rollout.Out(ctx)
	if err != nil {
		d.state.OutUnknown = err.Error()
		return
	}
	d.state.OutUnknown = ""
	d.state.setOut(out, d.index)
}

// askHealth asks whether the next wave may begin, and reports whether the answer is another one than before.
func (d *rolloutDriver) askHealth(ctx context.Context, now time.Time) bool {
	if now.Before(d.healthAt.Add(d.poll())) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	said := ""
	if err := d.rollout.Health(ctx); err != nil {
		said = err.Error()
	} else {
		d.state.Healthy = d.rules.count.nextWave
	}
	changed := said == "" || said != d.state.Unhealthy
	d.healthAt, d.state.Unhealthy = d.now(), said
	return changed
}

func (d *rolloutDriver) poll() time.Duration { return orDefault(d.rollout.Poll, DefaultPoll) }

// wait returns when there may be something to be decided.
func (d *rolloutDriver) wait(ctx context.Context, until time.Time) {
	pause := d.poll()
	if !until.IsZero() {
		pause = max(0, min(pause, until.Sub(d.now())))
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		d.stop(errInterrupted(ctx))
		return
	case <-d.config.stop:
		d.stop(errAskedToStop())
		return
	case <-timer.C:
	case res := <-d.results:
		d.ended(ctx, res)
	}
	d.takeResults(ctx)
}

func errInterrupted(ctx context.Context) error {
	return Errorf(Canceled, "lifecycle.Rollout", "", "interrupted: %w", ctx.Err())
}

func errAskedToStop() error { return Errorf(Canceled, "lifecycle.Rollout", "", "asked to stop") }

// takeResults takes in what other hosts came to in the meantime.
func (d *rolloutDriver) takeResults(ctx context.Context) {
	for d.stopped == nil {
		select {
		case res := <-d.results:
			d.ended(ctx, res)
		default:
			return
		}
	}
}

// drain waits until the hosts that run have come to a safe point.
func (d *rolloutDriver) drain(ctx context.Context) {
	if len(d.running) > 0 {
		var names list
		for i := range d.state.Hosts {
			if d.running[i] != nil {
				names.add(d.state.Hosts[i].Host)
			}
		}
		d.emit(Event{Type: EventWait, Detail: "stopping: waits for a safe point of " + names.String()})
	}
	for len(d.running) > 0 {
		d.ended(ctx, <-d.results)
	}
}

// ended takes in what the run of a host came to. One that stays open has no result.
func (d *rolloutDriver) ended(ctx context.Context, res hostResult) {
	delete(d.running, res.host)
	h := &d.state.Hosts[res.host]
	if res.open {
		if res.err != nil {
			d.stop(Wrap(res.err, "lifecycle.Rollout", h.Host))
		}
		return
	}
	rec := Record{Type: RecordResult, Step: h.Host, Outcome: OutcomeDone}
	if err := res.err; err != nil {
		rec.Outcome, rec.Kind, rec.Message = OutcomeFailed, KindOf(err), err.Error()
	} else if h.Late {
		rec.Outcome, rec.Kind = OutcomeFailed, Timeout
		rec.Message = fmt.Sprintf("it was done, but ran longer than %v", d.rules.HostDeadline)
	}
	d.result(ctx, rec)
}

// result makes durable how a host ended.
func (d *rolloutDriver) result(ctx context.Context, rec Record) {
	if err := d.run.append(ctx, rec); err != nil {
		d.stop(err)
		return
	}
	i := d.index[rec.Step]
	d.state.Hosts[i].end(rec, d.now())
	d.emit(Event{Type: EventResult, Step: rec.Step, Index: i + 1, Outcome: rec.Outcome, Detail: rec.Message})
}

func (h *HostState) end(rec Record, now time.Time) {
	h.Ended, h.Outcome, h.Kind, h.Message = now, rec.Outcome, rec.Kind, rec.Message
}

func (d *rolloutDriver) recordEnd(ctx context.Context, state State, cause error) {
	rec := Record{Type: RecordEnd, State: state, Message: d.summary()}
	if cause != nil {
		rec.Kind, rec.Message = KindOf(cause), cause.Error()
	}
	d.append(ctx, rec)
}

// outcome is the error of a rollout that has ended.
func (d *rolloutDriver) outcome(state State) error {
	switch state {
	case Done:
		return nil
	case CanceledBy:
		return Errorf(Canceled, "lifecycle.Rollout", "", "canceled %s; %s", d.state.Canceled, d.summary())
	default:
		return Errorf(d.failureKind(), "lifecycle.Rollout", "", "%s; %s; see to the hosts that failed, and make a new rollout of those that "+
			"are left", d.state.Halted, d.summary())
	}
}

// failureKind is that of the first host that failed; [Precondition] when none did.
func (d *rolloutDriver) failureKind() Kind {
	for i := range d.state.Hosts {
		if h := &d.state.Hosts[i]; h.Outcome == OutcomeFailed && h.Kind != "" {
			return h.Kind
		}
	}
	return Precondition
}

// summary says how many hosts came to what, and why the first of them failed.
func (d *rolloutDriver) summary() string {
	var done, skipped, left int
	var failed list
	for i := range d.state.Hosts {
		switch h := &d.state.Hosts[i]; h.Outcome {
		case "":
			left++
		case OutcomeFailed:
			failed.add(h.Host + " (" + h.Message + ")")
		case OutcomeSkipped:
			skipped++
		default:
			done++
		}
	}
	text := fmt.Sprintf("of %d hosts %d are done, %d failed, %d were skipped, %d are left", len(d.state.Hosts), done, failed.n, skipped, left)
	if failed.n > 0 {
		text += "; failed: " + failed.String()
	}
	return text
}

// tell has the observers know why nothing is started, when that has changed. That all places are taken is no news.
func (d *rolloutDriver) tell(why []Block) {
	why = slices.DeleteFunc(slices.Clone(why), func(b Block) bool { return b.Rule == "width" })
	text := whyText(why)
	if text != "" && text != d.why {
		d.emit(Event{Type: EventWait, Detail: "no new start: " + text})
	}
	d.why = text
}

func (d *rolloutDriver) emit(e Event) {
	d.run.current = e.Index
	d.run.emit(e)
}

// takeRequests takes in what was asked of the rollout since the last look.
func (d *rolloutDriver) takeRequests(ctx context.Context) {
	select {
	case <-ctx.Done():
		d.stop(errInterrupted(ctx))
		return
	case <-d.config.stop:
		d.stop(errAskedToStop())
		return
	default:
	}
	asked, err := d.run.asked(ctx)
	if err != nil {
		d.stop(err)
		return
	}
	for ; d.seen < len(asked); d.seen++ {
		d.take(ctx, asked[d.seen])
	}
}

func (d *rolloutDriver) take(ctx context.Context, req Request) {
	s := &d.state
	action, host, _ := strings.Cut(req.Action, " ")
	i, known := d.index[host]
	switch {
	case !s.takeRequest(req, d.index):
		if !known || req.Time.After(s.Hosts[i].Started) { // else it had its effect before the host began
			d.emit(Event{Type: EventWait, Detail: fmt.Sprintf("%q, asked %s, has no effect: no such action or host, or the host has begun",
				req.Action, byWhom(req))})
		}
	case action == ActionCancel:
		for i := range d.running {
			d.stopHost(i, req.Actor, req.Because)
		}
	case action == ActionSkip && s.Hosts[i].waits():
		d.result(ctx, Record{Type: RecordResult, Step: s.Hosts[i].Host, Outcome: OutcomeSkipped, Message: "skipped " + byWhom(req)})
	}
}
