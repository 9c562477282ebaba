package dirstore

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/backup"
)

// Config says where objects are kept.
type Config struct {
	Dir string // made when the first object is stored
}

// Store is a [backup.Store] in a directory. It is safe for concurrent use, by several processes too.
//
// Kinds of errors: Invalid for a key that [backup.CheckKey] refuses and for an empty Dir; Conflict for a key that exists,
// or that runs through another one's file; NotFound; Denied when the file system forbids it; Unavailable when the disk is
// full or fails; Canceled or Timeout when the context ended.
type Store struct {
	dir  string
	file func(*os.File) io.Writer // what an object is written through; tests make it fail
}

var _ backup.Store = (*Store)(nil)

// New returns a store in cfg.Dir. It does no I/O.
func New(cfg Config) *Store {
	return &Store{dir: cfg.Dir, file: func(f *os.File) io.Writer { return f }}
}

// check refuses what no call can work with.
func (s *Store) check(key string) error {
	if err := s.configured(); err != nil {
		return err
	}
	return backup.CheckKey(key)
}

func (s *Store) configured() error {
	if s.dir == "" {
		return lifecycle.Errorf(lifecycle.Invalid, "", "", "dirstore.Config.Dir is empty: name a directory")
	}
	return nil
}

// failed gives an error of the file system its kind, and says what to do.
func (s *Store) failed(err error) error {
	var known *lifecycle.Error
	switch {
	case err == nil || errors.As(err, &known):
		return err
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return lifecycle.Errorf(lifecycle.Unavailable, "", "",
			"no space left in %s: remove old backups, or name another directory: %w", s.dir, err)
	case errors.Is(err, fs.ErrPermission):
		return lifecycle.Errorf(lifecycle.Denied, "", "",
			"%s may not be used by this user, or its file system lacks hard links: %w", s.dir, err)
	}
	return lifecycle.Errorf(lifecycle.Unavailable, "", "", "the directory %s fails: look at its disk: %w", s.dir, err)
}

// missing reports whether err says that there is no such file, be it for want of its directory.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

func notFound(key string) error {
	return lifecycle.Errorf(lifecycle.NotFound, "", "", "there is no object %s", key)
}
