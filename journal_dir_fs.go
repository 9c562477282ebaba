package lifecycle

import (
	"cmp"
	"errors"
	"io"
	"os"
)

// dirFS is what a [DirJournal] needs of the file system. It is an interface so that tests can fill the disk and break it.
type dirFS interface {
	// Open opens a file, created with mode 0600, or a directory for Sync.
	Open(name string, flag int) (dirFile, error)
	// OpenLocked is Open with an exclusive lock that ends with Close or with the process, or errFileLocked.
	OpenLocked(name string, flag int) (dirFile, error)
	// Mkdir makes a directory with mode 0700.
	Mkdir(name string) error
	Rename(from, to string) error
	// ReadDir returns the names in a directory.
	ReadDir(name string) ([]string, error)
}

type dirFile interface {
	io.ReadWriteCloser
	Truncate(size int64) error
	Sync() error
}

var errFileLocked = errors.New("another process holds the lock")

type osFS struct{}

func (osFS) Open(name string, flag int) (dirFile, error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (osFS) OpenLocked(name string, flag int) (dirFile, error) {
	for range 3 {
		f, err := os.OpenFile(name, flag|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := lockFile(f); err != nil {
			_ = f.Close()
			return nil, err
		}
		if isFileAt(f, name) {
			return lockedFile{f}, nil
		}
		_ = f.Close() // somebody removed the file in between: that lock guards nothing
	}
	return nil, errFileLocked
}

func isFileAt(f *os.File, name string) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	found, err := os.Stat(name)
	return err == nil && os.SameFile(opened, found)
}

func (osFS) Mkdir(name string) error { return os.Mkdir(name, 0o700) }

func (osFS) Rename(from, to string) error { return os.Rename(from, to) }

func (osFS) ReadDir(name string) ([]string, error) {
	entries, err := os.ReadDir(name)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

// lockedFile gives its lock up before it is closed: a child that is being forked at this moment still has the descriptor
// until it executes its program, and would keep the lock for as long.
type lockedFile struct{ *os.File }

func (f lockedFile) Close() error {
	return cmp.Or(unlockFile(f.File), f.File.Close())
}
