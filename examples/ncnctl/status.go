package main

import (
	"cmp"
	"context"
	"fmt"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/examples/site"
)

type statusCmd struct {
	ID string `arg:"" name:"run" optional:"" help:"Run, by its ID."`
}

// Run shows the runs in the journal, or one.
func (c *statusCmd) Run(ctx context.Context, a *app) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.Close()
	if c.ID != "" {
		return failed("status of "+c.ID, a.showRun(ctx, s, c.ID), a.command("status"))
	}
	return failed("status", a.showRuns(ctx, s))
}

// summary is a run in the list.
type summary struct {
	lifecycle.Status
	Steps  struct{} `json:"-"` // the list goes without
	Done   int      `json:"done"`
	Total  int      `json:"total"`
	Damage string   `json:"damage,omitempty"` // the records cannot be read, and why
}

func (a *app) showRuns(ctx context.Context, s *site.Site) error {
	runs, err := s.Journal.Runs(ctx)
	if err != nil {
		return err
	}
	list := []summary{}
	rows := [][]string{{"RUN", "NODE", "KIND", "STATE", "STEPS", "BEGAN", "ACTOR"}}
	for _, id := range runs {
		status, err := lifecycle.StatusOf(ctx, s.Journal, id)
		one := summary{Status: status}
		if err != nil {
			one.Run, one.State, one.Damage = id, "damaged", reason(err)
		}
		one.Done, one.Total = count(status)
		list = append(list, one)
		node, steps := one.Target, fmt.Sprintf("%d/%d", one.Done, one.Total)
		if one.Kind == lifecycle.KindRollout {
			node, steps = "", steps+" hosts"
		}
		rows = append(rows, []string{
			one.Run, cmp.Or(node, "-"), cmp.Or(one.Kind, "-"), string(one.State), steps, stamp(one.Began),
			cmp.Or(one.Actor, one.Damage, "-"),
		})
	}
	if a.Output == "json" {
		return a.json(map[string]any{"cluster": s.File.Cluster, "runs": list})
	}
	if len(list) == 0 {
		a.say("no runs yet")
		return nil
	}
	table(a.stdout, rows, a.states)
	return nil
}

func (a *app) showRun(ctx context.Context, s *site.Site, id string) error {
	status, err := lifecycle.StatusOf(ctx, s.Journal, id)
	if err != nil {
		return err
	}
	if status.Kind == lifecycle.KindRollout {
		v, err := viewRollout(ctx, s, id, nil)
		if err != nil {
			return err
		}
		return v.show(a)
	}
	if a.Output == "json" {
		return a.json(status)
	}
	done, total := count(status)
	fmt.Fprintf(a.stdout, "Run %s: %s of %s for %s\n", clean(id), clean(status.Kind), clean(status.Target), clean(cmp.Or(status.Actor, "-")))
	fmt.Fprintf(a.stdout, "Began %s, last record %s, driver %d\n", stamp(status.Began), stamp(status.Last), status.Epoch)
	fmt.Fprintf(a.stdout, "State %s, %d of %d steps\n", status.State, done, total)
	if status.Message != "" {
		fmt.Fprintf(a.stdout, "%s\n", clean(status.Message))
	}
	fmt.Fprintln(a.stdout)
	rows := [][]string{{"#", "STEP", "EFFECT", "STATE", "TIME", "WHAT"}}
	for i, step := range status.Steps {
		state := cmp.Or(string(step.Outcome), "-")
		if step.Begun {
			state = "begun"
		}
		rows = append(rows, []string{fmt.Sprint(i + 1), step.ID, string(step.Effect), state, stamp(step.Time), cmp.Or(step.Message, step.Summary)})
	}
	table(a.stdout, rows, a.states)
	return nil
}
