package fakes_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/backup/backuptest"
	"github.com/ncnkit/lifecycle/fakes"
	"github.com/ncnkit/lifecycle/power"
	"github.com/ncnkit/lifecycle/power/powertest"
)

// Face 1 keeps the contracts that the adapters keep: the same suites run on both.

func TestPowerConforms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := fakes.New(fakes.Layout{Workers: 1})
		powertest.Run(t, powertest.Harness{
			Controller: w.Power(),
			BMC:        power.BMC{Name: w.Machine("ncn-w001").BMC(), Host: w.Machine("ncn-w001").BMC()},
			Silent:     power.BMC{Name: "x9", Host: "10.0.0.9"},
			Wait:       time.Minute,
			Poll:       time.Second,
		})
	})
}

func TestBackupsConform(t *testing.T) {
	w := fakes.New(fakes.Layout{})
	backuptest.Run(t.Context(), t, w.Backups(), backuptest.Config{})
}

// An armed fault that nobody met fails the test; so does a broken invariant.
func TestNewClusterReports(t *testing.T) {
	tb := &recorder{}
	w := fakes.NewCluster(tb, fakes.Layout{Workers: 1})
	w.Fail(fakes.PowerSet.On("ncn-w001").Times(2), lifecycle.Unavailable)
	w.Confine()
	_ = w.Power().SetBoot(t.Context(), power.BMC{Host: w.Machine("ncn-w001").BMC()}, power.Boot{Device: power.PXE})
	tb.end()
	if len(tb.errors) != 2 {
		t.Errorf("want the broken I10 and the fault that never fired, got %v", tb.errors)
	}
}

type recorder struct {
	errors  []string
	cleanup []func()
}

func (r *recorder) Helper()          {}
func (r *recorder) Cleanup(f func()) { r.cleanup = append(r.cleanup, f) }
func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, format)
}
func (r *recorder) end() {
	for _, f := range r.cleanup {
		f()
	}
}
