package lifecycle_test

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/ncnkit/lifecycle"
)

// Five workers, first one of them as a canary, then two at a time. Killed anywhere, the same call takes it up again.
func ExampleRollout() {
	steps := func(host string) *lifecycle.Plan {
		args, _ := json.Marshal(host)
		return &lifecycle.Plan{Kind: "greet", Target: host, Args: args, Steps: []lifecycle.Step{
			{ID: "greet", Summary: "greet " + host, Effect: lifecycle.Idempotent, Do: func(context.Context) error { return nil }},
		}}
	}
	r := lifecycle.Rollout{
		ID:     "greetings-1",
		Hosts:  []string{"w001", "w002", "w003", "w004", "w005"},
		Policy: lifecycle.Policy{Width: 2, Canary: 1, MaxUnavailable: lifecycle.Amount{Percent: 40}},
		Plan:   func(_ context.Context, host string) (*lifecycle.Plan, error) { return steps(host), nil },
		Planner: func(_ context.Context, _ string, args, _ json.RawMessage) (*lifecycle.Plan, error) {
			var host string
			err := json.Unmarshal(args, &host)
			return steps(host), err
		},
		Out: func(context.Context) ([]lifecycle.Outage, error) { return nil, nil }, // ask the cluster who is down or cordoned
	}
	journal := lifecycle.NewMemJournal()
	fmt.Println(r.Run(context.Background(), lifecycle.WithJournal(journal), lifecycle.WithActor("ops")))

	status, _ := lifecycle.StatusOf(context.Background(), journal, "greetings-1")
	fmt.Println(status.State, status.Message)
	// Output:
	// <nil>
	// done of 5 hosts 5 are done, 0 failed, 0 were skipped, 0 are left
}

// What a rollout would do, before anything is done.
func ExampleRollout_Preview() {
	r := lifecycle.Rollout{
		Hosts: []string{"w001", "w002", "w003", "w004", "w005"},
		Policy: lifecycle.Policy{Width: 2, Canary: 1, Waves: lifecycle.Waves{Soak: 30 * time.Minute},
			Windows: []lifecycle.Window{{Location: "Europe/Zurich", Start: "22:00", End: "02:00"}}},
	}
	evening := time.Date(2026, 11, 20, 18, 0, 0, 0, time.UTC)
	takes := func(string) time.Duration { return 2 * time.Hour }
	schedule, err := r.Preview(takes, evening)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, s := range schedule.Hosts {
		fmt.Println(s.Host, "wave", s.Wave, s.Start.Format("Mon 15:04"), "to", s.End.Format("Mon 15:04"))
	}
	fmt.Println("ends", schedule.End.Format("Mon 15:04"), "with at most", len(schedule.Worst.Hosts), "hosts out")
	// Output:
	// w001 wave 1 Fri 21:00 to Fri 23:00
	// w002 wave 2 Fri 23:30 to Sat 01:30
	// w003 wave 2 Fri 23:30 to Sat 01:30
	// w004 wave 2 Sat 21:00 to Sat 23:00
	// w005 wave 2 Sat 21:00 to Sat 23:00
	// ends Sat 23:00 with at most 2 hosts out
}

// The decision alone, for those who drive hosts in their own way.
func ExampleDecide() {
	state := lifecycle.RolloutState{Hosts: []lifecycle.HostState{{Host: "w001"}, {Host: "w002"}, {Host: "w003"}}}
	state.Hosts[2].Out = &lifecycle.Outage{Host: "w003", By: "ops", Why: "cordoned"}
	d := lifecycle.Decide(lifecycle.Policy{Width: 2}, state, time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC))
	fmt.Println(d.Start)
	for _, b := range d.Why {
		fmt.Println(b)
	}
	// Output:
	// [w001]
	// 2 of 3 are unavailable, the limit is 2: w003 (cordoned by ops)
}

// Somebody in another process holds a host back, and goes on without another.
func ExampleControl() {
	ctx, journal := context.Background(), lifecycle.NewMemJournal()
	ask := lifecycle.Control{Rollout: "greetings-1", Journal: journal, Actor: "ops"}
	fmt.Println(lifecycle.KindOf(ask.Hold(ctx, "w003", "its DIMM is being replaced"))) // nobody has begun it yet
	// Output: not found
}
