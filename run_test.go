package lifecycle_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
)

// script is a plan whose steps note what is called, and answer what the test says.
type script struct {
	calls []string
	done  map[string]bool  // what Done answers
	fail  map[string]error // by "before a", "do a", "done a"
	on    map[string]func(context.Context)
}

func (s *script) note(ctx context.Context, what, id string) error {
	s.calls = append(s.calls, what+" "+id)
	if f := s.on[what+" "+id]; f != nil {
		f(ctx)
	}
	return s.fail[what+" "+id]
}

func (s *script) step(id string, effect lifecycle.Effect) lifecycle.Step {
	return lifecycle.Step{
		ID: id, Summary: "do " + id, Effect: effect,
		Done:   func(ctx context.Context) (bool, error) { err := s.note(ctx, "done", id); return s.done[id], err },
		Before: func(ctx context.Context) error { return s.note(ctx, "before", id) },
		Do: func(ctx context.Context) error {
			err := s.note(ctx, "do", id)
			if err == nil {
				s.done[id] = true
			}
			return err
		},
	}
}

func (s *script) plan() *lifecycle.Plan {
	return &lifecycle.Plan{
		ID: "run-1", Kind: "test", Target: "node", Args: json.RawMessage(`{"a":1}`), Facts: json.RawMessage(`{"f":2}`),
		Steps:   []lifecycle.Step{s.step("a", lifecycle.Read), s.step("b", lifecycle.Idempotent), s.step("c", lifecycle.OneShot)},
		Finally: []lifecycle.Step{s.step("z", lifecycle.Idempotent)},
	}
}

func newScript() *script {
	return &script{done: map[string]bool{}, fail: map[string]error{}, on: map[string]func(context.Context){}}
}

func calls(ids ...string) []string {
	var out []string
	for _, id := range ids {
		out = append(out, "done "+id, "before "+id, "do "+id)
	}
	return out
}

func fault(kind lifecycle.Kind) error { return lifecycle.Errorf(kind, "test", "", "%s here", kind) }

func TestRunStates(t *testing.T) {
	for name, c := range map[string]struct {
		set   func(*script)
		state lifecycle.State
		kind  lifecycle.Kind
		calls []string
	}{
		"all done": {
			set: func(*script) {}, state: lifecycle.Done, calls: calls("a", "b", "c", "z"),
		},
		"what is in place is skipped": {
			set: func(s *script) { s.done["b"] = true }, state: lifecycle.Done,
			calls: slices.Concat(calls("a"), []string{"done b"}, calls("c", "z")),
		},
		"a precondition at first: refused, and no Finally": {
			set: func(s *script) { s.fail["before b"] = fault(lifecycle.Precondition) }, state: lifecycle.Refused, kind: lifecycle.Precondition,
			calls: slices.Concat(calls("a"), []string{"done b", "before b"}),
		},
		"a precondition later: failed, and Finally runs": {
			set: func(s *script) { s.fail["before c"] = fault(lifecycle.Precondition) }, state: lifecycle.Failed, kind: lifecycle.Precondition,
			calls: slices.Concat(calls("a", "b"), []string{"done c", "before c"}, calls("z")),
		},
		"a step fails": {
			set: func(s *script) { s.fail["do b"] = fault(lifecycle.Denied) }, state: lifecycle.Failed, kind: lifecycle.Denied,
			calls: slices.Concat(calls("a", "b"), calls("z")),
		},
		"a lost answer is looked for, and found": {
			set: func(s *script) {
				s.fail["do c"] = fault(lifecycle.Unknown)
				s.on["do c"] = func(context.Context) { s.done["c"] = true }
			},
			state: lifecycle.Done, calls: slices.Concat(calls("a", "b", "c"), []string{"done c"}, calls("z")),
		},
		"a lost answer is looked for, and it did not happen": {
			set: func(s *script) { s.fail["do c"] = fault(lifecycle.Timeout) }, state: lifecycle.Failed, kind: lifecycle.Timeout,
			calls: slices.Concat(calls("a", "b", "c"), []string{"done c"}, calls("z")),
		},
		"an unknown outcome is known when it was looked at": {
			set: func(s *script) { s.fail["do b"] = fault(lifecycle.Unknown) }, state: lifecycle.Failed, kind: lifecycle.Unavailable,
			calls: slices.Concat(calls("a", "b"), []string{"done b"}, calls("z")),
		},
		"a lost answer, and looking fails": {
			set: func(s *script) {
				s.fail["do c"] = fault(lifecycle.Unavailable)
				s.on["do c"] = func(context.Context) { s.fail["done c"] = fault(lifecycle.Unavailable) }
			},
			state: lifecycle.Undecided, kind: lifecycle.Unknown,
			calls: slices.Concat(calls("a", "b", "c"), []string{"done c"}, calls("z")),
		},
		"Finally fails": {
			set: func(s *script) {
				s.fail["do c"] = fault(lifecycle.Denied)
				s.fail["do z"] = fault(lifecycle.Unavailable)
			},
			state: lifecycle.NeedsHuman, kind: lifecycle.Denied,
			calls: slices.Concat(calls("a", "b", "c", "z"), []string{"done z"}),
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript()
			c.set(s)
			j := lifecycle.NewMemJournal()
			err := lifecycle.Run(t.Context(), s.plan(), lifecycle.WithJournal(j))
			require.Equal(t, c.state, lifecycle.StateOf(err), "%v", err)
			if c.kind != "" {
				require.ErrorIs(t, err, c.kind)
			}
			if diff := cmp.Diff(c.calls, s.calls); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
			status, err := lifecycle.StatusOf(t.Context(), j, "run-1")
			require.NoError(t, err)
			require.Equal(t, c.state, status.State)
		})
	}
}

