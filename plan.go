package lifecycle

import (
	"context"
	"encoding/json"
	"time"
)

// Effect says what repeating a step would do.
type Effect string

// The effects.
const (
	Read       Effect = "read"       // changes nothing
	Idempotent Effect = "idempotent" // a second time changes nothing more
	OneShot    Effect = "one-shot"   // must not happen twice; Done decides whether it happened
)

// Step is one thing that a plan does. Its functions may be called by one goroutine at a time.
type Step struct {
	ID      string // unique in the plan: "power-off"
	Summary string // for people: "turn ncn-w001 off and see it off"
	Effect  Effect
	// Done looks whether the step's effect is in place already. nil means that looking cannot tell. It changes nothing.
	Done func(ctx context.Context) (bool, error)
	// Before checks what must hold, and changes nothing. nil means nothing must. In a dry run it answers [NotYet] when
	// it depends on an earlier step.
	Before func(ctx context.Context) error
	// Do has the effect. It is called after the intent is durable.
	Do func(ctx context.Context) error
	// Timeout bounds Done, Before and Do together; 0 means [DefaultStepTimeout].
	Timeout time.Duration
}

// DefaultStepTimeout bounds a step that names no bound of its own.
const DefaultStepTimeout = 10 * time.Minute

// NotYet is what [Step.Before] answers in a dry run when the condition depends on an earlier step.
const NotYet = Kind("not yet: checked when its turn comes")

// Plan is what will be done to one target, as data and the steps made from them. Whoever makes a plan reads the world and
// writes nothing. Once its run has begun, Facts are never read from the world again.
type Plan struct {
	ID      string          // of the run: unique, and usable as a file name
	Kind    string          // which planner makes its steps: "ncn.rebuild"
	Target  string          // what is driven: a node's name
	Args    json.RawMessage // what the caller asked for
	Facts   json.RawMessage // what was read while planning
	Steps   []Step
	Finally []Step // run, in order, however the run ends
}

// Planner makes the steps of a plan from what the journal kept of it. It does no I/O beyond what the steps will do.
type Planner func(ctx context.Context, kind string, args, facts json.RawMessage) (*Plan, error)

// InsertAfter puts steps behind the step with that ID.
func (p *Plan) InsertAfter(id string, steps ...Step) error { return p.insert(id, 1, steps) }

// InsertBefore puts steps in front of the step with that ID.
func (p *Plan) InsertBefore(id string, steps ...Step) error { return p.insert(id, 0, steps) }

func (p *Plan) insert(id string, offset int, steps []Step) error {
	for i, s := range p.Steps {
		if s.ID == id {
			at := i + offset
			p.Steps = append(p.Steps[:at:at], append(steps, p.Steps[at:]...)...)
			return nil
		}
	}
	return Errorf(NotFound, "lifecycle.Plan", p.Target, "the plan %s has no step %q", p.Kind, id)
}
