package fakes

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/power"
)

// Exec returns the cluster's nodes as a [lifecycle.Runner] that also keeps host keys. It knows the commands of this
// module by their names; a test adds its own with [Cluster.HandleCommand].
func (c *Cluster) Exec() lifecycle.Runner { return execFace{c} }

// CommandFunc is what a command of a test's own does on a machine. It is called without a lock.
type CommandFunc func(m *Machine, args []string, stdin io.Reader, stdout, stderr io.Writer) error

// HandleCommand has f called for commands of that name.
func (c *Cluster) HandleCommand(name string, f CommandFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.commands[name] = f
}

type execFace struct{ c *Cluster }

// KeepHostKeys implements [lifecycle.HostKeyKeeper].
func (f execFace) KeepHostKeys(ctx context.Context, node lifecycle.Node, keys []string) error {
	return f.c.do(ctx, Call{Op: KeepHostKeys, Host: node.Name, Writes: true}, func(*Call) error {
		f.c.machines[node.Name].keys = slices.Clone(keys)
		return nil
	})
}

// Run implements [lifecycle.Runner].
func (f execFace) Run(ctx context.Context, node lifecycle.Node, cmd lifecycle.Command) (lifecycle.Result, error) {
	if err := cmd.Check(); err != nil {
		return lifecycle.Result{}, err
	}
	var stdin []byte
	if cmd.Stdin != nil {
		var err error
		if stdin, err = io.ReadAll(cmd.Stdin); err != nil {
			return lifecycle.Result{}, lifecycle.Errorf(lifecycle.Unknown, "fakes.Exec", node.Name, "%s: standard input: %w", cmd.Name, err)
		}
	}
	var stdout, stderr bytes.Buffer
	call := Call{Op: Exec, Host: node.Name, Name: cmd.Name, Writes: writes(cmd.Name)}
	err := f.c.do(ctx, call, func(call *Call) error {
		m := f.c.reached(node.Name)
		if m == nil || !m.up {
			return lifecycle.Errorf(lifecycle.Unavailable, "fakes.Exec", node.Name, "%s does not answer", node.Name)
		}
		if err := f.checkHostKey(m, node, cmd); err != nil {
			return err
		}
		if m.unseen == power.On {
			m.unseen = "" // it answers: somebody saw it on
		}
		return f.c.run(m, call, cmd, bytes.NewReader(stdin), &stdout, &stderr)
	})
	result := lifecycle.Result{Stdout: stdout.Bytes(), Stderr: stderr.Bytes()}
	if err == nil && cmd.Stdout != nil {
		result.Stdout = nil
		_, err = cmd.Stdout.Write(stdout.Bytes())
	}
	var exit *exitError
	if errors.As(err, &exit) {
		err = &lifecycle.Error{Op: "fakes.Exec", Host: node.Name, Kind: lifecycle.Internal,
			Err: &lifecycle.ExitError{Command: cmd.Name, Status: exit.status, Stderr: stderr.String()}}
	}
	return result, err
}

func (f execFace) checkHostKey(m *Machine, node lifecycle.Node, cmd lifecycle.Command) error {
	accepted := cmd.HostKeys
	if len(accepted) == 0 {
		accepted = f.c.machines[node.Name].keys
	}
	if !slices.Contains(accepted, m.authorizedKey()) {
		return lifecycle.Errorf(lifecycle.Denied, "fakes.Exec", node.Name,
			"the host key of %s is not the expected one; nothing was run", node.Name)
	}
	return nil
}

type exitError struct{ status int }

func (e *exitError) Error() string { return "exit status " + strconv.Itoa(e.status) }

// writes reports whether the command of that name changes anything.
func writes(name string) bool {
	switch name {
	case "ncn.inspect", "ncn.disks", "ncn.wipe-look", "ncn.backup", "ncn.sums":
		return false
	}
	return true
}

