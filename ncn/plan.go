package ncn

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/bss"
	"github.com/ncnkit/lifecycle/internal/mutant"
)

// Option changes a plan, or how a single verb runs.
type Option func(*request)

type request struct {
	args   Args
	edits  []func(*lifecycle.Plan) error
	run    []lifecycle.Option
	dryRun func([]lifecycle.Forecast)
}

// With has f change the plan, to insert steps of the caller's own. Whoever resumes the run must give the same option to
// [Planner].
func With(f func(*lifecycle.Plan) error) Option {
	return func(r *request) { r.edits = append(r.edits, f) }
}

// Image sets which image the node boots. Without it, it is the one that the node is set to boot.
func Image(path, version string) Option {
	return func(r *request) { r.args.Image = &bss.Image{Path: path, Version: version} }
}

// GlobalData has these values written under Global's meta-data, by dotted key, together with the boot parameters.
func GlobalData(values map[string]any) Option { return func(r *request) { r.args.GlobalData = values } }

// Paths adds paths, relative to /, to what is backed up.
func Paths(paths ...string) Option {
	return func(r *request) { r.args.Paths = append(r.args.Paths, paths...) }
}

// FromBackup says which backup to restore, by its prefix in the store. Without it, it is the latest.
func FromBackup(prefix string) Option { return func(r *request) { r.args.Backup = prefix } }

// RunWith gives options to the run of a single verb.
func RunWith(opts ...lifecycle.Option) Option {
	return func(r *request) { r.run = append(r.run, opts...) }
}

// DryRun makes a single verb look, check and report, and change nothing.
func DryRun(report func([]lifecycle.Forecast)) Option { return func(r *request) { r.dryRun = report } }

// kind is a kind of plan: what it needs to know, and which steps it has.
type kind struct {
	name     string
	machine  bool // the machine must answer, and be the right one
	disks    bool // its disks are chosen
	boots    bool // what it boots is read
	backs    bool // a backup is written
	restores bool // an existing backup is read
	needs    func(*Site) []transport
	steps    func(*work) (steps, finally []lifecycle.Step)
}

// work is one plan in the making: everything that its steps are made from.
type work struct {
	kind  kind
	site  *Site
	run   string
	args  Args
	facts Facts
}

// kinds are all the plans of this package.
func kinds() []kind {
	exec := func(s *Site) []transport { return []transport{{"Exec", s.Exec}} }
	return []kind{
		{name: "ncn.backup", machine: true, backs: true, steps: (*work).backupOnly,
			needs: func(s *Site) []transport { return []transport{{"Exec", s.Exec}, {"Backups", s.Backups}} }},
		{name: "ncn.restore", machine: true, restores: true, steps: (*work).restoreOnly,
			needs: func(s *Site) []transport { return []transport{{"Exec", s.Exec}, {"Backups", s.Backups}} }},
		{name: "ncn.wipe", machine: true, disks: true, steps: (*work).wipeOnly,
			needs: func(s *Site) []transport { return append(exec(s), transport{"BSS", s.BSS}) }},
		{name: "ncn.boot-parameters", boots: false, steps: (*work).bootParametersOnly,
			needs: func(s *Site) []transport { return []transport{{"BSS", s.BSS}} }},
		{name: "ncn.reboot", boots: true, steps: (*work).rebootOnly,
			needs: func(s *Site) []transport {
				return append(exec(s), transport{"Power", s.Power}, transport{"BSS", s.BSS})
			}},
		{name: "ncn.disarm", steps: (*work).disarmOnly,
			needs: func(s *Site) []transport { return []transport{{"BSS", s.BSS}} }},
		{name: "ncn.rebuild", machine: true, disks: true, boots: true, backs: true, steps: (*work).rebuild,
			needs: func(s *Site) []transport {
				return append(exec(s), transport{"Power", s.Power}, transport{"BSS", s.BSS}, transport{"Backups", s.Backups})
			}},
	}
}

func kindOf(name string) (kind, bool) {
	for _, k := range kinds() {
		if k.name == name {
			return k, true
		}
	}
	return kind{}, false
}

// newPlan reads what the plan needs, and makes it. It writes nothing; so its errors are refusals.
func newPlan(ctx context.Context, op, kindName string, h Host, role lifecycle.Role, opts []Option) (*lifecycle.Plan, *request, error) {
	r := &request{}
	for _, o := range opts {
		o(r)
	}
	r.args.Role = role
	p, err := r.plan(ctx, kindName, h)
	return p, r, refused(err, op, h.Name)
}

// refused marks an error from before any effect.
func refused(err error, op, host string) error {
	if err == nil {
		return nil
	}
	return &lifecycle.Error{Op: op, Host: host, Kind: lifecycle.KindOf(err), Err: &lifecycle.StateError{State: lifecycle.Refused, Err: err}}
}

