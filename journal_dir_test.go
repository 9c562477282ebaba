package lifecycle_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/lifecycletest"
)

const (
	host  = "ncn-w001"
	owner = "test@here pid 1"
)

func TestDirJournalConforms(t *testing.T) {
	lifecycletest.Journal(subtests(t), func(lifecycletest.TB) lifecycletest.JournalStore {
		dir := filepath.Join(t.TempDir(), "deep", "journal")
		return lifecycletest.JournalStore{
			Open:  func() lifecycle.Journal { return lifecycle.NewDirJournal(dir) },
			Crash: func(j lifecycle.Journal) { j.(*lifecycle.DirJournal).Die() },
		}
	})
}

func subtests(t *testing.T) func(string, func(lifecycletest.TB)) {
	return func(name string, f func(lifecycletest.TB)) { t.Run(name, func(t *testing.T) { f(t) }) }
}

func TestDirJournalWithoutPath(t *testing.T) {
	for name, j := range map[string]*lifecycle.DirJournal{"empty path": lifecycle.NewDirJournal(""), "zero": {}, "nil": nil} {
		_, err := j.Acquire(t.Context(), host, "r1", owner)
		require.ErrorIs(t, err, lifecycle.Invalid, name)
		_, err = j.Records(t.Context(), "r1")
		require.ErrorIs(t, err, lifecycle.Invalid, name)
		_, err = j.Runs(t.Context())
		require.ErrorIs(t, err, lifecycle.Invalid, name)
		require.ErrorIs(t, j.Append(t.Context(), lifecycle.Lease{}, lifecycle.Record{}), lifecycle.Invalid, name)
		require.ErrorIs(t, j.Ask(t.Context(), "r1", lifecycle.Request{}), lifecycle.Invalid, name)
	}
	dir := filepath.Join(t.TempDir(), "new")
	j := lifecycle.NewDirJournal(dir)
	runs, err := j.Runs(t.Context())
	require.NoError(t, err)
	require.Empty(t, runs)
	require.NoDirExists(t, dir, "reading must create nothing")
}

// TestDirJournalFiles pins what people and older versions find on the disk.
func TestDirJournalFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	j, lease := begin(t, lifecycle.OSFS(), dir)
	require.NoError(t, j.Append(t.Context(), lease, intent("wipe")))
	require.NoError(t, j.Ask(t.Context(), "r1", lifecycle.Request{Action: "cancel", Actor: "bob", Time: noon}))

	require.Equal(t, `c240dba2 {"v":1,"run":"r1","rev":1,"epoch":1,"time":"2026-03-01T12:00:00Z","type":"plan",`+
		`"plan":{"kind":"test","target":"ncn-w001","steps":null}}
e9e81e5b {"v":1,"run":"r1","rev":2,"epoch":1,"time":"2026-03-01T12:00:00Z","type":"intent","step":"wipe"}
`, read(t, dir, "runs/r1.jsonl"))
	require.Equal(t, `f35efe97 {"v":1,"run":"r1","action":"cancel","actor":"bob","time":"2026-03-01T12:00:00Z"}`+"\n",
		read(t, dir, "requests/r1.jsonl"))
	require.Regexp(t, `^{"target":"ncn-w001","run":"r1","owner":"test@here pid 1","epoch":1,"since":"20..-.*Z"}\n$`,
		read(t, dir, "runs/r1.driver"))
	require.Regexp(t, `^{"target":"ncn-w001","run":"r1","owner":"test@here pid 1","since":"20..-.*Z"}\n$`,
		read(t, dir, "locks/ncn-w001"))

	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := d.Info()
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o077, "%s can be read by others", path)
		return nil
	}))
	require.NoError(t, j.Release(t.Context(), lease))
	require.Empty(t, read(t, dir, "locks/ncn-w001"), "a lock that nobody holds names nobody")
}

