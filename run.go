package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/go-multierror"

	"github.com/ncnkit/lifecycle/internal/mutant"
)

// StateError says where a run stands after [Run] or [Resume] returned an error. It is in the error's chain.
type StateError struct {
	Run   string
	State State
	Err   error
}

// Error tells the state, what it means for whoever asked, and the cause.
func (e *StateError) Error() string {
	switch e.State {
	case Refused:
		return fmt.Sprintf("refused, nothing was changed: %v", e.Err)
	case Open:
		return fmt.Sprintf("run %s stopped and can be resumed: %v", e.Run, e.Err)
	case NeedsHuman:
		return fmt.Sprintf("run %s needs a person: %v", e.Run, e.Err)
	case Undecided:
		return fmt.Sprintf("run %s: the outcome is unknown, look at the target: %v", e.Run, e.Err)
	default:
		return fmt.Sprintf("run %s %s: %v", e.Run, e.State, e.Err)
	}
}

// Unwrap returns the cause.
func (e *StateError) Unwrap() error { return e.Err }

// StateOf returns the state that err carries: [Done] for nil, "" when err is not a run's.
func StateOf(err error) State {
	if err == nil {
		return Done
	}
	var s *StateError
	if errors.As(err, &s) {
		return s.State
	}
	return ""
}

// Run executes a plan step by step: a step whose effect is seen to be in place is skipped; else its precondition is
// checked, its intent made durable, its effect done, its result made durable. Whatever happens, the plan's Finally steps
// run before the run ends, unless nothing was changed.
//
// The error is nil when every step is done; else it carries a [StateError]. A run that ends Open was stopped, lost its
// journal or its lease, or was interrupted: [Resume] takes it up.
func Run(ctx context.Context, p *Plan, opts ...Option) error {
	const op = "lifecycle.Run"
	if err := p.check(op); err != nil {
		return err
	}
	d := &driver{config: newConfig(opts), plan: p, results: map[string]Record{}, intents: map[string]bool{}}
	var err error
	if d.lease, err = d.journal.Acquire(ctx, p.Target, p.ID, d.owner); err != nil {
		return Wrap(err, op, p.Target)
	}
	if _, err := d.journal.Records(ctx, p.ID); !errors.Is(err, NotFound) {
		if err == nil {
			err = Errorf(Conflict, op, p.Target, "run %s exists: resume it, or make a new plan", p.ID)
		}
		return errors.Join(Wrap(err, op, p.Target), d.release(ctx))
	}
	if err := d.append(ctx, Record{Type: RecordPlan, Plan: p.record()}); err != nil {
		state := Refused
		if KindOf(err) == Unknown { // the plan may be durable, and is then found open
			state = Open
		}
		return errors.Join(&Error{Op: op, Host: p.Target, Kind: KindOf(err), Err: &StateError{p.ID, state, err}}, d.release(ctx))
	}
	return d.drive(ctx, op)
}

// driver is one execution of a plan under one lease.
type driver struct {
	*config
	plan    *Plan
	lease   Lease
	results map[string]Record // by step: the last result
	intents map[string]bool   // by step: an intent without a result
	changed bool              // an effect was, or may have been, had
	current int               // of the step under way, from 1
}

// stopped is why a run ends without an end: it stays open.
type stopped struct{ error }

func (s stopped) Unwrap() error { return s.error }

// drive takes the plan from where it stands to its end.
func (d *driver) drive(ctx context.Context, op string) error {
	d.emit(Event{Type: EventPlan, Summary: d.plan.Kind})
	cause := d.steps(ctx)
	state, err := Open, cause
	var stop stopped
	if !errors.As(cause, &stop) {
		state, err = d.end(ctx, cause)
	}
	if released := d.release(ctx); released != nil && err == nil {
		err = released
	}
	end := Event{Type: EventEnd, State: state}
	if err != nil {
		end.Detail = err.Error()
	}
	d.emit(end)
	if err == nil {
		return nil
	}
	return &Error{Op: op, Host: d.plan.Target, Kind: KindOf(err), Err: &StateError{d.plan.ID, state, err}}
}

