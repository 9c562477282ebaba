package backup_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/backup"
)

func special(flag byte, name string) item {
	return item{Header: tar.Header{Typeflag: flag, Name: name, Mode: 0o600}}
}

// hostile are tars that must never be handed on.
func hostile(t testing.TB) map[string][]byte {
	setPAX := func(key, value string) []byte { // archive/tar refuses to write such keys
		stand := "GNX" + key[3:]
		it := file("f", "content")
		it.PAXRecords = map[string]string{stand: value}
		return bytes.ReplaceAll(tarOf(t, it), []byte(stand), []byte(key))
	}
	capability := file("f", "x")
	capability.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\x02"}
	global := item{Header: tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "g", PAXRecords: map[string]string{"comment": "x"}}}
	return map[string][]byte{
		"absolute path":              tarOf(t, file("/etc/passwd", "x")),
		"dot dot":                    tarOf(t, file("../etc/passwd", "x")),
		"dot dot inside":             tarOf(t, file("a/../../etc/passwd", "x")),
		"dot dot that stays":         tarOf(t, file("a/../b", "x")),
		"dot dot at the end":         tarOf(t, dir("a/..")),
		"empty name":                 raw(tarOf(t, file("x", "")), 0, 0),
		"not UTF-8":                  tarOf(t, file("caf\xe9", "x")),
		"long name":                  tarOf(t, file(strings.Repeat("a/", 2048)+"b", "x")),
		"write through a symlink":    tarOf(t, dir("d"), symlink("l", "d"), file("l/x", "x")),
		"write through one far up":   tarOf(t, dir("d"), symlink("l", "d"), file("l/a/b/c", "x")),
		"link in place of a dir":     tarOf(t, file("l/x", "x"), dir("d"), symlink("l", "d")),
		"beneath a file":             tarOf(t, file("f", "x"), file("f/g", "x")),
		"absolute symlink":           tarOf(t, symlink("l", "/etc/passwd")),
		"symlink out":                tarOf(t, symlink("l", "../etc/passwd")),
		"symlink out of a directory": tarOf(t, symlink("a/b/l", "../../../etc")),
		"symlink outside the set":    tarOf(t, file("a/f", "x"), symlink("a/l", "../etc/passwd")),
		"symlink into nothing":       tarOf(t, symlink("l", "nothing")),
		"symlink beneath a file":     tarOf(t, file("f", "x"), symlink("l", "f/x")),
		"symlink with nothing":       tarOf(t, file("a/f", "x"), symlink("a/l", "nothing/../f")),
		"out by two symlinks":        tarOf(t, dir("a/b"), symlink("a/b/up", "../.."), symlink("a/b/l", "up/../etc")),
		"symlink loop":               tarOf(t, symlink("a", "b/x"), symlink("b", "a/x")),
		"hard link out":              tarOf(t, hardlink("h", "../etc/shadow")),
		"absolute hard link":         tarOf(t, hardlink("h", "/etc/shadow")),
		"hard link outside the set":  tarOf(t, hardlink("h", "etc/shadow")),
		"hard link to itself":        tarOf(t, hardlink("h", "h")),
		"hard link to a symlink":     tarOf(t, dir("d"), symlink("l", "d"), hardlink("h", "l")),
		"hard link to a directory":   tarOf(t, dir("d"), hardlink("h", "d")),
		"hard link to what follows":  tarOf(t, hardlink("h", "f"), file("f", "x")),
		"character device":           tarOf(t, special(tar.TypeChar, "null")),
		"block device":               tarOf(t, special(tar.TypeBlock, "sda")),
		"FIFO":                       tarOf(t, special(tar.TypeFifo, "fifo")),
		"contiguous file":            retype(tarOf(t, file("f", "")), '7'),
		"unknown type":               retype(tarOf(t, file("f", "")), 'Z'),
		"GNU multi-volume":           retype(tarOf(t, file("f", "")), 'M'),
		"old GNU sparse":             retype(tarOf(t, item{Header: tar.Header{Typeflag: tar.TypeReg, Name: "f", Format: tar.FormatGNU}}), 'S'),
		"pax sparse":                 setPAX("GNU.sparse.size", "99999999999999"),
		"pax sparse name":            setPAX("GNU.sparse.name", "/etc/passwd"),
		"file capabilities":          tarOf(t, capability),
		"global header":              tarOf(t, global, file("f", "x")),
		"duplicate file":             tarOf(t, file("f", "x"), file("f", "y")),
		"duplicate by spelling":      tarOf(t, file("d/f", "x"), file("./d//f", "y")),
		"duplicate directory":        tarOf(t, dir("d"), dir("d/")),
		"file in place of dir":       tarOf(t, file("d/f", "x"), file("d", "x")),
		"file named as a directory":  raw(tarOf(t, file("g_", "")), 1, '/'),
		"root as symlink":            tarOf(t, symlink(".", "x")),
		"trailing entry":             append(tarOf(t, file("f", "x")), tarOf(t, file("g", "x"))...),
		"trailing garbage":           append(tarOf(t, file("f", "x")), 0, 0, 1),
		"cut off":                    tarOf(t, file("f", "x"))[:1024],
	}
}

