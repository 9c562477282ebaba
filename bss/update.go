package bss

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/internal/mutant"
)

// Option changes how [Update], [Arm] and [Disarm] go about it.
type Option func(*update)

// WithAttempts bounds how often the write is sent; the default is 8. Less than 1 is Invalid.
func WithAttempts(n int) Option { return func(u *update) { u.attempts = n } }

// WithJitter replaces the source of the random part of the pauses between attempts: numbers from 0 to less than 1. It
// makes a simulation repeatable.
func WithJitter(f func() float64) Option { return func(u *update) { u.jitter = f } }

// Update changes the entry of host and makes sure that the change is there: it reads the entry, lets edit change a copy,
// writes only what edit changed, reads again, and repeats with growing pauses (0.1 to 5 s) while another writer or the
// service loses the write. Nothing to change means that nothing is written.
//
// edit must be idempotent, and must not depend on anything but the entry: it runs at least once, and again on every entry
// that is read back. Its own errors are passed on. When the API is a [Locker], updates of one host wait for one another;
// without that, two that overlap can each read back in time and still lose.
//
// The kinds of its errors: Invalid for a change that a patch cannot express (clearing params, kernel or initrd; changing
// hosts, macs, nids or phone-home; null inside an object); NotFound when there is no entry; Conflict when the change did
// not stay after all attempts, naming what did not; Unknown when a write was sent and could not be looked at; and those of
// the API. A reply that was lost is resolved by looking, before anything is sent again.
func Update(ctx context.Context, api API, host string, edit func(*Entry) error, opts ...Option) error {
	u := &update{api: api, host: host, edit: edit, attempts: 8, jitter: rand.Float64}
	for _, opt := range opts {
		opt(u)
	}
	if err := u.check(); err != nil {
		return err
	}
	for n := range u.attempts {
		if n > 0 {
			if err := u.pause(ctx, n); err != nil {
				return err
			}
		}
		done, err := u.once(ctx)
		if done || err != nil {
			return err
		}
	}
	return u.gaveUp()
}

// update is one call of Update.
type update struct {
	api      API
	host     string
	edit     func(*Entry) error
	attempts int
	jitter   func() float64

	missing []string // what the last look found wanting
	unseen  bool     // a write was sent, and its effect not yet looked at
	cause   error    // of the last write or look that failed
}

func (u *update) check() error {
	switch {
	case u.api == nil:
		return u.errorf(lifecycle.Invalid, "no boot script service was given")
	case u.edit == nil || u.jitter == nil || u.attempts < 1:
		return u.errorf(lifecycle.Invalid, "want an edit function, and at least one attempt")
	}
	return lifecycle.Wrap(CheckHost(u.host), "bss.Update", "")
}

func (u *update) errorf(kind lifecycle.Kind, format string, args ...any) error {
	return lifecycle.Errorf(kind, "bss.Update", u.host, format, args...)
}

// once looks, writes what is missing, and looks again. Neither done nor an error means: try again.
func (u *update) once(ctx context.Context) (done bool, err error) {
	if l, ok := u.api.(Locker); ok {
		unlock, err := l.Lock(ctx, u.host)
		if err != nil {
			return false, lifecycle.Wrap(err, "bss.Update", u.host)
		}
		defer unlock()
	}
	patch, err := u.look(ctx)
	if err != nil {
		return false, u.unlooked(ctx, err)
	}
	if len(u.missing) == 0 {
		return true, nil
	}
	u.unseen = true
	u.cause = u.api.Patch(ctx, patch)
	switch kind := lifecycle.KindOf(u.cause); {
	case u.cause == nil && mutant.On("no-readback"):
		return true, nil
	case u.cause != nil && kind != lifecycle.Unknown && kind != lifecycle.Unavailable:
		return false, u.explain(u.cause)
	}
	if _, err := u.look(ctx); err != nil {
		return false, u.unlooked(ctx, err)
	}
	return len(u.missing) == 0, nil
}