func TestDirJournalTornTail(t *testing.T) {
	dir := t.TempDir()
	j, lease := begin(t, lifecycle.OSFS(), dir)
	file := filepath.Join(dir, "runs", "r1.jsonl")
	whole := len(read(t, dir, "runs/r1.jsonl"))
	require.NoError(t, j.Append(t.Context(), lease, intent("wipe")))
	j.Die()
	data := []byte(read(t, dir, "runs/r1.jsonl"))

	tails := map[string][]byte{}
	for cut := whole; cut < len(data); cut++ {
		tails[fmt.Sprintf("cut at byte %d", cut)] = data[:cut]
		zeros := bytes.Clone(data)
		clear(zeros[cut:])
		tails[fmt.Sprintf("zeros from byte %d", cut)] = zeros
		flipped := bytes.Clone(data)
		flipped[cut] ^= 0x01
		tails[fmt.Sprintf("flipped byte %d", cut)] = flipped
	}
	epoch := int64(1)
	for name, tail := range tails {
		require.NoError(t, os.WriteFile(file, tail, 0o600))
		recs, err := lifecycle.NewDirJournal(dir).Records(t.Context(), "r1")
		require.NoError(t, err, name)
		require.Len(t, recs, 1, name)
		require.Equal(t, string(tail), read(t, dir, "runs/r1.jsonl"), "%s: readers must not repair", name)

		lease, err := j.Acquire(t.Context(), host, "r1", owner)
		require.NoError(t, err, name)
		require.Len(t, read(t, dir, "runs/r1.jsonl"), whole, name)
		epoch++
		require.Equal(t, epoch, lease.Epoch, name)
		require.NoError(t, j.Append(t.Context(), lease, intent("again")), name)
		require.Equal(t, []string{"", "again"}, steps(t, j), name)
		require.NoError(t, j.Release(t.Context(), lease))
	}
}

// TestDirJournalTornFirstRecord: a run whose plan was never acknowledged has not begun.
func TestDirJournalTornFirstRecord(t *testing.T) {
	dir := t.TempDir()
	j, _ := begin(t, lifecycle.OSFS(), dir)
	j.Die()
	data := read(t, dir, "runs/r1.jsonl")
	for cut := range data {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "runs", "r1.jsonl"), []byte(data[:cut]), 0o600))
		_, err := j.Records(t.Context(), "r1")
		require.ErrorIs(t, err, lifecycle.NotFound)
		runs, err := j.Runs(t.Context())
		require.NoError(t, err)
		require.Empty(t, runs)
		lease, err := j.Acquire(t.Context(), host, "r2", owner)
		require.NoError(t, err, "it does not hold the target")
		require.NoError(t, j.Release(t.Context(), lease))
	}
}

func TestDirJournalDamage(t *testing.T) {
	dir := t.TempDir()
	j, lease := begin(t, lifecycle.OSFS(), dir)
	first := len(read(t, dir, "runs/r1.jsonl"))
	require.NoError(t, j.Append(t.Context(), lease, intent("wipe")))
	second := len(read(t, dir, "runs/r1.jsonl"))
	require.NoError(t, j.Append(t.Context(), lease, intent("boot")))
	j.Die()
	data := []byte(read(t, dir, "runs/r1.jsonl"))
	place := fmt.Sprintf("%s, line 2, at byte %d: ", filepath.Join(dir, "runs", "r1.jsonl"), first)

	for at := first; at < second; at++ {
		for bit := range 8 {
			damaged := bytes.Clone(data)
			damaged[at] ^= 1 << bit
			require.NoError(t, os.WriteFile(filepath.Join(dir, "runs", "r1.jsonl"), damaged, 0o600))
			_, err := j.Records(t.Context(), "r1")
			require.Equal(t, lifecycle.Internal, lifecycle.KindOf(err), "byte %d bit %d", at, bit)
			require.ErrorContains(t, err, place, "byte %d bit %d", at, bit)
			require.ErrorContains(t, err, "restore the file")
			if bit != 0 {
				continue
			}
			for _, run := range []string{"r1", "r2"} {
				_, err = j.Acquire(t.Context(), host, run, owner)
				require.ErrorContains(t, err, place)
			}
			require.Equal(t, string(damaged), read(t, dir, "runs/r1.jsonl"), "damage must be left as it is")
		}
	}
	lease, err := j.Acquire(t.Context(), "ncn-w002", "r3", owner)
	require.NoError(t, err, "damage in one run stops no other target")
	require.NoError(t, j.Append(t.Context(), lease, intent("other")))
	runs, err := j.Runs(t.Context())
	require.NoError(t, err, "damage in one run must not hide the others")
	require.Equal(t, []string{"r1", "r3"}, runs)
}

