package backup

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/ncnkit/lifecycle"
)

// Extract rehearses a restore: it unpacks the backup under prefix into dir, which must be empty or not be there, and
// returns what it wrote. It never writes outside dir. Owners, set-ID bits and the rights of group and others are left
// out, so that secrets in a scratch directory stay private, and so are symbolic links that leave the archive ([LinksTo]).
//
// Errors are those of [Restore], Precondition when dir is not empty, and Unavailable when it cannot be written; then dir
// may hold a part of the files.
func Extract(ctx context.Context, store Store, prefix, dir string, opts ...Option) ([]Entry, error) {
	at, err := locate(store, prefix)
	if err == nil && dir == "" {
		err = lifecycle.Errorf(lifecycle.Invalid, "", "", "no directory was given")
	}
	if err != nil {
		return nil, lifecycle.Wrap(err, "backup.Extract", at.host)
	}
	written, err := extract(ctx, store, prefix, at, dir, newOptions(opts))
	return written, lifecycle.Wrap(err, "backup.Extract", at.host)
}

func extract(ctx context.Context, store Store, prefix string, at place, dir string, o options) ([]Entry, error) {
	x := &extraction{}
	_, err := restore(ctx, store, prefix, at, func(_ context.Context, r io.Reader, m Manifest) error {
		root, err := scratch(dir)
		if err != nil {
			return err
		}
		defer root.Close()
		x.root = root
		return x.unpack(r, m, o)
	}, o)
	return x.written, err
}

func scratch(dir string) (*os.Root, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, unwritable(err)
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, unwritable(err)
	}
	if len(names) > 0 {
		return nil, refuse("%s is not empty: name another directory", dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, unwritable(err)
	}
	return root, nil
}

func unwritable(err error) error {
	return lifecycle.Errorf(lifecycle.Unavailable, "", "", "the directory cannot be written: %w", err)
}

// extraction unpacks one archive. Symbolic links come last, so that nothing can be written through them.
type extraction struct {
	root    *os.Root
	written []Entry
}

func (x *extraction) unpack(r io.Reader, m Manifest, o options) error {
	tr := tar.NewReader(r)
	for i := 0; ; i++ {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if i >= len(m.Entries) {
			return fmt.Errorf("entry %d is one too many", i+1)
		}
		if err := x.entry(m.Entries[i], tr); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
	tree := newJudge(o, io.Discard).remember(m.Entries)
	for _, e := range m.Entries {
		if e.Type != Symlink {
			continue
		}
		if inside, err := tree.inside(e); err != nil || !inside {
			continue
		}
		if err := x.root.Symlink(e.Link, e.Path); err != nil {
			return unwritable(err)
		}
		x.written = append(x.written, e)
	}
	return nil
}

// remember makes the judge know entries that were judged already.
func (j *judge) remember(entries []Entry) *judge {
	for _, e := range entries {
		_ = j.place(e)
		j.entries = append(j.entries, e)
	}
	return j
}

func (x *extraction) entry(e Entry, content io.Reader) error {
	err := x.mkdir(path.Dir(e.Path))
	if err != nil {
		return unwritable(err)
	}
	switch e.Type {
	case Symlink:
		return nil
	case Dir:
		err = x.mkdir(e.Path)
	case Link:
		err = x.root.Link(e.Link, e.Path)
	case File:
		err = x.file(e, content)
	}
	if err != nil {
		return unwritable(err)
	}
	x.written = append(x.written, e)
	return nil
}

func (x *extraction) mkdir(dir string) error { return x.root.MkdirAll(dir, 0o700) }

func (x *extraction) file(e Entry, content io.Reader) (err error) {
	f, err := x.root.OpenFile(e.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fs.FileMode(e.Mode)&0o700)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.Copy(f, content)
	return err
}
