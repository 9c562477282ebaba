package backup_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/backup"
	"github.com/ncnkit/lifecycle/backup/backuptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	created = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	info    = backup.Info{Host: "ncn-w001", XName: "x3000c0s7b0n0", Run: "run-1"}
	prefix  = backup.Prefix(info.Host, created, info.Run)
)

const (
	archiveKey  = "/archive.tar.zst"
	manifestKey = "/manifest.json"
)

// item is an entry of a tar in a test.
type item struct {
	tar.Header
	content string
}

func file(name, content string) item {
	return item{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: int64(len(content))}, content}
}

func dir(name string) item {
	return item{Header: tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}}
}

func symlink(name, target string) item {
	return item{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}}
}

func hardlink(name, target string) item {
	return item{Header: tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o600}}
}

func tarOf(t testing.TB, items ...item) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, it := range items {
		require.NoError(t, w.WriteHeader(&it.Header))
		_, err := io.WriteString(w, it.content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

var home = []item{
	dir("./root/.ssh/"),
	file("./root/.ssh/authorized_keys", "ssh-ed25519 AAAA\n"),
	file("./root/.ssh/id_ed25519", strings.Repeat("secret ", 100)),
	symlink("./root/.ssh/id", "id_ed25519"),
	hardlink("./root/.ssh/backup_keys", "./root/.ssh/authorized_keys"),
}

// stream returns a write function of a node that has this tar.
func stream(data []byte, absent ...string) func(context.Context, io.Writer) ([]string, error) {
	return func(_ context.Context, w io.Writer) ([]string, error) {
		_, err := w.Write(data)
		return absent, err
	}
}

func mustCreate(t testing.TB, store backup.Store, data []byte, opts ...backup.Option) backup.Manifest {
	t.Helper()
	m, err := backup.Create(t.Context(), store, prefix, info, stream(data), opts...)
	require.NoError(t, err)
	return m
}

func requireKind(t testing.TB, kind lifecycle.Kind, err error) {
	t.Helper()
	require.ErrorIs(t, err, kind)
	require.Equal(t, kind, lifecycle.KindOf(err), "%v", err)
}

func hexSum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

func pack(t testing.TB, data []byte) []byte {
	t.Helper()
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	require.NoError(t, err)
	return enc.EncodeAll(data, nil)
}

// forge stores an archive with a manifest that fits it in everything, as somebody could who writes to the store.
func forge(t testing.TB, store *memory, data []byte, entries []backup.Entry) {
	t.Helper()
	packed := pack(t, data)
	store.objects[prefix+archiveKey] = packed
	store.objects[prefix+manifestKey] = manifest(t, backup.Manifest{
		Version: backup.ManifestVersion, Host: info.Host, Run: info.Run, Created: created, Entries: entries,
		Bytes: int64(len(data)), SHA256: hexSum(data), ArchiveBytes: int64(len(packed)), ArchiveSHA256: hexSum(packed),
	})
}

// manifest returns m with its sum, in the form that is stored.
func manifest(t testing.TB, m backup.Manifest) []byte {
	t.Helper()
	m.Sum = ""
	data, err := json.Marshal(m)
	require.NoError(t, err)
	m.Sum = hexSum(data)
	data, err = json.Marshal(m)
	require.NoError(t, err)
	return append(data, '\n')
}

func TestMemoryConformance(t *testing.T) {
	backuptest.Run(t.Context(), t, newMemory(), backuptest.Config{Large: 1 << 20})
}

func TestPrefix(t *testing.T) {
	zone := time.FixedZone("", 3600)
	require.Equal(t, "ncn-backups/ncn-w001/20260304T040607Z-r-1",
		backup.Prefix("ncn-w001", time.Date(2026, 3, 4, 5, 6, 7, 8, zone), "r-1"))
	for _, bad := range []string{
		"", "ncn-backups", "ncn-backups/ncn-w001", "ncn-backups//20260304T040607Z-r", "ncn-backups/../20260304T040607Z-r",
		"ncn-backups/NCN/20260304T040607Z-r", "ncn-backups/ncn-w001/20260304T040607Z-", "ncn-backups/ncn-w001/20260304T040607Z",
		"ncn-backups/ncn-w001/20261304T040607Z-r", "ncn-backups/ncn-w001/20260304T040607Z-../x",
		"ncn-backups/ncn-w001/20260304T040607Z-.r", "ncn-backups/ncn-w001/20260304T040607Zxr", "x/ncn-w001/20260304T040607Z-r",
		"ncn-backups/ncn-w001/20260304T040607Z-r/",
	} {
		_, err := backup.Verify(t.Context(), newMemory(), bad)
		requireKind(t, lifecycle.Invalid, err)
		require.ErrorContains(t, err, "want ncn-backups/<host>/<time>-<run>")
	}
}

func TestCreate(t *testing.T) {
	data := tarOf(t, home...)
	store := newMemory()
	m, err := backup.Create(t.Context(), store, prefix, info, stream(data, "root/.ssh/config"))
	require.NoError(t, err)
	packed := store.objects[prefix+archiveKey]
	want := backup.Manifest{
		Version: 1, Host: "ncn-w001", XName: "x3000c0s7b0n0", Run: "run-1", Created: created,
		Bytes: int64(len(data)), SHA256: hexSum(data), ArchiveBytes: int64(len(packed)), ArchiveSHA256: hexSum(packed),
		Absent: []string{"root/.ssh/config"}, Sum: m.Sum,
		Entries: []backup.Entry{
			{Path: "root/.ssh", Type: backup.Dir, Mode: 0o755},
			{Path: "root/.ssh/authorized_keys", Type: backup.File, Mode: 0o600, Size: 17, SHA256: hexSum([]byte("ssh-ed25519 AAAA\n"))},
			{Path: "root/.ssh/id_ed25519", Type: backup.File, Mode: 0o600, Size: 700, SHA256: hexSum([]byte(home[2].content))},
			{Path: "root/.ssh/id", Type: backup.Symlink, Mode: 0o777, Link: "id_ed25519"},
			{Path: "root/.ssh/backup_keys", Type: backup.Link, Mode: 0o600, Link: "root/.ssh/authorized_keys"},
		},
	}
	require.Empty(t, cmp.Diff(want, m))
	for what, call := range map[string]func(context.Context, backup.Store, string, ...backup.Option) (backup.Manifest, error){
		"verify": backup.Verify, "load": backup.Load,
	} {
		got, err := call(t.Context(), store, prefix)
		require.NoError(t, err, what)
		require.Empty(t, cmp.Diff(want, got), what)
	}
	require.Equal(t, string(manifest(t, want)), string(store.objects[prefix+manifestKey]))
}

func TestCreateAgain(t *testing.T) {
	store := newMemory()
	first := mustCreate(t, store, tarOf(t, home...))
	second, err := backup.Create(t.Context(), store, prefix, info, func(context.Context, io.Writer) ([]string, error) {
		return nil, errors.New("the node is wiped already")
	})
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(first, second))

	other := info
	other.XName = "x3000c0s9b0n0"
	_, err = backup.Create(t.Context(), store, prefix, other, stream(tarOf(t, home...)))
	requireKind(t, lifecycle.Conflict, err)

	store.objects[prefix+manifestKey] = []byte("{}")
	_, err = backup.Create(t.Context(), store, prefix, info, stream(tarOf(t, home...)))
	requireKind(t, lifecycle.Conflict, err)
	require.Contains(t, store.objects, prefix+archiveKey, "what is not understood is not removed")
}

// A manifest whose archive was lost is of no use: the backup is made anew.
func TestCreateWithoutArchive(t *testing.T) {
	store := newMemory()
	first := mustCreate(t, store, tarOf(t, home...))
	delete(store.objects, prefix+archiveKey)
	require.Empty(t, cmp.Diff(first, mustCreate(t, store, tarOf(t, home...))))
	_, err := backup.Verify(t.Context(), store, prefix)
	require.NoError(t, err)
}

func TestCreateRefuses(t *testing.T) {
	data := tarOf(t, home...)
	broken := errors.New("connection lost")
	tests := map[string]struct {
		write func(context.Context, io.Writer) ([]string, error)
		opts  []backup.Option
		kind  lifecycle.Kind
		text  string
	}{
		"nothing to back up": {
			write: stream(tarOf(t, dir("root/")), "etc/a", "etc/b"), kind: lifecycle.Precondition,
			text: "nothing was backed up: the archive holds no file; not there: etc/a, etc/b",
		},
		"no bytes at all": {write: stream(nil), kind: lifecycle.Precondition, text: "cut off"},
		"cut off in a file": {
			write: stream(data[:1600]), kind: lifecycle.Precondition, text: "unexpected EOF",
		},
		"without end marker": {
			write: stream(data[:len(data)-1024]), kind: lifecycle.Precondition, text: "without its end marker",
		},
		"half of the end marker": {
			write: stream(data[:len(data)-512]), kind: lifecycle.Precondition, text: "without its end marker",
		},
		"a file of zeros without end marker": {
			write: stream(tarOf(t, file("z", strings.Repeat("\x00", 4096)))[:512+4096]),
			kind:  lifecycle.Precondition, text: "without its end marker",
		},
		"something behind the end": {
			write: stream(append(bytes.Clone(data), tarOf(t, file("b", "b"))...)), kind: lifecycle.Precondition,
			text: "behind the end",
		},
		"no tar": {write: stream(bytes.Repeat([]byte("tar: error\n"), 200)), kind: lifecycle.Precondition, text: "cannot be read"},
		"the writer fails at the end": {
			write: func(_ context.Context, w io.Writer) ([]string, error) {
				_, _ = w.Write(data)
				return nil, lifecycle.Errorf(lifecycle.Unavailable, "ssh", "", "%w", broken)
			},
			kind: lifecycle.Unavailable, text: "connection lost",
		},
		"the writer waits until it is told to stop": {
			write: func(ctx context.Context, w io.Writer) ([]string, error) {
				_, _ = w.Write(tarOf(t, file("../x", "x")))
				<-ctx.Done()
				return nil, ctx.Err()
			},
			kind: lifecycle.Precondition, text: "leads out of the archive",
		},
		"the writer hides that it was refused": {
			write: func(_ context.Context, w io.Writer) ([]string, error) {
				_, _ = w.Write(tarOf(t, file("/etc/passwd", "x")))
				return nil, nil
			},
			kind: lifecycle.Precondition, text: "absolute path",
		},
		"too many entries": {
			write: stream(data), opts: []backup.Option{backup.WithLimits(backup.Limits{Entries: 4})},
			kind: lifecycle.Precondition, text: "more than 4 entries",
		},
		"too many bytes": {
			write: stream(data), opts: []backup.Option{backup.WithLimits(backup.Limits{Bytes: 1000})},
			kind: lifecycle.Precondition, text: "longer than the 1000 bytes",
		},
		"no writer": {kind: lifecycle.Invalid, text: "want a function"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			store := newMemory()
			_, err := backup.Create(t.Context(), store, prefix, info, tt.write, tt.opts...)
			requireKind(t, tt.kind, err)
			require.ErrorContains(t, err, tt.text)
			require.Empty(t, store.objects, "nothing may be left")
		})
	}
}

