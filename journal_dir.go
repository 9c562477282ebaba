package lifecycle

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/ncnkit/lifecycle/internal/mutant"
)

// DirJournal is a [Journal] of plain files in one directory, for one machine. It works, and can be read with cat, while
// the cluster is broken. It implements [Requests] too.
//
//	runs/<run>.jsonl      the records, one a line: CRC-32C of the JSON in 8 hex digits, a space, the JSON
//	runs/<run>.driver     who drove the run last, and with which epoch
//	requests/<run>.jsonl  what was asked of the run, in lines of the same form
//	locks/<target>        locked with flock(2) while somebody drives the target, and says who
//
// The kernel frees a lock when its process dies; a lock file that is there is not a lock, and need never be removed.
// After a crash it still names the driver that died, until the next one takes the target.
//
// Every record is on disk (fsync) when Append returns. A last line that a crash cut short was never acknowledged:
// readers pass over it, and the next Acquire cuts it off. Any other damage is an error that names the file, the line
// (from 1) and the byte (from 0). Records may show a record whose Append has not returned yet. Acquire reads one small
// file per run that the directory holds; move old runs away, both files of each, when that gets slow.
//
// The directory must be on a local file system: flock and fsync on NFS and its like are not to be trusted. A directory
// that cannot be written still serves Records, Runs and Asked. Files have mode 0600, directories 0700.
//
// Besides what [Journal] says, errors have the Kinds [Invalid] for names that cannot be names of files, for an empty
// path, and for a run that belongs to another target; [Denied] where the file system refuses permission; [Unavailable]
// where it fails or is full, and nothing was written; [Unknown] where it failed in such a way that the record may or may
// not be there; [Internal] for damage; [Precondition] for a record that a newer version wrote.
//
// A DirJournal is safe for concurrent use, also by several processes.
type DirJournal struct {
	path string
	fs   dirFS

	mu   sync.Mutex
	held map[string]*dirLease // by run
}

var (
	_ Journal  = (*DirJournal)(nil)
	_ Requests = (*DirJournal)(nil)
)

// NewDirJournal returns the journal in the directory path. It does no I/O: what is missing is created when it is first
// written to, and an empty path is reported as [Invalid] then.
func NewDirJournal(path string) *DirJournal { return &DirJournal{path: path, fs: osFS{}} }

// dirLease is a lease that this process holds.
type dirLease struct {
	Lease
	lock dirFile // locks/<target>, locked

	mu     sync.Mutex
	file   dirFile // runs/<run>.jsonl, for appending, locked too; nil after Release
	size   int64   // bytes of file, all of them whole records
	rev    int64   // of the last record
	broken error   // an Append left the file in doubt
}

// dirDriver is the content of a lock file and of a driver file.
type dirDriver struct {
	Target string    `json:"target"`
	Run    string    `json:"run"`
	Owner  string    `json:"owner"`
	Epoch  int64     `json:"epoch,omitempty"` // only in a driver file
	Since  time.Time `json:"since"`
}

// Acquire makes owner the driver of target, as [Journal] says. The epoch is durable when it returns.
func (j *DirJournal) Acquire(ctx context.Context, target, run, owner string) (Lease, error) {
	lease, err := j.acquire(ctx, target, run, owner)
	return lease, Wrap(err, "lifecycle.Journal.Acquire", targetHost(target))
}

