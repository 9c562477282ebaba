package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/ncnkit/lifecycle"
)

type rolloutRunCmd struct {
	rolling
	confirmation
	ConfirmCount   int    `help:"How many hosts, together with --confirm-cluster instead of a --confirm for each." placeholder:"N" and:"all"`
	ConfirmCluster string `help:"The cluster's name, together with --confirm-count." placeholder:"NAME" and:"all"`
}

// Run asks about all hosts, and then rebuilds them under the policy.
func (c *rolloutRunCmd) Run(ctx context.Context, a *app) error {
	what := fmt.Sprintf("rollout of %d hosts", len(c.Hosts))
	if err := c.check(c.Hosts); err != nil {
		return failed(what, err)
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.Close()
	r, err := c.rollout(ctx, s)
	if err != nil {
		return failed(what, err)
	}
	if _, err := hosts(ctx, s, c.Hosts); err != nil {
		return failed(what, err)
	}
	if err := c.ask(ctx, a, s.File.Cluster, r); err != nil {
		return failed(what, err)
	}
	err = a.driveRollout(ctx, s, r, c.planning, 0)
	return a.endRollout(ctx, s, r.ID, what, err)
}

// ask shows which hosts of which cluster, and lets nobody pass who does not name all of them, or the cluster and how many.
func (c *rolloutRunCmd) ask(ctx context.Context, a *app, cluster string, r *lifecycle.Rollout) error {
	slots, err := order(r)
	if err != nil {
		return err
	}
	a.say("Cluster: %s", clean(cluster))
	a.say("Rebuild %d hosts:", len(slots))
	rows := [][]string{{"  #", "NODE", "RACK", "WAVE"}}
	for i, slot := range slots {
		rows = append(rows, []string{fmt.Sprintf("  %d", i+1), slot.Host, slot.Group, strconv.Itoa(slot.Wave)})
	}
	table(a.stderr, rows, nil)
	for _, limit := range limits(r.Policy, len(slots)) {
		a.say("  %s", limit)
	}
	a.say("Each is backed up, erased, and turned off and on. Which of its disks are erased is planned when its turn comes;")
	a.say("to see that now: %s", a.command("plan", "HOST"))
	named := !slices.ContainsFunc(c.Hosts, func(h string) bool { return !slices.Contains(c.Confirm, h) })
	switch {
	case named:
		return nil
	case c.ConfirmCluster != "" || c.ConfirmCount != 0:
		return matches(cluster, len(c.Hosts), c.ConfirmCluster, strconv.Itoa(c.ConfirmCount))
	case !isTerminal(a.stdin):
		again := append(slices.Clone(a.args), "--confirm-count", strconv.Itoa(len(c.Hosts)), "--confirm-cluster", cluster)
		err := refuse("", "it was not confirmed, and there is no terminal to ask on")
		return failed("rollout", err, words(append([]string{"ncnctl"}, again...)))
	}
	fmt.Fprintf(a.stderr, "Type the cluster's name to go on: ")
	typed, err := a.readLine(ctx)
	if err != nil {
		return refuse("", "the cluster's name was not typed: %w", err)
	}
	fmt.Fprintf(a.stderr, "Type the number of hosts: ")
	number, err := a.readLine(ctx)
	if err != nil {
		return refuse("", "the number of hosts was not typed: %w", err)
	}
	return matches(cluster, len(c.Hosts), typed, number)
}

// matches refuses another cluster, or another number of hosts.
func matches(cluster string, hosts int, saidCluster, saidHosts string) error {
	switch {
	case saidCluster != cluster:
		return refuse("", "%q was given, and the cluster is %s", saidCluster, cluster)
	case saidHosts != strconv.Itoa(hosts):
		return refuse("", "%q was given, and %d hosts are named", saidHosts, hosts)
	}
	return nil
}
