package lifecycle

import (
	"context"
	"errors"
	"time"
)

// ActionCancel is the [Request] that ends a run at its next safe point.
const ActionCancel = "cancel"

// Cancel ends an open run: its Finally steps run, and it ends [CanceledBy]. A run that somebody drives is asked to stop
// at its next safe point, and Cancel returns nil once the request is durable; a run that nobody drives is taken up to be
// ended here. The journal must implement [Requests]; one that does not is [Invalid].
func Cancel(ctx context.Context, id string, planner Planner, because string, opts ...Option) error {
	const op = "lifecycle.Cancel"
	c := newConfig(opts)
	requests, ok := c.journal.(Requests)
	if !ok {
		return Errorf(Invalid, op, "", "the journal takes no requests")
	}
	status, err := StatusOf(ctx, c.journal, id)
	if err != nil {
		return Wrap(err, op, "")
	}
	if status.State != Open {
		return Errorf(Precondition, op, status.Target, "run %s has ended %s", id, status.State)
	}
	if err := requests.Ask(ctx, id, Request{Action: ActionCancel, Actor: c.actor, Because: because, Time: c.now().UTC()}); err != nil {
		return Wrap(err, op, status.Target)
	}
	err = Resume(ctx, id, planner, opts...)
	var held *Held
	switch {
	case errors.As(err, &held), StateOf(err) == CanceledBy:
		return nil
	case err == nil:
		return Errorf(Precondition, op, status.Target, "run %s was done before it could be canceled", id)
	}
	return err
}

// Status is where a run stands, by its records.
type Status struct {
	Run     string       `json:"run"`
	Kind    string       `json:"kind"`
	Target  string       `json:"target"`
	State   State        `json:"state"`
	Actor   string       `json:"actor,omitempty"`
	Began   time.Time    `json:"began"`
	Last    time.Time    `json:"last"` // of the last record
	Epoch   int64        `json:"epoch"`
	Message string       `json:"message,omitempty"` // of the end
	Steps   []StepStatus `json:"steps"`
}

// StepStatus is where a step of a run stands.
type StepStatus struct {
	StepRecord
	Begun   bool      `json:"begun,omitempty"` // an intent without a result: it may or may not have happened
	Outcome Outcome   `json:"outcome,omitempty"`
	Message string    `json:"message,omitempty"`
	Time    time.Time `json:"time,omitzero"` // of its last record
}

// StatusOf returns where the run stands. An unknown run is [NotFound].
func StatusOf(ctx context.Context, j Journal, id string) (Status, error) {
	records, err := j.Records(ctx, id)
	if err != nil {
		return Status{}, err
	}
	return Summarize(records), nil
}

// Summarize returns where the run stands whose records these are. It is a pure function.
func Summarize(records []Record) Status {
	s := Status{State: Open}
	index := map[string]int{}
	for _, r := range records {
		s.Last, s.Epoch = r.Time, max(s.Epoch, r.Epoch)
		switch r.Type {
		case RecordPlan:
			s.Run, s.Kind, s.Target, s.Actor, s.Began = r.Run, r.Plan.Kind, r.Plan.Target, r.Actor, r.Time
			for _, step := range append(append([]StepRecord{}, r.Plan.Steps...), r.Plan.Finally...) {
				index[step.ID] = len(s.Steps)
				s.Steps = append(s.Steps, StepStatus{StepRecord: step})
			}
		case RecordIntent, RecordResult:
			if i, ok := index[r.Step]; ok {
				step := &s.Steps[i]
				step.Time, step.Outcome, step.Message = r.Time, r.Outcome, r.Message
				step.Begun = r.Type == RecordIntent
			}
		case RecordEnd:
			s.State, s.Message = r.State, r.Message
		}
	}
	return s
}