// retype makes the first header one of another type, with a checksum that fits.
func retype(data []byte, flag byte) []byte {
	data = bytes.Clone(data)
	data[156] = flag
	return checksum(data)
}

// raw changes the byte at i of the first header.
func raw(data []byte, i int, b byte) []byte {
	data = bytes.Clone(data)
	data[i] = b
	return checksum(data)
}

func checksum(data []byte) []byte {
	copy(data[148:156], "        ")
	n := 0
	for _, b := range data[:512] {
		n += int(b)
	}
	copy(data[148:156], fmt.Sprintf("%06o\x00 ", n))
	return data
}

func TestCheckRefuses(t *testing.T) {
	for name, data := range hostile(t) {
		t.Run(name, func(t *testing.T) {
			_, err := backup.Check(t.Context(), bytes.NewReader(data))
			requireKind(t, lifecycle.Precondition, err)

			store := newMemory()
			_, err = backup.Create(t.Context(), store, prefix, info, stream(data))
			requireKind(t, lifecycle.Precondition, err)
			require.Empty(t, store.objects)

			forge(t, store, data, claimed(data))
			_, err = backup.Restore(t.Context(), store, prefix, func(context.Context, io.Reader, backup.Manifest) error {
				t.Error("a hostile archive was handed on")
				return nil
			})
			requireKind(t, lifecycle.Precondition, err)
			scratch := t.TempDir()
			_, err = backup.Extract(t.Context(), store, prefix, scratch)
			requireKind(t, lifecycle.Precondition, err)
		})
	}
}

// claimed returns the entries that a manifest for a hostile tar would list, so that comparing alone finds nothing wrong.
func claimed(data []byte) []backup.Entry {
	types := map[byte]backup.Type{tar.TypeDir: backup.Dir, tar.TypeSymlink: backup.Symlink, tar.TypeLink: backup.Link}
	var out []backup.Entry
	r := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := r.Next()
		if err != nil {
			return out
		}
		e := backup.Entry{
			Path: strings.TrimSuffix(h.Name, "/"), Type: types[h.Typeflag], Mode: backup.Mode(h.Mode), UID: h.Uid, GID: h.Gid,
			Size: h.Size, Link: h.Linkname,
		}
		if h.Typeflag == tar.TypeReg {
			content, _ := io.ReadAll(io.LimitReader(r, 1<<20))
			e.Type, e.SHA256 = backup.File, hexSum(content)
		}
		out = append(out, e)
	}
}

