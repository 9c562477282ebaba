package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"regexp"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/examples/site"
	"github.com/ncnkit/lifecycle/ncn"
)

// rolloutCmd is the commands about rollouts.
type rolloutCmd struct {
	Plan    rolloutPlanCmd    `cmd:"" help:"Show in what order and in which waves, under which limits, and what would begin now."`
	Preview rolloutPreviewCmd `cmd:"" help:"Compute when each host would run, if each takes as long as you say and none fails."`
	Run     rolloutRunCmd     `cmd:"" help:"Rebuild many workers under a policy."`
	Status  rolloutStatusCmd  `cmd:"" help:"Show where a rollout stands, host by host, and what it waits for."`
	Watch   rolloutWatchCmd   `cmd:"" help:"Follow a rollout until it ends."`
	Pause   rolloutPauseCmd   `cmd:"" help:"Have nothing begun any more; hosts under way go on to their end."`
	Unpause rolloutUnpauseCmd `cmd:"" help:"End a pause."`
	Resume  rolloutResumeCmd  `cmd:"" help:"End a pause, and take up a rollout that nobody drives."`
	Cancel  rolloutCancelCmd  `cmd:"" help:"End a rollout; hosts under way end at their next safe point."`
	Hold    rolloutHoldCmd    `cmd:"" help:"Keep hosts from being begun."`
	Unhold  rolloutUnholdCmd  `cmd:"" help:"Let held hosts have their turn."`
	Skip    rolloutSkipCmd    `cmd:"" help:"Go on without hosts."`
}

// planning is how a rollout's hosts are planned, and who tells it which others are out. The rollout's first record keeps
// it, so that whoever takes the rollout up goes on alike.
type planning struct {
	image
	OutFile string `help:"File of hosts that others took out, read anew at each look: HOST [WHO [WHY]] on each line." type:"path" placeholder:"FILE"`
}

// rolling is what rollout plan, preview and run take.
type rolling struct {
	Hosts []string `arg:"" name:"host" help:"Workers, by name, in the order in which to take them."`
	policyFlags
	planning
}

// rollout checks the hosts, finds their racks, and puts the rollout together. Nothing is begun.
func (c rolling) rollout(ctx context.Context, s *site.Site) (*lifecycle.Rollout, error) {
	policy, err := c.policy()
	if err != nil {
		return nil, err
	}
	if _, err := s.NCN.Hosts(ctx, c.Hosts...); err != nil {
		return nil, err
	}
	nodes, err := s.NCN.Inventory.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	known := map[string]lifecycle.Node{}
	for _, n := range nodes {
		known[n.Name] = n
	}
	for _, h := range c.Hosts {
		if role := known[h].Role; role != ncn.Worker {
			return nil, refuse(h, "%s is a %s; a rollout rebuilds workers", h, role)
		}
	}
	r := rolloutOf(s, c.planning)
	r.Policy, r.Hosts = policy, c.Hosts
	r.Group = func(host string) string { return rack(known[host].XName) }
	return r, nil
}

// rolloutOf returns a rollout of rebuilds that is yet to be told its policy and hosts, or its ID.
func rolloutOf(s *site.Site, p planning) *lifecycle.Rollout {
	r := &lifecycle.Rollout{
		Plan: func(ctx context.Context, host string) (*lifecycle.Plan, error) {
			return ncn.Rebuild(ctx, s.NCN.Host(host), ncn.Worker, p.options()...)
		},
		Planner: ncn.Planner(s.NCN),
		Poll:    s.File.Poll.Duration,
	}
	if p.OutFile != "" {
		r.Out = func(context.Context) ([]lifecycle.Outage, error) { return readOutages(p.OutFile) }
	}
	return r
}

var cabinet = regexp.MustCompile(`^x\d+`)

// rack returns the cabinet of an xname: x3000 of x3000c0s2b0n0.
func rack(xname string) string { return cmp.Or(cabinet.FindString(xname), xname) }

// rolloutJournal is the journal of a rollout, whose first record keeps how its hosts are planned.
type rolloutJournal struct {
	*lifecycle.DirJournal
	planning planning
}

// Append writes the record, as the journal does.
func (j rolloutJournal) Append(ctx context.Context, lease lifecycle.Lease, rec lifecycle.Record) error {
	if rec.Type == lifecycle.RecordPlan && rec.Plan.Kind == lifecycle.KindRollout {
		facts, err := json.Marshal(j.planning)
		if err != nil {
			return err
		}
		plan := *rec.Plan
		plan.Facts, rec.Plan = facts, &plan
	}
	return j.DirJournal.Append(ctx, lease, rec)
}

// planningOf returns how the hosts of a rollout are planned.
func planningOf(ctx context.Context, s *site.Site, id string) (planning, error) {
	var p planning
	records, err := s.Journal.Records(ctx, id)
	if err != nil {
		return p, err
	}
	plan := records[0].Plan
	if plan == nil || plan.Kind != lifecycle.KindRollout {
		return p, refuse("", "run %s is no rollout", id)
	}
	if err := json.Unmarshal(plan.Facts, &p); err != nil {
		return p, refuse("", "rollout %s was begun by another program, and does not say how its hosts are planned: resume it with that", id)
	}
	return p, nil
}

// drive runs a rollout, or takes one up, and returns what that said. ended is how many of its hosts have ended already.
func (a *app) driveRollout(ctx context.Context, s *site.Site, r *lifecycle.Rollout, p planning, ended int) error {
	show := a.rolloutProgress(ended)
	defer show.close()
	return r.Run(ctx, append(a.drive(s, show), lifecycle.WithJournal(rolloutJournal{s.Journal, p}))...)
}

// waitingIn returns which open rollout has yet to see to a host, by host. A host that is held back is anybody's.
func waitingIn(ctx context.Context, s *site.Site, open []lifecycle.Status) (map[string]lifecycle.Status, error) {
	in := map[string]lifecycle.Status{}
	for _, status := range open {
		if status.Kind != lifecycle.KindRollout {
			continue
		}
		_, state, err := lifecycle.LoadRollout(ctx, s.Journal, status.Run)
		if err != nil {
			return nil, err
		}
		for _, h := range state.Hosts {
			if begun := !h.Started.IsZero(); h.Outcome == "" && (begun || h.Held == "") {
				in[h.Host] = status
			}
		}
	}
	return in, nil
}

// hostRun is the ID of the run of one host of a rollout.
func hostRun(rollout, host string) string { return rollout + "-" + host }

// isHeld reports whether somebody else drives it.
func isHeld(err error) bool { return errors.As(err, new(*lifecycle.Held)) }
