package backup_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/backup"
	"github.com/ncnkit/lifecycle/backup/dirstore"
)

// I4: no byte of a backup can change unseen, and none can be missing.
func TestVerifyFindsDamage(t *testing.T) {
	store := newMemory()
	mustCreate(t, store, tarOf(t, home...))
	for _, key := range []string{prefix + archiveKey, prefix + manifestKey} {
		good := store.objects[key]
		verify := func() error {
			_, err := backup.Verify(t.Context(), store, prefix)
			return err
		}
		for i := range good {
			for _, bit := range []byte{0x01, 0x20, 0x80} { // 0x20 is the case of a letter
				bad := bytes.Clone(good)
				bad[i] ^= bit
				store.objects[key] = bad
				requireKind(t, lifecycle.Precondition, verify())
			}
			store.objects[key] = good[:i]
			requireKind(t, lifecycle.Precondition, verify())
			store.objects[key] = append(bytes.Clone(good[:i]), good[i+1:]...)
			requireKind(t, lifecycle.Precondition, verify())
		}
		for _, tail := range []string{"\x00", "x", "\n", "\x50\x2a\x4d\x18\x00\x00\x00\x00", string(good)} {
			store.objects[key] = append(bytes.Clone(good), tail...)
			requireKind(t, lifecycle.Precondition, verify())
		}
		store.objects[key] = good
		require.NoError(t, verify())
		delete(store.objects, key)
		requireKind(t, lifecycle.Precondition, verify())
		store.objects[key] = good
	}
}