// TestDirJournalStrange feeds lines whose checksum fits.
func TestDirJournalStrange(t *testing.T) {
	good := lifecycle.Record{Version: 1, Run: "r1", Rev: 1, Epoch: 2, Type: lifecycle.RecordPlan}
	change := func(f func(*lifecycle.Record)) lifecycle.Record {
		rec := good
		rec.Rev = 2
		f(&rec)
		return rec
	}
	for name, tc := range map[string]struct {
		second any
		kind   lifecycle.Kind
		says   string
	}{
		"rev gap":       {change(func(r *lifecycle.Record) { r.Rev = 3 }), lifecycle.Internal, "rev 3"},
		"rev twice":     {change(func(r *lifecycle.Record) { r.Rev = 1 }), lifecycle.Internal, "rev 1"},
		"wrong run":     {change(func(r *lifecycle.Record) { r.Run = "r2" }), lifecycle.Internal, `run "r2"`},
		"epoch back":    {change(func(r *lifecycle.Record) { r.Epoch = 1 }), lifecycle.Internal, "two drivers"},
		"no version":    {change(func(r *lifecycle.Record) { r.Version = 0 }), lifecycle.Internal, "format 0"},
		"newer":         {change(func(r *lifecycle.Record) { r.Version = 2 }), lifecycle.Precondition, "written by a newer version"},
		"newer, other":  {map[string]any{"v": 7, "run": []int{1}}, lifecycle.Precondition, "written by a newer version"},
		"unknown field": {map[string]any{"v": 1, "run": "r1", "rev": 2, "epoch": 2, "extra": 1}, lifecycle.Internal, "extra"},
		"no object":     {"text", lifecycle.Internal, "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.Mkdir(filepath.Join(dir, "runs"), 0o700))
			data := append(line(t, good), line(t, tc.second)...) // the last line: a sound checksum is no torn tail
			require.NoError(t, os.WriteFile(filepath.Join(dir, "runs", "r1.jsonl"), data, 0o600))
			j := lifecycle.NewDirJournal(dir)
			_, err := j.Records(t.Context(), "r1")
			require.Equal(t, tc.kind, lifecycle.KindOf(err), "%v", err)
			require.ErrorContains(t, err, fmt.Sprintf("r1.jsonl, line 2, at byte %d: ", len(line(t, good))))
			require.ErrorContains(t, err, tc.says)
			_, err = j.Acquire(t.Context(), host, "r1", owner)
			require.ErrorContains(t, err, tc.says)
		})
	}
}

// TestDirJournalDiskFull fills the disk at every byte of a record.
func TestDirJournalDiskFull(t *testing.T) {
	dir := t.TempDir()
	disk := newFaultFS()
	j, lease := begin(t, disk, dir)
	before := read(t, dir, "runs/r1.jsonl")
	size := wipeLine(t)
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, nil} {
		for k := range size {
			disk.fail(func(f *faults) { f.write, f.writeAt = full, k })
			err := j.Append(t.Context(), lease, intent("wipe"))
			require.Equal(t, lifecycle.Unavailable, lifecycle.KindOf(err), "%v after %d bytes: %v", full, k, err)
			require.ErrorContains(t, err, "the step was not started: ")
			if !errors.Is(full, syscall.EIO) {
				require.ErrorContains(t, err, "free space in "+dir+" and resume")
			}
			require.Equal(t, before, read(t, dir, "runs/r1.jsonl"))
		}
	}
	disk.fail(func(f *faults) { f.writeAt = size })
	require.NoError(t, j.Append(t.Context(), lease, intent("wipe")), "there is space again")
	disk.fail(func(f *faults) { f.write, f.writeAt = syscall.ENOSPC, 3 })
	result := lifecycle.Record{Type: lifecycle.RecordResult, Step: "wipe"}
	require.ErrorContains(t, j.Append(t.Context(), lease, result), "the result record was not written")
	require.Equal(t, []string{"", "wipe"}, steps(t, j))
}

