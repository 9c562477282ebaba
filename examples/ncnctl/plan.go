package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/examples/site"
	"github.com/ncnkit/lifecycle/ncn"
)

// image is the flags that name what a node boots.
type image struct {
	Image        string `help:"Image to boot, such as ncn-images/k8s:0.1.110. Default: the one that the node is set to boot." placeholder:"PATH:VERSION" xor:"path,version"`
	ImagePath    string `help:"Path of the image to boot." placeholder:"PATH" xor:"path" and:"image"`
	ImageVersion string `help:"Version of the image to boot." placeholder:"VERSION" xor:"version" and:"image"`
}

// Validate is called by kong.
func (i image) Validate() error {
	if _, _, ok := i.split(); i.Image != "" && !ok {
		return errors.New("--image: want PATH:VERSION, such as ncn-images/k8s:0.1.110")
	}
	return nil
}

func (i image) split() (path, version string, ok bool) {
	at := strings.LastIndexByte(i.Image, ':')
	if at < 1 || at == len(i.Image)-1 {
		return "", "", false
	}
	return i.Image[:at], i.Image[at+1:], true
}

// options are ncn's.
func (i image) options() []ncn.Option {
	path, version, ok := i.split()
	if !ok {
		path, version = i.ImagePath, i.ImageVersion
	}
	if path == "" {
		return nil
	}
	return []ncn.Option{ncn.Image(path, version)}
}

// flags are those to give again in another command.
func (i image) flags() []string {
	switch {
	case i.Image != "":
		return []string{"--image", i.Image}
	case i.ImagePath != "":
		return []string{"--image-path", i.ImagePath, "--image-version", i.ImageVersion}
	}
	return nil
}

// rebuilding is what plan and rebuild take.
type rebuilding struct {
	Hosts []string `arg:"" name:"host" help:"Nodes, by name."`
	Role  string   `help:"What the nodes must be: master, worker or storage." enum:"master,worker,storage" default:"worker"`
	image
}

// plans makes a plan for each host. It changes nothing.
func (r rebuilding) plans(ctx context.Context, hosts []ncn.Host) ([]*lifecycle.Plan, error) {
	var plans []*lifecycle.Plan
	for _, h := range hosts {
		p, err := r.plan(ctx, h)
		if err != nil {
			return nil, failed("plan "+h.Name, err)
		}
		plans = append(plans, p)
	}
	return plans, nil
}

func (r rebuilding) plan(ctx context.Context, h ncn.Host) (*lifecycle.Plan, error) {
	return ncn.Rebuild(ctx, h, lifecycle.Role(r.Role), r.options()...)
}

type planCmd struct {
	rebuilding
}

// Run shows the plans.
func (c *planCmd) Run(ctx context.Context, a *app) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.Close()
	hosts, err := s.NCN.Hosts(ctx, c.Hosts...)
	if err != nil {
		return failed("plan", err)
	}
	plans, err := c.plans(ctx, hosts)
	if err != nil {
		return err
	}
	return a.showPlans(s, plans)
}

func (a *app) showPlans(s *site.Site, plans []*lifecycle.Plan) error {
	var views []view
	for _, p := range plans {
		v, err := viewOf(p)
		if err != nil {
			return err
		}
		views = append(views, v)
	}
	if a.Output == "json" {
		return a.json(map[string]any{"cluster": s.File.Cluster, "plans": views})
	}
	fmt.Fprintf(a.stdout, "Cluster: %s\n", clean(s.File.Cluster))
	for _, v := range views {
		fmt.Fprintln(a.stdout)
		v.show(a)
	}
	return nil
}

// show writes the plan for people.
func (v *view) show(a *app) {
	fmt.Fprintf(a.stdout, "Rebuild %s (%s, %s), image: %s\n\n", clean(v.Node), clean(string(v.Role)), clean(v.XName),
		clean(cmp.Or(v.Image, "the one it is set to boot")))
	v.losses(a.stdout)
	fmt.Fprintln(a.stdout)
	rows := [][]string{{"#", "STEP", "EFFECT", "WHAT"}}
	for _, s := range v.Steps {
		rows = append(rows, []string{fmt.Sprint(len(rows)), s.ID, string(s.Effect), s.Summary})
	}
	for _, s := range v.Finally {
		rows = append(rows, []string{fmt.Sprint(len(rows)), s.ID, string(s.Effect), s.Summary + " (however it ends)"})
	}
	table(a.stdout, rows, nil)
}

// forecast is a dry run of one node.
type forecast struct {
	Node  string               `json:"node"`
	Kind  string               `json:"kind"`
	Steps []lifecycle.Forecast `json:"steps"`
}

// showForecasts shows dry runs; a step that would be refused makes an error.
func (a *app) showForecasts(s *site.Site, all []forecast) error {
	if a.Output == "json" {
		if err := a.json(map[string]any{"cluster": s.File.Cluster, "forecasts": all}); err != nil {
			return err
		}
	}
	var refused error
	for i, f := range all {
		rows := [][]string{{"#", "STEP", "VERDICT", "WHAT"}}
		for _, step := range f.Steps {
			rows = append(rows, []string{fmt.Sprint(len(rows)), step.Step, string(step.Verdict), cmp.Or(step.Detail, step.Summary)})
			if step.Verdict == lifecycle.WouldFail && refused == nil {
				refused = failed("dry run of "+f.Node, refuse(f.Node, "step %s: %s", step.Step, step.Detail))
			}
		}
		if a.Output == "json" {
			continue
		}
		if i > 0 {
			fmt.Fprintln(a.stdout)
		}
		fmt.Fprintf(a.stdout, "Dry run of %s on %s: nothing is changed\n\n", f.Kind, clean(f.Node))
		table(a.stdout, rows, a.states)
	}
	return refused
}
