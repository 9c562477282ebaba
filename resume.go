package lifecycle

import (
	"context"
	"errors"
)

// Resume takes up an open run where it stopped. The steps are made by planner from what the journal kept; when they are
// not the steps that the run was begun with, the error is a [Conflict] that names the first difference, and nothing is
// done. A step with a result is neither run nor looked at again; one that was begun is looked at before anything else.
//
// A run that has ended is [Precondition]; one that somebody drives is [Conflict] with a [Held].
func Resume(ctx context.Context, id string, planner Planner, opts ...Option) error {
	const op = "lifecycle.Resume"
	c := newConfig(opts)
	if planner == nil {
		return Errorf(Invalid, op, "", "the planner is nil")
	}
	records, err := c.journal.Records(ctx, id)
	if err != nil {
		return Wrap(err, op, "")
	}
	was := records[0].Plan
	if records[0].Type != RecordPlan || was == nil {
		return Errorf(Internal, op, "", "the first record of run %s is no plan: repair or remove it", id)
	}
	if end := records[len(records)-1]; end.Type == RecordEnd {
		return Errorf(Precondition, op, was.Target, "run %s has ended %s: make a new plan", id, end.State)
	}
	p, err := planner(ctx, was.Kind, was.Args, was.Facts)
	if err != nil {
		return Wrap(err, op, was.Target)
	}
	p.ID, p.Target = id, was.Target
	if err := p.check(op); err != nil {
		return err
	}
	if err := sameSteps(was, p.record()); err != nil {
		return &Error{Op: op, Host: was.Target, Kind: Conflict, Err: err}
	}

	d := &driver{config: c, plan: p, results: map[string]Record{}, intents: map[string]bool{}}
	if d.lease, err = c.journal.Acquire(ctx, was.Target, id, c.owner); err != nil {
		return Wrap(err, op, was.Target)
	}
	// Somebody may have driven the run between the first look and the lease.
	if records, err = c.journal.Records(ctx, id); err != nil {
		return errors.Join(Wrap(err, op, was.Target), d.release(ctx))
	}
	if end := records[len(records)-1]; end.Type == RecordEnd {
		return errors.Join(Errorf(Precondition, op, was.Target, "run %s has ended %s meanwhile", id, end.State), d.release(ctx))
	}
	d.replay(records)
	if err := d.append(ctx, Record{Type: RecordResume}); err != nil {
		return errors.Join(&Error{Op: op, Host: was.Target, Kind: KindOf(err), Err: &StateError{id, Open, err}}, d.release(ctx))
	}
	return d.drive(ctx, op)
}

// replay brings the driver to where the records end.
func (d *driver) replay(records []Record) {
	for _, r := range records {
		switch r.Type {
		case RecordIntent:
			d.intents[r.Step] = true
			d.changed = true
			delete(d.results, r.Step)
		case RecordResult:
			delete(d.intents, r.Step)
			d.results[r.Step] = r
		}
	}
}

// sameSteps names the first difference between the steps of a run and those that the planner makes now.
func sameSteps(was, is *PlanRecord) error {
	differ := func(where string, a, b []StepRecord) error {
		for i := range max(len(a), len(b)) {
			var x, y StepRecord
			if i < len(a) {
				x = a[i]
			}
			if i < len(b) {
				y = b[i]
			}
			if x.ID != y.ID || x.Effect != y.Effect {
				return Errorf(Conflict, "lifecycle.Resume", "", "%s %d of the run is %q (%s), the planner makes %q (%s): resume with the "+
					"program and options that began the run", where, i+1, x.ID, x.Effect, y.ID, y.Effect)
			}
		}
		return nil
	}
	if was.Kind != is.Kind {
		return Errorf(Conflict, "lifecycle.Resume", "", "the run is a %s, the planner makes a %s", was.Kind, is.Kind)
	}
	if err := differ("step", was.Steps, is.Steps); err != nil {
		return err
	}
	return differ("final step", was.Finally, is.Finally)
}
