package backuptest_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/backup"
	"github.com/ncnkit/lifecycle/backup/backuptest"
	"github.com/ncnkit/lifecycle/backup/dirstore"
)

// findings keeps what the suite reports.
type findings struct{ all []string }

func (*findings) Helper() {}
func (f *findings) Errorf(format string, args ...any) {
	f.all = append(f.all, fmt.Sprintf(format, args...))
}

// bad is a store with one fault.
type bad struct {
	backup.Store
	put  func(s backup.Store, ctx context.Context, key string, r io.Reader) error
	list func(objects []backup.Object) []backup.Object
}

func (b bad) Put(ctx context.Context, key string, r io.Reader) error {
	if b.put != nil {
		return b.put(b.Store, ctx, key, r)
	}
	return b.Store.Put(ctx, key, r)
}

func (b bad) List(ctx context.Context, prefix string) ([]backup.Object, error) {
	objects, err := b.Store.List(ctx, prefix)
	if b.list != nil {
		objects = b.list(objects)
	}
	return objects, err
}

// The suite must find what is wrong with a store.
func TestFinds(t *testing.T) {
	tests := map[string]struct {
		store bad
		want  string
	}{
		"nothing": {},
		"replaces objects": {bad{put: func(s backup.Store, ctx context.Context, key string, r io.Reader) error {
			if strings.HasSuffix(key, "/k") {
				_ = s.Delete(ctx, key)
			}
			return s.Put(ctx, key, r)
		}}, "an existing key is a conflict and stays: the second Put"},
		"keeps half an object": {bad{put: func(s backup.Store, ctx context.Context, key string, r io.Reader) error {
			data, err := io.ReadAll(r)
			if backup.CheckKey(key) == nil && ctx.Err() == nil && err != nil {
				return s.Put(ctx, key, strings.NewReader(string(data)))
			}
			if err != nil {
				return err
			}
			return s.Put(ctx, key, strings.NewReader(string(data)))
		}}, "a reader that fails leaves nothing"},
		"drops the end": {bad{put: func(s backup.Store, ctx context.Context, key string, r io.Reader) error {
			return s.Put(ctx, key, io.LimitReader(r, 1<<20))
		}}, "a large object streams"},
		"says conflict without a kind": {bad{put: func(s backup.Store, ctx context.Context, key string, r io.Reader) error {
			if err := s.Put(ctx, key, r); lifecycle.KindOf(err) == lifecycle.Conflict {
				return io.ErrShortWrite
			} else {
				return err
			}
		}}, "of many puts of one key one wins"},
		"takes odd keys": {bad{put: func(s backup.Store, ctx context.Context, key string, r io.Reader) error {
			return s.Put(ctx, strings.ReplaceAll(key, " ", "-"), r)
		}}, "odd keys are refused"},
		"lists one page": {bad{list: func(o []backup.Object) []backup.Object { return o[:min(len(o), 30)] }}, "a long listing is complete"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var found findings
			tt.store.Store = dirstore.New(dirstore.Config{Dir: t.TempDir()})
			backuptest.Run(t.Context(), &found, tt.store, backuptest.Config{Prefix: "p/q", Large: 2 << 20})
			if tt.want == "" {
				require.Empty(t, found.all)
				return
			}
			require.NotEmpty(t, found.all)
			require.Contains(t, strings.Join(found.all, "\n"), tt.want)
		})
	}
}

func TestRefusesUsedPrefix(t *testing.T) {
	store := dirstore.New(dirstore.Config{Dir: t.TempDir()})
	require.NoError(t, store.Put(t.Context(), "backuptest/mine", strings.NewReader("mine")))
	var found findings
	backuptest.Run(t.Context(), &found, store, backuptest.Config{})
	require.Len(t, found.all, 1)
	r, err := store.Get(t.Context(), "backuptest/mine")
	require.NoError(t, err)
	require.NoError(t, r.Close())
}
