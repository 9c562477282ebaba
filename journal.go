package lifecycle

import (
	"context"
	"encoding/json"
	"time"
)

// JournalVersion is the format of the records that this version writes. A record with a higher one is refused by name.
const JournalVersion = 1

// Journal keeps the records of runs, and says who drives a target. It is the audit log, the point from which a run
// resumes, and what `status` shows.
//
// Implementations are safe for concurrent use, and pass lifecycletest.Journal.
type Journal interface {
	// Acquire makes owner the one driver of target, on behalf of run, with an epoch higher than any that the run had
	// before. While somebody else drives the target, or another run of it is unfinished, the error is a Conflict with
	// a [Held] in its chain.
	Acquire(ctx context.Context, target, run, owner string) (Lease, error)
	// Append makes rec durable as the next record of the lease's run. It fills in rec's Version, Run, Rev and Epoch.
	// When the lease was superseded, the error is a Conflict and nothing was written. After any error the record is
	// not there for a later reader, or else the implementation says Unknown.
	Append(ctx context.Context, lease Lease, rec Record) error
	// Release gives the target up. A lease that was superseded is no error.
	Release(ctx context.Context, lease Lease) error
	// Records returns the records of run in the order of writing, or NotFound. Damage is an error that names the place.
	Records(ctx context.Context, run string) ([]Record, error)
	// Runs returns the identifiers of all runs, oldest first.
	Runs(ctx context.Context) ([]string, error)
}

// Lease is the right to drive one target for one run. It is a plain value.
type Lease struct {
	Target string
	Run    string
	Owner  string
	Epoch  int64 // grows with each Acquire of the run; 1 is the first
}

// Requests is an optional second interface of a [Journal], by which somebody who does not drive a run asks something of
// who does. The driver looks between steps.
type Requests interface {
	// Ask records a request about run durably; the run must exist.
	Ask(ctx context.Context, run string, req Request) error
	// Asked returns the requests about run, oldest first.
	Asked(ctx context.Context, run string) ([]Request, error)
}

// Request is what somebody asks of a run.
type Request struct {
	Action  string    `json:"action"` // "cancel"
	Actor   string    `json:"actor"`
	Because string    `json:"because,omitempty"`
	Time    time.Time `json:"time"`
}

// RecordType says what a record tells.
type RecordType string

// The types, in the order in which a run writes them.
const (
	RecordPlan   RecordType = "plan"   // the first record: what will be done, and the facts it is made from
	RecordResume RecordType = "resume" // another driver took the run up
	RecordIntent RecordType = "intent" // the step's effect is about to happen
	RecordResult RecordType = "result" // it happened, or was found to have happened, or failed
	RecordEnd    RecordType = "end"    // the last record: the run's state
)

// Record is one durable fact about a run.
type Record struct {
	Version int        `json:"v"`
	Run     string     `json:"run"`
	Rev     int64      `json:"rev"`   // 1 is the first record of the run
	Epoch   int64      `json:"epoch"` // of the driver that wrote it
	Time    time.Time  `json:"time"`
	Type    RecordType `json:"type"`
	Actor   string     `json:"actor,omitempty"`   // on whose behalf
	Request string     `json:"request,omitempty"` // the caller's request ID

	Plan    *PlanRecord `json:"plan,omitempty"`    // of a plan
	Step    string      `json:"step,omitempty"`    // of an intent and a result
	Outcome Outcome     `json:"outcome,omitempty"` // of a result
	State   State       `json:"state,omitempty"`   // of an end
	Kind    Kind        `json:"kind,omitempty"`    // of the error, where there is one
	Message string      `json:"message,omitempty"` // what the error said, or why a person decided
}

// PlanRecord is a plan as the journal keeps it.
type PlanRecord struct {
	Kind    string          `json:"kind"`
	Target  string          `json:"target"`
	Args    json.RawMessage `json:"args,omitempty"`
	Facts   json.RawMessage `json:"facts,omitempty"`
	Steps   []StepRecord    `json:"steps"`
	Finally []StepRecord    `json:"finally,omitempty"`
}

// StepRecord is a step as the fingerprint of a plan has it.
type StepRecord struct {
	ID      string `json:"id"`
	Summary string `json:"summary"`
	Effect  Effect `json:"effect"`
}

// Outcome is how a step ended.
type Outcome string

// The outcomes.
const (
	OutcomeDone    Outcome = "done"    // Do ran and succeeded
	OutcomeFound   Outcome = "found"   // it was seen to be in place: nothing had to be done
	OutcomeSkipped Outcome = "skipped" // a person decided to go on without it
	OutcomeFailed  Outcome = "failed"
)

// State is where a run stands.
type State string

// The states of a run. All but Open are terminal.
const (
	Open       State = "open"        // being driven, or stopped at a point from which it can be resumed
	Done       State = "done"        // every step is done
	Refused    State = "refused"     // a precondition did not hold, and nothing had been changed
	Failed     State = "failed"      // a step failed after something had been changed
	CanceledBy State = "canceled"    // somebody asked to cancel
	Undecided  State = "unknown"     // an effect may or may not have happened, and looking did not tell
	NeedsHuman State = "needs-human" // something was left that only a person can put right
)