func (d *driver) steps(ctx context.Context) error {
	for i, s := range d.plan.Steps {
		d.current = i + 1
		if r, ok := d.results[s.ID]; ok {
			if r.Outcome != OutcomeFailed {
				continue
			}
			return &Error{Op: "lifecycle.Step", Step: s.ID, Kind: r.Kind, Err: errors.New(r.Message)} // failed before a crash
		}
		if err := d.safePoint(ctx); err != nil {
			var stop stopped
			if d.intents[s.ID] && !errors.As(err, &stop) {
				return d.abandon(ctx, s, err)
			}
			return err
		}
		if err := d.step(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// safePoint is where a run can stop.
func (d *driver) safePoint(ctx context.Context) error {
	if ctx.Err() != nil {
		return stopped{Errorf(Canceled, "lifecycle.Run", "", "interrupted: %w", ctx.Err())}
	}
	select {
	case <-d.stop:
		return stopped{Errorf(Canceled, "lifecycle.Run", "", "asked to stop")}
	default:
	}
	asked, err := d.asked(ctx)
	if err != nil {
		return stopped{err}
	}
	for _, r := range asked {
		if r.Action == ActionCancel {
			return Errorf(Canceled, "lifecycle.Run", "", "canceled by %s: %s", r.Actor, r.Because)
		}
	}
	return nil
}

func (d *driver) asked(ctx context.Context) ([]Request, error) {
	if j, ok := d.journal.(Requests); ok {
		return j.Asked(ctx, d.plan.ID)
	}
	return nil, nil
}

// step brings one step to a result, and makes the result durable.
func (d *driver) step(ctx context.Context, s Step) error {
	d.emit(Event{Type: EventStep, Step: s.ID, Summary: s.Summary})
	outcome, err := d.attempt(ctx, s)
	var stop stopped
	if errors.As(err, &stop) {
		return err
	}
	if err != nil && ctx.Err() != nil {
		return stopped{Errorf(Canceled, "lifecycle.Step", "", "interrupted in step %s: %w", s.ID, err)}
	}
	rec := Record{Type: RecordResult, Step: s.ID, Outcome: outcome}
	if err != nil {
		rec.Outcome, rec.Kind, rec.Message = OutcomeFailed, KindOf(err), err.Error()
	}
	if written := d.append(ctx, rec); written != nil {
		return stopped{written}
	}
	d.results[s.ID] = rec
	delete(d.intents, s.ID)
	d.emit(Event{Type: EventResult, Step: s.ID, Summary: s.Summary, Outcome: rec.Outcome, Detail: rec.Message})
	if err != nil {
		return &Error{Op: "lifecycle.Step", Step: s.ID, Kind: rec.Kind, Err: err}
	}
	return nil
}

// abandon finds out what became of a step that was begun, before its run is canceled: what happens on a target goes on,
// whoever asked for it.
func (d *driver) abandon(ctx context.Context, s Step, cause error) error {
	rec := Record{Type: RecordResult, Step: s.ID, Outcome: OutcomeFailed, Kind: Canceled, Message: "it was begun, and had not come about when the run was canceled"}
	looked, done := Errorf(Unknown, "lifecycle.Step", "", "nothing tells whether %s happened", s.ID), false
	if s.Done != nil {
		within, cancel := d.within(ctx, s)
		done, looked = s.Done(within)
		cancel()
	}
	switch {
	case looked != nil && ctx.Err() != nil:
		return stopped{looked}
	case looked == nil && done:
		rec = Record{Type: RecordResult, Step: s.ID, Outcome: OutcomeFound}
	case looked != nil && s.Effect == OneShot:
		rec.Kind, rec.Message = Unknown, looked.Error()
		cause = &Error{Op: "lifecycle.Step", Step: s.ID, Kind: Unknown, Err: multierror.Append(cause, looked)}
	}
	if err := d.append(ctx, rec); err != nil {
		return stopped{err}
	}
	d.results[s.ID] = rec
	delete(d.intents, s.ID)
	d.emit(Event{Type: EventResult, Step: s.ID, Summary: s.Summary, Outcome: rec.Outcome, Detail: rec.Message})
	return cause
}

// attempt looks, checks, records the intent, and acts.
func (d *driver) attempt(parent context.Context, s Step) (Outcome, error) {
	ctx, cancel := d.within(parent, s)
	defer cancel()
	begun := d.intents[s.ID]
	switch {
	case s.Done != nil:
		done, err := s.Done(ctx)
		if err != nil {
			if begun && s.Effect == OneShot {
				return "", Errorf(Unknown, "lifecycle.Step", "", "%s was begun, and looking failed: %w", s.ID, err)
			}
			return "", err
		}
		if done {
			return OutcomeFound, nil
		}
	case begun && s.Effect == OneShot:
		return "", Errorf(Unknown, "lifecycle.Step", "", "%s was begun, and nothing tells whether it happened", s.ID)
	}
	if s.Before != nil {
		if err := s.Before(ctx); err != nil {
			return "", err
		}
	}
	if s.Effect != Read {
		if err := d.append(parent, Record{Type: RecordIntent, Step: s.ID}); err != nil {
			return "", stopped{err}
		}
		d.intents[s.ID] = true
		d.changed = true
		if mutant.On("record-before-do") {
			if err := d.append(parent, Record{Type: RecordResult, Step: s.ID, Outcome: OutcomeDone}); err != nil {
				return "", stopped{err}
			}
		}
	}
	if err := s.Do(ctx); err != nil {
		return d.resolve(parent, s, err)
	}
	return OutcomeDone, nil
}

// resolve decides about a step whose Do failed. An effect whose answer was lost is looked for, never repeated (I9).
func (d *driver) resolve(parent context.Context, s Step, err error) (Outcome, error) {
	switch KindOf(err) {
	case Unknown, Timeout, Unavailable, Canceled:
	default:
		return "", err
	}
	if s.Effect == Read || parent.Err() != nil {
		return "", err
	}
	if s.Done == nil {
		if s.Effect == OneShot {
			return "", Errorf(Unknown, "lifecycle.Step", "", "nothing tells whether %s happened: %w", s.ID, err)
		}
		return "", err
	}
	ctx, cancel := d.within(parent, s)
	defer cancel()
	done, looked := s.Done(ctx)
	switch {
	case looked != nil && s.Effect == OneShot:
		return "", Errorf(Unknown, "lifecycle.Step", "", "%w; and looking failed: %w", err, looked)
	case looked == nil && done:
		return OutcomeDone, nil
	case looked == nil && KindOf(err) == Unknown: // not any more: looking told
		return "", Errorf(Unavailable, "lifecycle.Step", "", "%s did not come about: %w", s.ID, err)
	}
	return "", err
}

func (d *driver) within(parent context.Context, s Step) (context.Context, context.CancelFunc) {
	ctx := context.WithValue(parent, driverKey{}, d)
	if mutant.On("cancel-mid-wipe") {
		ctx = d.abandonable(ctx)
	}
	ctx = context.WithValue(ctx, executionKey{}, Execution{
		Run: d.plan.ID, Target: d.plan.Target, Step: s.ID, Epoch: d.lease.Epoch, Begun: d.intents[s.ID], Actor: d.actor, Request: d.request,
	})
	timeout := s.Timeout
	if timeout == 0 {
		timeout = DefaultStepTimeout
	}
	return context.WithTimeout(ctx, timeout)
}

// abandonable is a known bug: a request to cancel interrupts the step that is under way.
func (d *driver) abandonable(parent context.Context) context.Context {
	ctx, cancel := context.WithCancel(parent)
	go func() {
		defer cancel()
		for ctx.Err() == nil {
			if asked, err := d.asked(parent); err != nil || len(asked) > 0 {
				return
			}
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	}()
	return ctx
}

// end runs the Finally steps and makes the run's state durable.
func (d *driver) end(ctx context.Context, cause error) (State, error) {
	var all *multierror.Error
	if cause != nil {
		all = multierror.Append(all, cause)
	}
	state := d.stateAfter(cause)
	if d.changed && !mutant.On("drop-finally") {
		for i, s := range d.plan.Finally {
			d.current = len(d.plan.Steps) + i + 1
			if r, ok := d.results[s.ID]; ok && r.Outcome != OutcomeFailed {
				continue
			}
			err := d.step(ctx, s)
			var stop stopped
			if errors.As(err, &stop) {
				return Open, multierror.Append(all, err)
			}
			if err != nil {
				all = multierror.Append(all, err)
				state = NeedsHuman
			}
		}
	}
	rec := Record{Type: RecordEnd, State: state}
	if err := flat(all); err != nil {
		rec.Kind, rec.Message = KindOf(err), err.Error()
	}
	if err := d.append(ctx, rec); err != nil {
		return Open, multierror.Append(all, err)
	}
	return state, flat(all)
}

func (d *driver) stateAfter(cause error) State {
	switch {
	case cause == nil:
		return Done
	case KindOf(cause) == Unknown:
		return Undecided
	case !d.changed:
		if KindOf(cause) == Canceled {
			return CanceledBy
		}
		return Refused
	case KindOf(cause) == Canceled && d.failedStep() == "":
		return CanceledBy
	}
	return Failed
}

func (d *driver) failedStep() string {
	for _, s := range d.plan.Steps {
		if r, ok := d.results[s.ID]; ok && r.Outcome == OutcomeFailed && r.Kind != Canceled {
			return s.ID
		}
	}
	return ""
}

// flat returns nil for no error, the error for one, and all of them for many.
func flat(all *multierror.Error) error {
	if all == nil {
		return nil
	}
	if len(all.Errors) == 1 {
		return all.Errors[0]
	}
	all.ErrorFormat = func(errs []error) string {
		text := errs[0].Error()
		for _, err := range errs[1:] {
			text += "; and then: " + err.Error()
		}
		return text
	}
	return all
}

func (d *driver) append(ctx context.Context, rec Record) error {
	rec.Time = d.now().UTC()
	rec.Actor, rec.Request = d.actor, d.request
	return d.journal.Append(ctx, d.lease, rec)
}

// release gives the target up, also when the run was interrupted.
func (d *driver) release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return d.journal.Release(ctx, d.lease)
}

func (d *driver) stillDriving(ctx context.Context) error {
	if mutant.On("no-fence") {
		return nil
	}
	records, err := d.journal.Records(ctx, d.plan.ID)
	if errors.Is(err, NotFound) {
		return nil // there is no journal
	}
	if err != nil {
		return err
	}
	if last := records[len(records)-1]; last.Epoch > d.lease.Epoch {
		return Errorf(Conflict, "lifecycle.StillDriving", d.plan.Target, "another driver has taken run %s over (epoch %d, ours is %d)",
			d.plan.ID, last.Epoch, d.lease.Epoch)
	}
	return nil
}

func (d *driver) emit(e Event) {
	e.Time = d.now()
	e.Run, e.Target = d.plan.ID, d.plan.Target
	e.Total = len(d.plan.Steps) + len(d.plan.Finally)
	if e.Step != "" {
		e.Index = d.current
	}
	for _, o := range d.observer {
		o(e)
	}
}

// check refuses a plan that cannot be run.
func (p *Plan) check(op string) error {
	switch {
	case p == nil:
		return Errorf(Invalid, op, "", "the plan is nil")
	case p.ID == "" || p.Kind == "" || p.Target == "":
		return Errorf(Invalid, op, p.Target, "a plan needs an ID, a kind and a target")
	case len(p.Steps) == 0:
		return Errorf(Invalid, op, p.Target, "the plan %s has no steps", p.Kind)
	}
	seen := map[string]bool{}
	for _, s := range slices.Concat(p.Steps, p.Finally) {
		switch {
		case s.ID == "" || seen[s.ID]:
			return Errorf(Invalid, op, p.Target, "the plan %s has two steps with the ID %q, or one with none", p.Kind, s.ID)
		case s.Do == nil:
			return Errorf(Invalid, op, p.Target, "step %s does nothing: its Do is nil", s.ID)
		case s.Effect != Read && s.Effect != Idempotent && s.Effect != OneShot:
			return Errorf(Invalid, op, p.Target, "step %s has the effect %q: want read, idempotent or one-shot", s.ID, s.Effect)
		}
		seen[s.ID] = true
	}
	return nil
}

func (p *Plan) record() *PlanRecord {
	list := func(steps []Step) []StepRecord {
		var out []StepRecord
		for _, s := range steps {
			out = append(out, StepRecord{s.ID, s.Summary, s.Effect})
		}
		return out
	}
	return &PlanRecord{Kind: p.Kind, Target: p.Target, Args: p.Args, Facts: p.Facts, Steps: list(p.Steps), Finally: list(p.Finally)}
}