// TestDirJournalInDoubt: where the disk does not say what it holds, the lease must not go on.
func TestDirJournalInDoubt(t *testing.T) {
	size := wipeLine(t)
	for name, set := range map[string]func(*faults){
		"fsync":              func(f *faults) { f.sync = syscall.EIO },
		"write and truncate": func(f *faults) { f.write, f.writeAt, f.truncate = syscall.ENOSPC, 20, syscall.EIO },
		"write and fsync":    func(f *faults) { f.write, f.writeAt, f.sync = syscall.ENOSPC, 20, syscall.EIO },
		"all but newline":    func(f *faults) { f.write, f.writeAt, f.truncate = syscall.EIO, size-1, syscall.EIO },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			disk := newFaultFS()
			j, lease := begin(t, disk, dir)
			disk.fail(set)
			err := j.Append(t.Context(), lease, intent("wipe"))
			require.Equal(t, lifecycle.Unknown, lifecycle.KindOf(err), "%v", err)
			require.NotContains(t, err.Error(), "\n")

			disk.fail(func(f *faults) {}) // the disk is well again, and the lease is not
			for range 2 {
				err = j.Append(t.Context(), lease, intent("boot"))
				require.Equal(t, lifecycle.Unavailable, lifecycle.KindOf(err), "%v", err)
				require.ErrorContains(t, err, "in doubt")
			}
			require.NoError(t, j.Release(t.Context(), lease))
			lease, err = j.Acquire(t.Context(), host, "r1", owner)
			require.NoError(t, err)
			require.NoError(t, j.Append(t.Context(), lease, intent("boot")))
			require.Equal(t, []string{"", "boot"}, steps(t, j))
		})
	}
}

// TestDirJournalSyncs: what was not synced when Append and Acquire return is lost with the power.
func TestDirJournalSyncs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	disk := newFaultFS()
	j, lease := begin(t, disk, dir)
	require.Empty(t, disk.unsynced())
	require.NoError(t, j.Append(t.Context(), lease, intent("wipe")))
	require.NoError(t, j.Ask(t.Context(), "r1", lifecycle.Request{Action: "cancel"}))
	require.Empty(t, disk.unsynced())
	for _, path := range []string{filepath.Dir(dir), dir, filepath.Join(dir, "runs"), filepath.Join(dir, "runs", "r1.jsonl")} {
		require.Contains(t, disk.syncs, path)
	}

	// The next process syncs also what this one wrote or made, and may not have come to sync.
	require.NoError(t, j.Release(t.Context(), lease))
	file := filepath.Join(dir, "runs", "r1.jsonl")
	require.NoError(t, os.WriteFile(file, []byte(read(t, dir, "runs/r1.jsonl")+"torn"), 0o600))
	disk.syncs = nil
	_, err := j.Acquire(t.Context(), host, "r1", owner)
	require.NoError(t, err)
	require.Empty(t, disk.unsynced())
	require.Subset(t, disk.syncs, []string{dir, file})
}

// TestDirJournalReleaseWhileAppending: whoever comes after the release is refused, and nobody writes into a closed file.
func TestDirJournalReleaseWhileAppending(t *testing.T) {
	defer goleak.VerifyNone(t)
	j, lease := begin(t, lifecycle.OSFS(), t.TempDir())
	var wg sync.WaitGroup
	first := make(chan struct{}, 8)
	for range cap(first) {
		wg.Go(func() {
			for n := 0; ; n++ {
				if err := j.Append(t.Context(), lease, intent("x")); err != nil {
					assert.Equal(t, lifecycle.Conflict, lifecycle.KindOf(err), "%v", err)
					return
				}
				if n == 0 {
					first <- struct{}{}
				}
			}
		})
	}
	<-first
	require.NoError(t, j.Release(t.Context(), lease))
	before := len(steps(t, j))
	wg.Wait()
	require.Len(t, steps(t, j), before)
}

func TestDirJournalNotJSON(t *testing.T) {
	j, lease := begin(t, lifecycle.OSFS(), t.TempDir())
	rec := plan(host)
	rec.Plan.Facts = json.RawMessage("{")
	require.ErrorIs(t, j.Append(t.Context(), lease, rec), lifecycle.Invalid)
	require.ErrorIs(t, j.Ask(t.Context(), "r1", lifecycle.Request{Time: noon.AddDate(10_000, 0, 0)}), lifecycle.Invalid)
	require.NoError(t, j.Append(t.Context(), lease, intent("x")))
	require.Equal(t, []string{"", "x"}, steps(t, j))
}

// TestDirJournalAskWaits: another process that holds the file does not make Ask wait beyond the caller's deadline or its
// own.
func TestDirJournalAskWaits(t *testing.T) {
	dir := t.TempDir()
	j, _ := begin(t, lifecycle.OSFS(), dir)
	other, err := lifecycle.OSFS().OpenLocked(filepath.Join(dir, "requests", "r1.jsonl"), os.O_RDWR)
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, j.Ask(ctx, "r1", lifecycle.Request{}), lifecycle.Timeout)
		require.Equal(t, time.Second, time.Since(start))

		err := j.Ask(t.Context(), "r1", lifecycle.Request{})
		require.Equal(t, lifecycle.Unavailable, lifecycle.KindOf(err), "%v", err)
		require.ErrorContains(t, err, "requests/r1.jsonl for 10s: find it")
	})
	require.NoError(t, other.Close())
	require.NoError(t, j.Ask(t.Context(), "r1", lifecycle.Request{}))
}