// What the journal holds, in order: the intent before the effect, the result after it.
func TestRunRecords(t *testing.T) {
	s := newScript()
	j := lifecycle.NewMemJournal()
	seen := func(ctx context.Context) {
		records, err := j.Records(ctx, "run-1")
		require.NoError(t, err)
		last := records[len(records)-1]
		s.calls = append(s.calls, fmt.Sprintf("journal has %s of %s", last.Type, last.Step))
	}
	s.on["do b"], s.on["before c"] = seen, seen
	require.NoError(t, lifecycle.Run(t.Context(), s.plan(), lifecycle.WithJournal(j), lifecycle.WithActor("ops"), lifecycle.WithRequestID("r-9")))
	require.Contains(t, s.calls, "journal has intent of b")
	require.Contains(t, s.calls, "journal has result of b")
	records, err := j.Records(t.Context(), "run-1")
	require.NoError(t, err)
	var got []string
	for _, r := range records {
		require.Equal(t, "ops", r.Actor)
		require.Equal(t, "r-9", r.Request)
		got = append(got, fmt.Sprintf("%s %s%s%s", r.Type, r.Step, r.Outcome, r.State))
	}
	want := []string{"plan ", "result adone", "intent b", "result bdone", "intent c", "result cdone", "intent z", "result zdone", "end done"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

func TestRunRefusesBadPlans(t *testing.T) {
	for name, change := range map[string]func(*lifecycle.Plan){
		"no ID":          func(p *lifecycle.Plan) { p.ID = "" },
		"no steps":       func(p *lifecycle.Plan) { p.Steps = nil },
		"one ID twice":   func(p *lifecycle.Plan) { p.Finally[0].ID = "a" },
		"nothing to do":  func(p *lifecycle.Plan) { p.Steps[1].Do = nil },
		"unknown effect": func(p *lifecycle.Plan) { p.Steps[1].Effect = "" },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript()
			p := s.plan()
			change(p)
			require.ErrorIs(t, lifecycle.Run(t.Context(), p), lifecycle.Invalid)
			require.Empty(t, s.calls)
		})
	}
}

// crash runs the plan until the record that f names is durable, and ends the controller there.
func crash(t *testing.T, s *script, j *lifecycle.MemJournal, f func(lifecycle.Record) bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	first := j.Controller("first")
	j.OnAppend(func(before bool, _ lifecycle.Lease, r lifecycle.Record) error {
		if !before && f(r) {
			first.Kill()
			cancel()
			return errors.New("killed")
		}
		return nil
	})
	require.Error(t, lifecycle.Run(ctx, s.plan(), lifecycle.WithJournal(first)))
	j.OnAppend(nil)
	s.calls = nil
}