func TestVerifySaysWhatDiffers(t *testing.T) {
	data := tarOf(t, file("a", "one"), dir("d"), symlink("l", "a"))
	good, err := backup.Check(t.Context(), bytes.NewReader(data))
	require.NoError(t, err)
	setID := file("a", "one")
	setID.Mode = 0o4600
	tests := map[string]struct {
		data    []byte
		entries []backup.Entry
		text    string
	}{
		"content":    {tarOf(t, file("a", "two"), dir("d"), symlink("l", "a")), good, `"a" has other content`},
		"size":       {tarOf(t, file("a", "oned"), dir("d"), symlink("l", "a")), good, `of 4 bytes, the manifest says file "a" mode 0600 owner 0:0 of 3 bytes`},
		"missing":    {tarOf(t, file("a", "one"), dir("d")), good, `"l" is missing`},
		"one more":   {data, good[:2], `the archive holds "l", the manifest ends after 2 entries`},
		"order":      {tarOf(t, dir("d"), file("a", "one"), symlink("l", "a")), good, `entry 1 is dir "d"`},
		"set-ID":     {tarOf(t, setID, dir("d"), symlink("l", "a")), good, `mode 4600 owner 0:0 of 3 bytes, the manifest says file "a" mode 0600`},
		"link":       {tarOf(t, file("a", "one"), dir("d"), symlink("l", "d")), good, `to "d", the manifest says`},
		"other type": {tarOf(t, file("a", "one"), file("d", ""), symlink("l", "a")), good, `the manifest says dir "d"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			store := newMemory()
			forge(t, store, tt.data, tt.entries)
			_, err := backup.Verify(t.Context(), store, prefix)
			requireKind(t, lifecycle.Precondition, err)
			require.ErrorContains(t, err, tt.text)
			require.ErrorContains(t, err, "use another backup")
		})
	}
}

func TestVerifyManifest(t *testing.T) {
	store := newMemory()
	good := mustCreate(t, store, tarOf(t, home...))
	tests := map[string]struct {
		change func(*backup.Manifest)
		text   string
	}{
		"other host":        {func(m *backup.Manifest) { m.Host = "ncn-w002" }, `is of host "ncn-w002"`},
		"other run":         {func(m *backup.Manifest) { m.Run = "run-2" }, `run "run-2"`},
		"newer version":     {func(m *backup.Manifest) { m.Version = 2 }, "format version 2"},
		"fewer bytes":       {func(m *backup.Manifest) { m.Bytes -= 512 }, "longer than"},
		"more bytes":        {func(m *backup.Manifest) { m.Bytes += 512 }, "the manifest says"},
		"too many bytes":    {func(m *backup.Manifest) { m.Bytes = 1 << 60 }, "backup.WithLimits"},
		"tar hash":          {func(m *backup.Manifest) { m.SHA256 = strings.Repeat("0", 64) }, "SHA-256"},
		"archive hash":      {func(m *backup.Manifest) { m.ArchiveSHA256 = strings.Repeat("0", 64) }, "SHA-256"},
		"archive size":      {func(m *backup.Manifest) { m.ArchiveBytes++ }, "the manifest says"},
		"nothing in it":     {func(m *backup.Manifest) { m.Entries = nil }, "the manifest ends after 0 entries"},
		"archives exchange": {func(m *backup.Manifest) { m.Entries[1].SHA256 = m.Entries[2].SHA256 }, "other content"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := good
			m.Entries = append([]backup.Entry(nil), good.Entries...)
			tt.change(&m)
			store.objects[prefix+manifestKey] = manifest(t, m)
			_, err := backup.Verify(t.Context(), store, prefix)
			requireKind(t, lifecycle.Precondition, err)
			require.ErrorContains(t, err, tt.text)
		})
	}
	store.objects[prefix+manifestKey] = manifest(t, good)
	_, err := backup.Verify(t.Context(), store, prefix, backup.WithLimits(backup.Limits{Entries: 2}))
	requireKind(t, lifecycle.Precondition, err)
	require.ErrorContains(t, err, "more than 2 entries")
}

// A store that breaks off is not a damaged backup: trying again may help.
func TestVerifyUnavailable(t *testing.T) {
	store := newMemory()
	mustCreate(t, store, tarOf(t, home...))
	for _, key := range []string{archiveKey, manifestKey} {
		_, err := backup.Verify(t.Context(), breaking{store, key}, prefix)
		requireKind(t, lifecycle.Unavailable, err)
		require.ErrorContains(t, err, "connection reset")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := backup.Verify(ctx, store, prefix)
	requireKind(t, lifecycle.Canceled, err)
}

// breaking is a store that loses the connection in the middle of one object.
type breaking struct {
	*memory
	key string
}

func (s breaking) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	r, err := s.memory.Get(ctx, key)
	if err == nil && strings.HasSuffix(key, s.key) {
		r = io.NopCloser(io.MultiReader(io.LimitReader(r, 50), reset{}))
	}
	return r, err
}

type reset struct{}

func (reset) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

func TestRatioBomb(t *testing.T) {
	const size = 80 << 20
	zeros := func(_ context.Context, w io.Writer) ([]string, error) { return nil, writeLarge(w, "z", size, zero{}) }
	_, err := backup.Create(t.Context(), newMemory(), prefix, info, zeros)
	requireKind(t, lifecycle.Precondition, err)
	require.ErrorContains(t, err, "more than 1000 to 1")

	store := newMemory()
	lax := backup.WithLimits(backup.Limits{Ratio: 1 << 20})
	_, err = backup.Create(t.Context(), store, prefix, info, zeros, lax)
	require.NoError(t, err)
	_, err = backup.Verify(t.Context(), store, prefix, lax)
	require.NoError(t, err)
	_, err = backup.Verify(t.Context(), store, prefix)
	requireKind(t, lifecycle.Precondition, err)
	require.ErrorContains(t, err, "more than 1000 to 1")
}

type zero struct{}

func (zero) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// sparse yields 4 KiB of noise in each 64 KiB.
type sparse struct{ noise *rand.ChaCha8 }

func (s sparse) Read(p []byte) (int, error) {
	p = p[:min(len(p), 64<<10)]
	clear(p)
	_, err := s.noise.Read(p[:min(len(p), 4<<10)])
	return len(p), err
}

// watched looks at the heap while an archive passes.
type watched struct {
	backup.Store
	peak *uint64
}

func (s watched) Put(ctx context.Context, key string, r io.Reader) error {
	return s.Store.Put(ctx, key, io.TeeReader(r, &heap{peak: s.peak}))
}

func (s watched) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	r, err := s.Store.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.TeeReader(r, &heap{peak: s.peak}), r}, nil
}

// heap remembers how large the heap was at most.
type heap struct {
	n    int
	peak *uint64
}

func (h *heap) Write(p []byte) (int, error) {
	if h.n += len(p); h.n >= 1<<20 {
		h.n = 0
		*h.peak = max(*h.peak, heapNow())
	}
	return len(p), nil
}

func heapNow() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestBoundedMemory(t *testing.T) {
	const size = 256 << 20
	var peak uint64
	store := watched{dirstore.New(dirstore.Config{Dir: t.TempDir()}), &peak}
	bounded := func(what string, run func() error) {
		runtime.GC()
		before := heapNow()
		peak = 0
		require.NoError(t, run())
		require.NotZero(t, peak)
		require.Less(t, int64(peak)-int64(before), int64(128<<20), "%s must not keep the stream in memory", what)
	}
	bounded("create", func() error {
		_, err := backup.Create(t.Context(), store, prefix, info, func(_ context.Context, w io.Writer) ([]string, error) {
			return nil, writeLarge(w, "large", size, sparse{rand.NewChaCha8([32]byte{1})})
		})
		return err
	})
	bounded("restore", func() error {
		_, err := backup.Restore(t.Context(), store, prefix, func(_ context.Context, r io.Reader, m backup.Manifest) error {
			require.EqualValues(t, size, m.Entries[0].Size)
			_, err := io.Copy(io.Discard, r)
			return err
		})
		return err
	})
}
