package lab

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/bss"
	"github.com/ncnkit/lifecycle/examples/site"
	"github.com/ncnkit/lifecycle/fakes"
)

// Node is how a machine of the lab stands. It is a plain value.
type Node struct {
	Name       string `json:"name"`
	Generation int    `json:"generation"` // 1 is how the lab begins; grows with each installation
	BootID     string `json:"bootID"`     // of the last boot
	Image      string `json:"image"`      // metal.server of the last boot
	Power      string `json:"power"`      // "on" or "off"
	Up         bool   `json:"up"`         // the operating system answers
	Finished   bool   `json:"finished"`   // cloud-init is through
	Armed      bool   `json:"armed"`      // metal.no-wipe is not 1: its next boot from the network erases its disks
}

// Fault is what goes wrong in the lab from now on, in the words of package fakes. It is a plain value.
type Fault struct {
	Op    fakes.Op `json:"op"`              // "power.set", "bss.patch", "exec", …; what is not on the wire is refused
	Host  string   `json:"host,omitempty"`  // the node's name; empty matches all
	Name  string   `json:"name,omitempty"`  // of the command, for "exec": "ncn.restore"; empty matches all
	Count int      `json:"count,omitempty"` // how many calls it hits; 0 means 1
	After int      `json:"after,omitempty"` // how many matching calls pass first

	Kind     FaultKind      `json:"kind"`
	Error    lifecycle.Kind `json:"error,omitempty"`   // of a fail; empty means "unavailable"
	Duration site.Duration  `json:"duration,omitzero"` // of a slow and a late: real time, not divided by the lab's speed
}

// FaultKind says in which way a call goes wrong.
type FaultKind string

// The kinds of faults.
const (
	Fail   FaultKind = "fail"   // it fails, without effect
	Slow   FaultKind = "slow"   // it takes Duration
	Hang   FaultKind = "hang"   // it is not answered
	Lose   FaultKind = "lose"   // it has its effect, and the answer is lost
	Ignore FaultKind = "ignore" // it is answered with success, and has no effect
	Late   FaultKind = "late"   // it is answered with success, and has its effect after Duration; not for "exec"
	Stale  FaultKind = "stale"  // a read answers what was there before the last write; only for "bss.get"
	Crash  FaultKind = "crash"  // the node loses power when the call has had its effect
)

// about is the answer at /lab/.
type about struct {
	Dir string `json:"dir"`
}

// gateway serves the lab itself beside the site's services.
func (l *Lab) gateway(services http.Handler) http.Handler {
	control := http.NewServeMux()
	control.HandleFunc("GET /lab/{$}", func(w http.ResponseWriter, _ *http.Request) { answer(w, about{l.dir}) })
	control.HandleFunc("GET /lab/check", func(w http.ResponseWriter, _ *http.Request) { answer(w, checked(l.Verdict())) })
	control.HandleFunc("GET /lab/nodes", func(w http.ResponseWriter, _ *http.Request) { answer(w, map[string]any{"nodes": l.Nodes()}) })
	control.HandleFunc("GET /lab/fault", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"unfired": append([]string{}, l.world.Unfired()...)})
	})
	control.HandleFunc("POST /lab/fault", l.postFault)

	mux := http.NewServeMux()
	mux.Handle("/lab/", control)
	mux.Handle("/", services)
	return mux
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// checked is the answer at /lab/check.
func checked(breaches []fakes.Breach) any {
	type breach struct {
		Invariant string `json:"invariant"`
		Detail    string `json:"detail"`
	}
	list := []breach{}
	for _, b := range breaches {
		list = append(list, breach(b))
	}
	return map[string]any{"breaches": list}
}

// Nodes returns how all machines stand, sorted by name. Looking meets no fault and counts for nothing.
func (l *Lab) Nodes() []Node {
	var all []Node
	for _, n := range l.nodes {
		all = append(all, l.look(n))
	}
	return all
}

// look reads the cluster's own description of a node, because asking through its faces would use up armed faults, and
// count as somebody having looked.
func (l *Lab) look(n lifecycle.Node) Node {
	m := l.world.Machine(n.Name)
	is := Node{Name: n.Name, Generation: m.Generation(), BootID: m.BootID(), Image: imageOf(m), Armed: true}
	for line := range strings.Lines(l.world.Snapshot(n.Name)) {
		line = strings.TrimSuffix(line, "\n")
		_, _ = fmt.Sscanf(line, "power %s up %t finished %t", &is.Power, &is.Up, &is.Finished)
		if params, ok := strings.CutPrefix(line, "params "); ok {
			is.Armed = bss.Armed(bss.Entry{Params: params})
		}
	}
	return is
}

