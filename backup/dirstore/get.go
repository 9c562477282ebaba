package dirstore

import (
	"context"
	"io"
	"os"

	"github.com/ncnkit/lifecycle"
)

// Get opens the object under key.
func (s *Store) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	f, err := s.get(ctx, key)
	if err != nil {
		return nil, lifecycle.Wrap(s.failed(err), "dirstore.Get", "")
	}
	return f, nil
}

func (s *Store) get(ctx context.Context, key string) (*os.File, error) {
	if err := s.check(key); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(s.dir)
	if missing(err) {
		return nil, notFound(key)
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	info, err := root.Lstat(key) // not opened before it is known to be a file: a FIFO would block
	if missing(err) || err == nil && !info.Mode().IsRegular() {
		return nil, notFound(key)
	}
	if err != nil {
		return nil, err
	}
	f, err := root.Open(key)
	if missing(err) {
		return nil, notFound(key)
	}
	return f, err
}
