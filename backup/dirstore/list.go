package dirstore

import (
	"cmp"
	"context"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/backup"
)

// List returns the objects whose keys start with prefix, in key order. A directory that is not there yet has none.
func (s *Store) List(ctx context.Context, prefix string) ([]backup.Object, error) {
	objects, err := s.list(ctx, prefix)
	if err != nil {
		return nil, lifecycle.Wrap(s.failed(err), "dirstore.List", "")
	}
	return objects, nil
}

func (s *Store) list(ctx context.Context, prefix string) ([]backup.Object, error) {
	if err := s.configured(); err != nil {
		return nil, err
	}
	top := "."
	if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
		top = prefix[:i]
		if backup.CheckKey(top) != nil {
			return nil, nil // no key begins like this
		}
	}
	root, err := os.OpenRoot(s.dir)
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var objects []backup.Object
	err = fs.WalkDir(root.FS(), top, func(key string, d fs.DirEntry, err error) error {
		if missing(err) {
			return nil // removed meanwhile
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		o, ok := object(key, d)
		if ok && strings.HasPrefix(key, prefix) {
			objects = append(objects, o)
		}
		if d.IsDir() && d.Name() == tempDir {
			return fs.SkipDir
		}
		return nil
	})
	slices.SortFunc(objects, func(a, b backup.Object) int { return cmp.Compare(a.Key, b.Key) })
	return objects, err
}

// object tells of a file that Put could have made.
func object(key string, d fs.DirEntry) (backup.Object, bool) {
	if !d.Type().IsRegular() || backup.CheckKey(key) != nil {
		return backup.Object{}, false
	}
	info, err := d.Info()
	if err != nil {
		return backup.Object{}, false // removed meanwhile
	}
	return backup.Object{Key: key, Size: info.Size(), Modified: info.ModTime()}, true
}
