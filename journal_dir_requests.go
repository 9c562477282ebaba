package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// askPatience bounds the wait for another process that is writing a request about the same run; that takes milliseconds.
const askPatience = 10 * time.Second

// Ask records a request about run durably, as [Requests] says. It needs no lease. An unknown run is [NotFound].
func (j *DirJournal) Ask(ctx context.Context, run string, req Request) error {
	return Wrap(j.ask(ctx, run, req), "lifecycle.Journal.Ask", "")
}

func (j *DirJournal) ask(ctx context.Context, run string, req Request) error {
	if err := cmp.Or(j.check(), checkRunName(run), ctx.Err()); err != nil {
		return err
	}
	line, err := encodeRequest(run, req)
	if err != nil {
		return err
	}
	if recs, _, err := j.readRun(run); err != nil {
		return err
	} else if len(recs) == 0 {
		return errNoRun(run)
	}
	if err := j.makeDirs(); err != nil {
		return err
	}
	file, err := j.lockRequests(ctx, run)
	if err != nil {
		return err
	}
	defer file.Close()
	return j.writeRequest(file, run, line)
}

func (j *DirJournal) lockRequests(ctx context.Context, run string) (dirFile, error) {
	deadline := time.Now().Add(askPatience)
	for {
		file, err := j.fs.OpenLocked(j.requestFile(run), os.O_RDWR|os.O_APPEND)
		if !errors.Is(err, errFileLocked) {
			return file, j.ioError("nothing was asked", err)
		}
		if time.Now().After(deadline) {
			return nil, Errorf(Unavailable, "", "", "nothing was asked: another process has been writing to %s for %v: find "+
				"it with fuser and end it", j.requestFile(run), askPatience)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (j *DirJournal) writeRequest(file dirFile, run string, line []byte) error {
	data, err := io.ReadAll(file)
	if err != nil {
		return j.ioError("nothing was asked", err)
	}
	_, size, err := parseRequests(j.requestFile(run), run, data)
	if err != nil {
		return err
	}
	if err := file.Truncate(size); err != nil { // a torn tail
		return j.ioError("nothing was asked", err)
	}
	if err := writeAll(file, line); err != nil {
		if undo := file.Truncate(size); undo != nil {
			return j.errRequestInDoubt(run, fmt.Errorf("%w, and taking it back failed: %w", err, undo))
		}
		return j.ioError("nothing was asked", err)
	}
	if err := cmp.Or(file.Sync(), j.syncDir(filepath.Dir(j.requestFile(run)))); err != nil {
		return j.errRequestInDoubt(run, err)
	}
	return nil
}

func (j *DirJournal) errRequestInDoubt(run string, err error) error {
	return Errorf(Unknown, "", "", "the request may or may not be in %s: see to the file system and look there: %w",
		j.requestFile(run), err)
}

// Asked returns the requests about run, oldest first; none for a run that nobody asked anything of.
func (j *DirJournal) Asked(ctx context.Context, run string) ([]Request, error) {
	reqs, err := j.asked(ctx, run)
	return reqs, Wrap(err, "lifecycle.Journal.Asked", "")
}

func (j *DirJournal) asked(ctx context.Context, run string) ([]Request, error) {
	if err := cmp.Or(j.check(), checkRunName(run), ctx.Err()); err != nil {
		return nil, err
	}
	data, err := j.readFile(j.requestFile(run))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, j.ioError("the requests cannot be read", err)
	}
	reqs, _, err := parseRequests(j.requestFile(run), run, data)
	return reqs, err
}
