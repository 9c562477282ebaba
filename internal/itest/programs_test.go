package itest_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// program returns the path of a program of a Debian package. When install.sh could not download the package, the test is
// skipped by the program's name.
func program(t *testing.T, name, pkg string) string {
	t.Helper()
	for _, candidate := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	record, _ := os.ReadFile(".not-installed")
	if slices.Contains(strings.Fields(string(record)), pkg) {
		t.Skipf("SKIPPED %s: install.sh could not download the package %s", name, pkg)
	}
	t.Fatalf("%s is missing: run `bash internal/itest/install.sh` from the root of the repository", name)
	return ""
}

// root refuses a user who may not do what these tests do, and a machine on which they must not be done.
func root(t *testing.T) {
	t.Helper()
	require.Zero(t, os.Geteuid(), "these tests log in as root: run them as root, on a machine that may be lost")
	require.NoFileExists(t, "/etc/cray/xname", "this is a management node: run these tests elsewhere")
}

// bounded returns a context for one test.
func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// soon waits until a condition holds.
func soon(t *testing.T, what string, holds func() bool) {
	t.Helper()
	require.Eventually(t, holds, 20*time.Second, 10*time.Millisecond, what)
}

// freePort returns a port of 127.0.0.1 that nobody used a moment ago.
func freePort(t *testing.T, network string) string {
	t.Helper()
	var addr net.Addr
	if network == "udp" {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		require.NoError(t, err)
		defer c.Close()
		addr = c.LocalAddr()
	} else {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		addr = l.Addr()
	}
	_, port, err := net.SplitHostPort(addr.String())
	require.NoError(t, err)
	return port
}

// process is a program that a test started.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has
	log   string        // file with what it printed
}

// start runs a program until it is stopped, or until the test ends.
func start(t *testing.T, log string, path string, args ...string) *process {
	t.Helper()
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	require.NoError(t, err)
	defer out.Close()
	p := &process{cmd: exec.Command(path, args...), ended: make(chan struct{}), log: log}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	require.NoError(t, p.cmd.Start())
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() { p.stop(t) })
	return p
}

// stop ends the process, kindly at first.
func (p *process) stop(t *testing.T) {
	t.Helper()
	for _, signal := range []os.Signal{os.Interrupt, os.Kill} {
		_ = p.cmd.Process.Signal(signal)
		select {
		case <-p.ended:
			return
		case <-time.After(5 * time.Second):
		}
	}
	t.Errorf("process %d does not end", p.cmd.Process.Pid)
}

func (p *process) gone() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// logged counts how often a text is in what the process printed.
func (p *process) logged(t *testing.T, text string) int {
	t.Helper()
	log, err := os.ReadFile(p.log)
	require.NoError(t, err)
	return strings.Count(string(log), text)
}

// parent returns the parent of a process; 0 when there is no such process, or it has ended and nobody has looked yet.
func parent(pid int) int {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')'):]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 2 || fields[0] == "Z" {
		return 0
	}
	ppid, _ := strconv.Atoi(fields[1])
	return ppid
}

// children returns the processes that p has started itself.
func (p *process) children(t *testing.T) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	require.NoError(t, err)
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && parent(pid) == p.cmd.Process.Pid {
			pids = append(pids, pid)
		}
	}
	return pids
}

// kill ends one child of p. The handle is taken before the look at whose child it is, so that no other process is meant.
func (p *process) kill(t *testing.T, child int) {
	t.Helper()
	handle, err := os.FindProcess(child)
	require.NoError(t, err)
	defer func() { _ = handle.Release() }()
	if parent(child) == p.cmd.Process.Pid {
		_ = handle.Kill()
	}
}