func (j *DirJournal) acquire(ctx context.Context, target, run, owner string) (_ Lease, err error) {
	if err := cmp.Or(j.check(), checkAcquire(ctx, target, run, owner)); err != nil {
		return Lease{}, err
	}
	if err := j.makeDirs(); err != nil {
		return Lease{}, err
	}
	l := &dirLease{Lease: Lease{Target: target, Run: run, Owner: owner}}
	defer func() {
		if err != nil {
			_ = l.close()
		}
	}()
	if err := j.lockTarget(l); err != nil {
		return Lease{}, err
	}
	if err := j.checkOthers(target, run); err != nil {
		return Lease{}, err
	}
	recs, err := j.openRun(l)
	if err != nil {
		return Lease{}, err
	}
	if err := j.raiseEpoch(l, recs); err != nil {
		return Lease{}, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.held == nil {
		j.held = make(map[string]*dirLease)
	}
	j.held[run] = l
	return l.Lease, nil
}

// lockTarget takes the target's lock, and writes into it who holds it.
func (j *DirJournal) lockTarget(l *dirLease) error {
	name := filepath.Join(j.path, "locks", l.Target)
	file, err := j.fs.OpenLocked(name, os.O_RDWR)
	if errors.Is(err, errFileLocked) {
		return j.errHeld(name, l.Target)
	}
	if err != nil {
		return j.ioError("nothing was started", err)
	}
	l.lock = file
	if err := file.Truncate(0); err != nil {
		return j.ioError("nothing was started", err)
	}
	who := dirDriver{Target: l.Target, Run: l.Run, Owner: l.Owner, Since: time.Now().UTC()}
	return j.ioError("nothing was started", writeDriver(file, who))
}

// errHeld says who holds the lock; the holder may not have written yet who it is.
func (j *DirJournal) errHeld(name, target string) error {
	who, _ := j.readDriver(name)
	held := &Held{
		Resource: target,
		Run:      cmp.Or(who.Run, "(not named yet)"),
		Owner:    cmp.Or(who.Owner, "a process that has not said yet who it is"),
	}
	return Errorf(Conflict, "", "", "%w: wait for that process to end, or cancel its run", held)
}

// checkOthers refuses a target that another run left unfinished: what that run did to it must be put right first.
func (j *DirJournal) checkOthers(target, run string) error {
	runs, err := j.runNames()
	if err != nil {
		return err
	}
	for _, other := range runs {
		if other == run {
			continue
		}
		driver, err := j.driverOf(other)
		if err != nil {
			return err
		}
		if driver.Target != target {
			continue
		}
		recs, _, err := j.readRun(other)
		if err != nil {
			return err
		}
		if !runFinished(recs) {
			return errUnfinished(target, other, driver.Owner, recs)
		}
	}
	return nil
}

// driverOf returns who drove run last. Where that file is missing, the first record still has the target.
func (j *DirJournal) driverOf(run string) (dirDriver, error) {
	driver, err := j.readDriver(j.driverFile(run))
	if !errors.Is(err, fs.ErrNotExist) {
		return driver, j.ioError("nothing was started", err)
	}
	recs, _, err := j.readRun(run)
	if err == nil && len(recs) > 0 && recs[0].Plan != nil {
		driver.Target = recs[0].Plan.Target
	}
	return driver, err
}

// openRun opens the run's file for appending, cuts a torn tail off, and makes durable what it read.
func (j *DirJournal) openRun(l *dirLease) ([]Record, error) {
	file, err := j.fs.OpenLocked(j.runFile(l.Run), os.O_RDWR|os.O_APPEND)
	if errors.Is(err, errFileLocked) {
		return nil, j.errHeld(j.driverFile(l.Run), "run "+l.Run)
	}
	if err != nil {
		return nil, j.ioError("nothing was started", err)
	}
	l.file = file
	data, err := io.ReadAll(file)
	if err != nil {
		return nil, j.ioError("nothing was started", err)
	}
	recs, size, err := parseRecords(j.runFile(l.Run), l.Run, data)
	if err != nil {
		return nil, err
	}
	if size < int64(len(data)) {
		if err := file.Truncate(size); err != nil {
			return nil, j.ioError("nothing was started", err)
		}
	}
	if err := file.Sync(); err != nil {
		return nil, j.ioError("nothing was started", err)
	}
	l.size, l.rev = size, int64(len(recs))
	return recs, nil
}

// raiseEpoch gives the lease the run's next epoch, durably: in a new file renamed over the old one, so that there always
// is a whole one. The directory is synced after that, which makes a new run's file durable as well.
func (j *DirJournal) raiseEpoch(l *dirLease, recs []Record) error {
	name := j.driverFile(l.Run)
	last, err := j.driverOf(l.Run)
	if err != nil {
		return err
	}
	if last.Target != "" && last.Target != l.Target {
		return errOtherTarget(l.Run, last.Target, l.Target)
	}
	if len(recs) > 0 { // somebody may have brought the records here without the driver file
		last.Epoch = max(last.Epoch, recs[len(recs)-1].Epoch)
	}
	l.Epoch = last.Epoch + 1
	who := dirDriver{Target: l.Target, Run: l.Run, Owner: l.Owner, Epoch: l.Epoch, Since: time.Now().UTC()}
	err = j.writeFile(name+".tmp", who)
	if err == nil {
		err = j.fs.Rename(name+".tmp", name)
	}
	if err == nil {
		err = j.syncDir(filepath.Dir(name))
	}
	return j.ioError("nothing was started", err)
}

func (j *DirJournal) writeFile(name string, who dirDriver) error {
	file, err := j.fs.Open(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	err = writeDriver(file, who)
	if err == nil {
		err = file.Sync()
	}
	return cmp.Or(err, file.Close())
}

func writeDriver(w io.Writer, who dirDriver) error {
	text, err := json.Marshal(who)
	if err != nil {
		return err
	}
	return writeAll(w, append(text, '\n'))
}

func (j *DirJournal) readDriver(name string) (dirDriver, error) {
	data, err := j.readFile(name)
	if err != nil {
		return dirDriver{}, err
	}
	var who dirDriver
	if err := json.Unmarshal(data, &who); err != nil {
		return dirDriver{}, Errorf(Internal, "", "", "%s: %w", name, damaged("the JSON is malformed: %v", err))
	}
	return who, nil
}

// Append writes rec behind the lease's last record and makes it durable, as [Journal] says. When the disk is full, what
// was written of it is taken back, and the error is [Unavailable]. When that fails, or when fsync does, the error is
// [Unknown], and every later Append of this lease fails: release it, and resume the run.
func (j *DirJournal) Append(ctx context.Context, lease Lease, rec Record) error {
	return Wrap(j.append(ctx, lease, rec), "lifecycle.Journal.Append", targetHost(lease.Target))
}

func (j *DirJournal) append(ctx context.Context, lease Lease, rec Record) error {
	if err := cmp.Or(j.check(), ctx.Err()); err != nil {
		return err
	}
	l := j.lookup(lease)
	if l == nil {
		return errLeaseLost(lease)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil { // released meanwhile
		return errLeaseLost(lease)
	}
	if l.broken != nil {
		return Errorf(Unavailable, "", "", "nothing was written, because an earlier record of run %s is in doubt (%v): "+
			"see to the file system of %s and resume the run", lease.Run, l.broken, j.path)
	}
	if err := j.checkEpoch(lease); err != nil {
		return err
	}
	rec, line, err := encodeRecord(lease, l.rev+1, rec)
	if err != nil {
		return err
	}
	return j.write(l, rec, line)
}

// checkEpoch looks into the driver file once more. The locks keep other drivers away for as long as nobody removes them;
// this holds even then.
func (j *DirJournal) checkEpoch(lease Lease) error {
	who, err := j.readDriver(j.driverFile(lease.Run))
	if err != nil {
		return j.ioError("nothing was written", err)
	}
	if who.Epoch != lease.Epoch {
		return errLeaseLost(lease)
	}
	return nil
}

func (j *DirJournal) write(l *dirLease, rec Record, line []byte) error {
	if err := writeAll(l.file, line); err != nil {
		return j.takeBack(l, rec, err)
	}
	if err := l.sync(); err != nil {
		// What the kernel holds of the file may now differ from the disk, and asking again would not tell.
		_ = l.file.Truncate(l.size)
		return j.breakLease(l, rec, err)
	}
	l.size += int64(len(line))
	l.rev = rec.Rev
	return nil
}

func (l *dirLease) sync() error {
	if mutant.On("fsync-skipped") {
		return nil
	}
	return l.file.Sync()
}

// takeBack removes what a failed write left.
func (j *DirJournal) takeBack(l *dirLease, rec Record, cause error) error {
	err := l.file.Truncate(l.size)
	if err == nil {
		err = l.file.Sync()
	}
	if err != nil {
		return j.breakLease(l, rec, fmt.Errorf("%w, and taking it back failed: %w", cause, err))
	}
	what := fmt.Sprintf("the %s record was not written", rec.Type)
	if rec.Type == RecordIntent {
		what = "the step was not started"
	}
	return j.ioError(what, cause)
}

func (j *DirJournal) breakLease(l *dirLease, rec Record, cause error) error {
	l.broken = cause
	return Errorf(Unknown, "", "", "the %s record may or may not be in %s: see to the file system and resume the run, "+
		"which looks: %w", rec.Type, j.runFile(l.Run), cause)
}

// Release gives the target up. It does not look at ctx, so that it works while a program is being stopped.
func (j *DirJournal) Release(_ context.Context, lease Lease) error {
	j.mu.Lock()
	l := j.held[lease.Run]
	if l == nil || l.Lease != lease {
		j.mu.Unlock()
		return nil
	}
	delete(j.held, lease.Run)
	j.mu.Unlock()
	return Wrap(j.ioError("the lock ends with this process", l.close()), "lifecycle.Journal.Release", targetHost(lease.Target))
}

// close ends the lease, the target's lock last. The lock file is emptied so that it names nobody.
func (l *dirLease) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var err error
	if l.file != nil {
		err = l.file.Close()
		l.file = nil
	}
	if l.lock != nil {
		_ = l.lock.Truncate(0) // only for people
		err = cmp.Or(l.lock.Close(), err)
		l.lock = nil
	}
	return err
}

func (j *DirJournal) lookup(lease Lease) *dirLease {
	j.mu.Lock()
	defer j.mu.Unlock()
	if l := j.held[lease.Run]; l != nil && l.Lease == lease {
		return l
	}
	return nil
}

// Records returns the records of run, as [Journal] says.
func (j *DirJournal) Records(ctx context.Context, run string) ([]Record, error) {
	recs, err := j.records(ctx, run)
	return recs, Wrap(err, "lifecycle.Journal.Records", "")
}

func (j *DirJournal) records(ctx context.Context, run string) ([]Record, error) {
	if err := cmp.Or(j.check(), checkRunName(run), ctx.Err()); err != nil {
		return nil, err
	}
	recs, _, err := j.readRun(run)
	if err == nil && len(recs) == 0 {
		err = errNoRun(run)
	}
	return recs, err
}

// readRun returns no records for a run that was never begun.
func (j *DirJournal) readRun(run string) ([]Record, int64, error) {
	data, err := j.readFile(j.runFile(run))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, j.ioError("the records cannot be read", err)
	}
	return parseRecords(j.runFile(run), run, data)
}

// Runs returns all runs by the time in their first record and then by name. A run whose first record is damaged comes
// first; Records says what is wrong with it.
func (j *DirJournal) Runs(ctx context.Context) ([]string, error) {
	runs, err := j.runs(ctx)
	return runs, Wrap(err, "lifecycle.Journal.Runs", "")
}

func (j *DirJournal) runs(ctx context.Context) ([]string, error) {
	if err := cmp.Or(j.check(), ctx.Err()); err != nil {
		return nil, err
	}
	names, err := j.runNames()
	if err != nil {
		return nil, err
	}
	var starts []runStart
	for _, run := range names {
		begun, at, err := j.startOf(run)
		if err != nil {
			return nil, err
		}
		if begun {
			starts = append(starts, runStart{run, at})
		}
	}
	return oldestFirst(starts), nil
}

// startOf returns the time of the run's first record, and whether it has one.
func (j *DirJournal) startOf(run string) (begun bool, at time.Time, err error) {
	file, err := j.fs.Open(j.runFile(run), os.O_RDONLY)
	if err != nil {
		return false, time.Time{}, j.ioError("the runs cannot be read", err)
	}
	defer file.Close()
	r := bufio.NewReader(file)
	line, err := r.ReadBytes('\n')
	if err == nil {
		_, err = r.Peek(1)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return false, time.Time{}, j.ioError("the runs cannot be read", err)
	}
	recs, size, damage := parseRecords(j.runFile(run), run, line)
	switch {
	case len(recs) > 0:
		return true, recs[0].Time, nil
	case damage == nil && size == 0 && errors.Is(err, io.EOF):
		return false, time.Time{}, nil // empty, or one torn line
	}
	return true, time.Time{}, nil
}

func (j *DirJournal) runNames() ([]string, error) {
	names, err := j.fs.ReadDir(filepath.Join(j.path, "runs"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, j.ioError("the runs cannot be read", err)
	}
	var runs []string
	for _, name := range names {
		if run, ok := strings.CutSuffix(name, ".jsonl"); ok && checkRunName(run) == nil {
			runs = append(runs, run)
		}
	}
	return runs, nil
}

func (j *DirJournal) check() error {
	if j == nil || j.path == "" || j.fs == nil {
		return Errorf(Invalid, "", "", "the journal has no directory: give NewDirJournal a path")
	}
	return nil
}

func (j *DirJournal) runFile(run string) string { return filepath.Join(j.path, "runs", run+".jsonl") }

func (j *DirJournal) driverFile(run string) string {
	return filepath.Join(j.path, "runs", run+".driver")
}

func (j *DirJournal) requestFile(run string) string {
	return filepath.Join(j.path, "requests", run+".jsonl")
}

// makeDirs creates what is missing, durably.
func (j *DirJournal) makeDirs() error {
	for _, name := range []string{"runs", "locks", "requests"} {
		if err := j.mkdirAll(filepath.Join(j.path, name)); err != nil {
			return j.ioError("nothing was written", err)
		}
	}
	// Synced even if all was there: whoever made it may have died before it came to that.
	return j.ioError("nothing was written", j.syncDir(j.path))
}

func (j *DirJournal) mkdirAll(name string) error {
	err := j.fs.Mkdir(name)
	parent := filepath.Dir(name)
	if errors.Is(err, fs.ErrNotExist) && parent != name {
		if err := j.mkdirAll(parent); err != nil {
			return err
		}
		err = j.fs.Mkdir(name)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return j.syncDir(parent)
}

func (j *DirJournal) syncDir(name string) error {
	dir, err := j.fs.Open(name, os.O_RDONLY)
	if err != nil {
		return err
	}
	return cmp.Or(dir.Sync(), dir.Close())
}

func (j *DirJournal) readFile(name string) ([]byte, error) {
	file, err := j.fs.Open(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(file)
	return data, cmp.Or(err, file.Close())
}

func writeAll(w io.Writer, data []byte) error {
	n, err := w.Write(data)
	if err == nil && n < len(data) {
		err = io.ErrShortWrite
	}
	return err
}

// ioError says what came of a failure of the file system, and what to do about it. It keeps nil, and an error that has a
// kind already.
func (j *DirJournal) ioError(outcome string, err error) error {
	var known *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return err
	case errors.Is(err, fs.ErrPermission):
		return Errorf(Denied, "", "", "%s: look at the owner and mode of %s: %w", outcome, j.path, err)
	case isDiskFull(err) || errors.Is(err, io.ErrShortWrite):
		return Errorf(Unavailable, "", "", "%s: free space in %s and resume: %w", outcome, j.path, err)
	}
	return Errorf(Unavailable, "", "", "%s: see to the file system of %s and resume: %w", outcome, j.path, err)
}
