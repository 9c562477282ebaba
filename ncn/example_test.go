package ncn_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes"
	"github.com/ncnkit/lifecycle/ncn"
)

// The rebuild of a worker: plan it, look at it, run it. With fakes in place of a cluster this is a unit test.
func ExampleRebuild() {
	ctx := context.Background()
	w := quick(fakes.Layout{Workers: 1})
	site := impatient(w.Site())

	plan, err := ncn.Rebuild(ctx, site.Host("ncn-w001"), ncn.Worker, ncn.Image("ncn-images/k8s", "0.1.110"))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, step := range plan.Steps {
		fmt.Println(step.ID)
	}
	err = lifecycle.Run(ctx, plan, lifecycle.WithJournal(w.Journal()))
	fmt.Println("error:", err)
	fmt.Println("installations:", w.Machine("ncn-w001").Generation())
	// Output:
	// identify
	// backup
	// wipe
	// boot-parameters
	// arm
	// boot-device
	// power-off
	// power-on
	// boot-script
	// boot
	// host-key
	// disarm
	// restore
	// error: <nil>
	// installations: 2
}

// A run that was stopped goes on where it stopped, in this process or another.
func ExamplePlanner() {
	ctx := context.Background()
	w := quick(fakes.Layout{Workers: 1})
	site := impatient(w.Site())
	plan, _ := ncn.Rebuild(ctx, site.Host("ncn-w001"), ncn.Worker)

	stop := make(chan struct{})
	close(stop) // as Ctrl-C does
	err := lifecycle.Run(ctx, plan, lifecycle.WithJournal(w.Journal()), lifecycle.WithStop(stop))
	fmt.Println(lifecycle.StateOf(err))

	err = lifecycle.Resume(ctx, plan.ID, ncn.Planner(site), lifecycle.WithJournal(w.Journal()))
	fmt.Println(lifecycle.StateOf(err))
	// Output:
	// open
	// done
}

// A single verb refuses with its reason before it changes anything.
func ExampleWipe() {
	ctx := context.Background()
	w := quick(fakes.Layout{Masters: 1})
	err := ncn.Wipe(ctx, impatient(w.Site()).Host("ncn-m001"), ncn.Worker)
	fmt.Println(errors.Is(err, lifecycle.Precondition))
	fmt.Println(err)
	// Output:
	// true
	// ncn.Wipe: ncn-m001: refused, nothing was changed: ncn.plan: ncn-m001 is a master, not a worker; the inventory decides
}

// With adds a step of the caller's own. Give the same option to Planner.
func ExampleWith() {
	ctx := context.Background()
	w := quick(fakes.Layout{Workers: 1})
	flash := ncn.With(func(p *lifecycle.Plan) error {
		return p.InsertAfter("restore", lifecycle.Step{
			ID: "flash", Summary: "flash the network card", Effect: lifecycle.Idempotent,
			Do: func(context.Context) error { fmt.Println("flashing"); return nil },
		})
	})
	plan, _ := ncn.Rebuild(ctx, impatient(w.Site()).Host("ncn-w001"), ncn.Worker, flash)
	fmt.Println(lifecycle.Run(ctx, plan))
	// Output:
	// flashing
	// <nil>
}

// quick is a cluster whose machines boot in a moment. In a test use testing/synctest instead, and real times.
func quick(l fakes.Layout) *fakes.Cluster {
	l.POST, l.Boot, l.Erase, l.PowerDelay = time.Millisecond, time.Millisecond, time.Millisecond, time.Millisecond
	return fakes.New(l)
}

func impatient(site *ncn.Site) *ncn.Site {
	site.Settle, site.Poll = time.Millisecond, time.Millisecond
	return site
}