func TestCreateInvalid(t *testing.T) {
	_, err := backup.Create(t.Context(), nil, prefix, info, stream(nil))
	requireKind(t, lifecycle.Invalid, err)
	other := info
	other.Host = "ncn-w002"
	_, err = backup.Create(t.Context(), newMemory(), prefix, other, stream(tarOf(t, home...)))
	requireKind(t, lifecycle.Invalid, err)
}

func TestCreateCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	store := newMemory()
	_, err := backup.Create(ctx, store, prefix, info, func(ctx context.Context, w io.Writer) ([]string, error) {
		_, _ = w.Write(tarOf(t, home...)[:2000])
		cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	})
	requireKind(t, lifecycle.Canceled, err)
	require.Empty(t, store.objects)
}

func TestCreatePanic(t *testing.T) {
	store := newMemory()
	require.PanicsWithValue(t, "boom", func() {
		_, _ = backup.Create(t.Context(), store, prefix, info, func(context.Context, io.Writer) ([]string, error) { panic("boom") })
	})
	require.Empty(t, store.objects)
}

func TestAllowEmpty(t *testing.T) {
	store := newMemory()
	m := mustCreate(t, store, tarOf(t), backup.AllowEmpty())
	require.Empty(t, m.Entries)
	_, err := backup.Verify(t.Context(), store, prefix)
	require.NoError(t, err)
}

