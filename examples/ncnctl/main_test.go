package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/examples/lab"
)

var update = flag.Bool("update", false, "rewrite the golden parts of the scripts")

// hurry has a child process that was built with the race detector end without its second of sleep.
const hurry = "GORACE=atexit_sleep_ms=0"

// patience bounds every wait of a test.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"ncnctl": main, "exits": exits})
}

// exits is "exits CODE ARG…": ncnctl with these arguments, which must end with that code.
func exits() {
	want, err := strconv.Atoi(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	got := run(context.Background(), os.Args[2:], os.Stdin, os.Stdout, os.Stderr, os.Getenv)
	if got != want {
		fmt.Fprintf(os.Stderr, "exit code %d, want %d\n", got, want)
		os.Exit(1)
	}
}

type labKey struct{}

// TestScripts runs the scripts, each in the directory of a lab of its own, so that site.yaml is there. A file "speed" in
// a script is the lab's speed. BSS keeps in whole seconds when a node has fetched its boot script: at the speed of a
// thousand, a script must not boot the same node twice.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Vars = append(env.Vars, "TZ=UTC", hurry)
			cfg := lab.Config{Dir: filepath.Join(env.WorkDir, "lab"), Masters: 1, Workers: 4, Storage: 1, Speed: 1000}
			if text, err := os.ReadFile(filepath.Join(env.WorkDir, "speed")); err == nil {
				if _, err := fmt.Sscan(string(text), &cfg.Speed); err != nil {
					return err
				}
			}
			l, err := lab.Start(context.Background(), cfg)
			if err != nil {
				return err
			}
			env.Defer(func() { _ = l.Close() })
			env.Values[labKey{}] = l
			env.Cd = cfg.Dir
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"scrub": scrub, "await": await, "fault": fault, "untouched": untouched, "node": node, "latest": latest,
		},
	})
}

var scrubs = []struct {
	pattern *regexp.Regexp
	by      string
}{
	{regexp.MustCompile(`\d{8}T\d{6}Z-`), "20260101T000000Z-"},
	{regexp.MustCompile(`\d{8}t\d{6}-[0-9a-f]{8}`), "20260101t000000-00000000"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ`), "2026-01-01 00:00:00Z"},
	{regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d `), "CLOCK "},
	{regexp.MustCompile(`\d+\.\ds *`), "1.0s  "},
	{regexp.MustCompile(`"seconds": [0-9.]+`), `"seconds": 1`},
	{regexp.MustCompile(` for \S+\n`), " for ACTOR\n"},
}

// scrub is "scrub FROM TO": FROM (stdout, stderr, a file) without what differs from run to run.
func scrub(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0])
	for _, s := range scrubs {
		text = s.pattern.ReplaceAllString(text, s.by)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o600))
}

// await is "await PATTERN": it waits until a journal of the lab has a match.
func await(ts *testscript.TestScript, _ bool, args []string) {
	pattern := regexp.MustCompile(args[0])
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		files, _ := filepath.Glob(ts.MkAbs("journal/runs/*.jsonl"))
		for _, f := range files {
			if text, err := os.ReadFile(f); err == nil && pattern.Match(text) {
				return
			}
		}
	}
	ts.Fatalf("no journal has a match for %s", args[0])
}

// fault is "fault JSON": it arms a fault in the lab.
func fault(ts *testscript.TestScript, _ bool, args []string) {
	var f lab.Fault
	dec := json.NewDecoder(bytes.NewReader([]byte(args[0])))
	dec.DisallowUnknownFields()
	ts.Check(dec.Decode(&f))
	ts.Check(ts.Value(labKey{}).(*lab.Lab).Arm(f))
}

// untouched checks that nothing in the lab was changed.
func untouched(ts *testscript.TestScript, _ bool, _ []string) {
	for _, c := range ts.Value(labKey{}).(*lab.Lab).Cluster().Calls() {
		ts.Fatalf("%s %s on %s: %s", c.Op, c.Name, c.Host, c.Detail)
	}
}

// node is "node NAME GENERATION armed|disarmed": how the node must stand.
func node(ts *testscript.TestScript, _ bool, args []string) {
	for _, n := range ts.Value(labKey{}).(*lab.Lab).Nodes() {
		if n.Name != args[0] {
			continue
		}
		if want := args[1] + " " + args[2]; standing(n) != want {
			ts.Fatalf("%s is %s, want %s", n.Name, standing(n), want)
		}
		return
	}
	ts.Fatalf("there is no node %s", args[0])
}

func standing(n lab.Node) string {
	if n.Armed {
		return fmt.Sprintf("%d armed", n.Generation)
	}
	return fmt.Sprintf("%d disarmed", n.Generation)
}

// latest is "latest NAME [KIND]": it puts the ID of the latest run, of a kind, into the variable NAME.
func latest(ts *testscript.TestScript, _ bool, args []string) {
	journal := lifecycle.NewDirJournal(ts.MkAbs("journal"))
	runs, err := journal.Runs(context.Background())
	ts.Check(err)
	for _, id := range slices.Backward(runs) {
		status, err := lifecycle.StatusOf(context.Background(), journal, id)
		ts.Check(err)
		if len(args) == 1 || status.Kind == args[1] {
			ts.Setenv(args[0], id)
			return
		}
	}
	ts.Fatalf("there is no such run")
}
