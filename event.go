package lifecycle

import "time"

// EventType says what an event tells.
type EventType string

// The types.
const (
	EventPlan   EventType = "plan"   // the run is about to begin, or to be resumed
	EventStep   EventType = "step"   // a step begins
	EventWait   EventType = "wait"   // what a step waits for, and why it is not there yet
	EventResult EventType = "result" // a step ended
	EventEnd    EventType = "end"    // the run ended, or stopped where it can be resumed
)

// Event is progress, for people and programs. Events are not durable: what must be known later is in the journal.
type Event struct {
	Time    time.Time `json:"time"`
	Type    EventType `json:"type"`
	Run     string    `json:"run"`
	Target  string    `json:"target"`
	Step    string    `json:"step,omitempty"`
	Summary string    `json:"summary,omitempty"`
	Index   int       `json:"index,omitempty"` // of the step, from 1; Finally steps count on
	Total   int       `json:"total,omitempty"` // of the plan's steps, Finally included
	Outcome Outcome   `json:"outcome,omitempty"`
	State   State     `json:"state,omitempty"`
	Detail  string    `json:"detail,omitempty"` // what is waited for, and why; or what the error said
}

// Observer receives events, one at a time per run. It must not block for long.
type Observer func(Event)
