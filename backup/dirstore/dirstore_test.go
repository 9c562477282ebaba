package dirstore_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/backup/backuptest"
	"github.com/ncnkit/lifecycle/backup/dirstore"
)

func TestConformance(t *testing.T) {
	backuptest.Run(t.Context(), t, dirstore.New(dirstore.Config{Dir: filepath.Join(t.TempDir(), "a", "b")}), backuptest.Config{})
}

func requireKind(t *testing.T, kind lifecycle.Kind, err error) {
	t.Helper()
	require.ErrorIs(t, err, kind)
	require.Equal(t, kind, lifecycle.KindOf(err), "%v", err)
}

// files returns the files and modes under dir, directories included.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		st, err := d.Info()
		out[strings.TrimPrefix(name, dir+"/")] = st.Mode().String()
		return err
	}))
	return out
}

func TestPrivate(t *testing.T) {
	dir := t.TempDir()
	store := dirstore.New(dirstore.Config{Dir: dir})
	require.NoError(t, store.Put(t.Context(), "a/b/secret", strings.NewReader("x")))
	require.Equal(t, map[string]string{
		".tmp": "drwx------", "a": "drwx------", "a/b": "drwx------", "a/b/secret": "-rw-------",
	}, files(t, dir))
}

func TestNoDirectory(t *testing.T) {
	for name, store := range map[string]*dirstore.Store{"empty": dirstore.New(dirstore.Config{})} {
		_, err := store.Get(t.Context(), "k")
		requireKind(t, lifecycle.Invalid, err)
		_, err = store.List(t.Context(), "")
		requireKind(t, lifecycle.Invalid, err)
		requireKind(t, lifecycle.Invalid, store.Put(t.Context(), "k", strings.NewReader(name)))
		requireKind(t, lifecycle.Invalid, store.Delete(t.Context(), "k"))
	}
	store := dirstore.New(dirstore.Config{Dir: filepath.Join(t.TempDir(), "not-yet")})
	_, err := store.Get(t.Context(), "k")
	requireKind(t, lifecycle.NotFound, err)
	objects, err := store.List(t.Context(), "")
	require.NoError(t, err)
	require.Empty(t, objects)
	require.NoError(t, store.Delete(t.Context(), "k"))

	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	requireKind(t, lifecycle.Unavailable, dirstore.New(dirstore.Config{Dir: file}).Put(t.Context(), "k", strings.NewReader("")))
}

// full fails as a disk does that has room for n bytes more.
type full struct {
	w     io.Writer
	n     int
	errno syscall.Errno
}

func (f *full) Write(p []byte) (int, error) {
	if len(p) <= f.n {
		f.n -= len(p)
		return f.w.Write(p)
	}
	n, _ := f.w.Write(p[:f.n])
	f.n = 0
	return n, &fs.PathError{Op: "write", Path: "x", Err: f.errno}
}

func TestDiskFails(t *testing.T) {
	for _, tt := range []struct {
		errno syscall.Errno
		text  string
	}{
		{syscall.ENOSPC, "no space left in"},
		{syscall.EDQUOT, "no space left in"},
		{syscall.EIO, "look at its disk"},
	} {
		dir := t.TempDir()
		store := dirstore.New(dirstore.Config{Dir: dir})
		dirstore.WriteThrough(store, func(w io.Writer) io.Writer { return &full{w, 1000, tt.errno} })
		err := store.Put(t.Context(), "d/k", strings.NewReader(strings.Repeat("x", 5000)))
		requireKind(t, lifecycle.Unavailable, err)
		require.ErrorIs(t, err, tt.errno)
		require.ErrorContains(t, err, tt.text)
		require.Equal(t, map[string]string{".tmp": "drwx------"}, files(t, dir), "no partial object, no temporary file")
	}
}

// The reader's error keeps its kind: it is not the disk's fault.
func TestReaderFails(t *testing.T) {
	dir := t.TempDir()
	store := dirstore.New(dirstore.Config{Dir: dir})
	for err, kind := range map[error]lifecycle.Kind{
		lifecycle.Errorf(lifecycle.Denied, "ssh", "", "no"): lifecycle.Denied,
		context.DeadlineExceeded:                            lifecycle.Timeout,
		errors.New("other"):                                 lifecycle.Internal,
		syscall.ENOSPC:                                      lifecycle.Internal, // of the far side
	} {
		got := store.Put(t.Context(), "k", io.MultiReader(strings.NewReader("x"), failing{err}))
		requireKind(t, kind, got)
		require.ErrorIs(t, got, err)
	}
	require.Equal(t, map[string]string{".tmp": "drwx------"}, files(t, dir))
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestLeftovers(t *testing.T) {
	dir := t.TempDir()
	store := dirstore.New(dirstore.Config{Dir: dir})
	require.NoError(t, os.Mkdir(filepath.Join(dir, ".tmp"), 0o700))
	for name, age := range map[string]time.Duration{"old": 25 * time.Hour, "young": 23 * time.Hour} {
		path := filepath.Join(dir, ".tmp", name)
		require.NoError(t, os.WriteFile(path, []byte("half"), 0o600))
		require.NoError(t, os.Chtimes(path, time.Now().Add(-age), time.Now().Add(-age)))
	}
	objects, err := store.List(t.Context(), "")
	require.NoError(t, err)
	require.Empty(t, objects)
	require.NoError(t, store.Put(t.Context(), "k", strings.NewReader("x")))
	require.NoFileExists(t, filepath.Join(dir, ".tmp", "old"))
	require.FileExists(t, filepath.Join(dir, ".tmp", "young"))
}

// What others put into the directory is neither followed nor listed.
func TestForeignFiles(t *testing.T) {
	outside := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "f"), []byte("outside"), 0o600))
	dir := t.TempDir()
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "out")))
	require.NoError(t, os.Symlink(filepath.Join(outside, "f"), filepath.Join(dir, "link")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "odd name"), nil, 0o600))
	store := dirstore.New(dirstore.Config{Dir: dir})

	objects, err := store.List(t.Context(), "")
	require.NoError(t, err)
	require.Empty(t, objects)
	for _, key := range []string{"link", "fifo", "out"} {
		_, err = store.Get(t.Context(), key)
		requireKind(t, lifecycle.NotFound, err)
		requireKind(t, lifecycle.Conflict, store.Put(t.Context(), key, strings.NewReader("x")))
	}
	_, err = store.Get(t.Context(), "out/f")
	require.Error(t, err)
	require.Error(t, store.Put(t.Context(), "out/g", strings.NewReader("x")))
	require.Error(t, store.Delete(t.Context(), "out/f"))
	require.Equal(t, map[string]string{"f": "-rw-------"}, files(t, outside))
}

// On a disk, a key cannot be an object and the beginning of another key.
func TestKeyRunsThroughObject(t *testing.T) {
	store := dirstore.New(dirstore.Config{Dir: t.TempDir()})
	require.NoError(t, store.Put(t.Context(), "a", strings.NewReader("x")))
	requireKind(t, lifecycle.Conflict, store.Put(t.Context(), "a/b", strings.NewReader("x")))
	_, err := store.Get(t.Context(), "a/b")
	requireKind(t, lifecycle.NotFound, err)
	require.NoError(t, store.Delete(t.Context(), "a/b"))
	objects, err := store.List(t.Context(), "a/")
	require.NoError(t, err)
	require.Empty(t, objects)
}
