package itest_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/ncn/sshrun"
)

// sshd is Debian's OpenSSH server on a port of its own, with a configuration of its own.
type sshd struct {
	*process
	dir  string
	port string
	host ssh.Signer // its host key
	us   ssh.Signer // whom it lets in as root
}

func newKey(t *testing.T) (ed25519.PrivateKey, ssh.Signer) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	require.NoError(t, err)
	return private, signer
}

func line(key ssh.PublicKey) string { return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) }

// startSSHD starts a server; the lines of its configuration come first, so that they win.
func startSSHD(t *testing.T, lines ...string) *sshd {
	t.Helper()
	root(t)
	program(t, "sshd", "openssh-server")
	require.NoError(t, os.MkdirAll("/run/sshd", 0o755)) // compiled in; the package's service makes it at boot
	s := &sshd{dir: t.TempDir()}
	_, s.us = newKey(t)
	s.write(t, "authorized_keys", line(s.us.PublicKey())+"\n")
	s.newHostKey(t)
	s.write(t, "extra", strings.Join(lines, "\n")+"\n")
	s.start(t)
	return s
}

func (s *sshd) write(t *testing.T, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600))
}

// newHostKey gives the server another host key, from its next start on.
func (s *sshd) newHostKey(t *testing.T) {
	t.Helper()
	private, signer := newKey(t)
	block, err := ssh.MarshalPrivateKey(private, "")
	require.NoError(t, err)
	s.write(t, "host", string(pem.EncodeToMemory(block)))
	s.host = signer
}

// start starts the server, on the port that it had before if there is one. Root's own start-up files are none of its
// business: bash reads .bashrc for commands over SSH.
func (s *sshd) start(t *testing.T) {
	t.Helper()
	tries := 1
	if s.port == "" {
		tries = 3 // the port may be taken in the meantime
	}
	for try := range tries {
		if tries > 1 {
			s.port = freePort(t, "tcp")
		}
		s.write(t, "config", "Include "+s.dir+"/extra\nListenAddress 127.0.0.1:"+s.port+"\nHostKey "+s.dir+"/host\nAuthorizedKeysFile "+s.dir+`/authorized_keys
PidFile none
UsePAM no
UseDNS no
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitUserRC no
SetEnv HOME=`+s.dir+`
MaxStartups 100
LogLevel VERBOSE
`)
		log := filepath.Join(s.dir, fmt.Sprintf("log-%d-%d", time.Now().UnixNano(), try))
		s.process = start(t, log, program(t, "sshd", "openssh-server"), "-D", "-e", "-f", s.dir+"/config")
		soon(t, "sshd listens", func() bool { return s.gone() || s.logged(t, "Server listening on") > 0 })
		if !s.gone() {
			return
		}
	}
	text, _ := os.ReadFile(s.log)
	t.Fatalf("sshd does not start: %s", text)
}

// stop ends the server and its connections.
func (s *sshd) stop(t *testing.T) {
	t.Helper()
	connections := s.children(t)
	for _, pid := range connections {
		s.kill(t, pid)
	}
	s.process.stop(t)
	for _, pid := range connections {
		soon(t, "the connection's process has ended", func() bool { return parent(pid) == 0 })
	}
}

// accepted is how many connections were let in, began how many commands were begun.
func (s *sshd) accepted(t *testing.T) int {
	t.Helper()
	return s.logged(t, "Accepted publickey for root")
}
func (s *sshd) began(t *testing.T) int {
	t.Helper()
	return s.logged(t, "Starting session: command for root")
}

func (s *sshd) node() lifecycle.Node {
	return lifecycle.Node{Name: "ncn-w001", Addr: "127.0.0.1:" + s.port}
}

// knows writes a known_hosts file with that key for the server, and returns its path.
func (s *sshd) knows(t *testing.T, key ssh.PublicKey) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "known_hosts")
	require.NoError(t, os.WriteFile(path, []byte("[127.0.0.1]:"+s.port+" "+line(key)+"\n"), 0o600))
	return path
}

