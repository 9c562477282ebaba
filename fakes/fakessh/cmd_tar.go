package fakessh

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/ncnkit/lifecycle/fakes"
)

// tarball is GNU tar (1.34) with the options of the backup and of the restore script, and no others.
func tarball(c *invocation) int {
	create := []string{"--create", "--file=-", "--directory=/", "--numeric-owner", "--sort=name", "--"}
	switch {
	case len(c.args) > len(create) && slices.Equal(c.args[:len(create)], create):
		return c.tarCreate(c.args[len(create):])
	case c.are("--extract", "--file=-", "--directory=/", "--numeric-owner", "--same-owner", "--preserve-permissions", "--no-overwrite-dir"):
		return c.tarExtract()
	}
	return c.drift()
}

func (c *invocation) tarCreate(paths []string) int {
	status := 0
	w := tar.NewWriter(c.out)
	for _, arg := range paths {
		if strings.HasPrefix(arg, "/") || path.Clean(arg) != arg || strings.HasPrefix(arg, "..") {
			return c.drift()
		}
		names := tree(c.sh.m, "/"+arg)
		if len(names) == 0 {
			status = c.fail(2, "%s: Cannot stat: No such file or directory", arg)
		}
		for _, name := range names {
			if c.ctx.Err() != nil {
				return 2
			}
			f, err := c.sh.m.Lstat(name)
			if err != nil {
				continue // gone since
			}
			if err := tarMember(w, name, f); err != nil {
				return c.fail(2, "-: Cannot write: Broken pipe")
			}
		}
	}
	if err := w.Close(); err != nil {
		return c.fail(2, "-: Cannot write: Broken pipe")
	}
	if status != 0 {
		_ = c.fail(status, "Exiting with failure status due to previous errors")
	}
	return status
}

func tarMember(w *tar.Writer, name string, f fakes.File) error {
	h := &tar.Header{
		Name: strings.TrimPrefix(name, "/"), Mode: int64(f.Mode.Perm()) | special(f.Mode), Uid: f.UID, Gid: f.GID, ModTime: f.ModTime,
		Format: tar.FormatGNU, Typeflag: tar.TypeReg, Size: int64(len(f.Data)),
	}
	switch {
	case f.Mode.IsDir():
		h.Typeflag, h.Name, h.Size = tar.TypeDir, h.Name+"/", 0
	case f.Mode&fs.ModeSymlink != 0:
		h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, f.Link, 0
	}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeReg {
		return nil
	}
	_, err := w.Write(f.Data)
	return err
}

// special returns the set-user-ID, set-group-ID and sticky bits as tar has them.
func special(m fs.FileMode) int64 {
	var bits int64
	if m&fs.ModeSetuid != 0 {
		bits |= 0o4000
	}
	if m&fs.ModeSetgid != 0 {
		bits |= 0o2000
	}
	if m&fs.ModeSticky != 0 {
		bits |= 0o1000
	}
	return bits
}

func (c *invocation) tarExtract() int {
	status := 0
	r := tar.NewReader(c.in)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			_, _ = io.Copy(io.Discard, c.in) // padding
			return status
		}
		if err == nil {
			err = c.ctx.Err()
		}
		if err == nil {
			err = c.extract(r, h, &status)
		}
		if err != nil {
			_ = c.fail(2, "Unexpected EOF in archive")
			return c.fail(2, "Error is not recoverable: exiting now")
		}
	}
}

func (c *invocation) extract(r io.Reader, h *tar.Header, status *int) error {
	if slices.Contains(strings.Split(h.Name, "/"), "..") {
		*status = c.fail(2, "%s: Member name contains '..'", h.Name)
		return nil
	}
	name := path.Clean("/" + h.Name)
	f := fakes.File{Mode: h.FileInfo().Mode(), UID: h.Uid, GID: h.Gid, ModTime: h.ModTime}
	switch h.Typeflag {
	case tar.TypeDir:
		if fi, err := stat(c.sh.m, name, false); err == nil && fi.IsDir() {
			return nil // --no-overwrite-dir
		}
	case tar.TypeSymlink:
		f.Mode, f.Link = fs.ModeSymlink|0o777, h.Linkname
	case tar.TypeReg:
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		f.Data = data
	default:
		*status = c.fail(64, "%s: fakessh does not imitate members of type %q", h.Name, h.Typeflag)
		return nil
	}
	if err := c.sh.m.Put(name, f); err != nil {
		*status = c.fail(2, "%s: Cannot open: %s", h.Name, reason(err))
	}
	return nil
}
