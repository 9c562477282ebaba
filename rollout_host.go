package lifecycle

import (
	"context"
	"errors"
	"sync"
	"time"
)

// hostAttempts is how often a host's run is taken up again that stopped open although nobody stopped it: its journal
// failed for a moment, say.
const hostAttempts = 3

// hostPatience bounds the wait for a driver before this one to let go of a host.
const hostPatience = 10 * time.Minute

// hostRun is the run of one host that is under way.
type hostRun struct {
	d       *rolloutDriver // of which only what does not change is used
	name    string
	id      string
	journal *hostJournal
}

// hostResult is what the run of a host came to.
type hostResult struct {
	host int
	err  error
	open bool // its run is open: it was stopped, or, with an error, could not be driven on
}

// launch runs a host, or takes its run up.
func (d *rolloutDriver) launch(ctx context.Context, i int, takeUp bool) {
	name := d.state.Hosts[i].Host
	h := &hostRun{d: d, name: name, id: d.hostRunID(name), journal: &hostJournal{Journal: d.journal}}
	d.running[i] = h
	if d.state.Canceled != "" {
		h.journal.stop("rollout "+d.rollout.ID, "canceled "+d.state.Canceled)
	}
	go func() {
		err, open := h.drive(ctx, takeUp)
		d.results <- hostResult{i, err, open}
	}()
}

// stopHost makes a host's run end at its next safe point, with its Finally steps.
func (d *rolloutDriver) stopHost(i int, actor, because string) {
	if h := d.running[i]; h != nil {
		h.journal.stop(actor, because)
	}
}

// drive runs the host's plan to its end, unless the rollout is stopped.
func (h *hostRun) drive(ctx context.Context, takeUp bool) (err error, open bool) {
	began := time.Now()
	for attempt := 1; ; attempt++ {
		var again bool
		if takeUp {
			again, err = h.takeUp(ctx)
		} else {
			again, err = h.begin(ctx)
		}
		switch {
		case err == nil:
			return nil, false
		case StateOf(err) != "" && StateOf(err) != Open:
			return err, false
		case h.stopping(ctx):
			return nil, true
		case h.isHeld(err) && time.Since(began) < hostPatience:
			attempt--
		case h.isHeld(err), attempt == hostAttempts && StateOf(err) == Open:
			return err, true // somebody else's run, or an open one, is no failure of the host
		case !again && StateOf(err) != Open, attempt == hostAttempts:
			return err, false
		}
		h.d.observer[0](Event{Time: h.d.now(), Type: EventWait, Run: h.id, Target: h.name, Detail: "is taken up again: " + err.Error()})
		h.pause(ctx)
		takeUp = true
	}
}

// begin plans and runs the host. With again, the error is one of the journal's that may pass.
func (h *hostRun) begin(ctx context.Context) (again bool, err error) {
	planning, cancel := context.WithTimeout(ctx, DefaultStepTimeout)
	defer cancel()
	p, err := h.d.rollout.Plan(planning, h.name)
	if err != nil {
		return false, Wrap(err, "lifecycle.Rollout.Plan", h.name)
	}
	if p == nil {
		return false, Errorf(Invalid, "lifecycle.Rollout.Plan", h.name, "Plan returned no plan")
	}
	p.ID = h.id
	err = Run(ctx, p, h.options()...)
	return passing(err), err
}

// takeUp resumes the host's run, which may not have got as far as to be planned, or may have ended.
func (h *hostRun) takeUp(ctx context.Context) (again bool, err error) {
	status, err := StatusOf(ctx, h.journal, h.id)
	switch {
	case errors.Is(err, NotFound):
		if why := h.journal.stopped(); why != nil {
			return false, &StateError{h.id, CanceledBy, why}
		}
		return h.begin(ctx)
	case err != nil:
		return passing(err), Wrap(err, "lifecycle.Rollout", h.name)
	case status.State == Done:
		return false, nil
	case status.State != Open:
		return false, Wrap(&StateError{h.id, status.State, errors.New(status.Message)}, "lifecycle.Rollout", h.name)
	case h.d.rollout.Planner == nil:
		return false, Errorf(Invalid, "lifecycle.Rollout", h.name, "run %s was interrupted, and the rollout has no Planner: resume that run "+
			"by itself", h.id)
	}
	err = Resume(ctx, h.id, h.d.rollout.Planner, h.options()...)
	return passing(err), err
}

func (h *hostRun) options() []Option {
	return []Option{
		WithJournal(h.journal), WithStop(h.d.stopHosts), WithObserver(h.d.observer[0]), WithClock(h.d.now),
		WithActor(h.d.actor), WithRequestID(h.d.request), WithOwner(h.d.owner),
	}
}

// isHeld reports whether another driver of the same rollout has not let go of the host yet.
func (h *hostRun) isHeld(err error) bool {
	var held *Held
	return errors.As(err, &held) && held.Run == h.id
}

func (h *hostRun) stopping(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return true
	case <-h.d.stopHosts:
		return true
	default:
		return false
	}
}

func (h *hostRun) pause(ctx context.Context) {
	timer := time.NewTimer(h.d.poll())
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-h.d.stopHosts:
	case <-timer.C:
	}
}

// hostJournal is the journal as the run of one host sees it: what the rollout asks of the run is among the requests. It
// is safe for concurrent use.
type hostJournal struct {
	Journal

	mu   sync.Mutex
	asks []Request
}

// stop asks the run to end at its next safe point.
func (j *hostJournal) stop(actor, because string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.asks = append(j.asks, Request{Action: ActionCancel, Actor: actor, Because: because})
}

// stopped says why the run is to end; nil when it is not.
func (j *hostJournal) stopped() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.asks) == 0 {
		return nil
	}
	return Errorf(Canceled, "lifecycle.Rollout", "", "canceled by %s: %s", j.asks[0].Actor, j.asks[0].Because)
}

// Ask passes the request on, where the journal takes any.
func (j *hostJournal) Ask(ctx context.Context, run string, req Request) error {
	if requests, ok := j.Journal.(Requests); ok {
		return requests.Ask(ctx, run, req)
	}
	return Errorf(Invalid, "lifecycle.Journal.Ask", "", "the journal takes no requests")
}

// Asked returns the journal's requests, and the rollout's.
func (j *hostJournal) Asked(ctx context.Context, run string) ([]Request, error) {
	var asked []Request
	if requests, ok := j.Journal.(Requests); ok {
		var err error
		if asked, err = requests.Asked(ctx, run); err != nil {
			return nil, err
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return append(asked[:len(asked):len(asked)], j.asks...), nil
}
