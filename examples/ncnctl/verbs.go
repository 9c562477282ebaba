package main

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/ncn"
)

// single is what the commands for one step on one node take.
type single struct {
	Host   string `arg:"" help:"Node, by name."`
	DryRun bool   `help:"Look and check, and change nothing."`
}

// verb is one of ncn's.
type verb func(ctx context.Context, h ncn.Host, opts ...ncn.Option) error

type backupCmd struct {
	single
	Path []string `help:"Further path to back up, relative to /. May be repeated." placeholder:"PATH"`
}

// Run backs the node up.
func (c *backupCmd) Run(ctx context.Context, a *app) error {
	return a.single(ctx, "Back up", c.single, nil, ncn.Backup, ncn.Paths(c.Path...))
}

type wipeCmd struct {
	single
	confirmation
	Role string `help:"What the node must be: master, worker or storage." enum:"master,worker,storage" default:"worker"`
}

// Run wipes the node.
func (c *wipeCmd) Run(ctx context.Context, a *app) error {
	return a.single(ctx, "Wipe", c.single, &c.confirmation, func(ctx context.Context, h ncn.Host, opts ...ncn.Option) error {
		return ncn.Wipe(ctx, h, lifecycle.Role(c.Role), opts...)
	})
}

type bootParametersCmd struct {
	single
	image
	Global map[string]string `help:"Value to set in Global's meta-data, by dotted key; JSON, or else taken as text. May be repeated." placeholder:"KEY=VALUE" mapsep:"none"`
}

// Run sets the boot parameters.
func (c *bootParametersCmd) Run(ctx context.Context, a *app) error {
	values := map[string]any{}
	for _, key := range slices.Sorted(maps.Keys(c.Global)) {
		dec := json.NewDecoder(strings.NewReader(c.Global[key]))
		dec.UseNumber()
		var v any
		if err := dec.Decode(&v); err != nil || dec.More() {
			v = c.Global[key]
		}
		values[key] = v
	}
	return a.single(ctx, "Set the boot parameters of", c.single, nil, ncn.SetBootParameters, append(c.options(), ncn.GlobalData(values))...)
}

type rebootCmd struct {
	single
	confirmation
}

// Run reboots the node.
func (c *rebootCmd) Run(ctx context.Context, a *app) error {
	return a.single(ctx, "Reboot", c.single, &c.confirmation, ncn.Reboot)
}

type restoreCmd struct {
	single
	confirmation
	From string `help:"Backup, by its prefix in the store. Default: the latest." placeholder:"PREFIX"`
}

// Run puts the node's files back.
func (c *restoreCmd) Run(ctx context.Context, a *app) error {
	return a.single(ctx, "Restore", c.single, &c.confirmation, ncn.Restore, ncn.FromBackup(c.From))
}

type disarmCmd struct {
	single
}

// Run disarms the node.
func (c *disarmCmd) Run(ctx context.Context, a *app) error {
	return a.single(ctx, "Disarm", c.single, nil, ncn.Disarm)
}

// single runs a verb on a node. With a confirmation it asks when the plan is made and nothing was done yet: the plan
// that was shown is the one that is run.
func (a *app) single(ctx context.Context, what string, on single, c *confirmation, act verb, opts ...ncn.Option) error {
	name := strings.ToLower(what) + " " + on.Host
	if c != nil {
		if err := c.check([]string{on.Host}); err != nil {
			return failed(name, err)
		}
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.Close()
	if on.DryRun {
		f := forecast{Node: on.Host, Kind: strings.ToLower(what)}
		opts = append(opts, ncn.DryRun(func(steps []lifecycle.Forecast) { f.Steps = steps }))
		if err := act(ctx, s.NCN.Host(on.Host), opts...); err != nil {
			return failed("dry run: "+name, err)
		}
		return a.showForecasts(s, []forecast{f})
	}
	list, err := hosts(ctx, s, []string{on.Host})
	if err != nil {
		return failed(name, err)
	}
	var plan *lifecycle.Plan
	show := a.progress(on.Host)
	opts = append(opts, ncn.RunWith(a.drive(s, show)...), ncn.With(func(p *lifecycle.Plan) error {
		plan = p
		if c == nil {
			return nil
		}
		return a.ask(ctx, s.File.Cluster, what, []string{on.Host}, *c, p)
	}))
	err = act(ctx, list[0], opts...)
	show.close()
	if plan == nil {
		return failed(name, err)
	}
	one := outcomes{list: []outcome{outcomeOf(ctx, s, plan, on.Host, err)}}
	if one.list[0].Run == "" {
		return failed(name, err) // it was not begun
	}
	if err := one.write(a, s); err != nil {
		return err
	}
	if err == nil && what == "Wipe" {
		a.say("%s is armed: it erases itself at its next boot. To keep its disks: %s", on.Host, a.command("disarm", on.Host))
	}
	return failed(name, err)
}
