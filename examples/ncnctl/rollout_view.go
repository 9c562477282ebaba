package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/examples/site"
)

// rolloutView is where a rollout stands, as it is shown.
type rolloutView struct {
	Cluster  string           `json:"cluster"`
	Rollout  string           `json:"rollout"`
	State    lifecycle.State  `json:"state"`
	Actor    string           `json:"actor,omitempty"`
	Began    time.Time        `json:"began"`
	Last     time.Time        `json:"last"` // of the rollout's last record
	Message  string           `json:"message,omitempty"`
	Paused   string           `json:"paused,omitempty"`   // by whom and why
	Canceled string           `json:"canceled,omitempty"` // by whom and why
	Halted   string           `json:"halted,omitempty"`   // why
	Waits    []string         `json:"waits"`              // what keeps hosts from being begun
	Ready    []string         `json:"ready"`              // hosts that nothing keeps from it
	Policy   lifecycle.Policy `json:"policy"`
	Counts   counts           `json:"counts"`
	Hosts    []rolloutHost    `json:"hosts"`
}

// counts is how many hosts came to what.
type counts struct {
	Hosts   int `json:"hosts"`
	Done    int `json:"done"`
	Failed  int `json:"failed"`
	Skipped int `json:"skipped"`
	Open    int `json:"open"`
	Waiting int `json:"waiting"`
}

// rolloutHost is where one host of a rollout stands.
type rolloutHost struct {
	plannedHost
	Run     string  `json:"run,omitempty"`
	Done    int     `json:"done"`  // steps
	Total   int     `json:"total"` // steps
	Seconds float64 `json:"seconds"`
	State   string  `json:"state"` // waits, held, out, open, done, skipped, or how its run failed
	What    string  `json:"what,omitempty"`
	ended   bool
}

// viewRollout reads where a rollout stands. What was seen before of hosts that have ended is not read again; before may be
// nil.
func viewRollout(ctx context.Context, s *site.Site, id string, before *rolloutView) (*rolloutView, error) {
	status, err := lifecycle.StatusOf(ctx, s.Journal, id)
	if err != nil {
		return nil, err
	}
	p, err := planningOf(ctx, s, id)
	if err != nil {
		return nil, err
	}
	policy, state, err := lifecycle.LoadRollout(ctx, s.Journal, id)
	if err != nil {
		return nil, err
	}
	v := &rolloutView{
		Cluster: s.File.Cluster, Rollout: id, State: status.State, Actor: status.Actor, Began: status.Began, Last: status.Last,
		Message: status.Message, Paused: state.Paused, Canceled: state.Canceled, Halted: state.Halted, Policy: policy,
		Waits: []string{}, Ready: []string{},
	}
	if v.State == lifecycle.Open {
		setOutages(&state, p.OutFile)
		state.Healthy = len(state.Hosts) // there is no gate
		d := lifecycle.Decide(policy, state, time.Now())
		v.Ready = append(v.Ready, d.Start...)
		for _, b := range d.Why {
			v.Waits = append(v.Waits, b.String())
		}
	}
	return v, v.addHosts(ctx, s, state, before)
}

func (v *rolloutView) addHosts(ctx context.Context, s *site.Site, state lifecycle.RolloutState, before *rolloutView) error {
	r := &lifecycle.Rollout{Policy: v.Policy}
	groups := map[string]string{}
	for _, h := range state.Hosts {
		r.Hosts = append(r.Hosts, h.Host)
		groups[h.Host] = h.Group
	}
	r.Group = func(host string) string { return groups[host] }
	slots, err := order(r)
	if err != nil {
		return err
	}
	for i, h := range state.Hosts {
		one := rolloutHost{plannedHost: plannedHost{h.Host, h.Group, slots[i].Wave}}
		if before != nil && before.Hosts[i].ended {
			one = before.Hosts[i]
		} else if err := one.look(ctx, s, v.Rollout, h); err != nil {
			return err
		}
		v.Hosts = append(v.Hosts, one)
		v.Counts.add(h)
	}
	return nil
}

func (c *counts) add(h lifecycle.HostState) {
	c.Hosts++
	switch {
	case h.Outcome == lifecycle.OutcomeFailed:
		c.Failed++
	case h.Outcome == lifecycle.OutcomeSkipped:
		c.Skipped++
	case h.Outcome != "":
		c.Done++
	case !h.Started.IsZero():
		c.Open++
	default:
		c.Waiting++
	}
}

func (c counts) String() string {
	var parts []string
	for _, one := range []struct {
		n    int
		what string
	}{{c.Done, "done"}, {c.Failed, "failed"}, {c.Skipped, "skipped"}, {c.Open, "open"}, {c.Waiting, "waiting"}} {
		if one.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", one.n, one.what))
		}
	}
	return fmt.Sprintf("%d hosts: %s", c.Hosts, strings.Join(parts, ", "))
}