func planner(s *script) lifecycle.Planner {
	return func(_ context.Context, kind string, args, facts json.RawMessage) (*lifecycle.Plan, error) {
		s.calls = append(s.calls, fmt.Sprintf("planner %s %s %s", kind, args, facts))
		return s.plan(), nil
	}
}

const planned = `planner test {"a":1} {"f":2}`

func TestResume(t *testing.T) {
	result := func(step string) func(lifecycle.Record) bool {
		return func(r lifecycle.Record) bool { return r.Type == lifecycle.RecordResult && r.Step == step }
	}
	intent := func(step string) func(lifecycle.Record) bool {
		return func(r lifecycle.Record) bool { return r.Type == lifecycle.RecordIntent && r.Step == step }
	}
	for name, c := range map[string]struct {
		at    func(lifecycle.Record) bool
		set   func(*script)
		state lifecycle.State
		calls []string
	}{
		"a result is neither run nor looked at again": {
			at: result("b"), state: lifecycle.Done, calls: calls("c", "z"),
		},
		"an intent is looked at, and it had happened": {
			at: intent("c"), set: func(s *script) { s.done["c"] = true }, state: lifecycle.Done,
			calls: slices.Concat([]string{"done c"}, calls("z")),
		},
		"an intent is looked at, and it had not happened": {
			at: intent("c"), state: lifecycle.Done, calls: calls("c", "z"),
		},
		"an intent that cannot be looked at": {
			at: intent("c"), set: func(s *script) { s.fail["done c"] = fault(lifecycle.Unavailable) }, state: lifecycle.Undecided,
			calls: slices.Concat([]string{"done c"}, calls("z")),
		},
		"in Finally": {
			at: intent("z"), state: lifecycle.Done, calls: calls("z"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, j := newScript(), lifecycle.NewMemJournal()
			crash(t, s, j, c.at)
			if c.set != nil {
				c.set(s)
			}
			err := lifecycle.Resume(t.Context(), "run-1", planner(s), lifecycle.WithJournal(j))
			require.Equal(t, c.state, lifecycle.StateOf(err), "%v", err)
			if diff := cmp.Diff(slices.Concat([]string{planned}, c.calls), s.calls); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

// A run that had failed when it crashed in Finally goes on in Finally, and ends failed.
func TestResumeAfterFailure(t *testing.T) {
	s, j := newScript(), lifecycle.NewMemJournal()
	s.fail["do c"] = fault(lifecycle.Denied)
	crash(t, s, j, func(r lifecycle.Record) bool { return r.Step == "z" })
	delete(s.fail, "do c")
	err := lifecycle.Resume(t.Context(), "run-1", planner(s), lifecycle.WithJournal(j))
	require.Equal(t, lifecycle.Failed, lifecycle.StateOf(err))
	require.ErrorIs(t, err, lifecycle.Denied)
	require.Equal(t, slices.Concat([]string{planned}, calls("z")), s.calls)
}

func TestResumeRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		planner func(*script) lifecycle.Planner
		run     string
		kind    lifecycle.Kind
		says    string
	}{
		"an unknown run": {run: "run-9", planner: planner, kind: lifecycle.NotFound},
		"no planner":     {run: "run-1", planner: func(*script) lifecycle.Planner { return nil }, kind: lifecycle.Invalid},
		"other steps": {run: "run-1", kind: lifecycle.Conflict, says: `step 2 of the run is "b" (idempotent), the planner makes "x" (idempotent)`,
			planner: func(s *script) lifecycle.Planner {
				return func(context.Context, string, json.RawMessage, json.RawMessage) (*lifecycle.Plan, error) {
					p := s.plan()
					p.Steps[1].ID = "x"
					return p, nil
				}
			}},
		"a step more": {run: "run-1", kind: lifecycle.Conflict, says: "final step 2",
			planner: func(s *script) lifecycle.Planner {
				return func(context.Context, string, json.RawMessage, json.RawMessage) (*lifecycle.Plan, error) {
					p := s.plan()
					p.Finally = append(p.Finally, s.step("y", lifecycle.Read))
					return p, nil
				}
			}},
	} {
		t.Run(name, func(t *testing.T) {
			s, j := newScript(), lifecycle.NewMemJournal()
			crash(t, s, j, func(r lifecycle.Record) bool { return r.Step == "a" })
			err := lifecycle.Resume(t.Context(), c.run, c.planner(s), lifecycle.WithJournal(j))
			require.ErrorIs(t, err, c.kind)
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, s.calls, "do b")
		})
	}
}

func TestResumeEndedRun(t *testing.T) {
	s, j := newScript(), lifecycle.NewMemJournal()
	require.NoError(t, lifecycle.Run(t.Context(), s.plan(), lifecycle.WithJournal(j)))
	require.ErrorIs(t, lifecycle.Resume(t.Context(), "run-1", planner(s), lifecycle.WithJournal(j)), lifecycle.Precondition)
	require.ErrorIs(t, lifecycle.Run(t.Context(), s.plan(), lifecycle.WithJournal(j)), lifecycle.Conflict, "the same run again")
}

// A canceled context interrupts; the run stays open, and what was begun is looked at when it is resumed.
func TestInterrupted(t *testing.T) {
	s, j := newScript(), lifecycle.NewMemJournal()
	ctx, cancel := context.WithCancel(t.Context())
	s.on["do c"] = func(context.Context) { cancel() }
	s.fail["do c"] = context.Canceled
	err := lifecycle.Run(ctx, s.plan(), lifecycle.WithJournal(j))
	require.Equal(t, lifecycle.Open, lifecycle.StateOf(err))
	require.ErrorIs(t, err, lifecycle.Canceled)
	delete(s.fail, "do c")
	delete(s.on, "do c")
	s.calls = nil
	require.NoError(t, lifecycle.Resume(t.Context(), "run-1", planner(s), lifecycle.WithJournal(j)))
	require.Equal(t, slices.Concat([]string{planned}, calls("c", "z")), s.calls)
}

// A request to cancel reaches a run that somebody drives at its next safe point.
func TestCancelWhileDriven(t *testing.T) {
	s, j := newScript(), lifecycle.NewMemJournal()
	other := j.Controller("other")
	s.on["do b"] = func(ctx context.Context) {
		require.NoError(t, lifecycle.Cancel(ctx, "run-1", planner(s), "no more", lifecycle.WithJournal(other), lifecycle.WithActor("ops")))
	}
	err := lifecycle.Run(t.Context(), s.plan(), lifecycle.WithJournal(j.Controller("driver")))
	require.Equal(t, lifecycle.CanceledBy, lifecycle.StateOf(err), "%v", err)
	require.ErrorContains(t, err, "ops: no more")
	require.NotContains(t, s.calls, "do c")
	require.Contains(t, s.calls, "do z")
}

// A run that was killed inside a step and is then canceled is looked at first: what was begun has a result (I14).
func TestCancelAfterCrashInAStep(t *testing.T) {
	for name, c := range map[string]struct {
		set   func(*script)
		step  string
		state lifecycle.State
		want  lifecycle.Outcome
	}{
		"it had happened":        {set: func(s *script) { s.done["c"] = true }, step: "c", state: lifecycle.CanceledBy, want: lifecycle.OutcomeFound},
		"it had not happened":    {set: func(*script) {}, step: "c", state: lifecycle.CanceledBy, want: lifecycle.OutcomeFailed},
		"an idempotent step":     {set: func(*script) {}, step: "b", state: lifecycle.CanceledBy, want: lifecycle.OutcomeFailed},
		"it cannot be looked at": {set: func(s *script) { s.fail["done c"] = fault(lifecycle.Unavailable) }, step: "c", state: lifecycle.Undecided, want: lifecycle.OutcomeFailed},
	} {
		t.Run(name, func(t *testing.T) {
			s, j := newScript(), lifecycle.NewMemJournal()
			crash(t, s, j, func(r lifecycle.Record) bool { return r.Type == lifecycle.RecordIntent && r.Step == c.step })
			c.set(s)
			err := lifecycle.Cancel(t.Context(), "run-1", planner(s), "no more", lifecycle.WithJournal(j))
			if c.state == lifecycle.CanceledBy {
				require.NoError(t, err)
			} else {
				require.Equal(t, c.state, lifecycle.StateOf(err))
			}
			require.NotContains(t, s.calls, "do "+c.step)
			require.Contains(t, s.calls, "do z", "Finally runs")
			status, err := lifecycle.StatusOf(t.Context(), j, "run-1")
			require.NoError(t, err)
			require.Equal(t, c.state, status.State)
			for _, step := range status.Steps {
				require.False(t, step.Begun, "%s has an intent without a result", step.ID)
				if step.ID == c.step {
					require.Equal(t, c.want, step.Outcome)
				}
			}
		})
	}
}

// A dry run calls Done and Before, and neither Do nor the journal.
func TestDryRun(t *testing.T) {
	s := newScript()
	s.done["b"] = true
	s.fail["before c"] = lifecycle.NotYet
	s.fail["before z"] = fault(lifecycle.Precondition)
	forecast, err := lifecycle.DryRun(t.Context(), s.plan(), lifecycle.WithJournal(forbidden{}))
	require.NoError(t, err)
	var got []lifecycle.Verdict
	for _, f := range forecast {
		got = append(got, f.Verdict)
	}
	require.Equal(t, []lifecycle.Verdict{lifecycle.AtItsTurn, lifecycle.InPlace, lifecycle.AtItsTurn, lifecycle.WouldFail}, got)
	for _, call := range s.calls {
		require.NotContains(t, call, "do ")
	}
}

// forbidden is a journal that must not be touched.
type forbidden struct{ lifecycle.Journal }

// A wait tells what it waits for while it waits, and names it when it expires (I11).
func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		var waited []string
		s.on["do b"] = func(ctx context.Context) {
			n := 0
			s.fail["do b"] = lifecycle.Wait(ctx, "the node to answer", time.Second, time.Minute, func(context.Context) (bool, string, error) {
				n++
				if n > 30 {
					return false, "", fault(lifecycle.Unavailable)
				}
				return false, "it is booting", nil
			})
		}
		err := lifecycle.Run(t.Context(), s.plan(), lifecycle.WithObserver(func(e lifecycle.Event) {
			if e.Type == lifecycle.EventWait {
				waited = append(waited, e.Step+": "+e.Detail)
			}
		}))
		require.ErrorIs(t, err, lifecycle.Timeout)
		require.ErrorContains(t, err, "waited up to 1m0s for the node to answer; last seen: test: unavailable here")
		require.Equal(t, []string{"b: the node to answer: it is booting", "b: the node to answer: test: unavailable here"}, waited)
	})
}

