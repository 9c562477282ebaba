package dirstore

import (
	"context"
	"os"
	"path"

	"github.com/ncnkit/lifecycle"
)

// Delete removes the object under key, durably. Directories that become empty stay.
func (s *Store) Delete(ctx context.Context, key string) error {
	return lifecycle.Wrap(s.failed(s.remove(ctx, key)), "dirstore.Delete", "")
}

func (s *Store) remove(ctx context.Context, key string) error {
	if err := s.check(key); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	root, err := os.OpenRoot(s.dir)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	info, err := root.Lstat(key)
	if missing(err) || err == nil && !info.Mode().IsRegular() {
		return nil // a directory is no object
	}
	if err == nil {
		err = root.Remove(key)
	}
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncDir(root, path.Dir(key))
}
