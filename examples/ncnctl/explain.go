package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/examples/site"
	"github.com/ncnkit/lifecycle/ncn"
)

type explainCmd struct {
	What string `arg:"" help:"A run, a node (its latest run), a step (backup), a kind of error (precondition), or a state (needs-human)."`
}

// Run explains a word of this program, or what became of a run.
func (c *explainCmd) Run(ctx context.Context, a *app) error {
	if text, ok := glossary()[slug(strings.ToLower(c.What))]; ok {
		if a.Output == "json" {
			return a.json(map[string]string{"word": c.What, "meaning": text})
		}
		fmt.Fprintln(a.stdout, text)
		return nil
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.Close()
	records, err := find(ctx, s, c.What)
	if err != nil {
		return failed("explain "+c.What, err, a.command("status"))
	}
	e, err := a.explain(records)
	if err != nil {
		return failed("explain "+c.What, err)
	}
	if rollout := rolloutOfRun(ctx, s, e); rollout != "" {
		e.Next = append([]string{a.command("rollout", "resume", rollout) + "   # it is part of that; names the driver, when somebody drives it"}, e.Next[1:]...)
	}
	if a.Output == "json" {
		return a.json(e)
	}
	e.show(a)
	return nil
}

// find returns the records of a run, or of the latest run of a node.
func find(ctx context.Context, s *site.Site, what string) ([]lifecycle.Record, error) {
	records, err := s.Journal.Records(ctx, what)
	if !errors.Is(err, lifecycle.NotFound) && !errors.Is(err, lifecycle.Invalid) {
		return records, err
	}
	runs, err := s.Journal.Runs(ctx)
	if err != nil {
		return nil, err
	}
	for i := len(runs) - 1; i >= 0; i-- {
		if records, err := s.Journal.Records(ctx, runs[i]); err == nil && lifecycle.Summarize(records).Target == what {
			return records, nil
		}
	}
	return nil, lifecycle.Errorf(lifecycle.NotFound, "ncnctl.explain", "", "%q is no run, no node with a run, no step, no kind of error and no state", what)
}

// explanation is what is known of a run, and what follows from it.
type explanation struct {
	Run     string          `json:"run"`
	Kind    string          `json:"kind"`
	Node    string          `json:"node"`
	Actor   string          `json:"actor,omitempty"`
	State   lifecycle.State `json:"state"`
	Means   string          `json:"means"`
	Done    []string        `json:"done"`             // steps
	At      string          `json:"at,omitempty"`     // the step that an open run is at
	AtText  string          `json:"atText,omitempty"` // what that step does, and since when
	Failed  string          `json:"failed,omitempty"` // the step that failed
	Left    []string        `json:"left"`             // steps that were not done
	OnNode  []string        `json:"onNode,omitempty"` // what holds for the node by the records
	Message string          `json:"message,omitempty"`
	Next    []string        `json:"next"`
}

// explain tells what the records of a run mean.
func (a *app) explain(records []lifecycle.Record) (explanation, error) {
	status := lifecycle.Summarize(records)
	e := explanation{
		Run: status.Run, Kind: status.Kind, Node: status.Target, Actor: status.Actor, State: status.State,
		Means: glossary()[string(status.State)], Message: status.Message, Done: []string{}, Left: []string{},
	}
	if records[0].Plan == nil {
		return e, lifecycle.Errorf(lifecycle.Internal, "ncnctl.explain", "", "the first record of run %s is no plan", status.Run)
	}
	var facts ncn.Facts
	_ = json.Unmarshal(records[0].Plan.Facts, &facts) // another program's plan has other facts
	for _, step := range status.Steps {
		e.take(step)
	}
	if status.Kind == lifecycle.KindRollout {
		e.Node = fmt.Sprintf("%d hosts", len(status.Steps))
		e.Next = a.afterRollout(status)
		return e, nil
	}
	half := halfOf(status)
	e.OnNode = half.text(facts)
	e.Next = a.after(status, half, facts)
	return e, nil
}

// take notes a step.
func (e *explanation) take(step lifecycle.StepStatus) {
	switch {
	case finished(step):
		e.Done = append(e.Done, step.ID)
		return
	case step.Outcome == lifecycle.OutcomeFailed:
		e.Failed = step.ID
		e.Message = cmp.Or(e.Message, step.Message)
	case e.At == "" && e.Failed == "" && e.State == lifecycle.Open:
		e.At, e.AtText = step.ID, step.Summary
		if step.Begun {
			e.AtText += fmt.Sprintf(" (begun %s; it may or may not have happened: resume looks before it acts)", stamp(step.Time))
		}
	}
	e.Left = append(e.Left, step.ID)
}

// half is which half of a run's work is done: how the node was left.
type half struct {
	begun map[string]bool // steps that were begun
	done  map[string]bool // and done
	is    map[string]bool // steps of the plan
}

func halfOf(s lifecycle.Status) half {
	h := half{map[string]bool{}, map[string]bool{}, map[string]bool{}}
	for _, step := range s.Steps {
		h.is[step.ID] = true
		h.done[step.ID] = finished(step)
		h.begun[step.ID] = step.Begun || step.Outcome != ""
	}
	return h
}

func (h half) armed() bool {
	return h.begun["arm"] && !h.done["disarm"] && !h.done["disarm-at-last"]
}

func (h half) restoreLeft() bool { return h.is["restore"] && h.begun["wipe"] && !h.done["restore"] }

// text says how the node was left, by the records.
func (h half) text(f ncn.Facts) []string {
	var out []string
	say := func(on bool, format string, args ...any) {
		if on {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	say(h.is["wipe"] && !h.begun["wipe"], "its disks were not touched")
	say(h.begun["wipe"] && !h.done["wipe"], "erasing its disks was begun, and is not known to be finished")
	say(h.done["wipe"], "its disks are erased")
	say(h.done["backup"] && f.Backup != "", "its files are kept in %s", f.Backup)
	say(h.armed(), "it is armed, or may be: its next boot erases its disks")
	say(h.is["boot"] && h.begun["power-off"] && !h.done["boot"], "it was turned off, and was not seen up again")
	say(h.done["boot"], "it was seen up on a new boot")
	say(h.done["boot"] && h.restoreLeft(), "its files are not back yet")
	say(h.done["restore"], "its files are back")
	return out
}

// after says what to type next.
func (a *app) after(s lifecycle.Status, h half, f ncn.Facts) []string {
	next := []string{}
	add := func(note string, args ...string) {
		line := a.command(args...)
		if note != "" {
			line += "   # " + note
		}
		next = append(next, line)
	}
	if s.State == lifecycle.Open {
		add("names the driver, when somebody drives it", "resume", s.Run)
		add("or end it", "cancel", s.Run, "--because", "TEXT")
		return next
	}
	if h.armed() {
		add("it keeps its disks at its next boot then", "disarm", s.Target)
	}
	switch {
	case s.State == lifecycle.Done:
	case s.Kind != "ncn.rebuild":
		add("when the cause is put right", strings.TrimPrefix(s.Kind, "ncn."), s.Target)
	case h.done["boot"] && h.restoreLeft():
		add("put its files back", "restore", s.Target, "--from", f.Backup)
	case h.begun["wipe"]:
		add("when the cause is put right", "rebuild", s.Target)
		add("afterwards: the files from before the erasing are in this backup, not in the latest", "restore", s.Target, "--from", f.Backup)
	default:
		add("when the cause is put right", "plan", s.Target)
	}
	return next
}

// rolloutOfRun returns the open rollout that an open run is part of; "" for none.
func rolloutOfRun(ctx context.Context, s *site.Site, e explanation) string {
	id, ok := strings.CutSuffix(e.Run, hostRun("", e.Node))
	if !ok || e.State != lifecycle.Open {
		return ""
	}
	if status, err := lifecycle.StatusOf(ctx, s.Journal, id); err != nil || status.Kind != lifecycle.KindRollout || status.State != lifecycle.Open {
		return ""
	}
	return id
}

// afterRollout says what to type next about a rollout.
func (a *app) afterRollout(s lifecycle.Status) []string {
	next := []string{a.command("rollout", "status", s.Run)}
	if s.State == lifecycle.Open {
		return append(next, a.command("rollout", "resume", s.Run)+"   # names the driver, when somebody drives it",
			a.command("rollout", "cancel", s.Run, "--because", "TEXT")+"   # or end it")
	}
	for _, host := range s.Steps {
		if host.Outcome == lifecycle.OutcomeFailed {
			next = append(next, a.command("explain", hostRun(s.Run, host.ID)))
		}
	}
	return next
}

// show writes the explanation for people.
func (e *explanation) show(a *app) {
	line := func(head, text string) {
		if text != "" {
			fmt.Fprintf(a.stdout, "%-9s %s\n", head, clean(text))
		}
	}
	line("Run", fmt.Sprintf("%s: %s of %s for %s", e.Run, e.Kind, e.Node, cmp.Or(e.Actor, "-")))
	line("State", fmt.Sprintf("%s. %s", e.State, e.Means))
	line("Why", e.Message)
	line("Done", cmp.Or(strings.Join(e.Done, ", "), "no step"))
	if e.At != "" {
		line("Now at", e.At+": "+e.AtText)
	}
	line("Failed", e.Failed)
	line("Not done", strings.Join(e.Left, ", "))
	line("The node", strings.Join(e.OnNode, "; "))
	for _, n := range e.Next {
		fmt.Fprintf(a.stdout, "next: %s\n", n)
	}
}