// TestDirJournalAcquireFails: whatever fails on the way, nothing stays locked and no epoch is handed out twice.
func TestDirJournalAcquireFails(t *testing.T) {
	dir := t.TempDir()
	disk := newFaultFS()
	j, lease := begin(t, disk, dir)
	require.NoError(t, j.Release(t.Context(), lease))
	last := lease.Epoch
	for n := range 40 {
		disk.fail(func(f *faults) { f.countdown = n + 1 })
		lease, err := j.Acquire(t.Context(), host, "r1", owner)
		fired := disk.fired()
		disk.fail(func(f *faults) {})
		if err != nil {
			require.True(t, fired, "%v", err)
			require.Equal(t, lifecycle.Unavailable, lifecycle.KindOf(err), "call %d: %v", n+1, err)
			lease, err = j.Acquire(t.Context(), host, "r1", owner)
		}
		require.NoError(t, err, "call %d", n+1)
		require.Greater(t, lease.Epoch, last, "call %d", n+1)
		last = lease.Epoch
		require.NoError(t, j.Append(t.Context(), lease, intent("x")))
		require.NoError(t, j.Release(t.Context(), lease))
		if !fired {
			require.Greater(t, n, 10, "the faults reached few calls")
			return
		}
	}
	t.Fatal("Acquire takes more calls than this test makes fail")
}

func TestDirJournalReadOnly(t *testing.T) {
	dir := t.TempDir()
	_, lease := begin(t, lifecycle.OSFS(), dir)
	disk := newFaultFS()
	disk.fail(func(f *faults) { f.readOnly = syscall.EROFS })
	j := lifecycle.NewDirJournalOn(disk, dir)
	require.Equal(t, []string{""}, steps(t, j))
	runs, err := j.Runs(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"r1"}, runs)
	reqs, err := j.Asked(t.Context(), "r1")
	require.NoError(t, err)
	require.Empty(t, reqs)
	_, err = j.Acquire(t.Context(), "ncn-w002", "r2", owner)
	require.Equal(t, lifecycle.Unavailable, lifecycle.KindOf(err), "%v", err)
	require.Equal(t, lifecycle.Unavailable, lifecycle.KindOf(j.Ask(t.Context(), "r1", lifecycle.Request{})))
	disk.fail(func(f *faults) { f.readOnly = syscall.EACCES })
	_, err = j.Acquire(t.Context(), "ncn-w002", "r2", owner)
	require.Equal(t, lifecycle.Denied, lifecycle.KindOf(err), "%v", err)
	require.ErrorIs(t, j.Append(t.Context(), lease, intent("x")), lifecycle.Conflict)
}

// TestDirJournalSuperseded: the epoch fences even where somebody removed the lock files under a living driver.
func TestDirJournalSuperseded(t *testing.T) {
	dir := t.TempDir()
	j, lease := begin(t, lifecycle.OSFS(), dir)
	before := read(t, dir, "runs/r1.jsonl")
	require.NoError(t, os.Remove(filepath.Join(dir, "locks", host)))
	other := lifecycle.NewDirJournal(dir)
	_, err := other.Acquire(t.Context(), host, "r1", "second")
	require.ErrorIs(t, err, lifecycle.Conflict, "the run's own file is locked as well")
	require.ErrorContains(t, err, "run r1 is held by "+owner)

	require.NoError(t, os.Remove(filepath.Join(dir, "runs", "r1.jsonl")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "runs", "r1.jsonl"), []byte(before), 0o600))
	_, err = other.Acquire(t.Context(), host, "r1", "second")
	require.NoError(t, err)
	err = j.Append(t.Context(), lease, intent("late"))
	require.Equal(t, lifecycle.Conflict, lifecycle.KindOf(err), "%v", err)
	require.Equal(t, before, read(t, dir, "runs/r1.jsonl"))
}

