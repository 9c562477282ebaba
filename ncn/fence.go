package ncn

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/backup"
	"github.com/ncnkit/lifecycle/bss"
	"github.com/ncnkit/lifecycle/power"
)

// fenced returns the site as the steps of a run use it: right before each write to a target that cannot tell an old driver
// from a new one, the journal is read once more (I6). A driver that was paused, and replaced meanwhile, does nothing when
// it wakes, wherever in a step it was.
func fenced(s *Site) *Site {
	f := *s
	if s.BSS != nil {
		f.BSS = fencedBSS{s.BSS}
	}
	if s.Power != nil {
		f.Power = fencedPower{s.Power}
	}
	if s.Backups != nil {
		f.Backups = fencedStore{s.Backups}
	}
	return &f
}

type fencedBSS struct{ bss.API }

func (f fencedBSS) Patch(ctx context.Context, p bss.Patch) error {
	if err := lifecycle.StillDriving(ctx); err != nil {
		return err
	}
	return f.API.Patch(ctx, p)
}

func (f fencedBSS) Put(ctx context.Context, e bss.Entry) error {
	if err := lifecycle.StillDriving(ctx); err != nil {
		return err
	}
	return f.API.Put(ctx, e)
}

// Lock implements [bss.Locker] where the service's client does.
func (f fencedBSS) Lock(ctx context.Context, host string) (unlock func(), err error) {
	if l, ok := f.API.(bss.Locker); ok {
		return l.Lock(ctx, host)
	}
	return func() {}, nil
}

type fencedPower struct{ power.Controller }

func (f fencedPower) Do(ctx context.Context, b power.BMC, a power.Action) error {
	if err := lifecycle.StillDriving(ctx); err != nil {
		return err
	}
	return f.Controller.Do(ctx, b, a)
}

func (f fencedPower) SetBoot(ctx context.Context, b power.BMC, boot power.Boot) error {
	if err := lifecycle.StillDriving(ctx); err != nil {
		return err
	}
	return f.Controller.SetBoot(ctx, b, boot)
}

type fencedStore struct{ backup.Store }

func (f fencedStore) Put(ctx context.Context, key string, r io.Reader) error {
	if err := lifecycle.StillDriving(ctx); err != nil {
		return err
	}
	return f.Store.Put(ctx, key, &fencedReader{ctx: ctx, r: r})
}

// fencedReader ends in an error when its driver was replaced while it was read. It looks at the end, so that what is
// stored all or nothing is not stored, and whenever the stream has gone on for a second, so that a driver that wakes in
// the middle sends no more of it.
type fencedReader struct {
	ctx    context.Context
	r      io.Reader
	looked time.Time
}

func (f *fencedReader) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if errors.Is(err, io.EOF) || time.Since(f.looked) > time.Second {
		if lost := lifecycle.StillDriving(f.ctx); lost != nil {
			return 0, lost
		}
		f.looked = time.Now()
	}
	return n, err
}

func (f fencedStore) Delete(ctx context.Context, key string) error {
	if err := lifecycle.StillDriving(ctx); err != nil {
		return err
	}
	return f.Store.Delete(ctx, key)
}
