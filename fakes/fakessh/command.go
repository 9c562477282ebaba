package fakessh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
)

// invocation is one run of one command.
type invocation struct {
	sh       *shell
	ctx      context.Context
	name     string
	args     []string
	dir      string
	in       io.Reader
	stdin    *os.File // in, when it is one
	out, err io.Writer
}

// command returns the command of that name, or nil.
func command(name string) func(*invocation) int {
	switch name {
	case "cat":
		return cat
	case "sort":
		return sortLines
	case "tr":
		return tr
	case "grep":
		return grep
	case "sha256sum":
		return sha256sum
	case "mkdir":
		return mkdir
	case "rm":
		return rm
	case "mv":
		return mv
	case "tar":
		return tarball
	case "lsblk":
		return lsblk
	case "blkid":
		return blkid
	case "wipefs":
		return wipefs
	case "sgdisk":
		return sgdisk
	case "umount":
		return umount
	case "vgchange":
		return vgchange
	case "vgremove":
		return vgremove
	case "mdadm":
		return mdadm
	case "systemctl":
		return systemctl
	case "setsid":
		return setsid
	case "sh":
		return shFile
	case "kill":
		return kill
	case "sleep":
		return sleep
	case "hostname":
		return hostname
	case "pwd":
		return pwd
	case "umask":
		return umask
	case "command":
		return which
	case "true":
		return func(*invocation) int { return 0 }
	case "false":
		return func(*invocation) int { return 1 }
	}
	return nil
}

func (c *invocation) printf(format string, args ...any) { _, _ = fmt.Fprintf(c.out, format, args...) }

// fail writes a message as the command does, with its name in front.
func (c *invocation) fail(status int, format string, args ...any) int {
	_, _ = fmt.Fprintf(c.err, c.name+": "+format+"\n", args...)
	return status
}

// drift is the end of a command that was called in a way which is not imitated.
func (c *invocation) drift() int {
	return c.fail(64, "fakessh does not imitate these arguments: %q", c.args)
}

// are reports whether the arguments are exactly these.
func (c *invocation) are(args ...string) bool { return slices.Equal(c.args, args) }

func (c *invocation) path(name string) string { return within(c.dir, name) }

// reason is what strerror(3) says.
func reason(err error) string {
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno):
		text := errno.Error()
		return strings.ToUpper(text[:1]) + text[1:]
	case errors.Is(err, fs.ErrNotExist):
		return "No such file or directory"
	case errors.Is(err, fs.ErrExist):
		return "File exists"
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	text := err.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}

// flags takes leading options off the arguments, of those that are allowed; ok is false for any other.
func (c *invocation) flags(allowed ...string) (set map[string]bool, rest []string, ok bool) {
	set, rest = map[string]bool{}, c.args
	for len(rest) > 0 && strings.HasPrefix(rest[0], "-") && rest[0] != "-" {
		flag := rest[0]
		rest = rest[1:]
		if flag == "--" {
			return set, rest, true
		}
		if !slices.Contains(allowed, flag) {
			return nil, nil, false
		}
		set[flag] = true
	}
	return set, rest, true
}
