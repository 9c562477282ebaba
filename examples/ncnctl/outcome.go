package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/examples/site"
)

const (
	notBegun = "not begun"
	leftOpen = "left as it is"
)

// outcome is what became of one node.
type outcome struct {
	Node    string  `json:"node"`
	Run     string  `json:"run,omitempty"`
	Done    int     `json:"done"`  // steps
	Total   int     `json:"total"` // steps
	Seconds float64 `json:"seconds"`
	Result  string  `json:"result"`
	Error   string  `json:"error,omitempty"`
}

// outcomes is what became of several.
type outcomes struct {
	list []outcome
	err  error // the first
	done int
}

func (o *outcomes) add(one outcome, err error) {
	o.list = append(o.list, one)
	switch {
	case err == nil && one.Result != notBegun:
		o.done++
	case err != nil && o.err == nil:
		o.err = err
	}
}

// outcomeOf asks the journal how far a run has come.
func outcomeOf(ctx context.Context, s *site.Site, p *lifecycle.Plan, node string, err error) outcome {
	o := outcome{Node: node, Result: verdict(err)}
	if p != nil {
		o.Total = len(p.Steps) + len(p.Finally)
		o.journaled(ctx, s, p.ID, err)
	}
	if err == nil {
		o.Result = string(lifecycle.Done)
	} else {
		o.Error = reason(err)
	}
	return o
}

// journaled fills in what the journal has of the run.
func (o *outcome) journaled(ctx context.Context, s *site.Site, run string, err error) {
	status, lookErr := lifecycle.StatusOf(context.WithoutCancel(ctx), s.Journal, run)
	if lookErr != nil {
		return
	}
	o.Run, o.Seconds = run, status.Last.Sub(status.Began).Seconds()
	o.Done, o.Total = count(status)
	if !errors.As(err, new(*lifecycle.Held)) {
		o.Result = string(status.State)
	}
}

// count returns how many steps are done, and how many there are.
func count(s lifecycle.Status) (done, total int) {
	for _, step := range s.Steps {
		if finished(step) {
			done++
		}
	}
	return done, len(s.Steps)
}

func finished(step lifecycle.StepStatus) bool {
	return step.Outcome != "" && step.Outcome != lifecycle.OutcomeFailed
}

// show writes the table, and returns the error of the whole.
func (o *outcomes) show(a *app, s *site.Site, rest func(left []string) string) error {
	if err := o.write(a, s); err != nil {
		return err
	}
	var left []string
	for _, one := range o.list {
		if one.Result == notBegun {
			left = append(left, one.Node)
		}
	}
	if o.err == nil && len(left) == 0 {
		return nil
	}
	f := &failure{err: lifecycle.Errorf(lifecycle.Canceled, "ncnctl", "", "asked to stop before the next one was begun")}
	if o.err != nil {
		errors.As(o.err, &f)
		f = &failure{what: f.what, err: f.err, next: f.next}
		if len(f.next) == 0 {
			f.next = a.nextAfter(f.err)
		}
	}
	if len(left) > 0 {
		a.say("not begun: %s", strings.Join(left, ", "))
		f.next = append(f.next, rest(left))
	}
	if o.done > 0 {
		f.code = exitPartly
	}
	return f
}

func (o *outcomes) write(a *app, s *site.Site) error {
	if a.Output == "json" {
		return a.json(map[string]any{"cluster": s.File.Cluster, "results": append([]outcome{}, o.list...)})
	}
	rows := [][]string{{"NODE", "RUN", "STEPS", "TIME", "RESULT"}}
	for _, one := range o.list {
		run, took1 := one.Run, took(time.Duration(one.Seconds*float64(time.Second)))
		if run == "" {
			run, took1 = "-", "-"
		}
		rows = append(rows, []string{one.Node, run, fmt.Sprintf("%d/%d", one.Done, one.Total), took1, one.Result})
	}
	table(a.stdout, rows, a.states)
	return nil
}
