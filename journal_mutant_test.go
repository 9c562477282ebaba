//go:build mutant

package lifecycle_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes"
	"github.com/ncnkit/lifecycle/internal/mutant"
	"github.com/ncnkit/lifecycle/ncn"
)

// crashFS keeps what was synced of each file, and can go back to it as a power failure does.
type crashFS struct {
	lifecycle.DirFS
	mu     sync.Mutex
	synced map[string]int64
}

type crashFile struct {
	lifecycle.DirFile
	fs   *crashFS
	name string
}

func (f *crashFS) Open(name string, flag int) (lifecycle.DirFile, error) {
	file, err := f.DirFS.Open(name, flag)
	return f.wrap(name, file), err
}

func (f *crashFS) OpenLocked(name string, flag int) (lifecycle.DirFile, error) {
	file, err := f.DirFS.OpenLocked(name, flag)
	return f.wrap(name, file), err
}

func (f *crashFS) wrap(name string, file lifecycle.DirFile) lifecycle.DirFile {
	if file == nil {
		return nil
	}
	return &crashFile{file, f, name}
}

func (c *crashFile) Sync() error {
	if err := c.DirFile.Sync(); err != nil {
		return err
	}
	info, err := os.Stat(c.name)
	if err == nil && !info.IsDir() {
		c.fs.mu.Lock()
		c.fs.synced[c.name] = info.Size()
		c.fs.mu.Unlock()
	}
	return nil
}

// powerFailure leaves of the runs' files what was synced.
func (f *crashFS) powerFailure(t *testing.T, dir string) {
	files, err := filepath.Glob(filepath.Join(dir, "runs", "*.jsonl"))
	require.NoError(t, err)
	for _, name := range files {
		require.NoError(t, os.Truncate(name, f.synced[name]))
	}
}

// A power failure right after an effect: its intent must have survived (I14).
func TestMutantFsyncSkipped(t *testing.T) {
	breached := func(name string) (lost bool) {
		mutant.Set(name)
		defer mutant.Set("")
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			disk := &crashFS{DirFS: lifecycle.OSFS(), synced: map[string]int64{}}
			j := lifecycle.NewDirJournalOn(disk, dir)
			w := fakes.New(fakes.Layout{Workers: 1})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w.OnCall(nil, func(c fakes.Call) error {
				if c.Name == "ncn.wipe-start" {
					cancel()
					return errors.New("power failure")
				}
				return nil
			})
			p, err := ncn.Rebuild(ctx, w.Site().Host("ncn-w001"), ncn.Worker)
			require.NoError(t, err)
			require.Error(t, lifecycle.Run(ctx, p, lifecycle.WithJournal(j)))
			j.Die()
			disk.powerFailure(t, dir)
			status, err := lifecycle.StatusOf(t.Context(), lifecycle.NewDirJournal(dir), p.ID)
			lost = true
			for _, s := range status.Steps {
				if err == nil && s.ID == "wipe" && s.Begun {
					lost = false
				}
			}
		})
		return lost
	}
	require.False(t, breached(""), "the intent of the wipe survives a power failure")
	require.True(t, breached("fsync-skipped"), "the mutant survived I14")
}

// A torn last line tells nothing (I12): its record was never acknowledged.
func TestMutantTornTailAccepted(t *testing.T) {
	breached := func(name string) bool {
		mutant.Set(name)
		defer mutant.Set("")
		dir := t.TempDir()
		s := newScript()
		j := lifecycle.NewDirJournal(dir)
		stop := make(chan struct{})
		s.on["do b"] = func(context.Context) { close(stop) }
		err := lifecycle.Run(t.Context(), s.plan(), lifecycle.WithJournal(j), lifecycle.WithStop(stop))
		require.Equal(t, lifecycle.Open, lifecycle.StateOf(err))
		file := filepath.Join(dir, "runs", "run-1.jsonl")
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		torn := bytes.Replace(text, []byte(`"type":"result","step":"b"`), []byte(`"type":"result","step":"c"`), 1)
		require.NotEqual(t, text, torn)
		require.NoError(t, os.WriteFile(file, torn, 0o600))
		s.calls = nil
		require.NoError(t, lifecycle.Resume(t.Context(), "run-1", planner(s), lifecycle.WithJournal(j)))
		return !strings.Contains(strings.Join(s.calls, " "), "do c")
	}
	require.False(t, breached(""), "the step is done whose result was torn")
	require.True(t, breached("torn-tail-accepted"), "the mutant survived I12")
}
