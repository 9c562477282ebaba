package backup_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/backup"
)

// writeLarge writes a tar of one file.
func writeLarge(w io.Writer, name string, size int64, r io.Reader) error {
	tw := tar.NewWriter(w)
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: size}); err != nil {
		return err
	}
	if _, err := io.CopyN(tw, r, size); err != nil {
		return err
	}
	return tw.Close()
}

// unpacked reads a tar, and returns its headers and contents.
func unpacked(r io.Reader) (headers []tar.Header, contents map[string]string, err error) {
	contents = map[string]string{}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			_, err = io.Copy(io.Discard, r)
			return headers, contents, err
		}
		if err != nil {
			return headers, contents, err
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			return headers, contents, err
		}
		headers, contents[h.Name] = append(headers, *h), string(data)
	}
}

func TestRestore(t *testing.T) {
	rich := file("./etc/ceph/ceph.conf", "[global]\n")
	rich.Uid, rich.Gid, rich.Uname, rich.Gname = 167, 167, "ceph", "ceph"
	rich.ModTime = time.Unix(1700000000, 123000000)
	rich.Format = tar.FormatPAX
	rich.PAXRecords = map[string]string{"SCHILY.xattr.user.k": "v", "comment": "dropped"}
	data := tarOf(t, append([]item{rich}, home...)...)
	store := newMemory()
	want := mustCreate(t, store, data)
	var headers []tar.Header
	m, err := backup.Restore(t.Context(), store, prefix, func(_ context.Context, r io.Reader, m backup.Manifest) error {
		require.Empty(t, cmp.Diff(want, m))
		all, err := io.ReadAll(r)
		require.NoError(t, err)
		entries, err := backup.Check(t.Context(), bytes.NewReader(all))
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(want.Entries, entries))
		var contents map[string]string
		headers, contents, err = unpacked(bytes.NewReader(all))
		require.Equal(t, "[global]\n", contents["etc/ceph/ceph.conf"])
		return err
	})
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(want, m))
	require.Empty(t, cmp.Diff(tar.Header{
		Typeflag: tar.TypeReg, Name: "etc/ceph/ceph.conf", Size: 9, Mode: 0o600, Uid: 167, Gid: 167, Uname: "ceph", Gname: "ceph",
		ModTime: time.Unix(1700000000, 123000000), Format: tar.FormatPAX,
		Xattrs:     map[string]string{"user.k": "v"}, //nolint:staticcheck // a reader sets it
		PAXRecords: map[string]string{"SCHILY.xattr.user.k": "v", "mtime": "1700000000.123"},
	}, headers[0]))
	require.Equal(t, "root/.ssh/", headers[1].Name)
}

func TestRestoreInvalid(t *testing.T) {
	_, err := backup.Restore(t.Context(), newMemory(), prefix, nil)
	requireKind(t, lifecycle.Invalid, err)
	_, err = backup.Extract(t.Context(), newMemory(), prefix, "")
	requireKind(t, lifecycle.Invalid, err)
}

// What changes between judging and handing on is not handed on, and the end is never reached.
func TestRestoreSecondPass(t *testing.T) {
	good := tarOf(t, home...)
	other := append([]item(nil), home...)
	other[2] = file("./root/.ssh/id_ed25519", strings.Repeat("SECRET ", 100))
	hostileItems := append([]item{file("../etc/passwd", "x")}, home...)
	owner := append([]item(nil), home...)
	owner[4].Uname = "root" // not in the manifest, but in the hash
	packed := pack(t, good)
	tests := map[string]struct {
		second []byte
		kind   lifecycle.Kind
	}{
		"other content":       {pack(t, tarOf(t, other...)), lifecycle.Conflict},
		"hostile entry":       {pack(t, tarOf(t, hostileItems...)), lifecycle.Conflict},
		"only the hash":       {pack(t, tarOf(t, owner...)), lifecycle.Conflict},
		"cut off":             {packed[:len(packed)-10], lifecycle.Conflict},
		"last byte":           {append(bytes.Clone(packed[:len(packed)-1]), packed[len(packed)-1]^1), lifecycle.Conflict},
		"other packing":       {append(bytes.Clone(packed), "\x50\x2a\x4d\x18\x00\x00\x00\x00"...), lifecycle.Conflict},
		"gone":                {nil, lifecycle.Conflict},
		"an entry at the end": {pack(t, tarOf(t, append(append([]item(nil), home...), file("x", "x"))...)), lifecycle.Conflict},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			store := newMemory()
			mustCreate(t, store, good)
			store.changed = func(key string, n int, data []byte) []byte {
				if strings.HasSuffix(key, archiveKey) && n == 2 {
					return tt.second
				}
				return data
			}
			_, err := backup.Restore(t.Context(), store, prefix, func(_ context.Context, r io.Reader, _ backup.Manifest) error {
				headers, _, err := unpacked(r)
				require.Error(t, err, "the end must not be reached")
				require.NotErrorIs(t, err, io.EOF)
				for _, h := range headers {
					require.True(t, strings.HasPrefix(h.Name, "root/.ssh/"), h.Name)
				}
				return nil // hides it
			})
			requireKind(t, tt.kind, err)
			require.ErrorContains(t, err, "restore again")
		})
	}
}

