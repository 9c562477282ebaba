package lifecycle

import (
	"context"
	"time"
)

// Option changes how [Run], [Resume], [Cancel] and [DryRun] work.
type Option func(*config)

type config struct {
	journal  Journal
	observer []Observer
	actor    string
	request  string
	owner    string
	now      func() time.Time
	stop     <-chan struct{}
}

func newConfig(opts []Option) *config {
	c := &config{now: time.Now, journal: noJournal{}}
	for _, o := range opts {
		o(c)
	}
	if c.owner == "" {
		c.owner = DefaultOwner()
	}
	return c
}

// WithJournal keeps the run in j: it is durable, can be resumed, and holds the target against other drivers. Without it
// a run leaves no record.
func WithJournal(j Journal) Option {
	return func(c *config) {
		if j != nil {
			c.journal = j
		}
	}
}

// WithObserver has f told of the run's progress.
func WithObserver(f Observer) Option {
	return func(c *config) {
		if f != nil {
			c.observer = append(c.observer, f)
		}
	}
}

// WithActor names the person or program on whose behalf the run is, for the records.
func WithActor(actor string) Option { return func(c *config) { c.actor = actor } }

// WithRequestID puts the caller's request ID into the records.
func WithRequestID(id string) Option { return func(c *config) { c.request = id } }

// WithOwner names this driver to others that find the target held; the default is [DefaultOwner].
func WithOwner(owner string) Option { return func(c *config) { c.owner = owner } }

// WithClock sets the wall clock that stamps records and events; the default is [time.Now].
func WithClock(now func() time.Time) Option { return func(c *config) { c.now = now } }

// WithStop makes the run stop at the next safe point, which is between two steps, once stop is closed. A stopped run is
// open and can be resumed. Canceling the context instead interrupts the step that is under way.
func WithStop(stop <-chan struct{}) Option { return func(c *config) { c.stop = stop } }

// noJournal is what a run without a journal writes to.
type noJournal struct{}

func (noJournal) Acquire(_ context.Context, target, run, owner string) (Lease, error) {
	return Lease{Target: target, Run: run, Owner: owner, Epoch: 1}, nil
}
func (noJournal) Append(context.Context, Lease, Record) error { return nil }
func (noJournal) Release(context.Context, Lease) error        { return nil }
func (noJournal) Records(_ context.Context, run string) ([]Record, error) {
	return nil, Errorf(NotFound, "lifecycle.Records", "", "run %s: there is no journal", run)
}
func (noJournal) Runs(context.Context) ([]string, error) { return nil, nil }
