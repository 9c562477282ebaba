package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/bss"
	"github.com/ncnkit/lifecycle/ncn"
)

// view is a plan as it is shown.
type view struct {
	Node    string                 `json:"node"`
	Role    lifecycle.Role         `json:"role"`
	XName   string                 `json:"xname"`
	BMC     string                 `json:"bmc"`
	Kind    string                 `json:"kind"`
	Image   string                 `json:"image,omitempty"` // the one asked for
	Victims []ncn.Disk             `json:"victims,omitempty"`
	System  []ncn.Disk             `json:"system,omitempty"`
	Umounts []string               `json:"umounts,omitempty"`
	Groups  []string               `json:"groups,omitempty"`
	Arrays  []string               `json:"arrays,omitempty"`
	Backup  string                 `json:"backup,omitempty"`
	Armed   bool                   `json:"armed,omitempty"` // it would erase itself at its next boot as it stands
	Steps   []lifecycle.StepRecord `json:"steps"`
	Finally []lifecycle.StepRecord `json:"finally,omitempty"`
}

func viewOf(p *lifecycle.Plan) (view, error) {
	var facts ncn.Facts
	var args ncn.Args
	if err := json.Unmarshal(p.Facts, &facts); err != nil {
		return view{}, fmt.Errorf("the plan's facts: %w", err)
	}
	if err := json.Unmarshal(p.Args, &args); err != nil {
		return view{}, fmt.Errorf("the plan's arguments: %w", err)
	}
	v := view{
		Node: p.Target, Role: facts.Node.Role, XName: facts.Node.XName, BMC: facts.Node.BMC, Kind: p.Kind,
		Victims: facts.Victims, System: facts.System, Umounts: facts.Umounts, Groups: facts.Groups, Arrays: facts.Arrays,
		Backup: facts.Backup, Steps: records(p.Steps), Finally: records(p.Finally),
	}
	if args.Image != nil {
		v.Image = args.Image.Path + ":" + args.Image.Version
	}
	if facts.Previous != nil {
		v.Armed = bss.Armed(bss.Entry{Params: facts.Previous.Params})
	}
	return v, nil
}

func records(steps []lifecycle.Step) []lifecycle.StepRecord {
	var list []lifecycle.StepRecord
	for _, s := range steps {
		list = append(list, lifecycle.StepRecord{ID: s.ID, Summary: s.Summary, Effect: s.Effect})
	}
	return list
}

func (v *view) has(step string) bool {
	return slices.ContainsFunc(v.Steps, func(s lifecycle.StepRecord) bool { return s.ID == step })
}

// losses writes what will be lost.
func (v *view) losses(w io.Writer) {
	line := func(format string, args ...any) { fmt.Fprintln(w, clean(fmt.Sprintf(format, args...))) }
	if v.has("wipe") {
		line("Erased at once, and everything on them is lost:")
		v.disks(w, v.Victims)
		if len(v.System) > 0 {
			line("Erased by the node itself at its next boot, because the running system is on them:")
			v.disks(w, v.System)
		}
	}
	for _, list := range []struct {
		what  string
		names []string
	}{{"Unmounted before that", v.Umounts}, {"Volume groups removed", v.Groups}, {"RAID arrays stopped", v.Arrays}} {
		if len(list.names) > 0 {
			line("%s: %s", list.what, strings.Join(list.names, ", "))
		}
	}
	for _, s := range v.Steps {
		switch {
		case s.ID == "backup":
			line("Kept: %s", strings.ReplaceAll(s.Summary, v.Backup, "the store"))
		case s.ID == "restore" && !v.has("wipe"):
			line("Overwritten: the files on %s that are in %s", v.Node, v.Backup)
		}
	}
	switch {
	case v.has("power-off"):
		line("Down: %s is turned off and on; whatever runs on it ends.", v.Node)
	case v.has("arm"):
		line("Armed: %s erases itself at its next boot, until it is disarmed.", v.Node)
	}
	if v.Armed && v.has("power-off") && !v.has("wipe") {
		line("WARNING: %s is armed (metal.no-wipe is not 1): this boot erases its disks. To keep them, disarm it first.", v.Node)
	}
}

func (v *view) disks(w io.Writer, disks []ncn.Disk) {
	var rows [][]string
	for _, d := range disks {
		rows = append(rows, []string{"  " + d.ID, bytesText(d.Size), d.Model, "now " + d.Name})
	}
	table(w, rows, nil)
}