// look finds out where a host stands.
func (o *rolloutHost) look(ctx context.Context, s *site.Site, rollout string, h lifecycle.HostState) error {
	o.State, o.What, o.ended = string(h.Outcome), h.Message, h.Outcome != ""
	switch {
	case h.Outcome != "":
	case !h.Started.IsZero():
		o.State = string(lifecycle.Open)
	case h.Held != "":
		o.State, o.What = "held", h.Held
	case h.Out != nil && h.Out.By != "":
		o.State, o.What = "out", strings.TrimSpace(h.Out.Why+" by "+h.Out.By)
	default:
		o.State = "waits"
	}
	if h.Started.IsZero() {
		return nil
	}
	status, err := lifecycle.StatusOf(ctx, s.Journal, hostRun(rollout, h.Host))
	if errors.Is(err, lifecycle.NotFound) {
		if !o.ended {
			o.What = "is being planned"
		}
		return nil
	}
	if err != nil {
		return err
	}
	o.Run, o.Seconds = status.Run, status.Last.Sub(status.Began).Seconds()
	o.Done, o.Total = count(status)
	switch {
	case !o.ended:
		o.What = at(status)
	case h.Outcome == lifecycle.OutcomeFailed && status.State != lifecycle.Done && status.State != lifecycle.Open:
		o.State = string(status.State)
		o.What = cmp.Or(status.Message, o.What)
		if status.State == lifecycle.Failed {
			o.What = cmp.Or(failedAt(status), o.What)
		}
	}
	return nil
}

// failedAt returns the step that failed, and why; "" when none did.
func failedAt(s lifecycle.Status) string {
	for _, step := range s.Steps {
		if step.Outcome == lifecycle.OutcomeFailed {
			return step.ID + ": " + step.Message
		}
	}
	return ""
}

// at returns the step that an open run is at.
func at(s lifecycle.Status) string {
	for _, step := range s.Steps {
		if !finished(step) {
			return step.ID + ": " + step.Summary
		}
	}
	return ""
}

// show writes the view for people.
func (v *rolloutView) show(a *app) error {
	if a.Output == "json" {
		return a.json(v)
	}
	line := func(head, text string) {
		if text != "" {
			fmt.Fprintf(a.stdout, "%s: %s\n", head, clean(text))
		}
	}
	line("Rollout "+clean(v.Rollout), fmt.Sprintf("%s, for %s", v.State, cmp.Or(v.Actor, "-")))
	line("Began", fmt.Sprintf("%s, last record %s", stamp(v.Began), stamp(v.Last)))
	fmt.Fprintln(a.stdout, v.Counts)
	line("Paused", v.Paused)
	line("Canceled", v.Canceled)
	line("Halted", v.Halted)
	for _, w := range v.Waits {
		line("No new host is begun", w)
	}
	if len(v.Ready) > 0 {
		line("Nothing keeps from being begun", strings.Join(v.Ready, ", ")+"; if that stays so, nobody drives the rollout")
	}
	fmt.Fprintln(a.stdout)
	rows := [][]string{{"NODE", "RACK", "WAVE", "STATE", "STEPS", "TIME", "WHAT"}}
	for _, h := range v.Hosts {
		rows = append(rows, h.row())
	}
	table(a.stdout, rows, a.states)
	return nil
}

func (o rolloutHost) row() []string {
	steps, time1 := "-", "-"
	if o.Run != "" {
		steps, time1 = fmt.Sprintf("%d/%d", o.Done, o.Total), took(time.Duration(o.Seconds*float64(time.Second)))
	}
	return []string{o.Node, cmp.Or(o.Rack, "-"), strconv.Itoa(o.Wave), o.State, steps, time1, cmp.Or(o.What, "-")}
}

// endRollout shows what became of a rollout, and returns the error of the whole.
func (a *app) endRollout(ctx context.Context, s *site.Site, id, what string, err error) error {
	v, lookErr := viewRollout(context.WithoutCancel(ctx), s, id, nil)
	switch {
	case id == "" || errors.Is(lookErr, lifecycle.NotFound): // it was not begun
		return failed(what, err)
	case lookErr != nil:
		return failed(what, cmp.Or(err, lookErr))
	}
	if showErr := v.show(a); showErr != nil {
		return showErr
	}
	return v.failure(a, what, err)
}

// failure returns the error of a rollout, with what to type next and the exit code.
func (v *rolloutView) failure(a *app, what string, err error) error {
	if err == nil && v.Counts.Failed > 0 {
		err = lifecycle.Errorf(lifecycle.Internal, "ncnctl", "", "%d of %d hosts failed, as many as the policy accepts", v.Counts.Failed, v.Counts.Hosts)
	}
	if err == nil {
		return nil
	}
	f := &failure{what: what, err: err}
	if v.State == lifecycle.Open {
		f.next = append(f.next, a.command("rollout", "resume", v.Rollout))
	}
	for _, h := range v.Hosts {
		switch lifecycle.State(h.State) {
		case lifecycle.NeedsHuman, lifecycle.Undecided:
			f.code = exitPerson
		case lifecycle.Failed, lifecycle.Refused, lifecycle.CanceledBy:
		default:
			continue
		}
		if h.Run != "" && len(f.next) < 5 {
			f.next = append(f.next, a.command("explain", h.Run))
		}
	}
	if len(f.next) == 0 {
		f.next = append(f.next, a.command("rollout", "status", v.Rollout))
	}
	if v.Counts.Done > 0 {
		f.code = exitPartly
	}
	return f
}
