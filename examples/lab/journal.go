package lab

import (
	"context"
	"sync"

	"github.com/ncnkit/lifecycle"
)

// follower copies the runs in the directory's journal into the world's own, by which the world judges what it sees: a node
// that is armed for an open run is in order. Nothing is ever written into the directory.
//
// It is called before each write of boot parameters, so that a run is known before it arms its node, and for a verdict.
type follower struct {
	from *lifecycle.DirJournal
	to   *lifecycle.MemJournal

	mu    sync.Mutex
	runs  map[string]*followed
	ended map[string]bool // nothing more will come of these
}

type followed struct {
	lease lifecycle.Lease // in the world's journal
	seen  int             // records
}

func newFollower(dir string, to *lifecycle.MemJournal) *follower {
	return &follower{from: lifecycle.NewDirJournal(dir), to: to, runs: map[string]*followed{}, ended: map[string]bool{}}
}

// begin leaves out the runs that have ended: they were about nodes of an earlier cluster.
func (f *follower) begin(ctx context.Context) error {
	return f.each(ctx, func(run string, records []lifecycle.Record) error {
		if ended(records) {
			f.ended[run] = true
		}
		return nil
	})
}

// follow takes over what was recorded since it was last called.
func (f *follower) follow(ctx context.Context) error {
	return f.each(ctx, func(run string, records []lifecycle.Record) error {
		known := f.runs[run]
		if known == nil {
			known = &followed{}
			lease, err := f.to.Acquire(ctx, records[0].Plan.Target, run, "the directory's journal")
			if err != nil {
				return err
			}
			known.lease = lease
			f.runs[run] = known
		}
		for _, r := range records[min(known.seen, len(records)):] {
			if err := f.to.Append(ctx, known.lease, r); err != nil {
				return err
			}
			known.seen++
		}
		if !ended(records) {
			return nil
		}
		f.ended[run] = true
		return f.to.Release(ctx, known.lease)
	})
}

// each calls do for the runs that have not ended, under the lock.
func (f *follower) each(ctx context.Context, do func(run string, records []lifecycle.Record) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	runs, err := f.from.Runs(ctx)
	if err != nil {
		return err
	}
	for _, run := range runs {
		if f.ended[run] {
			continue
		}
		records, err := f.from.Records(ctx, run)
		if err != nil {
			return err
		}
		if records[0].Plan == nil {
			return lifecycle.Errorf(lifecycle.Internal, "", "", "the first record of run %s is no plan", run)
		}
		if err := do(run, records); err != nil {
			return err
		}
	}
	return nil
}

func ended(records []lifecycle.Record) bool {
	return records[len(records)-1].Type == lifecycle.RecordEnd
}
