package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ncnkit/lifecycle"
)

type rolloutPlanCmd struct {
	rolling
}

// rolloutForecast is what a rollout would do, as it is shown.
type rolloutForecast struct {
	Cluster string           `json:"cluster"`
	Policy  lifecycle.Policy `json:"policy"`
	Hosts   []plannedHost    `json:"hosts"`
	Limits  []string         `json:"limits"`
	Begins  []string         `json:"begins"` // these hosts, now
	Waits   []string         `json:"waits"`  // what keeps the others
}

type plannedHost struct {
	Node string `json:"node"`
	Rack string `json:"rack"`
	Wave int    `json:"wave"`
}

// Run shows what a rollout would do. It looks at the inventory and at no host.
func (c *rolloutPlanCmd) Run(ctx context.Context, a *app) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.Close()
	r, err := c.rollout(ctx, s)
	if err != nil {
		return failed("rollout plan", err)
	}
	slots, err := order(r)
	if err != nil {
		return failed("rollout plan", err)
	}
	f := rolloutForecast{Cluster: s.File.Cluster, Policy: r.Policy, Limits: limits(r.Policy, len(slots))}
	for _, slot := range slots {
		f.Hosts = append(f.Hosts, plannedHost{slot.Host, slot.Group, slot.Wave})
	}
	f.Begins, f.Waits = decisions(r.Policy, slots, c.OutFile, time.Now())
	if a.Output == "json" {
		return a.json(f)
	}
	f.show(a)
	return nil
}

// order returns the hosts in the order in which they are taken, with the wave of each: it is the schedule of the rollout
// when nothing but its waves keeps a host waiting.
func order(r *lifecycle.Rollout) ([]lifecycle.Slot, error) {
	p := r.Policy
	free := lifecycle.Rollout{Hosts: r.Hosts, Group: r.Group, Policy: lifecycle.Policy{
		Width: len(r.Hosts), Canary: p.Canary, Serial: p.Serial, Waves: lifecycle.Waves{First: p.Waves.First, Growth: p.Waves.Growth},
	}}
	schedule, err := free.Preview(func(string) time.Duration { return time.Minute }, time.Time{}.AddDate(2000, 0, 0))
	return schedule.Hosts, err
}

// decisions returns which hosts would begin now, and what would keep the others waiting then.
func decisions(p lifecycle.Policy, slots []lifecycle.Slot, outFile string, now time.Time) (begins, waits []string) {
	state := lifecycle.RolloutState{Healthy: len(slots)}
	for _, slot := range slots {
		state.Hosts = append(state.Hosts, lifecycle.HostState{Host: slot.Host, Group: slot.Group})
	}
	setOutages(&state, outFile)
	begins, waits = []string{}, []string{}
	begun := map[string]bool{}
	for _, host := range lifecycle.Decide(p, state, now).Start {
		begins = append(begins, host)
		begun[host] = true
	}
	for i := range state.Hosts {
		if begun[state.Hosts[i].Host] {
			state.Hosts[i].Started, state.LastStarted = now, i+1
		}
	}
	for _, b := range lifecycle.Decide(p, state, now).Why {
		waits = append(waits, b.String())
	}
	return begins, waits
}

func (f *rolloutForecast) show(a *app) {
	fmt.Fprintf(a.stdout, "Cluster: %s\n\n", clean(f.Cluster))
	rows := [][]string{{"#", "NODE", "RACK", "WAVE"}}
	for i, h := range f.Hosts {
		rows = append(rows, []string{strconv.Itoa(i + 1), h.Node, h.Rack, strconv.Itoa(h.Wave)})
	}
	table(a.stdout, rows, nil)
	fmt.Fprintln(a.stdout)
	for _, limit := range f.Limits {
		fmt.Fprintln(a.stdout, clean(limit))
	}
	begins := "none"
	if len(f.Begins) > 0 {
		begins = strings.Join(f.Begins, ", ")
	}
	fmt.Fprintf(a.stdout, "\nBegins now: %s\n", clean(begins))
	for _, w := range f.Waits {
		fmt.Fprintf(a.stdout, "Then waits: %s\n", clean(w))
	}
	fmt.Fprintf(a.stdout, "What is erased is planned for each host when its turn comes; to see that now: %s\n", a.command("plan", "HOST"))
}