// look reads the entry, and finds out what edit would still change.
func (u *update) look(ctx context.Context) (Patch, error) {
	before, err := u.api.Get(ctx, u.host)
	if err != nil {
		return Patch{}, err
	}
	if err := normalize(&before); err != nil {
		return Patch{}, u.errorf(lifecycle.Internal, "the entry cannot be copied: %w", err)
	}
	u.unseen = false
	after := clone(before)
	if err := u.edit(&after); err != nil {
		return Patch{}, err
	}
	if err := normalize(&after); err != nil {
		return Patch{}, u.errorf(lifecycle.Invalid, "cloud-init cannot be written as JSON: %w", err)
	}
	patch, names, err := diff(u.host, before, after)
	u.missing = names
	return patch, err
}

// unlooked decides about a look that failed: with a write outstanding it is worth another try while the service is only
// out of reach; otherwise the outcome stays unknown.
func (u *update) unlooked(ctx context.Context, err error) error {
	if !u.unseen {
		return u.explain(err)
	}
	if ctx.Err() == nil && lifecycle.KindOf(err) == lifecycle.Unavailable {
		u.cause = err
		return nil
	}
	return u.errorf(lifecycle.Unknown, "%s was written, but could not be read back (%w): look at the entry before going on",
		strings.Join(u.missing, ", "), err)
}

func (u *update) explain(err error) error {
	if lifecycle.KindOf(err) == lifecycle.NotFound {
		return u.errorf(lifecycle.NotFound, "%w: check the xname; a node that never had boot parameters needs them put first", err)
	}
	return lifecycle.Wrap(err, "bss.Update", u.host)
}

// gaveUp says why the attempts did not suffice.
func (u *update) gaveUp() error {
	missing := strings.Join(u.missing, ", ")
	switch {
	case u.unseen:
		return u.errorf(lifecycle.Unknown, "%s was written, but could not be read back in %d attempts (%w): look at the entry before going on",
			missing, u.attempts, u.cause)
	case u.cause != nil:
		return u.errorf(lifecycle.KindOf(u.cause), "%s is not there after %d attempts: %w", missing, u.attempts, u.cause)
	}
	return u.errorf(lifecycle.Conflict,
		"%s did not stay in %d attempts: find out who else writes this entry, or whether the service keeps what it is sent", missing, u.attempts)
}

const (
	minPause = 100 * time.Millisecond
	maxPause = 5 * time.Second
)

// pause waits before attempt n, counted from 0.
func (u *update) pause(ctx context.Context, n int) error {
	d := min(minPause<<min(n-1, 16), maxPause)
	timer := time.NewTimer(d/2 + time.Duration(u.jitter()*float64(d/2)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
	}
	kind := lifecycle.KindOf(ctx.Err())
	if u.unseen {
		kind = lifecycle.Unknown
	}
	return u.errorf(kind, "stopped while waiting to write %s again: %w", strings.Join(u.missing, ", "), ctx.Err())
}

// normalize gives e's cloud-init data the form that decoding gives it, so that two entries can be compared. It makes new
// maps, which no one else holds.
func normalize(e *Entry) error {
	for _, m := range []*map[string]any{&e.CloudInit.MetaData, &e.CloudInit.UserData} {
		if *m == nil {
			continue
		}
		v, err := plain(*m)
		if err != nil {
			return err
		}
		*m = v.(map[string]any)
	}
	return nil
}

// clone returns a copy of a normalized entry that shares nothing with it.
func clone(e Entry) Entry {
	e.Hosts = slices.Clone(e.Hosts)
	e.MACs = slices.Clone(e.MACs)
	e.NIDs = slices.Clone(e.NIDs)
	e.CloudInit.MetaData, _ = cloneValue(e.CloudInit.MetaData).(map[string]any)
	e.CloudInit.UserData, _ = cloneValue(e.CloudInit.UserData).(map[string]any)
	return e
}

func cloneValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if v == nil {
			return v
		}
		m := make(map[string]any, len(v))
		for key, member := range v {
			m[key] = cloneValue(member)
		}
		return m
	case []any:
		s := make([]any, len(v))
		for i, element := range v {
			s[i] = cloneValue(element)
		}
		return s
	}
	return v
}