func TestCheckAccepts(t *testing.T) {
	owner := file("o", "x")
	owner.Uid, owner.Gid, owner.Uname, owner.Mode = 167, 168, "ceph", 0o4755
	tests := map[string]struct {
		items []item
		opts  []backup.Option
		want  []string
	}{
		"parents not listed":         {items: []item{file("a/b/f", "x")}, want: []string{"a/b/f"}},
		"directory after its file":   {items: []item{file("a/f", "x"), dir("a")}, want: []string{"a/f", "a"}},
		"the root itself":            {items: []item{dir("./"), file("./f", "x")}, want: []string{".", "f"}},
		"owner and set-ID":           {items: []item{owner}, want: []string{"o"}},
		"symlink to a directory":     {items: []item{file("v1/f", "x"), symlink("now", "v1")}, want: []string{"v1/f", "now"}},
		"symlink through a symlink":  {items: []item{file("v1/f", "x"), symlink("now", "v1"), symlink("b/f", "../now/f")}, want: []string{"v1/f", "now", "b/f"}},
		"symlink to what follows":    {items: []item{symlink("l", "./f"), file("f", "x")}, want: []string{"l", "f"}},
		"symlink to the root":        {items: []item{file("a/f", "x"), symlink("a/l", "..")}, want: []string{"a/f", "a/l"}},
		"symlink beyond, allowed":    {items: []item{symlink("ceph/block", "/dev/ceph-1/osd")}, opts: []backup.Option{backup.LinksTo("/dev/")}, want: []string{"ceph/block"}},
		"relative beyond, allowed":   {items: []item{symlink("ceph/block", "../dev/x")}, opts: []backup.Option{backup.LinksTo("/dev")}, want: []string{"ceph/block"}},
		"everything beyond, allowed": {items: []item{symlink("l", "/etc/x")}, opts: []backup.Option{backup.LinksTo("/")}, want: []string{"l"}},
		"long names":                 {items: []item{file(strings.Repeat("n/", 300)+"f", "x")}, want: []string{strings.Repeat("n/", 300) + "f"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			data := append(tarOf(t, tt.items...), make([]byte, 10240)...) // tar fills its records
			entries, err := backup.Check(t.Context(), bytes.NewReader(data), tt.opts...)
			require.NoError(t, err)
			var got []string
			for _, e := range entries {
				got = append(got, e.Path)
			}
			require.Equal(t, tt.want, got)
		})
	}
}

func TestLinksToIsNotCheated(t *testing.T) {
	allow := backup.LinksTo("/dev", "/srv")
	for _, items := range [][]item{
		{symlink("l", "/dev/../etc/shadow")},
		{symlink("l", "/device")},
		{symlink("l", "/")},
		{symlink("l", "../dev/x")},
		{symlink("a/l", "../dev/../etc/shadow")},
		{symlink("b", "/dev/x"), symlink("srv/l", "../b/../../etc")},
	} {
		_, err := backup.Check(t.Context(), bytes.NewReader(tarOf(t, items...)), allow)
		requireKind(t, lifecycle.Precondition, err)
	}
}

func TestCheckLimits(t *testing.T) {
	data := tarOf(t, file("a", "x"), file("b", "x"))
	_, err := backup.Check(t.Context(), bytes.NewReader(data), backup.WithLimits(backup.Limits{Entries: 2, Bytes: int64(len(data))}))
	require.NoError(t, err)
	for _, l := range []backup.Limits{{Entries: 1}, {Bytes: int64(len(data)) - 1}} {
		_, err = backup.Check(t.Context(), bytes.NewReader(data), backup.WithLimits(l))
		requireKind(t, lifecycle.Precondition, err)
	}
	_, err = backup.Check(t.Context(), nil)
	requireKind(t, lifecycle.Invalid, err)
}

func FuzzCheck(f *testing.F) {
	f.Add(tarOf(f, home...))
	for _, data := range hostile(f) {
		f.Add(data)
	}
	limits := backup.WithLimits(backup.Limits{Entries: 100, Bytes: 1 << 20})
	f.Fuzz(func(t *testing.T, data []byte) {
		want, err := backup.Check(t.Context(), bytes.NewReader(data), limits)
		if err != nil {
			requireKind(t, lifecycle.Precondition, err)
			return
		}
		// What is accepted can be stored, verified and restored, and whoever unpacks it sees the same entries.
		store := newMemory()
		mustCreate(t, store, data, limits, backup.AllowEmpty())
		_, err = backup.Restore(t.Context(), store, prefix, func(ctx context.Context, r io.Reader, _ backup.Manifest) error {
			got, err := backup.Check(ctx, r)
			require.Empty(t, cmp.Diff(want, got))
			return err
		}, limits)
		require.NoError(t, err)
	})
}