func (l *Lab) postFault(w http.ResponseWriter, r *http.Request) {
	var f Fault
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16))
	dec.DisallowUnknownFields()
	err := dec.Decode(&f)
	if err != nil {
		err = lifecycle.Errorf(lifecycle.Invalid, "", "", "want a fault such as {\"op\":\"power.set\",\"host\":\"ncn-w001\",\"kind\":\"ignore\"}: %w", err)
	} else {
		err = l.Arm(f)
	}
	if err != nil {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": err.Error()})
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// onWire are the operations that programs outside have: backups and known_hosts are files here.
var onWire = []fakes.Op{
	fakes.InventoryRead, fakes.PowerState, fakes.PowerBoot, fakes.PowerSet, fakes.PowerSetBoot, fakes.Exec,
	fakes.BSSGet, fakes.BSSHistory, fakes.BSSNode, fakes.BSSPatch, fakes.BSSPut, fakes.BSSDelete,
}

// Arm arms a fault. What cannot happen in a lab is Invalid, and nothing is armed.
func (l *Lab) Arm(f Fault) error {
	if err := l.checkFault(f); err != nil {
		return lifecycle.Wrap(err, "lab.Arm", "")
	}
	match := fakes.Match{Op: f.Op, Host: f.Host, Name: f.Name, Count: f.Count, Skip: f.After}
	switch f.Kind {
	case Fail:
		kind := f.Error
		if kind == "" {
			kind = lifecycle.Unavailable
		}
		l.world.Fail(match, kind)
	case Slow:
		l.world.Slow(match, f.Duration.Duration)
	case Hang:
		l.world.Hang(match)
	case Lose:
		l.world.LoseReply(match)
	case Ignore:
		l.world.Ignore(match)
	case Late:
		l.world.Late(match, f.Duration.Duration)
	case Stale:
		l.world.Stale(match)
	case Crash:
		l.world.Crash(match)
	}
	return nil
}

func (l *Lab) checkFault(f Fault) error {
	invalid := func(format string, args ...any) error {
		return lifecycle.Errorf(lifecycle.Invalid, "", "", format, args...)
	}
	known := slices.ContainsFunc(l.nodes, func(n lifecycle.Node) bool { return n.Name == f.Host })
	timed := f.Kind == Slow || f.Kind == Late
	switch {
	case !slices.Contains(onWire, f.Op):
		return invalid("the operation %q is not on the lab's wire: want one of %q", f.Op, onWire)
	case f.Host != "" && !known:
		return invalid("there is no node %q in the lab", f.Host)
	case f.Name != "" && f.Op != fakes.Exec:
		return invalid("only exec has commands with names")
	case f.Count < 0 || f.After < 0:
		return invalid("count and after cannot be negative")
	case !slices.Contains([]FaultKind{Fail, Slow, Hang, Lose, Ignore, Late, Stale, Crash}, f.Kind):
		return invalid("there is no kind of fault %q: see the documentation of this package", f.Kind)
	case timed != (f.Duration.Duration > 0):
		return invalid("a duration belongs to slow and late, and to nothing else: \"30s\"")
	case f.Error != "" && (f.Kind != Fail || !slices.Contains(kinds, f.Error)):
		return invalid("error is the kind of error of a fail: want one of %q", kinds)
	case f.Kind == Late && f.Op == fakes.Exec:
		return invalid("a command's effect cannot be late: its input does not outlive the connection")
	case f.Kind == Stale && f.Op != fakes.BSSGet:
		return invalid("only bss.get can be stale")
	}
	return nil
}

// kinds are the errors that a fail may have.
var kinds = []lifecycle.Kind{
	lifecycle.Invalid, lifecycle.Unauthenticated, lifecycle.Denied, lifecycle.NotFound, lifecycle.Precondition, lifecycle.Conflict,
	lifecycle.Unknown, lifecycle.Unavailable, lifecycle.Timeout, lifecycle.Canceled, lifecycle.Internal,
}
