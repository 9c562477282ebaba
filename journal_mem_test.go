package lifecycle_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/lifecycletest"
)

func TestMemJournalConforms(t *testing.T) {
	lifecycletest.Journal(subtests(t), func(lifecycletest.TB) lifecycletest.JournalStore {
		store := lifecycle.NewMemJournal()
		return lifecycletest.JournalStore{
			Open:   func() lifecycle.Journal { return store.Controller("test") },
			Crash:  func(j lifecycle.Journal) { j.(*lifecycle.MemController).Kill() },
			Expire: func(j lifecycle.Journal) { j.(*lifecycle.MemController).Expire() },
		}
	})
}

func TestMemJournalItself(t *testing.T) {
	var m lifecycle.MemJournal
	lease, err := m.Acquire(t.Context(), host, "r1", "")
	require.NoError(t, err)
	require.NotEmpty(t, lease.Owner)
	require.NoError(t, m.Append(t.Context(), lease, plan(host)))
	require.NoError(t, m.Ask(t.Context(), "r1", lifecycle.Request{Action: "cancel"}))
	reqs, err := m.Asked(t.Context(), "r1")
	require.NoError(t, err)
	require.Len(t, reqs, 1)
	_, err = m.Controller("other").Acquire(t.Context(), host, "r1", "")
	require.ErrorIs(t, err, lifecycle.Conflict)
	require.NoError(t, m.Release(t.Context(), lease))
	lease, err = m.Controller("other").Acquire(t.Context(), host, "r1", "")
	require.NoError(t, err)
	require.Equal(t, lifecycle.Lease{Target: host, Run: "r1", Owner: "other", Epoch: 2}, lease)
	runs, err := m.Runs(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"r1"}, runs)
	require.Equal(t, []string{""}, steps(t, &m))
}

func TestMemJournalKill(t *testing.T) {
	c := lifecycle.NewMemJournal().Controller("a")
	lease, err := c.Acquire(t.Context(), host, "r1", owner)
	require.NoError(t, err)
	require.NoError(t, c.Append(t.Context(), lease, plan(host)))
	c.Kill()
	_, err = c.Acquire(t.Context(), host, "r1", owner)
	require.ErrorIs(t, err, lifecycle.Unavailable)
	require.ErrorIs(t, c.Append(t.Context(), lease, intent("x")), lifecycle.Unavailable)
	require.ErrorIs(t, c.Release(t.Context(), lease), lifecycle.Unavailable)
	_, err = c.Records(t.Context(), "r1")
	require.ErrorIs(t, err, lifecycle.Unavailable)
	_, err = c.Runs(t.Context())
	require.ErrorIs(t, err, lifecycle.Unavailable)
	require.ErrorIs(t, c.Ask(t.Context(), "r1", lifecycle.Request{}), lifecycle.Unavailable)
	_, err = c.Asked(t.Context(), "r1")
	require.ErrorIs(t, err, lifecycle.Unavailable)
}

func TestMemJournalOnAppend(t *testing.T) {
	lost := errors.New("lost")
	for name, tc := range map[string]struct {
		before, after func(*lifecycle.MemController) error
		kind          lifecycle.Kind
		written       bool
	}{
		"refused": {
			before: func(*lifecycle.MemController) error { return lifecycle.Errorf(lifecycle.Timeout, "x", "", "%w", lost) },
			kind:   lifecycle.Timeout,
		},
		"reply lost": {
			after: func(*lifecycle.MemController) error { return lost },
			kind:  lifecycle.Unknown, written: true,
		},
		"killed before": {
			before: func(c *lifecycle.MemController) error { c.Kill(); return nil },
			kind:   lifecycle.Unavailable,
		},
		"killed after": {
			after: func(c *lifecycle.MemController) error { c.Kill(); return nil },
			kind:  lifecycle.Unknown, written: true,
		},
		"expired before": {
			before: func(c *lifecycle.MemController) error { c.Expire(); return nil },
			kind:   lifecycle.Conflict,
		},
		"nothing": {written: true},
	} {
		t.Run(name, func(t *testing.T) {
			m := lifecycle.NewMemJournal()
			c := m.Controller("a")
			lease, err := c.Acquire(t.Context(), host, "r1", owner)
			require.NoError(t, err)
			require.NoError(t, c.Append(t.Context(), lease, plan(host)))
			m.OnAppend(func(before bool, got lifecycle.Lease, rec lifecycle.Record) error {
				require.Equal(t, lease, got)
				require.Equal(t, int64(2), rec.Rev)
				require.Equal(t, "r1", rec.Run)
				recs, err := m.Records(t.Context(), "r1")
				require.NoError(t, err)
				f := tc.after
				if before {
					f = tc.before
				}
				require.Len(t, recs, map[bool]int{true: 1, false: 2}[before])
				if f == nil {
					return nil
				}
				return f(c)
			})
			err = c.Append(t.Context(), lease, intent("x"))
			require.Equal(t, tc.kind, lifecycle.KindOf(err), "%v", err)
			m.OnAppend(nil)
			require.Len(t, steps(t, m), map[bool]int{true: 2, false: 1}[tc.written])
		})
	}
}
