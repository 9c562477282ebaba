package fakessh

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/ncnkit/lifecycle/fakes"
	"mvdan.cc/sh/v3/interp"
)

// open opens a file of the machine's for a redirection.
func (sh *shell) open(ctx context.Context, name string, flag int, _ fs.FileMode) (io.ReadWriteCloser, error) {
	name = within(interp.HandlerCtx(ctx).Dir, name)
	if flag&(os.O_WRONLY|os.O_RDWR) == 0 {
		return sh.openRead(name)
	}
	if name == "/dev/null" {
		return null{}, nil
	}
	if err := sh.m.Create(name, sh.mode(0o666), flag&os.O_TRUNC != 0); err != nil {
		return nil, err
	}
	return &writer{m: sh.m, name: name}, nil
}

// openRead returns the file's bytes as a real pipe, which is what the interpreter wants for standard input. Closing it
// ends the goroutine that fills it.
func (sh *shell) openRead(name string) (io.ReadWriteCloser, error) {
	var data []byte
	if name != "/dev/null" {
		var err error
		if data, err = sh.m.ReadFile(name); err != nil {
			return nil, plain(err, "open", name)
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	go func() {
		_, _ = io.Copy(w, bytes.NewReader(data))
		_ = w.Close()
	}()
	return r, nil
}

// plain makes err the *fs.PathError that the interpreter expects of a file that cannot be opened.
func plain(err error, op, name string) error {
	if pe, ok := err.(*fs.PathError); ok { //nolint:errorlint // the interpreter asserts the type too
		return pe
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

func (sh *shell) mode(m fs.FileMode) fs.FileMode { return m &^ fs.FileMode(sh.umask.Load()) }

func (sh *shell) stat(_ context.Context, name string, follow bool) (fs.FileInfo, error) {
	return stat(sh.m, name, follow)
}

func stat(m *fakes.Machine, name string, follow bool) (fs.FileInfo, error) {
	name = path.Clean(name)
	if name == "/dev/null" {
		return info{name, fakes.File{Mode: fs.ModeDevice | fs.ModeCharDevice | 0o666}}, nil
	}
	if !follow {
		if f, err := m.Lstat(name); err == nil {
			return info{name, f}, nil
		}
	}
	f, err := m.Stat(name)
	if err != nil {
		return nil, plain(err, "stat", name)
	}
	return info{name, f}, nil
}

// access lets root do everything to what exists.
func (sh *shell) access(_ context.Context, name string, _ interp.AccessMode) error {
	_, err := stat(sh.m, name, true)
	return err
}

func (sh *shell) readDir(_ context.Context, name string) ([]fs.DirEntry, error) {
	name = path.Clean(name)
	var entries []fs.DirEntry
	for _, file := range sh.m.Files(name) {
		if file == name || path.Dir(file) != name {
			continue
		}
		if fi, err := stat(sh.m, file, false); err == nil {
			entries = append(entries, fs.FileInfoToDirEntry(fi))
		}
	}
	if entries == nil {
		if _, err := stat(sh.m, name, true); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// within makes a path absolute.
func within(dir, name string) string {
	if name == "" {
		return ""
	}
	if !strings.HasPrefix(name, "/") {
		name = dir + "/" + name
	}
	return path.Clean(name)
}

type info struct {
	path string
	file fakes.File
}

func (i info) Name() string       { return path.Base(i.path) }
func (i info) Size() int64        { return int64(len(i.file.Data)) }
func (i info) Mode() fs.FileMode  { return i.file.Mode }
func (i info) ModTime() time.Time { return i.file.ModTime }
func (i info) IsDir() bool        { return i.file.Mode.IsDir() }
func (i info) Sys() any           { return nil }

// writer appends to a file of the machine's. It works after Close: a process that inherited the file goes on.
type writer struct {
	m    *fakes.Machine
	name string
}

func (w *writer) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: w.name, Err: syscall.EBADF}
}

func (w *writer) Write(p []byte) (int, error) {
	if err := w.m.Append(w.name, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (w *writer) Close() error { return nil }

type null struct{}

func (null) Read([]byte) (int, error)    { return 0, io.EOF }
func (null) Write(p []byte) (int, error) { return len(p), nil }
func (null) Close() error                { return nil }