// early is a store that says it has stored what it did not read.
type early struct{ backup.Store }

func (early) Put(context.Context, string, io.Reader) error { return nil }

func TestStoreThatDoesNotRead(t *testing.T) {
	_, err := backup.Create(t.Context(), early{newMemory()}, prefix, info, stream(tarOf(t, home...)))
	require.ErrorContains(t, err, "stopped before the end")
}

// I12: whichever call the controller dies at, the next Create ends where the unkilled one does.
func TestCreateResumes(t *testing.T) {
	data := tarOf(t, home...)
	want := mustCreate(t, newMemory(), data)
	for _, late := range []bool{false, true} {
		for k := 1; ; k++ {
			store := newMemory()
			store.objects[prefix+archiveKey] = []byte("left by an earlier attempt")
			crash := &faulty{Store: store, after: k, late: late}
			_, err := backup.Create(t.Context(), crash, prefix, info, stream(data))
			if crash.calls < k {
				require.NoError(t, err)
				require.Greater(t, k, 4, "every call must have been hit")
				break
			}
			requireKind(t, lifecycle.Unavailable, err)
			got, err := backup.Create(t.Context(), store, prefix, info, stream(data))
			require.NoError(t, err, "call %d, late %v", k, late)
			require.Empty(t, cmp.Diff(want, got))
			got, err = backup.Verify(t.Context(), store, prefix)
			require.NoError(t, err, "call %d, late %v", k, late)
			require.Empty(t, cmp.Diff(want, got))
		}
	}
}

