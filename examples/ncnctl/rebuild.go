package main

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/examples/site"
	"github.com/ncnkit/lifecycle/ncn"
)

type rebuildCmd struct {
	rebuilding
	confirmation
	DryRun bool `help:"Look and check, and change nothing."`
}

// Run plans all nodes, asks about all of them, and then rebuilds one after the other.
func (c *rebuildCmd) Run(ctx context.Context, a *app) error {
	what := "rebuild " + strings.Join(c.Hosts, " ")
	if err := c.check(c.Hosts); err != nil {
		return failed(what, err)
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.Close()
	if c.DryRun {
		return c.dryRun(ctx, a, s)
	}
	hosts, err := hosts(ctx, s, c.Hosts)
	if err != nil {
		return failed(what, err)
	}
	plans, err := c.plans(ctx, hosts)
	if err != nil {
		return err
	}
	for _, p := range plans {
		if err := a.ask(ctx, s.File.Cluster, "Rebuild", c.Hosts, c.confirmation, p); err != nil {
			return failed("rebuild "+p.Target, err)
		}
	}
	return c.rebuild(ctx, a, s, hosts, plans)
}

func (c *rebuildCmd) dryRun(ctx context.Context, a *app, s *site.Site) error {
	hosts, err := s.NCN.Hosts(ctx, c.Hosts...)
	if err != nil {
		return failed("dry run", err)
	}
	plans, err := c.plans(ctx, hosts)
	if err != nil {
		return err
	}
	var all []forecast
	for _, p := range plans {
		steps, err := lifecycle.DryRun(ctx, p)
		if err != nil {
			return failed("dry run of "+p.Target, err)
		}
		all = append(all, forecast{p.Target, p.Kind, steps})
	}
	return a.showForecasts(s, all)
}

// rebuild runs the plans in turn, and stops at the first that fails.
func (c *rebuildCmd) rebuild(ctx context.Context, a *app, s *site.Site, hosts []ncn.Host, plans []*lifecycle.Plan) error {
	show := a.progress(c.Hosts...)
	var all outcomes
	for i, h := range hosts {
		if all.err != nil || a.stopped() || ctx.Err() != nil {
			all.add(outcome{Node: h.Name, Result: notBegun}, nil)
			continue
		}
		p, err := plans[i], error(nil)
		if i > 0 { // the rebuild of the nodes before took its time
			p, err = c.again(ctx, h, plans[i])
		}
		if err == nil {
			err = lifecycle.Run(ctx, p, a.drive(s, show)...)
		}
		all.add(outcomeOf(ctx, s, p, h.Name, err), failed("rebuild "+h.Name, err))
	}
	show.close()
	return all.show(a, s, func(left []string) string {
		return a.command(slices.Concat([]string{"rebuild"}, left, c.flags())...)
	})
}

// again plans a node whose turn has come, and refuses when that would erase other disks than those that were shown.
func (c *rebuildCmd) again(ctx context.Context, h ncn.Host, shown *lifecycle.Plan) (*lifecycle.Plan, error) {
	p, err := c.plan(ctx, h)
	if err != nil {
		return nil, err
	}
	var was, is ncn.Facts
	if err := errors.Join(json.Unmarshal(shown.Facts, &was), json.Unmarshal(p.Facts, &is)); err != nil {
		return nil, err
	}
	ids := func(disks []ncn.Disk) []string {
		var list []string
		for _, d := range disks {
			list = append(list, d.ID)
		}
		return list
	}
	if !slices.Equal(ids(was.Victims), ids(is.Victims)) || !slices.Equal(ids(was.System), ids(is.System)) {
		return nil, refuse(h.Name, "its disks changed after you confirmed: %v and %v then, %v and %v now; look at the new plan",
			ids(was.Victims), ids(was.System), ids(is.Victims), ids(is.System))
	}
	return p, nil
}
