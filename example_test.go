package lifecycle_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/ncnkit/lifecycle"
)

// A plan of one's own: two steps, and one that runs however the run ends.
func ExampleRun() {
	door := "closed"
	set := func(want string) func(context.Context) error {
		return func(context.Context) error { door = want; return nil }
	}
	is := func(want string) func(context.Context) (bool, error) {
		return func(context.Context) (bool, error) { return door == want, nil }
	}
	plan := &lifecycle.Plan{
		ID: "run-1", Kind: "visit", Target: "hall",
		Steps: []lifecycle.Step{
			{ID: "open", Summary: "open the door", Effect: lifecycle.Idempotent, Done: is("open"), Do: set("open")},
			{ID: "enter", Summary: "go in", Effect: lifecycle.OneShot, Do: func(context.Context) error {
				return lifecycle.Errorf(lifecycle.Denied, "visit.Enter", "hall", "the guard says no; ask for a pass")
			}},
		},
		Finally: []lifecycle.Step{
			{ID: "close", Summary: "close the door", Effect: lifecycle.Idempotent, Done: is("closed"), Do: set("closed")},
		},
	}
	journal := lifecycle.NewMemJournal()
	err := lifecycle.Run(context.Background(), plan, lifecycle.WithJournal(journal))
	fmt.Println(lifecycle.StateOf(err), errors.Is(err, lifecycle.Denied), door)

	status, _ := lifecycle.StatusOf(context.Background(), journal, "run-1")
	for _, step := range status.Steps {
		fmt.Println(step.ID, step.Outcome)
	}
	// Output:
	// failed true closed
	// open done
	// enter failed
	// close done
}

// Steps are made again from what the journal kept when a run is resumed.
func ExampleResume() {
	ctx := context.Background()
	planner := func(_ context.Context, kind string, args, facts json.RawMessage) (*lifecycle.Plan, error) {
		return &lifecycle.Plan{
			ID: "run-1", Kind: kind, Target: "hall", Args: args, Facts: facts,
			Steps: []lifecycle.Step{{ID: "greet", Summary: "greet", Effect: lifecycle.OneShot, Do: func(context.Context) error {
				fmt.Println("hello", string(facts))
				return nil
			}}},
		}, nil
	}
	plan, _ := planner(ctx, "greeting", nil, json.RawMessage(`"world"`))
	journal := lifecycle.NewMemJournal()
	stop := make(chan struct{})
	close(stop)
	err := lifecycle.Run(ctx, plan, lifecycle.WithJournal(journal), lifecycle.WithStop(stop))
	fmt.Println(lifecycle.StateOf(err))
	fmt.Println(lifecycle.Resume(ctx, "run-1", planner, lifecycle.WithJournal(journal)))
	// Output:
	// open
	// hello "world"
	// <nil>
}

// A dry run says what would become of each step, and changes nothing.
func ExampleDryRun() {
	plan := &lifecycle.Plan{
		ID: "run-1", Kind: "visit", Target: "hall",
		Steps: []lifecycle.Step{
			{ID: "open", Summary: "open the door", Effect: lifecycle.Idempotent,
				Done: func(context.Context) (bool, error) { return true, nil },
				Do:   func(context.Context) error { return nil }},
			{ID: "enter", Summary: "go in", Effect: lifecycle.OneShot,
				Before: func(context.Context) error {
					return lifecycle.Errorf(lifecycle.Precondition, "visit.Enter", "hall", "nobody is at home")
				},
				Do: func(context.Context) error { return nil }},
		},
	}
	forecast, _ := lifecycle.DryRun(context.Background(), plan)
	for _, f := range forecast {
		fmt.Printf("%s: %s (%s)\n", f.Step, f.Verdict, f.Detail)
	}
	// Output:
	// open: in place already ()
	// enter: refused (visit.Enter: hall: nobody is at home)
}

// Programs act upon an error's kind, and people upon its message.
func ExampleError() {
	err := lifecycle.Errorf(lifecycle.NotFound, "site.Node", "ncn-w009", "the inventory has no such node; look at its spelling")
	fmt.Println(errors.Is(err, lifecycle.NotFound), lifecycle.KindOf(err).HTTPStatus())
	fmt.Println(err)
	// Output:
	// true 404
	// site.Node: ncn-w009: the inventory has no such node; look at its spelling
}

// A secret shows its value only to who asks for it by name.
func ExampleSecret() {
	s := lifecycle.NewSecret("hunter2")
	fmt.Println(s, len(s.Reveal()))
	// Output: [redacted] 7
}