// runner returns a Runner that knows the server.
func (s *sshd) runner(t *testing.T, change ...func(*sshrun.Config)) *sshrun.Runner {
	t.Helper()
	cfg := sshrun.Config{Signers: []ssh.Signer{s.us}, KnownHosts: s.knows(t, s.host.PublicKey())}
	for _, f := range change {
		f(&cfg)
	}
	r := sshrun.New(cfg)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

var hello = lifecycle.Command{Name: "hello", Script: "echo hello"}

func greets(t *testing.T, r *sshrun.Runner, s *sshd) {
	t.Helper()
	out, err := r.Run(bounded(t), s.node(), hello)
	require.NoError(t, err)
	require.Equal(t, "hello\n", string(out.Stdout))
}

// What varies is data, whatever it looks like to root's login shell.
func TestSSHDArgumentsAreData(t *testing.T) {
	s := startSSHD(t)
	canary := filepath.Join(t.TempDir(), "canary")
	require.NoError(t, os.WriteFile(canary, []byte("alive"), 0o600))
	args := []string{
		"; rm -rf " + canary, "$(rm " + canary + ")", "`rm " + canary + "`", "' ; rm " + canary + " ; '", `" ; rm ` + canary + ` ; "`,
		"&& rm " + canary, "| rm " + canary, "> " + canary, "$HOME ${PATH} $1 $$", `'`, `"`, `\`, `\n \\ \0`, "*", "~", "!!", "#", "-n", "--help", "%s%d%n",
		"", " ", "  two  blanks  ", "\ttab\t", "carriage\r", "bell\a escape\x1b[31m", "größer 中文 🙂 \u202e", "\xff\xfe no UTF-8", strings.Repeat("x", 200_000),
	}
	rest := make([]byte, 1<<20)
	_, _ = mathrand.NewChaCha8([32]byte{1}).Read(rest)
	echo := lifecycle.Command{
		Name: "echo", Args: append([]string{strconv.Itoa(len(args))}, args...), Stdin: bytes.NewReader(rest),
		Script: `IFS= read -r count
while [ "$count" -gt 0 ]; do
  IFS= read -r arg
  count=$((count - 1))
  printf '%s\n' "$arg"
done
exec cat`,
	}
	out, err := s.runner(t).Run(bounded(t), s.node(), echo)
	require.NoError(t, err)
	want := strings.Join(args, "\n") + "\n" + string(rest)
	require.True(t, bytes.Equal([]byte(want), out.Stdout), "got %d bytes back that differ from the %d that were sent", len(out.Stdout), len(want))
	require.FileExists(t, canary)
	text, err := os.ReadFile(canary)
	require.NoError(t, err)
	require.Equal(t, "alive", string(text))
}

// How a command ended is told as the server tells it.
func TestSSHDExitStatus(t *testing.T) {
	s := startSSHD(t)
	r := s.runner(t)
	for script, want := range map[string]lifecycle.ExitError{
		"echo no >&2; exit 3":      {Status: 3, Stderr: "no\n"},
		"exec /nonexistent":        {Status: 127},
		"kill -KILL $$; sleep 10":  {Status: 137},
		"kill -TERM $$; sleep 10":  {Status: 143},
		"trap 'exit 7' HUP; false": {Status: 1},
	} {
		_, err := r.Run(bounded(t), s.node(), lifecycle.Command{Name: "status", Script: script})
		var exit *lifecycle.ExitError
		require.ErrorAs(t, err, &exit, script)
		require.Equal(t, want.Status, exit.Status, script)
		require.Contains(t, exit.Stderr, want.Stderr, script)
		require.Equal(t, lifecycle.Internal, lifecycle.KindOf(err))
	}
	require.Equal(t, 1, s.accepted(t), "one connection serves all")
}

// A host that is not known, or not by this key, gets neither our key nor a command; and a host that does not know us says so.
func TestSSHDTrust(t *testing.T) {
	s := startSSHD(t)
	_, stranger := newKey(t)
	nobody := filepath.Join(t.TempDir(), "known_hosts")
	require.NoError(t, os.WriteFile(nobody, nil, 0o600))
	for name, tt := range map[string]struct {
		change func(*sshrun.Config)
		pins   []string
		kind   lifecycle.Kind
		says   string
	}{
		"wrong key":    {func(c *sshrun.Config) { c.KnownHosts = s.knows(t, stranger.PublicKey()) }, nil, lifecycle.Denied, "key mismatch"},
		"unknown host": {func(c *sshrun.Config) { c.KnownHosts = nobody }, nil, lifecycle.Denied, "the host is unknown"},
		"no file":      {func(c *sshrun.Config) { c.KnownHosts = nobody + "-not" }, nil, lifecycle.Denied, "the host is unknown"},
		"wrong pin":    {func(*sshrun.Config) {}, []string{line(stranger.PublicKey())}, lifecycle.Denied, "none of the 1 keys"},
		"wrong user":   {func(c *sshrun.Config) { c.Signers = []ssh.Signer{stranger} }, nil, lifecycle.Unauthenticated, "authorized_keys"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := hello
			cmd.HostKeys = tt.pins
			_, err := s.runner(t, tt.change).Run(bounded(t), s.node(), cmd)
			require.Equal(t, tt.kind, lifecycle.KindOf(err), "%v", err)
			require.ErrorContains(t, err, tt.says)
		})
	}
	require.Zero(t, s.accepted(t))
	require.Zero(t, s.began(t))
	greets(t, s.runner(t), s)
}

// A node that was installed again has another host key: it is refused until that key is kept, and then only that is good.
func TestSSHDKeepHostKeys(t *testing.T) {
	s := startSSHD(t)
	known := s.knows(t, s.host.PublicKey())
	use := func(c *sshrun.Config) { c.KnownHosts = known }
	r := s.runner(t, use)
	greets(t, r, s)
	old := s.host.PublicKey()

	s.stop(t)
	s.newHostKey(t)
	s.start(t)
	soon(t, "the lost connection is noticed, and the new key refused", func() bool {
		_, err := r.Run(bounded(t), s.node(), hello)
		return lifecycle.KindOf(err) == lifecycle.Denied
	})
	require.Zero(t, s.began(t))

	announced := hello
	announced.HostKeys = []string{line(s.host.PublicKey())}
	_, err := r.Run(bounded(t), s.node(), announced)
	require.NoError(t, err, "the plan's own pin comes before the file")
	require.NoError(t, r.KeepHostKeys(bounded(t), s.node(), announced.HostKeys))
	greets(t, r, s)
	greets(t, s.runner(t, use), s) // another program that reads the file

	announced.HostKeys = []string{line(old)}
	_, err = r.Run(bounded(t), s.node(), announced)
	require.Equal(t, lifecycle.Denied, lifecycle.KindOf(err), "%v", err)
	text, err := os.ReadFile(known)
	require.NoError(t, err)
	require.NotContains(t, string(text), strings.Fields(line(old))[1])
}

// certify gives the server a certificate for its host key.
func (s *sshd) certify(t *testing.T, ca ssh.Signer, principal string, until time.Time) {
	t.Helper()
	cert := &ssh.Certificate{
		Key: s.host.PublicKey(), Serial: 1, CertType: ssh.HostCert, KeyId: "itest", ValidPrincipals: []string{principal},
		ValidAfter: uint64(time.Now().Add(-2 * time.Hour).Unix()), ValidBefore: uint64(until.Unix()),
	}
	require.NoError(t, cert.SignCert(rand.Reader, ca))
	s.write(t, "host-cert.pub", line(cert)+"\n")
}

func TestSSHDHostCertificates(t *testing.T) {
	_, ca := newKey(t)
	_, other := newKey(t)
	later := time.Now().Add(time.Hour)
	for name, tt := range map[string]struct {
		ca        ssh.Signer
		principal string
		until     time.Time
		kind      lifecycle.Kind
	}{
		"for the name":    {ca, "ncn-w001", later, ""},
		"for the address": {ca, "127.0.0.1", later, ""},
		"another host's":  {ca, "ncn-w002", later, lifecycle.Denied},
		"expired":         {ca, "ncn-w001", time.Now().Add(-time.Hour), lifecycle.Denied},
		"another CA's":    {other, "ncn-w001", later, lifecycle.Denied},
	} {
		t.Run(name, func(t *testing.T) {
			s := startSSHD(t)
			s.certify(t, tt.ca, tt.principal, tt.until)
			s.write(t, "extra", "HostCertificate "+s.dir+"/host-cert.pub\n")
			s.stop(t)
			s.start(t)
			r := s.runner(t, func(c *sshrun.Config) { c.KnownHosts, c.HostCAs = "", []ssh.PublicKey{ca.PublicKey()} })
			_, err := r.Run(bounded(t), s.node(), hello)
			require.Equal(t, tt.kind, lifecycle.KindOf(err), "%v", err)
		})
	}
}

// Commands share a connection, as many at a time as the server lets, and the rest wait their turn. That four of them run
// at once is proved by themselves: each waits for three others.
func TestSSHDParallelCommands(t *testing.T) {
	for _, sessions := range []int{4, 8} { // as many as the server has, and more
		t.Run(fmt.Sprint(sessions), func(t *testing.T) {
			s := startSSHD(t, "MaxSessions 4")
			r := s.runner(t, func(c *sshrun.Config) { c.MaxSessions = sessions })
			meet := lifecycle.Command{Name: "meet", Script: `set -eu
IFS= read -r dir
IFS= read -r me
: >"$dir/$me"
tries=0
until [ "$(ls "$dir" | wc -l)" -ge 4 ]; do
  tries=$((tries + 1))
  [ "$tries" -lt 500 ]
  sleep 0.02
done
echo "$me"`}
			ctx, dir := bounded(t), t.TempDir()
			together(8, func(i int) error {
				cmd := meet
				cmd.Args = []string{dir, strconv.Itoa(i)}
				out, err := r.Run(ctx, s.node(), cmd)
				if err == nil && string(out.Stdout) != fmt.Sprintln(i) {
					err = fmt.Errorf("command %d printed %q", i, out.Stdout)
				}
				return err
			}, func(err error) { t.Error(err) })
			together(8, func(int) error { // sessions that come and go quickly
				for range 8 {
					if _, err := r.Run(ctx, s.node(), hello); err != nil {
						return err
					}
				}
				return nil
			}, func(err error) { t.Error(err) })
			require.Equal(t, 1, s.accepted(t))
			require.Equal(t, 8+8*8, s.began(t))
		})
	}
}

// together runs do n times at once, and reports what fails.
func together(n int, do func(i int) error, fail func(error)) {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = do(i) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			fail(err)
		}
	}
}

// lines is a writer that hands on whole lines.
type lines struct {
	text bytes.Buffer
	out  chan string
}

func (l *lines) Write(p []byte) (int, error) {
	l.text.Write(p)
	for bytes.IndexByte(l.text.Bytes(), '\n') >= 0 {
		text, _ := l.text.ReadString('\n')
		l.out <- strings.TrimSpace(text)
	}
	return len(p), nil
}

// A connection whose server dies in the middle of a command leaves its outcome unknown. The command is not sent again;
// the next one gets a new connection.
func TestSSHDSessionIsKilled(t *testing.T) {
	s := startSSHD(t)
	r := s.runner(t)
	runs := filepath.Join(t.TempDir(), "runs")
	stdin, held := io.Pipe()
	defer held.Close()
	told := &lines{out: make(chan string, 1)}
	failed := make(chan error, 1)
	ctx := bounded(t)
	go func() {
		_, err := r.Run(ctx, s.node(), lifecycle.Command{
			Name: "held", Args: []string{runs}, Stdin: stdin, Stdout: told,
			Script: `IFS= read -r file; echo run >>"$file"; echo $PPID; exec cat`,
		})
		failed <- err
	}()
	var session int
	select {
	case text := <-told.out:
		var err error
		session, err = strconv.Atoi(text)
		require.NoError(t, err)
	case err := <-failed:
		t.Fatalf("the command ended early: %v", err)
	}
	require.Contains(t, s.children(t), session, "the shell's parent is the connection's own process")
	s.kill(t, session)
	err := wait(t, ctx, failed)
	require.Equal(t, lifecycle.Unknown, lifecycle.KindOf(err), "%v", err)
	greets(t, r, s)
	text, err := os.ReadFile(runs)
	require.NoError(t, err)
	require.Equal(t, "run\n", string(text))
	require.Equal(t, 2, s.began(t))
	require.Equal(t, 2, s.accepted(t))
}

func wait(t *testing.T, ctx context.Context, failed <-chan error) error {
	t.Helper()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		t.Fatal("the command does not end")
		return nil
	}
}

// A server that is not there is Unavailable, also to a Runner that has just talked to it: nothing was sent.
func TestSSHDStopped(t *testing.T) {
	s := startSSHD(t)
	r := s.runner(t)
	greets(t, r, s)
	s.stop(t)
	_, err := r.Run(bounded(t), s.node(), hello)
	require.Equal(t, lifecycle.Unavailable, lifecycle.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "nothing was run")
	s.start(t)
	greets(t, r, s)
}

// A context that ends while a command runs leaves its outcome unknown, and the connection in use.
func TestSSHDDeadline(t *testing.T) {
	s := startSSHD(t)
	r := s.runner(t)
	greets(t, r, s)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	stdin, held := io.Pipe()
	defer held.Close()
	_, err := r.Run(ctx, s.node(), lifecycle.Command{Name: "held", Script: "exec cat", Stdin: stdin})
	require.Equal(t, lifecycle.Unknown, lifecycle.KindOf(err), "%v", err)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	greets(t, r, s)
	require.Equal(t, 1, s.accepted(t))
}

func TestSSHDStreams(t *testing.T) {
	s := startSSHD(t)
	const size = 64 << 20
	sent, received := sha256.New(), sha256.New()
	counted := &counter{w: received}
	began := time.Now()
	_, err := s.runner(t).Run(bounded(t), s.node(), lifecycle.Command{
		Name: "stream", Script: "exec cat", Stdout: counted,
		Stdin: io.TeeReader(io.LimitReader(mathrand.NewChaCha8([32]byte{2}), size), sent),
	})
	require.NoError(t, err)
	require.EqualValues(t, size, counted.n)
	require.Equal(t, sent.Sum(nil), received.Sum(nil))
	t.Logf("64 MiB there and back: %.0f MiB/s", 64/time.Since(began).Seconds())
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return c.w.Write(p)
}