func (r *request) plan(ctx context.Context, kindName string, h Host) (*lifecycle.Plan, error) {
	k, _ := kindOf(kindName)
	if h.site == nil {
		return nil, lifecycle.Errorf(lifecycle.Invalid, "ncn.Site", "", "the host belongs to no site; take it from Site.Host")
	}
	if err := lifecycle.CheckName(h.Name); err != nil {
		return nil, err
	}
	if err := need("ncn.Site", "", append([]transport{{"Inventory", h.site.Inventory}}, k.needs(h.site)...)...); err != nil {
		return nil, err
	}
	if r.args.Image != nil {
		if err := r.args.Image.Check(); err != nil {
			return nil, err
		}
	}
	w := &work{kind: k, site: fenced(h.site), args: r.args}
	ctx, cancel := context.WithTimeout(ctx, planTimeout)
	defer cancel()
	p, err := w.plan(ctx, h.Name)
	if err != nil {
		return nil, err
	}
	for _, edit := range r.edits {
		if err := edit(p); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (w *work) plan(ctx context.Context, name string) (*lifecycle.Plan, error) {
	var err error
	if w.facts.Node, err = w.site.Inventory.Node(ctx, name); err != nil {
		return nil, err
	}
	w.run = w.site.newID()
	if got := w.facts.Node.Role; w.args.Role != "" && got != w.args.Role {
		return nil, lifecycle.Errorf(lifecycle.Precondition, "ncn.plan", "", "%s is a %s, not a %s; the inventory decides", name, got, w.args.Role)
	}
	w.args.Role = w.facts.Node.Role
	if err := w.gather(ctx, w.run); err != nil {
		return nil, err
	}
	args, err := json.Marshal(w.args)
	if err != nil {
		return nil, lifecycle.Errorf(lifecycle.Invalid, "ncn.plan", "", "the arguments: %w", err)
	}
	facts, err := json.Marshal(w.facts)
	if err != nil {
		return nil, fmt.Errorf("the facts: %w", err)
	}
	p := &lifecycle.Plan{ID: w.run, Kind: w.kind.name, Target: name, Args: args, Facts: facts}
	p.Steps, p.Finally = w.kind.steps(w)
	return p, nil
}

// Planner makes the steps of this package's plans again, from what the journal kept of them: give it to
// [lifecycle.Resume] with the options that the plan was made with. It reads nothing of the world.
func Planner(site *Site, opts ...Option) lifecycle.Planner {
	return func(ctx context.Context, name string, args, facts json.RawMessage) (*lifecycle.Plan, error) {
		const op = "ncn.Planner"
		if site == nil {
			return nil, lifecycle.Errorf(lifecycle.Invalid, op, "", "the site is nil")
		}
		k, ok := kindOf(name)
		if !ok {
			return nil, lifecycle.Errorf(lifecycle.NotFound, op, "", "there is no plan of the kind %q here; resume with the program that began it", name)
		}
		r := &request{}
		for _, o := range opts {
			o(r)
		}
		w := &work{kind: k, site: fenced(site)}
		if err := json.Unmarshal(args, &w.args); err != nil {
			return nil, lifecycle.Errorf(lifecycle.Invalid, op, "", "the arguments in the journal: %w", err)
		}
		if err := json.Unmarshal(facts, &w.facts); err != nil {
			return nil, lifecycle.Errorf(lifecycle.Invalid, op, "", "the facts in the journal: %w", err)
		}
		if err := need(op, w.facts.Node.Name, k.needs(site)...); err != nil {
			return nil, err
		}
		if mutant.On("replan-on-resume") {
			devices, _, err := site.disks(ctx, w.facts.Node)
			if err != nil {
				return nil, err
			}
			if w.facts.selection, err = choose(devices); err != nil {
				return nil, err
			}
		}
		p := &lifecycle.Plan{Kind: name, Target: w.facts.Node.Name, Args: args, Facts: facts}
		p.Steps, p.Finally = k.steps(w)
		for _, edit := range r.edits {
			if err := edit(p); err != nil {
				return nil, lifecycle.Wrap(err, op, p.Target)
			}
		}
		return p, nil
	}
}

// do makes and runs the plan of a single verb.
func do(ctx context.Context, op, kindName string, h Host, role lifecycle.Role, opts []Option) error {
	p, r, err := newPlan(ctx, op, kindName, h, role, opts)
	if err != nil {
		return err
	}
	if r.dryRun != nil {
		forecast, err := lifecycle.DryRun(ctx, p, r.run...)
		r.dryRun(forecast)
		return lifecycle.Wrap(err, op, h.Name)
	}
	run := []lifecycle.Option{lifecycle.WithJournal(h.site.Audit), lifecycle.WithObserver(h.site.Observe), lifecycle.WithActor(h.site.Actor)}
	return lifecycle.Wrap(lifecycle.Run(ctx, p, append(run, r.run...)...), op, h.Name)
}

// The bounds on what a node may take.
const (
	planTimeout   = 10 * time.Minute
	wipeTimeout   = 30 * time.Minute
	backupTimeout = 30 * time.Minute
	powerTimeout  = 10 * time.Minute
	bootTimeout   = 30 * time.Minute
)