// TestDirJournalWithoutDriverFiles: records that were brought from elsewhere still keep the target and the epochs.
func TestDirJournalWithoutDriverFiles(t *testing.T) {
	dir := t.TempDir()
	j, lease := begin(t, lifecycle.OSFS(), dir)
	require.NoError(t, j.Release(t.Context(), lease))
	require.NoError(t, os.Remove(filepath.Join(dir, "runs", "r1.driver")))
	_, err := j.Acquire(t.Context(), host, "r2", owner)
	require.ErrorIs(t, err, lifecycle.Conflict)
	_, err = j.Acquire(t.Context(), "ncn-w002", "r1", owner)
	require.ErrorIs(t, err, lifecycle.Invalid)
	lease, err = j.Acquire(t.Context(), host, "r1", owner)
	require.NoError(t, err)
	require.Equal(t, int64(2), lease.Epoch)
	require.NoError(t, j.Release(t.Context(), lease))

	require.NoError(t, os.WriteFile(filepath.Join(dir, "runs", "r1.driver"), []byte("{"), 0o600))
	for _, run := range []string{"r1", "r2"} {
		_, err = j.Acquire(t.Context(), host, run, owner)
		require.ErrorContains(t, err, "r1.driver: damaged")
	}
}

func TestDirJournalTornRequest(t *testing.T) {
	dir := t.TempDir()
	disk := newFaultFS()
	j, _ := begin(t, disk, dir)
	ask := func(actor string) error {
		return j.Ask(t.Context(), "r1", lifecycle.Request{Action: "cancel", Actor: actor})
	}
	require.NoError(t, ask("a"))
	disk.fail(func(f *faults) { f.write, f.writeAt = syscall.ENOSPC, 9 })
	require.Equal(t, lifecycle.Unavailable, lifecycle.KindOf(ask("b")))
	disk.fail(func(f *faults) { f.write, f.writeAt, f.truncate, f.truncateAfter = syscall.ENOSPC, 9, syscall.EIO, 1 })
	require.Equal(t, lifecycle.Unknown, lifecycle.KindOf(ask("c")))
	disk.fail(func(f *faults) {})
	require.NoError(t, ask("d"))
	reqs, err := j.Asked(t.Context(), "r1")
	require.NoError(t, err)
	require.Len(t, reqs, 2)
	require.Equal(t, "d", reqs[1].Actor)

	data := []byte(read(t, dir, "requests/r1.jsonl"))
	data[20] ^= 1
	require.NoError(t, os.WriteFile(filepath.Join(dir, "requests", "r1.jsonl"), data, 0o600))
	_, err = j.Asked(t.Context(), "r1")
	require.ErrorContains(t, err, "requests/r1.jsonl, line 1, at byte 0: ")
	require.ErrorContains(t, ask("e"), "requests/r1.jsonl, line 1, at byte 0: ")
}

// TestDirJournalKilledProcess runs this test once more as a process that takes the target, and kills it.
func TestDirJournalKilledProcess(t *testing.T) {
	if flag.Arg(0) == "hold" {
		holdLease(t, flag.Arg(1))
		return
	}
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestDirJournalKilledProcess$", "hold", dir)
	stdin, err := child.StdinPipe() // the child ends with us
	require.NoError(t, err)
	defer stdin.Close()
	stdout, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	out := bufio.NewReader(stdout)
	said, err := out.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "holding epoch 1\n", said)

	j := lifecycle.NewDirJournal(dir)
	_, err = j.Acquire(ctx, host, "r1", owner)
	var held *lifecycle.Held
	require.ErrorAs(t, err, &held)
	require.Contains(t, held.Owner, fmt.Sprintf(" pid %d", child.Process.Pid))
	require.Equal(t, "r1", held.Run)

	require.NoError(t, child.Process.Signal(syscall.SIGKILL))
	_, _ = io.Copy(io.Discard, out)
	require.ErrorContains(t, child.Wait(), "killed")
	lease, err := j.Acquire(ctx, host, "r1", owner)
	require.NoError(t, err)
	require.Equal(t, int64(2), lease.Epoch)
	require.Equal(t, []string{"", "wipe"}, steps(t, j))
	require.NoError(t, j.Append(ctx, lease, intent("boot")))
}