// run does what the script of that name does on a real machine. The lock is held.
func (c *Cluster) run(m *Machine, call *Call, cmd lifecycle.Command, stdin io.Reader, stdout, stderr io.Writer) error {
	switch cmd.Name {
	case "ncn.inspect":
		m.inspect(stdout)
	case "ncn.disks":
		_, _ = stdout.Write(m.snapshot())
	case "ncn.wipe-start":
		return m.wipeStart(call, cmd.Args, stdin, stdout)
	case "ncn.wipe-look":
		m.wipeLook(cmd.Args[0], stdout)
	case "ncn.backup":
		return m.archive(cmd.Args[1:], stdout, stderr)
	case "ncn.restore":
		return m.unpack(stdin, stderr)
	case "ncn.sums":
		m.sums(cmd.Args[1:], stdout)
	default:
		f := c.commands[cmd.Name]
		if f == nil {
			fmt.Fprintf(stderr, "sh: %s: the fake knows no such command; see Cluster.HandleCommand\n", cmd.Name)
			return &exitError{127}
		}
		c.mu.Unlock()
		defer c.mu.Lock()
		return f(m, cmd.Args, stdin, stdout, stderr)
	}
	return nil
}

func (m *Machine) inspect(w io.Writer) {
	xname, _ := m.readFile("/etc/cray/xname")
	fmt.Fprintf(w, "xname %suuid %s\nboot %s\ncmdline %s\n", xname, m.uuid, m.bootID, m.cmdline)
	if m.finished {
		fmt.Fprintln(w, "cloud-init finished")
	} else {
		fmt.Fprintln(w, "cloud-init running")
	}
	if mark, err := m.readFile(wipedMark); err == nil {
		fmt.Fprintf(w, "wiped %s", mark)
	}
}

// archive is backup.sh.
func (m *Machine) archive(paths []string, stdout, stderr io.Writer) error {
	var names []string
	for _, p := range paths {
		found := m.filesUnder("/" + p)
		slices.SortFunc(found, func(a, b string) int { // as tar --sort=name: by directory
			return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/"))
		})
		if len(found) == 0 {
			fmt.Fprintf(stderr, "absent %s\n", p)
		}
		names = append(names, found...)
	}
	if len(names) == 0 {
		return nil
	}
	tw := tar.NewWriter(stdout)
	for _, name := range names {
		f := m.files[name]
		h := &tar.Header{Name: strings.TrimPrefix(name, "/"), Mode: tarMode(f.Mode), Uid: f.UID, Gid: f.GID, ModTime: f.ModTime, Format: tar.FormatGNU}
		switch {
		case f.Mode.IsDir():
			h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
		case f.Mode&fs.ModeSymlink != 0:
			h.Typeflag, h.Linkname = tar.TypeSymlink, f.Link
		default:
			h.Typeflag, h.Size = tar.TypeReg, int64(len(f.Data))
		}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		if _, err := tw.Write(f.Data); err != nil && h.Typeflag == tar.TypeReg {
			return err
		}
	}
	return tw.Close()
}

// tarMode is the mode as tar writes it: the permissions, and the set-user-ID, set-group-ID and sticky bits.
func tarMode(mode fs.FileMode) int64 {
	bits := int64(mode.Perm())
	for flag, bit := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if mode&flag != 0 {
			bits |= bit
		}
	}
	return bits
}

// unpack is restore.sh.
func (m *Machine) unpack(r io.Reader, stderr io.Writer) error {
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			fmt.Fprintln(stderr, "tar: Unexpected EOF in archive")
			return &exitError{2}
		}
		name := path.Clean("/" + h.Name)
		m.dir(path.Dir(name), 0o755)
		f := &File{Mode: h.FileInfo().Mode() &^ fs.ModeType, UID: h.Uid, GID: h.Gid, ModTime: h.ModTime}
		switch h.Typeflag {
		case tar.TypeDir:
			if old, ok := m.files[name]; ok && old.Mode.IsDir() {
				continue
			}
			f.Mode |= fs.ModeDir
		case tar.TypeSymlink:
			f.Mode, f.Link = fs.ModeSymlink|0o777, h.Linkname
		default:
			if f.Data, err = io.ReadAll(tr); err != nil {
				fmt.Fprintln(stderr, "tar: Unexpected EOF in archive")
				return &exitError{2}
			}
		}
		m.files[name] = f
	}
}

// sums is sums.sh.
func (m *Machine) sums(paths []string, w io.Writer) {
	for _, p := range paths {
		data, err := m.readFile("/" + p)
		if f := m.files[path.Clean("/"+p)]; err != nil || f != nil && f.Mode&fs.ModeSymlink != 0 {
			fmt.Fprintf(w, "absent %s\n", p)
			continue
		}
		fmt.Fprintf(w, "%x %s\n", sha256.Sum256(data), p)
	}
}
