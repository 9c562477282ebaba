package fakes_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes"
	"github.com/ncnkit/lifecycle/ncn"
	"github.com/ncnkit/lifecycle/power"
)

// A unit test of a program that rebuilds workers: the BMC of the second loses an answer, and nothing comes of it. When the
// test ends, a broken invariant or a fault that nobody met fails it.
func ExampleNewCluster() {
	test := func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := fakes.NewCluster(t, fakes.Layout{Workers: 2})
			w.LoseReply(fakes.PowerSet.On("ncn-w002"))
			plan, err := ncn.Rebuild(t.Context(), w.Site().Host("ncn-w002"), ncn.Worker)
			if err != nil {
				t.Fatal(err)
			}
			if err := lifecycle.Run(t.Context(), plan, lifecycle.WithJournal(w.Journal())); err != nil {
				t.Fatal(err)
			}
		})
	}
	_ = test // go test calls it
}

// What a program did wrong is reported by the invariant that it broke.
func ExampleCluster_Check() {
	w := fakes.New(fakes.Layout{Workers: 1})
	w.Confine() // nobody named a node
	m := w.Machine("ncn-w001")
	_ = w.Power().Do(context.Background(), power.BMC{Host: m.BMC()}, power.ActionOff)
	for _, breach := range w.Check() {
		fmt.Println(breach)
	}
	// Output: I10 broken: power.set on ncn-w001, which nobody named
}