func TestStillDriving(t *testing.T) {
	s, j := newScript(), lifecycle.NewMemJournal()
	first, second := j.Controller("first"), j.Controller("second")
	s.on["do b"] = func(ctx context.Context) {
		require.NoError(t, lifecycle.StillDriving(ctx))
		first.Expire()
		s.on["do b"] = nil
		s.fail["do b"] = nil
		require.NoError(t, lifecycle.Resume(context.WithoutCancel(t.Context()), "run-1", planner(s), lifecycle.WithJournal(second)))
		s.fail["do b"] = lifecycle.StillDriving(ctx)
	}
	err := lifecycle.Run(t.Context(), s.plan(), lifecycle.WithJournal(first))
	require.ErrorIs(t, err, lifecycle.Conflict)
	require.Equal(t, lifecycle.Open, lifecycle.StateOf(err), "the run is the other driver's")
	require.NoError(t, lifecycle.StillDriving(t.Context()), "outside a run there is nothing to lose")
}

func TestInsert(t *testing.T) {
	s := newScript()
	p := s.plan()
	require.NoError(t, p.InsertAfter("b", s.step("x", lifecycle.Read)))
	require.NoError(t, p.InsertBefore("a", s.step("y", lifecycle.Read)))
	require.ErrorIs(t, p.InsertAfter("nope", s.step("w", lifecycle.Read)), lifecycle.NotFound)
	var ids []string
	for _, step := range p.Steps {
		ids = append(ids, step.ID)
	}
	require.Equal(t, []string{"y", "a", "b", "x", "c"}, ids)
}
