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
	if c.ID != "" {
		status, err := lifecycle.StatusOf(ctx, s.Journal, c.ID)
		if err != nil {
			return failed("resume "+c.ID, err, a.command("status"))
		}
		if status.Kind == lifecycle.KindRollout {
			return failed("resume "+c.ID, refuse("", "it is a rollout"), a.command("rollout", "resume", c.ID))
		}
		return c.resume(ctx, a, s, []lifecycle.Status{status})
	}
	open, err := openRuns(ctx, s, func(id string, err error) {
		a.say("passed over: run %s cannot be read: %s", clean(id), clean(reason(err)))
	})
	if err != nil {
		return failed("resume", err)
	}
	if len(open) == 0 {
		a.say("no run is unfinished")
		if a.Output == "table" {
			return nil
		}
	}
	return c.resume(ctx, a, s, open)
}

// rolloutsOf returns the rollouts among open runs, and the runs that are neither rollouts nor of a host that one of these
// has begun: to take up such a one behind its rollout's back would leave the policy out.
func rolloutsOf(ctx context.Context, s *site.Site, open []lifecycle.Status) (rollouts, others []lifecycle.Status, err error) {
	in, err := waitingIn(ctx, s, open)
	for _, status := range open {
		switch rollout, ok := in[status.Target]; {
		case status.Kind == lifecycle.KindRollout:
			rollouts = append(rollouts, status)
		case ok && status.Run == hostRun(rollout.Run, status.Target):
		default:
			others = append(others, status)
		}
	}
	return rollouts, others, err
}

func (c *resumeCmd) resume(ctx context.Context, a *app, s *site.Site, open []lifecycle.Status) error {
	var names []string
	var rollouts []lifecycle.Status
	if c.ID == "" {
		var err error
		if rollouts, open, err = rolloutsOf(ctx, s, open); err != nil {
			return failed("resume", err)
		}
	}
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
	for _, r := range rollouts { // each is a decision of its own
		a.say("rollout %s is unfinished; see to it with: %s", r.Run, a.command("rollout", "resume", r.Run))
		all.add(outcome{Node: "-", Run: r.Run, Result: leftOpen},
			failed("resume", refuse("", "rollout %s is unfinished, and is taken up by its own command", r.Run), a.command("rollout", "resume", r.Run)))
	}
	show.close()
	return all.show(a, s, func([]string) string { return a.command("resume") })
}
