package dirstore

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"
	"time"

	"github.com/ncnkit/lifecycle"
)

const (
	tempDir = ".tmp" // no key begins with a dot
	tempAge = 24 * time.Hour
)

// Put stores what r yields under key. The object is written to a temporary file, made durable, and linked to its name,
// which fails when the name is taken. Temporary files that a crash left are removed when they are a day old.
func (s *Store) Put(ctx context.Context, key string, r io.Reader) error {
	return lifecycle.Wrap(s.failed(s.put(ctx, key, r)), "dirstore.Put", "")
}

func (s *Store) put(ctx context.Context, key string, r io.Reader) error {
	if err := s.check(key); err != nil {
		return err
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if _, err := root.Lstat(key); err == nil { // spares writing; the link below decides
		return taken(key)
	}
	sweep(root)
	temp, err := s.spool(ctx, root, r)
	if err != nil {
		return err
	}
	defer root.Remove(temp)
	return publish(root, temp, key)
}

func taken(key string) error {
	return lifecycle.Errorf(lifecycle.Conflict, "", "", "there is an object %s already, and none is replaced", key)
}

// spool writes r to a temporary file and makes it durable. A failed one is removed at once.
func (s *Store) spool(ctx context.Context, root *os.Root, r io.Reader) (string, error) {
	if err := root.MkdirAll(tempDir, 0o700); err != nil {
		return "", err
	}
	name := path.Join(tempDir, rand.Text())
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(s.file(f), &input{ctx, r})
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, root.Remove(name))
	}
	return name, nil
}

// input reads what is to be stored. Its errors are the caller's, not the disk's.
type input struct {
	ctx context.Context
	r   io.Reader
}

func (in *input) Read(p []byte) (int, error) {
	err := in.ctx.Err()
	n := 0
	if err == nil {
		n, err = in.r.Read(p)
	}
	if err != nil && err != io.EOF {
		err = lifecycle.Errorf(lifecycle.KindOf(err), "", "", "nothing was stored: %w", err)
	}
	return n, err
}

// publish gives a durable file its name, and makes the name durable.
func publish(root *os.Root, temp, key string) error {
	dir := path.Dir(key)
	err := root.MkdirAll(dir, 0o700)
	if err == nil {
		err = root.Link(temp, key)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return taken(key)
	case errors.Is(err, syscall.ENOTDIR):
		return lifecycle.Errorf(lifecycle.Conflict, "", "", "a part of %s is an object of its own", key)
	case err != nil:
		return err
	}
	for err == nil {
		err = syncDir(root, dir)
		if dir == "." {
			break
		}
		dir = path.Dir(dir)
	}
	if err != nil {
		return errors.Join(err, root.Remove(key)) // all or nothing
	}
	return nil
}

func syncDir(root *os.Root, dir string) error {
	f, err := root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// sweep removes temporary files that nobody writes any more. It does its best: what it cannot remove harms nobody.
func sweep(root *os.Root) {
	temps, _ := fs.ReadDir(root.FS(), tempDir)
	for _, temp := range temps {
		if info, err := temp.Info(); err == nil && time.Since(info.ModTime()) > tempAge {
			_ = root.Remove(path.Join(tempDir, temp.Name()))
		}
	}
}
