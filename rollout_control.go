package lifecycle

import (
	"context"
	"slices"
	"strings"
	"time"
)

// What can be asked of a rollout, besides [ActionCancel]. The last three are followed by a space and the host.
const (
	ActionPause  = "pause"
	ActionResume = "resume"
	ActionHold   = "hold"
	ActionUnhold = "unhold"
	ActionSkip   = "skip"
)

// Control asks things of a rollout, which another process may drive: the requests go through the journal, are durable when
// a method returns, and have their effect within one [Rollout.Poll], or when the rollout is taken up. All methods want a
// reason, for the records; without one the error is [Invalid], as it is when the journal does not implement [Requests]. An
// unknown rollout is [NotFound], and one that has ended [Precondition].
//
// A Control is a plain value.
type Control struct {
	Rollout string // the ID
	Journal Journal
	Actor   string           // who asks
	Now     func() time.Time // nil means time.Now
}

// Pause has nothing started any more until [Control.Resume]. Hosts that run go on to their end.
func (c Control) Pause(ctx context.Context, because string) error {
	return c.ask(ctx, ActionPause, "", because)
}

// Resume ends a pause.
func (c Control) Resume(ctx context.Context, because string) error {
	return c.ask(ctx, ActionResume, "", because)
}

// Cancel ends the rollout: nothing is started any more, and the runs of hosts are canceled at their next safe point, which
// is never in the middle of a step, and with their Finally steps.
func (c Control) Cancel(ctx context.Context, because string) error {
	return c.ask(ctx, ActionCancel, "", because)
}

// Hold keeps a host that has not begun from being started, until [Control.Unhold] or [Control.Skip]. A host that has begun
// is [Precondition].
func (c Control) Hold(ctx context.Context, host, because string) error {
	return c.ask(ctx, ActionHold, host, because)
}

// Unhold lets a host have its turn.
func (c Control) Unhold(ctx context.Context, host, because string) error {
	return c.ask(ctx, ActionUnhold, host, because)
}

// Skip goes on without a host that has not begun. A host that has begun is [Precondition].
func (c Control) Skip(ctx context.Context, host, because string) error {
	return c.ask(ctx, ActionSkip, host, because)
}

func (c Control) ask(ctx context.Context, action, host, because string) error {
	const op = "lifecycle.Control"
	requests, ok := c.Journal.(Requests)
	switch {
	case c.Journal == nil:
		return Errorf(Invalid, op, host, "the control has no Journal")
	case !ok:
		return Errorf(Invalid, op, host, "the journal takes no requests")
	case strings.TrimSpace(because) == "":
		return Errorf(Invalid, op, host, "say why, for those who look at the rollout later")
	}
	if err := c.check(ctx, action, host); err != nil {
		return Wrap(err, op, host)
	}
	now := time.Now
	if c.Now != nil {
		now = c.Now
	}
	if host != "" {
		action += " " + host
	}
	return Wrap(requests.Ask(ctx, c.Rollout, Request{Action: action, Actor: c.Actor, Because: because, Time: now().UTC()}), op, host)
}

// check refuses what could not have an effect as far as is known by now.
func (c Control) check(ctx context.Context, action, host string) error {
	records, err := c.Journal.Records(ctx, c.Rollout)
	if err != nil {
		return err
	}
	if end := records[len(records)-1]; end.Type == RecordEnd {
		return Errorf(Precondition, "", "", "rollout %s has ended %s", c.Rollout, end.State)
	}
	a, err := rolloutArgsOf(records)
	if err != nil {
		return err
	}
	perHost := action == ActionHold || action == ActionUnhold || action == ActionSkip
	if perHost && !slices.Contains(a.Hosts, host) {
		return Errorf(NotFound, "", "", "the rollout %s has no host %q", c.Rollout, host)
	}
	begun := func(r Record) bool { return r.Step == host && (r.Type == RecordIntent || r.Type == RecordResult) }
	if perHost && action != ActionUnhold && slices.ContainsFunc(records, begun) {
		return Errorf(Precondition, "", "", "it has begun or ended already: cancel its run %s-%s instead", c.Rollout, host)
	}
	return nil
}