func holdLease(t *testing.T, dir string) {
	j := lifecycle.NewDirJournal(dir)
	lease, err := j.Acquire(t.Context(), host, "r1", lifecycle.DefaultOwner())
	require.NoError(t, err)
	require.NoError(t, j.Append(t.Context(), lease, plan(host)))
	require.NoError(t, j.Append(t.Context(), lease, intent("wipe")))
	fmt.Printf("holding epoch %d\n", lease.Epoch)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func TestDefaultOwner(t *testing.T) {
	require.Regexp(t, fmt.Sprintf(`^.+@.+ pid %d$`, os.Getpid()), lifecycle.DefaultOwner())
}

func FuzzJournalLines(f *testing.F) {
	first := line(f, lifecycle.Record{Version: 1, Run: "r1", Rev: 1, Epoch: 1, Time: noon, Type: lifecycle.RecordPlan})
	second := line(f, lifecycle.Record{Version: 1, Run: "r1", Rev: 2, Epoch: 3, Type: lifecycle.RecordEnd, Message: "\n<ü>"})
	f.Add([]byte{})
	f.Add(first)
	f.Add(append(bytes.Clone(first), second...))
	f.Add(append(bytes.Clone(first), second[:len(second)-1]...))
	f.Add(append(bytes.Clone(first[:len(first)-1]), second...))
	f.Add([]byte("00000000 \n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		recs, size, err := lifecycle.ParseRecords("r1", data)
		if size < 0 || size > int64(len(data)) {
			t.Fatalf("%d whole bytes of %d", size, len(data))
		}
		if n := bytes.Count(data[:size], []byte("\n")); n != len(recs) {
			t.Fatalf("%d records in %d lines", len(recs), n)
		}
		if err != nil {
			return
		}
		// What a reader takes is what remains after the tail is cut off, and the next record fits behind it.
		again, whole, err := lifecycle.ParseRecords("r1", data[:size])
		if err != nil || whole != size || cmp.Diff(recs, again) != "" {
			t.Fatalf("without its tail: %d of %d bytes, %v\n%s", whole, size, err, cmp.Diff(recs, again))
		}
		next := lifecycle.Record{Version: 1, Run: "r1", Rev: int64(len(recs)) + 1, Epoch: 1 << 62, Type: lifecycle.RecordEnd}
		if len(recs) > 0 {
			next.Epoch = recs[len(recs)-1].Epoch
		}
		more, _, err := lifecycle.ParseRecords("r1", append(bytes.Clone(data[:size]), line(t, next)...))
		if err != nil || len(more) != len(recs)+1 {
			t.Fatalf("one more: %d records, %v", len(more), err)
		}
	})
}

func BenchmarkDirJournalAppend(b *testing.B) {
	j, lease := begin(b, lifecycle.OSFS(), b.TempDir())
	for b.Loop() {
		if err := j.Append(b.Context(), lease, intent("wipe")); err != nil {
			b.Fatal(err)
		}
	}
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func plan(target string) lifecycle.Record {
	return lifecycle.Record{Type: lifecycle.RecordPlan, Time: noon, Plan: &lifecycle.PlanRecord{Kind: "test", Target: target}}
}

func intent(step string) lifecycle.Record {
	return lifecycle.Record{Type: lifecycle.RecordIntent, Time: noon, Step: step}
}

// begin returns a journal in dir with run r1 of ncn-w001, driven and with its plan recorded.
func begin(tb testing.TB, disk lifecycle.DirFS, dir string) (*lifecycle.DirJournal, lifecycle.Lease) {
	tb.Helper()
	j := lifecycle.NewDirJournalOn(disk, dir)
	lease, err := j.Acquire(tb.Context(), host, "r1", owner)
	require.NoError(tb, err)
	require.NoError(tb, j.Append(tb.Context(), lease, plan(host)))
	return j, lease
}

func steps(t *testing.T, j lifecycle.Journal) []string {
	t.Helper()
	recs, err := j.Records(t.Context(), "r1")
	require.NoError(t, err)
	var steps []string
	for _, rec := range recs {
		steps = append(steps, rec.Step)
	}
	return steps
}

func line(tb testing.TB, v any) []byte {
	tb.Helper()
	data, err := lifecycle.EncodeLine(v)
	require.NoError(tb, err)
	return data
}

// wipeLine is the length of the line of intent("wipe") behind what begin writes.
func wipeLine(t *testing.T) int {
	rec := intent("wipe")
	rec.Version, rec.Run, rec.Rev, rec.Epoch = 1, "r1", 2, 1
	return len(line(t, rec))
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	return string(data)
}

// faults says how a faultFS fails.
type faults struct {
	write         error // of the write that crosses writeAt; nil then is a short write without an error
	writeAt       int   // bytes that still fit; -1 is no bound
	sync          error
	truncate      error
	truncateAfter int   // that many succeed first
	readOnly      error // of whatever would change something
	countdown     int   // the n-th call of anything fails with EIO
	fired         bool
}

// faultFS is the real file system with faults. It also knows which files hold what was not synced.
type faultFS struct {
	lifecycle.DirFS
	faults *faults
	syncs  []string
	dirty  map[string]bool
}

func newFaultFS() *faultFS {
	return &faultFS{DirFS: lifecycle.OSFS(), faults: &faults{writeAt: -1}, dirty: map[string]bool{}}
}

func (f *faultFS) fail(set func(*faults)) {
	f.faults = &faults{writeAt: -1}
	set(f.faults)
}

func (f *faultFS) fired() bool { return f.faults.fired }

// unsynced leaves out locks: what they say is for people only, and means nothing after a power failure.
func (f *faultFS) unsynced() []string {
	var names []string
	for name, dirty := range f.dirty {
		if dirty && !strings.Contains(name, string(filepath.Separator)+"locks") {
			names = append(names, name)
		}
	}
	return names
}

func (f *faultFS) call(name string, changes bool) error {
	if f.faults.countdown > 0 {
		if f.faults.countdown--; f.faults.countdown == 0 {
			f.faults.fired = true
			return &fs.PathError{Op: "fault", Path: name, Err: syscall.EIO}
		}
	}
	if changes && f.faults.readOnly != nil {
		return &fs.PathError{Op: "fault", Path: name, Err: f.faults.readOnly}
	}
	return nil
}

func (f *faultFS) Open(name string, flags int) (lifecycle.DirFile, error) {
	return f.open(name, flags, f.DirFS.Open)
}

func (f *faultFS) OpenLocked(name string, flags int) (lifecycle.DirFile, error) {
	return f.open(name, flags|os.O_CREATE, f.DirFS.OpenLocked)
}

func (f *faultFS) open(name string, flags int, open func(string, int) (lifecycle.DirFile, error)) (lifecycle.DirFile, error) {
	if err := f.call(name, flags != os.O_RDONLY); err != nil {
		return nil, err
	}
	if _, err := os.Stat(name); flags&os.O_CREATE != 0 && err != nil {
		f.dirty[filepath.Dir(name)] = true
	}
	file, err := open(name, flags)
	if err != nil {
		return nil, err
	}
	return &faultFile{file, f, name}, nil
}

func (f *faultFS) Mkdir(name string) error {
	if err := f.call(name, true); err != nil && !errors.Is(err, syscall.EROFS) { // which comes after EEXIST
		return err
	}
	err := f.DirFS.Mkdir(name)
	if err == nil {
		f.dirty[filepath.Dir(name)] = true
	}
	return err
}

func (f *faultFS) Rename(from, to string) error {
	if err := f.call(from, true); err != nil {
		return err
	}
	if f.dirty[from] {
		return errors.New("renamed before it was synced")
	}
	f.dirty[filepath.Dir(to)] = true
	return f.DirFS.Rename(from, to)
}

func (f *faultFS) ReadDir(name string) ([]string, error) {
	if err := f.call(name, false); err != nil {
		return nil, err
	}
	return f.DirFS.ReadDir(name)
}

type faultFile struct {
	lifecycle.DirFile
	fs   *faultFS
	name string
}

func (f *faultFile) Read(p []byte) (int, error) {
	if err := f.fs.call(f.name, false); err != nil {
		return 0, err
	}
	return f.DirFile.Read(p)
}

func (f *faultFile) Write(p []byte) (int, error) {
	if err := f.fs.call(f.name, true); err != nil {
		return 0, err
	}
	f.fs.dirty[f.name] = true
	if at := f.fs.faults.writeAt; at >= 0 && at < len(p) {
		n, err := f.DirFile.Write(p[:at])
		return n, errors.Join(err, f.fs.faults.write)
	}
	return f.DirFile.Write(p)
}

func (f *faultFile) Truncate(size int64) error {
	if err := f.fs.call(f.name, true); err != nil {
		return err
	}
	if f.fs.faults.truncate != nil {
		if f.fs.faults.truncateAfter == 0 {
			return f.fs.faults.truncate
		}
		f.fs.faults.truncateAfter--
	}
	f.fs.dirty[f.name] = true
	return f.DirFile.Truncate(size)
}

func (f *faultFile) Sync() error {
	if err := f.fs.call(f.name, false); err != nil {
		return err
	}
	if f.fs.faults.sync != nil {
		return f.fs.faults.sync
	}
	f.fs.syncs = append(f.fs.syncs, f.name)
	f.fs.dirty[f.name] = false
	return f.DirFile.Sync()
}
