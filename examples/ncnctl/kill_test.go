package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/examples/lab"
	"github.com/ncnkit/lifecycle/fakes"
)

var kills = flag.Int("kills", 10, "at how many moments TestKillAndResume kills a rebuild")

const victim = "ncn-w001"

// rig is a lab, and what is seen of the rebuild of one of its nodes.
type rig struct {
	*testing.T
	lab *lab.Lab
	dir string

	mu     sync.Mutex
	states map[string]bool // what the erasing had said when the node was powered off
}

func newRig(t *testing.T) *rig {
	r := &rig{T: t, dir: filepath.Join(t.TempDir(), "lab"), states: map[string]bool{}}
	l, err := lab.Start(t.Context(), lab.Config{Dir: r.dir, Workers: 2, Masters: 1, Speed: 400})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	r.lab = l
	l.Cluster().OnCall(r.look, nil)
	return r
}

// look reads, before the node's power goes, what the erasing has said on it: it is lost with the power.
func (r *rig) look(c fakes.Call) error {
	if c.Op != fakes.PowerSet {
		return nil
	}
	m := r.lab.Cluster().Machine(victim)
	for _, name := range m.Files("/run/lifecycle/wipe") {
		if text, err := m.ReadFile(name); err == nil && filepath.Base(name) == "state" {
			r.mu.Lock()
			r.states[m.BootID()+"\n"+string(text)] = true
			r.mu.Unlock()
		}
	}
	return nil
}

// start starts a child process: this test binary, as ncnctl (see TestMain).
func (r *rig) start(args ...string) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.CommandContext(r.Context(), "ncnctl", append([]string{"--site", r.lab.SiteFile()}, args...)...)
	cmd.Env = append(os.Environ(), hurry)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(r, cmd.Start())
	return cmd, &out
}

// ncnctl runs a child process to its end, which must be exit code 0.
func (r *rig) ncnctl(args ...string) string {
	cmd, out := r.start(args...)
	require.NoError(r, cmd.Wait(), out)
	return out.String()
}

func (r *rig) records() int {
	files, _ := filepath.Glob(filepath.Join(r.dir, "journal", "runs", "*.jsonl"))
	n := 0
	for _, f := range files {
		n += lines(f)
	}
	return n
}

func (r *rig) events() int { return lines(r.lab.WireFile()) }

func lines(file string) int {
	text, _ := os.ReadFile(file)
	return bytes.Count(text, []byte("\n"))
}

// moment is when to kill: there are so many records in the journal, and events on the wire.
type moment struct{ records, events int }

func (m moment) String() string { return fmt.Sprintf("%d records, %d events", m.records, m.events) }

// moments spreads n of them over a run of so many records and events. Records are fine where steps are short, events
// where they are long.
func moments(n, records, firstEvent, events int) []moment {
	var all []moment
	for i := range n {
		if i%2 == 0 {
			all = append(all, moment{records: 1 + i*(records-3)/n})
		} else {
			all = append(all, moment{records: 1, events: firstEvent + i*(events-firstEvent)/n})
		}
	}
	return all
}

// TestKillAndResume kills a rebuild with SIGKILL at many moments, and resumes it in a new process: it ends where the one
// that was not killed ends, and has erased once (I5, I12).
func TestKillAndResume(t *testing.T) {
	whole := newRig(t)
	before := whole.events()
	whole.ncnctl("rebuild", victim, "--confirm", victim, "--quiet")
	whole.checkEnd()
	records, events := whole.records(), whole.events()
	require.Greater(t, records, 20)

	var mu sync.Mutex
	landed := 0
	t.Run("kills", func(t *testing.T) {
		for _, at := range moments(*kills, records, before, events) {
			t.Run(at.String(), func(t *testing.T) {
				t.Parallel()
				if newRig(t).killAndResume(at) {
					mu.Lock()
					landed++
					mu.Unlock()
				}
			})
		}
	})
	// A fast run may be over before the last kill comes; then there was nothing to resume.
	require.GreaterOrEqual(t, landed, *kills*8/10, "kills that met a run under way")
	t.Logf("%d of %d kills met a run under way", landed, *kills)
}

// killAndResume reports whether the kill met a run under way.
func (r *rig) killAndResume(at moment) bool {
	cmd, out := r.start("rebuild", victim, "--confirm", victim)
	for end := time.Now().Add(patience); r.records() < at.records || r.events() < at.events; {
		require.True(r, time.Now().Before(end), "the moment did not come: %s", out)
		time.Sleep(500 * time.Microsecond)
	}
	require.NoError(r, cmd.Process.Kill())
	killed := cmd.Wait() != nil

	var before lifecycle.Status
	if killed {
		before = r.status()
		require.Equal(r, lifecycle.Open, before.State)
	}
	resumed := r.ncnctl("resume")
	if killed {
		require.Contains(r, resumed, before.Run+"  14/14", "resume says what it did")
		require.Greater(r, r.status().Epoch, before.Epoch)
	}
	r.checkEnd()
	return killed
}

func (r *rig) status() lifecycle.Status {
	j := lifecycle.NewDirJournal(filepath.Join(r.dir, "journal"))
	runs, err := j.Runs(r.Context())
	require.NoError(r, err)
	require.Len(r, runs, 1)
	s, err := lifecycle.StatusOf(r.Context(), j, runs[0])
	require.NoError(r, err)
	return s
}

// checkEnd checks that the node was rebuilt, once, and that no promise was broken.
func (r *rig) checkEnd() {
	require.Equal(r, lifecycle.Done, r.status().State)
	for _, n := range r.lab.Nodes() {
		want := 1
		if n.Name == victim {
			want = 2
		}
		require.Equal(r, want, n.Generation, n.Name)
		require.False(r, n.Armed, n.Name)
		require.True(r, n.Finished, n.Name)
	}
	r.checkOneErase()
	require.Contains(r, r.ncnctl("check"), "no promise was broken")
}

// checkOneErase looks at what the erasing has said on the node, and at what came over the wire.
func (r *rig) checkOneErase() {
	r.mu.Lock()
	defer r.mu.Unlock()
	require.NotEmpty(r, r.states, "nobody saw the erasing")
	boots := map[string]bool{}
	for state := range r.states {
		boot, said, _ := strings.Cut(state, "\n")
		boots[boot] = true
		require.Equal(r, 1, strings.Count(said, "erasing\n"), said)
		require.Equal(r, 1, strings.Count(said, "done\n"), said)
	}
	require.Len(r, boots, 1, "it was erased on more than one boot")

	events, err := lab.ReadWire(r.lab.WireFile())
	require.NoError(r, err)
	installed := 0
	for _, e := range events {
		switch {
		case e.Face == lab.World && e.What == lab.Installed && e.Node == victim:
			installed++
		case e.Face == lab.SSH && e.SSH.Command == "ncn.wipe-start":
			require.Equal(r, victim, e.Node)
		}
	}
	require.Equal(r, 1, installed)
}
