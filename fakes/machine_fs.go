package fakes

import (
	"errors"
	"io/fs"
	"path"
	"syscall"
)

// Reached returns the machine that answers at the address of the node named name, or nil: that of the same name, unless
// [Cluster.Route] says otherwise.
func (c *Cluster) Reached(name string) *Machine {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reached(name)
}

// NextPID returns the number of a process that starts now.
func (m *Machine) NextPID() int {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	m.pid++
	return m.pid
}

// resolve follows symbolic links at the end of the path. What it returns need not exist.
func (m *Machine) resolve(name string) string {
	name = path.Clean(name)
	for range 8 {
		f, ok := m.files[name]
		if !ok || f.Mode&fs.ModeSymlink == 0 {
			break
		}
		if path.IsAbs(f.Link) {
			name = path.Clean(f.Link)
		} else {
			name = path.Join(path.Dir(name), f.Link)
		}
	}
	return name
}

// parent reports, as open(2) does, when the directory that name stands in is missing or none.
func (m *Machine) parent(op, name string) error {
	dir := path.Dir(name)
	if m.files == nil { // between two systems
		return &fs.PathError{Op: op, Path: name, Err: syscall.EIO}
	}
	if dir == "/" {
		return nil
	}
	f, err := m.stat(dir)
	switch {
	case err != nil:
		return &fs.PathError{Op: op, Path: name, Err: syscall.ENOENT}
	case !f.Mode.IsDir():
		return &fs.PathError{Op: op, Path: name, Err: syscall.ENOTDIR}
	}
	return nil
}

// Create opens a file for writing, as open(2) with O_CREAT does: it is made with mode when it is not there, and emptied
// when truncate is set. Kernel files and block devices are refused.
func (m *Machine) Create(name string, mode fs.FileMode, truncate bool) error {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	name = m.resolve(name)
	if err := m.parent("open", name); err != nil {
		return err
	}
	f, ok := m.files[name]
	switch {
	case name == "/" || ok && f.Mode.IsDir():
		return &fs.PathError{Op: "open", Path: name, Err: syscall.EISDIR}
	case m.device(name) != nil || under("/proc", name) || under("/sys", name):
		return &fs.PathError{Op: "open", Path: name, Err: syscall.EACCES}
	case !ok:
		m.files[name] = &File{Mode: mode.Perm(), ModTime: m.c.now()}
	case truncate:
		f.Data, f.ModTime = nil, m.c.now()
	}
	return nil
}

// Append writes at the end of a file that exists.
func (m *Machine) Append(name string, data []byte) error {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	f, ok := m.files[m.resolve(name)]
	if !ok || !f.Mode.IsRegular() {
		return &fs.PathError{Op: "write", Path: name, Err: syscall.EBADF}
	}
	f.Data = append(f.Data, data...)
	f.ModTime = m.c.now()
	return nil
}

// Put makes name exactly f, time included, with directories above it as needed, as an archiver does. Symbolic links are
// replaced, not followed; a directory is not replaced by something else. The Machine owns f.Data from then on.
func (m *Machine) Put(name string, f File) error {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	name = path.Clean(name)
	if old, ok := m.files[name]; name == "/" || ok && old.Mode.IsDir() && !f.Mode.IsDir() {
		return &fs.PathError{Op: "open", Path: name, Err: syscall.EISDIR}
	}
	if m.files == nil { // between two systems
		return &fs.PathError{Op: "open", Path: name, Err: syscall.EIO}
	}
	m.dir(path.Dir(name), 0o755)
	m.files[name] = &f
	return nil
}

// Rename is rename(2).
func (m *Machine) Rename(from, to string) error {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	from, to = path.Clean(from), path.Clean(to)
	f, ok := m.files[from]
	if !ok {
		return &fs.PathError{Op: "rename", Path: from, Err: syscall.ENOENT}
	}
	if err := m.parent("rename", to); err != nil {
		return err
	}
	if old, ok := m.files[to]; ok && old.Mode.IsDir() && (!f.Mode.IsDir() || len(m.filesUnder(to)) > 1) {
		return &fs.PathError{Op: "rename", Path: to, Err: syscall.EEXIST}
	}
	if from != to && under(from, to) {
		return &fs.PathError{Op: "rename", Path: to, Err: errors.New("cannot move a directory into itself")}
	}
	for _, name := range m.filesUnder(from) {
		f := m.files[name]
		delete(m.files, name)
		m.files[to+name[len(from):]] = f
	}
	return nil
}
