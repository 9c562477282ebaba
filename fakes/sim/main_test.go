package sim_test

import (
	"os"
	"runtime/debug"
	"testing"
)

func TestMain(m *testing.M) {
	debug.SetGCPercent(800) // the runs are short, and nothing of them stays
	os.Exit(m.Run())
}