func TestRestoreSink(t *testing.T) {
	store := newMemory()
	mustCreate(t, store, tarOf(t, home...))
	denied := lifecycle.Errorf(lifecycle.Denied, "ssh", "", "no")
	tests := map[string]struct {
		sink func(context.Context, io.Reader, backup.Manifest) error
		want error
	}{
		"fails at once": {func(context.Context, io.Reader, backup.Manifest) error { return denied }, denied},
		"fails at the end": {func(_ context.Context, r io.Reader, _ backup.Manifest) error {
			_, _ = io.Copy(io.Discard, r)
			return denied
		}, denied},
		"stops without saying so": {func(_ context.Context, r io.Reader, _ backup.Manifest) error {
			_, err := io.CopyN(io.Discard, r, 1000)
			return err
		}, lifecycle.Internal},
		"stops at the end marker": {func(_ context.Context, r io.Reader, _ backup.Manifest) error {
			tr := tar.NewReader(r)
			for {
				if _, err := tr.Next(); err != nil {
					if errors.Is(err, io.EOF) {
						return nil
					}
					return err
				}
			}
		}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := backup.Restore(t.Context(), store, prefix, tt.sink)
			require.ErrorIs(t, err, tt.want)
		})
	}
	require.Panics(t, func() {
		_, _ = backup.Restore(t.Context(), store, prefix, func(context.Context, io.Reader, backup.Manifest) error { panic("boom") })
	})
}

func TestExtract(t *testing.T) {
	suid := file("bin/su", "x")
	suid.Mode = 0o4755
	items := append([]item{suid, symlink("osd/block", "/dev/ceph/osd"), symlink("osd/same", "block")}, home...)
	dev := backup.LinksTo("/dev")
	store := newMemory()
	mustCreate(t, store, tarOf(t, items...), dev)
	scratch := filepath.Join(t.TempDir(), "new")
	written, err := backup.Extract(t.Context(), store, prefix, scratch, dev)
	require.NoError(t, err)
	got := map[string]string{}
	for _, e := range written {
		st, err := os.Lstat(filepath.Join(scratch, e.Path))
		require.NoError(t, err)
		got[e.Path] = st.Mode().String()
	}
	require.Empty(t, cmp.Diff(map[string]string{
		"bin/su": "-rwx------", "root/.ssh": "drwx------", "root/.ssh/authorized_keys": "-rw-------",
		"root/.ssh/id_ed25519": "-rw-------", "root/.ssh/id": "Lrwxrwxrwx", "root/.ssh/backup_keys": "-rw-------",
		"osd/same": "Lrwxrwxrwx",
	}, got))
	for name, want := range map[string]string{"id": home[2].content, "backup_keys": home[1].content} {
		content, err := os.ReadFile(filepath.Join(scratch, "root/.ssh", name))
		require.NoError(t, err)
		require.Equal(t, want, string(content))
	}
	require.NoFileExists(t, filepath.Join(scratch, "osd/block"))

	_, err = backup.Extract(t.Context(), store, prefix, scratch, dev)
	requireKind(t, lifecycle.Precondition, err)
	require.ErrorContains(t, err, "not empty")
	_, err = backup.Extract(t.Context(), store, prefix, t.TempDir())
	requireKind(t, lifecycle.Precondition, err)
	require.ErrorContains(t, err, "backup.LinksTo")
	_, err = backup.Extract(t.Context(), store, prefix, filepath.Join(scratch, "bin/su"), dev)
	requireKind(t, lifecycle.Unavailable, err)
}