// lostReply stores the manifest and says that it failed.
type lostReply struct{ *memory }

func (s lostReply) Put(ctx context.Context, key string, r io.Reader) error {
	err := s.memory.Put(ctx, key, r)
	if err == nil && strings.HasSuffix(key, manifestKey) {
		return errDown
	}
	return err
}

// I9: a lost answer is resolved by looking.
func TestLostReply(t *testing.T) {
	_, err := backup.Create(t.Context(), lostReply{newMemory()}, prefix, info, stream(tarOf(t, home...)))
	require.NoError(t, err)
}

// other stores somebody else's manifest right before ours.
type other struct {
	*memory
	manifest []byte
}

func (s other) Put(ctx context.Context, key string, r io.Reader) error {
	if strings.HasSuffix(key, manifestKey) {
		s.objects[key] = s.manifest
	}
	return s.memory.Put(ctx, key, r)
}

func TestCreateConflict(t *testing.T) {
	theirs := mustCreate(t, newMemory(), tarOf(t, file("f", "another time")))
	for _, there := range [][]byte{[]byte("{}"), manifest(t, theirs)} {
		_, err := backup.Create(t.Context(), other{newMemory(), there}, prefix, info, stream(tarOf(t, home...)))
		requireKind(t, lifecycle.Conflict, err)
	}
}

// down is a store that refuses to store anything.
type down struct{ *memory }

func (down) Put(context.Context, string, io.Reader) error { return errDown }

// A writer that waits for its node is told when there is no use in waiting.
func TestStoreDownWhileWriterWaits(t *testing.T) {
	_, err := backup.Create(t.Context(), down{newMemory()}, prefix, info, func(ctx context.Context, _ io.Writer) ([]string, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	requireKind(t, lifecycle.Unavailable, err)
}

func TestListLatestRemove(t *testing.T) {
	store := newMemory()
	add := func(host string, at time.Time, run string) string {
		p := backup.Prefix(host, at, run)
		_, err := backup.Create(t.Context(), store, p, backup.Info{Host: host, Run: run}, stream(tarOf(t, home...)))
		require.NoError(t, err)
		return p
	}
	old := add("ncn-w001", created, "b")
	newest := add("ncn-w001", created.Add(time.Hour), "a")
	middle := add("ncn-w001", created, "c")
	add("ncn-w0010", created.Add(2*time.Hour), "x")
	half := backup.Prefix("ncn-w001", created.Add(3*time.Hour), "half")
	store.objects[half+archiveKey] = []byte("no manifest")
	store.objects["ncn-backups/ncn-w001/junk/archive.tar.zst"] = nil
	store.objects["ncn-backups/ncn-w001/junk/manifest.json"] = nil

	all, err := backup.List(t.Context(), store, "ncn-w001")
	require.NoError(t, err)
	size := int64(len(store.objects[old+archiveKey]))
	require.Empty(t, cmp.Diff([]backup.Summary{
		{Prefix: newest, Host: "ncn-w001", Run: "a", Time: created.Add(time.Hour), ArchiveBytes: size},
		{Prefix: middle, Host: "ncn-w001", Run: "c", Time: created, ArchiveBytes: size},
		{Prefix: old, Host: "ncn-w001", Run: "b", Time: created, ArchiveBytes: size},
	}, all))
	latest, err := backup.Latest(t.Context(), store, "ncn-w001")
	require.NoError(t, err)
	require.Equal(t, newest, latest.Prefix)

	before := maps.Clone(store.objects)
	for range 2 { // the second time, there is nothing left to remove
		require.NoError(t, backup.Remove(t.Context(), store, newest))
	}
	require.Len(t, store.objects, len(before)-2)
	latest, err = backup.Latest(t.Context(), store, "ncn-w001")
	require.NoError(t, err)
	require.Equal(t, middle, latest.Prefix)

	_, err = backup.Latest(t.Context(), store, "ncn-w002")
	requireKind(t, lifecycle.NotFound, err)
	_, err = backup.List(t.Context(), store, "") // I10
	requireKind(t, lifecycle.Invalid, err)
	_, err = backup.List(t.Context(), nil, "ncn-w001")
	requireKind(t, lifecycle.Invalid, err)
	requireKind(t, lifecycle.Invalid, backup.Remove(t.Context(), store, "ncn-backups/ncn-w001"))
}

// Remove takes the manifest first, so that what is left after a crash does not look complete.
func TestRemoveOrder(t *testing.T) {
	store := newMemory()
	mustCreate(t, store, tarOf(t, home...))
	require.Error(t, backup.Remove(t.Context(), &faulty{Store: store, after: 2}, prefix))
	all, err := backup.List(t.Context(), store, info.Host)
	require.NoError(t, err)
	require.Empty(t, all)
}
