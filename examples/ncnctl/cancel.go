package main

import (
	"context"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/ncn"
)

type cancelCmd struct {
	ID      string `arg:"" name:"run" help:"Run, by its ID."`
	Because string `help:"Why, for the records." required:"" placeholder:"TEXT"`
}

// Run asks who drives the run to end it, or ends it here when nobody does.
func (c *cancelCmd) Run(ctx context.Context, a *app) error {
	what := "cancel " + c.ID
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.Close()
	before, err := lifecycle.StatusOf(ctx, s.Journal, c.ID)
	if err != nil {
		return failed(what, err, a.command("status"))
	}
	if before.Kind == lifecycle.KindRollout {
		return failed(what, refuse("", "it is a rollout"), a.command("rollout", "cancel", c.ID, "--because", c.Because))
	}
	show := a.progress(before.Target)
	err = lifecycle.Cancel(ctx, c.ID, ncn.Planner(s.NCN), c.Because, a.drive(s, show)...)
	show.close()
	if err != nil {
		return failed(what, err)
	}
	one := outcome{Node: before.Target}
	one.journaled(ctx, s, c.ID, nil)
	if one.Result == string(lifecycle.Open) {
		one.Result = "asked to stop"
		a.say("somebody drives the run: it ends at its next safe point")
	}
	all := outcomes{list: []outcome{one}}
	if err := all.write(a, s); err != nil {
		return err
	}
	a.say("next: %s", a.command("explain", c.ID))
	return nil
}
