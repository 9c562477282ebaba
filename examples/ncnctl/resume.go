package main

import (
	"context"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/examples/site"
	"github.com/ncnkit/lifecycle/ncn"
)

type resumeCmd struct {
	ID string `arg:"" name:"run" optional:"" help:"Run, by its ID. Default: every unfinished one, oldest first."`
}

// Run takes runs up where they stopped. What they do was confirmed when they were begun. Each is of another node, left
// half done, so one that fails does not stop the others.
func (c *resumeCmd) Run(ctx context.Context, a *app) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.Close()
	open := []lifecycle.Status{{Run: c.ID}}
	if c.ID == "" {
		if open, err = unfinished(ctx, a, s); err != nil {
			return failed("resume", err)
		}
		if len(open) == 0 {
			a.say("no run is unfinished")
			if a.Output == "table" {
				return nil
			}
		}
	} else if open[0], err = lifecycle.StatusOf(ctx, s.Journal, c.ID); err != nil {
		return failed("resume "+c.ID, err, a.command("status"))
	}
	return c.resume(ctx, a, s, open)
}

func (c *resumeCmd) resume(ctx context.Context, a *app, s *site.Site, open []lifecycle.Status) error {
	var names []string
	for _, status := range open {
		names = append(names, status.Target)
	}
	show := a.progress(names...)
	var all outcomes
	for _, status := range open {
		one := outcome{Node: status.Target, Run: status.Run, Result: notBegun}
		if a.stopped() || ctx.Err() != nil {
			one.Done, one.Total = count(status)
			all.add(one, nil)
			continue
		}
		err := lifecycle.Resume(ctx, status.Run, ncn.Planner(s.NCN), a.drive(s, show)...)
		one.Result = verdict(err)
		if err != nil {
			one.Error = reason(err)
		}
		one.journaled(ctx, s, status.Run, err)
		if err != nil && all.err != nil { // the first is told at the end
			a.say("ncnctl: resume %s: %s: %s", clean(status.Run), verdict(err), clean(reason(err)))
		}
		all.add(one, failed("resume "+status.Run, err))
	}
	show.close()
	return all.show(a, s, func([]string) string { return a.command("resume") })
}

// unfinished returns the runs that are open, oldest first.
func unfinished(ctx context.Context, a *app, s *site.Site) ([]lifecycle.Status, error) {
	runs, err := s.Journal.Runs(ctx)
	if err != nil {
		return nil, err
	}
	var open []lifecycle.Status
	for _, id := range runs {
		status, err := lifecycle.StatusOf(ctx, s.Journal, id)
		if err != nil {
			a.say("passed over: run %s cannot be read: %s", clean(id), clean(reason(err)))
			continue
		}
		if status.State == lifecycle.Open {
			open = append(open, status)
		}
	}
	return open, nil
}
