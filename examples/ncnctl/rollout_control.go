package main

import (
	"context"
	"errors"
	"strings"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/examples/site"
)

// because is the flag of commands that are answered for later.
type because struct {
	Because string `help:"Why, for the records." required:"" placeholder:"TEXT"`
}

// control returns what asks things of a rollout, whoever drives it.
func (a *app) control(s *site.Site, id string) lifecycle.Control {
	return lifecycle.Control{Rollout: id, Journal: s.Journal, Actor: a.Actor}
}

// asking asks a thing of a rollout, and says what follows.
func (a *app) asking(id, what, follows string, ask func(c lifecycle.Control) error, next ...string) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.Close()
	err = ask(a.control(s, id))
	switch {
	case errors.As(err, new(*failure)):
		return err
	case err != nil:
		return failed(what+" "+id, err, a.command("status"))
	}
	a.say("asked: %s", follows)
	if len(next) > 0 {
		a.say("next: %s", a.command(next...))
	}
	return nil
}

type rolloutPauseCmd struct {
	rolloutID
	because
}

// Run asks for a pause.
func (c *rolloutPauseCmd) Run(ctx context.Context, a *app) error {
	return a.asking(c.ID, "pause", "no new host is begun; hosts under way go on to their end", func(ask lifecycle.Control) error {
		return ask.Pause(ctx, c.Because)
	}, "rollout", "resume", c.ID)
}

type rolloutUnpauseCmd struct {
	rolloutID
	because
}

// Run ends a pause, and takes nothing up.
func (c *rolloutUnpauseCmd) Run(ctx context.Context, a *app) error {
	return a.asking(c.ID, "unpause", "hosts are begun again, if somebody drives the rollout", func(ask lifecycle.Control) error {
		return ask.Resume(ctx, c.Because)
	}, "rollout", "watch", c.ID)
}

// rolloutHosts is what the commands about hosts of a rollout take.
type rolloutHosts struct {
	rolloutID
	Hosts []string `arg:"" name:"host" help:"Nodes of the rollout, by name."`
	because
}

// each asks a thing about each host. One that is refused does not keep the others from it.
func (c *rolloutHosts) each(a *app, what, follows string, ask func(c lifecycle.Control, host string) error) error {
	return a.asking(c.ID, what, follows, func(ctl lifecycle.Control) error {
		var first error
		asked := 0
		for _, host := range c.Hosts {
			err := ask(ctl, host)
			switch {
			case err == nil:
				asked++
				a.say("%s %s: asked", what, clean(host))
				continue
			case first == nil:
				first = err
			}
			a.say("%s %s: %s", what, clean(host), clean(reason(err)))
		}
		if first != nil && asked > 0 {
			return &failure{what: what + " " + c.ID, err: first, next: []string{a.command("rollout", "status", c.ID)}, code: exitPartly}
		}
		return first
	})
}

type rolloutHoldCmd struct{ rolloutHosts }

// Run holds hosts back.
func (c *rolloutHoldCmd) Run(ctx context.Context, a *app) error {
	return c.each(a, "hold", strings.Join(c.Hosts, ", ")+" is not begun until it is unheld or skipped", func(ask lifecycle.Control, host string) error {
		return ask.Hold(ctx, host, c.Because)
	})
}

type rolloutUnholdCmd struct{ rolloutHosts }

// Run lets hosts have their turn.
func (c *rolloutUnholdCmd) Run(ctx context.Context, a *app) error {
	return c.each(a, "unhold", strings.Join(c.Hosts, ", ")+" has its turn again", func(ask lifecycle.Control, host string) error {
		return ask.Unhold(ctx, host, c.Because)
	})
}

type rolloutSkipCmd struct{ rolloutHosts }

// Run goes on without hosts.
func (c *rolloutSkipCmd) Run(ctx context.Context, a *app) error {
	return c.each(a, "skip", "the rollout goes on without "+strings.Join(c.Hosts, ", "), func(ask lifecycle.Control, host string) error {
		return ask.Skip(ctx, host, c.Because)
	})
}

type rolloutCancelCmd struct {
	rolloutID
	because
}

// Run asks who drives the rollout to end it, or ends it here when nobody does.
func (c *rolloutCancelCmd) Run(ctx context.Context, a *app) error {
	what := "cancel " + c.ID
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.Close()
	p, err := planningOf(ctx, s, c.ID)
	if err != nil {
		return failed(what, err, a.command("status"))
	}
	if err := a.control(s, c.ID).Cancel(ctx, c.Because); err != nil {
		return failed(what, err)
	}
	r := rolloutOf(s, p)
	r.ID = c.ID
	err = a.driveRollout(ctx, s, r, p, 0)
	switch {
	case isHeld(err):
		a.say("asked: somebody drives the rollout: no new host is begun, and those under way end at their next safe point")
		a.say("next: %s", a.command("rollout", "watch", c.ID))
		return nil
	case lifecycle.StateOf(err) == lifecycle.CanceledBy:
		err = nil
	case err == nil:
		err = refuse("", "rollout %s was done before it could be canceled", c.ID)
	}
	v, lookErr := viewRollout(context.WithoutCancel(ctx), s, c.ID, nil)
	if lookErr != nil {
		return failed(what, errors.Join(err, lookErr))
	}
	if showErr := v.show(a); showErr != nil || err == nil {
		return showErr
	}
	return v.failure(a, what, err)
}
