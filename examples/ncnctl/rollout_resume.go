package main

import (
	"context"

	"github.com/ncnkit/lifecycle"
)

type rolloutResumeCmd struct {
	rolloutID
	Because    string `help:"Why the pause ends, for the records." default:"resumed" placeholder:"TEXT"`
	KeepPaused bool   `help:"Leave a pause as it is: bring to their end the hosts that were begun, and begin no other."`
	OutFile    string `help:"Another file than the one that the rollout was begun with." type:"path" placeholder:"FILE"`
}

// Run ends the rollout's pause where there is one, and takes it up unless somebody drives it. What it does was confirmed
// when it was begun.
func (c *rolloutResumeCmd) Run(ctx context.Context, a *app) error {
	what := "resume " + c.ID
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.Close()
	p, err := planningOf(ctx, s, c.ID)
	if err != nil {
		return failed(what, err, a.command("status"))
	}
	v, err := viewRollout(ctx, s, c.ID, nil)
	if err != nil {
		return failed(what, err)
	}
	ended := v.Paused != "" && !c.KeepPaused
	if ended {
		if err := a.control(s, c.ID).Resume(ctx, c.Because); err != nil {
			return failed(what, err)
		}
		a.say("the pause has ended that was asked for %s", clean(v.Paused))
	}
	if c.OutFile != "" {
		p.OutFile = c.OutFile
	}
	r := rolloutOf(s, p)
	r.ID = c.ID
	err = a.driveRollout(ctx, s, r, p, v.Counts.Hosts-v.Counts.Open-v.Counts.Waiting)
	switch state := lifecycle.StateOf(err); {
	case isHeld(err) && ended:
		a.say("somebody drives the rollout: it goes on there")
		a.say("next: %s", a.command("rollout", "watch", c.ID))
		return nil
	case err != nil && state == "": // it was not taken up
		return failed(what, err)
	}
	return a.endRollout(ctx, s, c.ID, what, err)
}
