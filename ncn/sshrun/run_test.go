package sshrun_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"hash"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/ncn/sshrun"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// client returns a Runner that knows the server's first host key.
func (s *server) client(t *testing.T, change ...func(*sshrun.Config)) *sshrun.Runner {
	t.Helper()
	cfg := sshrun.Config{Signers: []ssh.Signer{key(t, "us")}, KnownHosts: filepath.Join(t.TempDir(), "known_hosts")}
	for _, f := range change {
		f(&cfg)
	}
	r := sshrun.New(cfg)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	require.NoError(t, r.KeepHostKeys(t.Context(), s.node(), []string{line(s.hostKeys[0])}))
	return r
}

func TestRun(t *testing.T) {
	s := (&server{session: func(ch ssh.Channel, script string, r *request) {
		_, _ = io.Copy(ch, ch)
		_, _ = io.WriteString(ch.Stderr(), "on stderr")
		switch script {
		case "three":
			r.exit(3)
		case "signal":
			_, _ = ch.SendRequest("exit-signal", false, ssh.Marshal(struct {
				Signal string
				Core   bool
				Error  string
				Lang   string
			}{"KILL", false, "", ""}))
		case "none":
		default:
			r.exit(0)
		}
	}}).listen(t)
	r := s.client(t)

	t.Run("input is the arguments, then Stdin", func(t *testing.T) {
		c := cmd("ok", "; rm -rf /", `$(x) "q" 'p'`, "", "ünïcode 日本")
		c.Stdin = strings.NewReader("the rest")
		res, err := r.Run(deadline(t), s.node(), c)
		require.NoError(t, err)
		require.Equal(t, "; rm -rf /\n$(x) \"q\" 'p'\n\nünïcode 日本\nthe rest", string(res.Stdout))
		require.Equal(t, "on stderr", string(res.Stderr))
	})
	t.Run("Stdout", func(t *testing.T) {
		var out bytes.Buffer
		c := cmd("ok", "x")
		c.Stdout = &out
		res, err := r.Run(deadline(t), s.node(), c)
		require.NoError(t, err)
		require.Empty(t, res.Stdout)
		require.Equal(t, "x\n", out.String())
	})
	t.Run("status", func(t *testing.T) {
		res, err := r.Run(deadline(t), s.node(), cmd("three", "x"))
		require.Equal(t, lifecycle.Internal, lifecycle.KindOf(err))
		var exit *lifecycle.ExitError
		require.ErrorAs(t, err, &exit)
		require.Equal(t, lifecycle.ExitError{Command: "test", Status: 3, Stderr: "on stderr"}, *exit)
		require.Equal(t, "x\n", string(res.Stdout))
	})
	t.Run("signal", func(t *testing.T) {
		_, err := r.Run(deadline(t), s.node(), cmd("signal"))
		var exit *lifecycle.ExitError
		require.ErrorAs(t, err, &exit)
		require.Equal(t, 137, exit.Status)
		require.Contains(t, exit.Stderr, "KILL")
	})
	t.Run("no status", func(t *testing.T) {
		_, err := r.Run(deadline(t), s.node(), cmd("none"))
		require.ErrorIs(t, err, lifecycle.Unknown)
		var missing *ssh.ExitMissingError
		require.ErrorAs(t, err, &missing)
	})
	t.Run("refused", func(t *testing.T) {
		_, err := r.Run(deadline(t), s.node(), cmd("refuse me"))
		require.ErrorIs(t, err, lifecycle.Unavailable)
	})
	dials, _, _ := s.count()
	require.Equal(t, 1, dials, "one connection serves all")
}

func TestInvalid(t *testing.T) {
	us := key(t, "us")
	known := filepath.Join(t.TempDir(), "known_hosts")
	bad := filepath.Join(t.TempDir(), "bad")
	require.NoError(t, os.WriteFile(bad, []byte("garbage\n"), 0o600))
	good := sshrun.Config{Signers: []ssh.Signer{us}, KnownHosts: known}
	with := func(f func(*sshrun.Config)) sshrun.Config { c := good; f(&c); return c }
	node := lifecycle.Node{Name: "ncn-w001", Addr: "127.0.0.1:1"}
	tests := map[string]struct {
		cfg  sshrun.Config
		node lifecycle.Node
		cmd  lifecycle.Command
	}{
		"no key":            {sshrun.Config{KnownHosts: known}, node, cmd("x")},
		"no trust":          {sshrun.Config{Signers: []ssh.Signer{us}}, node, cmd("x")},
		"missing key file":  {with(func(c *sshrun.Config) { c.KeyFile = known + ".none" }), node, cmd("x")},
		"bad key file":      {with(func(c *sshrun.Config) { c.KeyFile = bad }), node, cmd("x")},
		"bad known hosts":   {with(func(c *sshrun.Config) { c.KnownHosts = bad }), node, cmd("x")},
		"no script":         {good, node, cmd("")},
		"newline":           {good, node, cmd("x", "a\nb")},
		"hostile name":      {good, lifecycle.Node{Name: "; rm -rf /"}, cmd("x")},
		"long name":         {good, lifecycle.Node{Name: strings.Repeat("a", 300)}, cmd("x")},
		"option as name":    {good, lifecycle.Node{Name: "-oProxyCommand=x"}, cmd("x")},
		"newline in name":   {good, lifecycle.Node{Name: "a\nb"}, cmd("x")},
		"hostile address":   {good, lifecycle.Node{Name: "a", Addr: "$(x)"}, cmd("x")},
		"option as address": {good, lifecycle.Node{Name: "a", Addr: "-oProxyCommand=x"}, cmd("x")},
		"comma in address":  {good, lifecycle.Node{Name: "a", Addr: "b,c"}, cmd("x")},
		"bad port":          {good, lifecycle.Node{Name: "a", Addr: "b:ssh"}, cmd("x")},
		"port 0":            {good, lifecycle.Node{Name: "a", Addr: "b:0"}, cmd("x")},
		"bad pin":           {good, node, lifecycle.Command{Name: "x", Script: "x", HostKeys: []string{"nonsense"}}},
		"two pins in one":   {good, node, lifecycle.Command{Name: "x", Script: "x", HostKeys: []string{line(us) + line(us)}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.cfg.Dial = func(context.Context, string, string) (net.Conn, error) {
				return nil, errors.New("it must not come to dialling")
			}
			r := sshrun.New(tt.cfg)
			_, err := r.Run(deadline(t), tt.node, tt.cmd)
			require.ErrorIs(t, err, lifecycle.Invalid)
			require.NoError(t, r.Close())
			_, err = r.Run(deadline(t), node, cmd("x"))
			require.ErrorIs(t, err, lifecycle.Invalid, "after Close")
		})
	}
}

// TestKeysFromFileAndCredentials logs in with an encrypted key file, and with a key that rotates in Credentials.
func TestKeysFromFileAndCredentials(t *testing.T) {
	const passphrase = "canary-passphrase"
	sum := sha256.Sum256([]byte("us"))
	private := ed25519Key(sum[:])
	plain, err := ssh.MarshalPrivateKey(private, "")
	require.NoError(t, err)
	encrypted, err := ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "id")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(encrypted), 0o600))
	s := (&server{session: echo}).listen(t)

	r := s.client(t, func(c *sshrun.Config) {
		c.Signers, c.KeyFile, c.Passphrase = nil, file, lifecycle.NewSecret(passphrase)
	})
	_, err = r.Run(deadline(t), s.node(), cmd("x"))
	require.NoError(t, err)

	for _, wrong := range []lifecycle.Secret{{}, lifecycle.NewSecret("canary-other")} {
		r = s.client(t, func(c *sshrun.Config) { c.Signers, c.KeyFile, c.Passphrase = nil, file, wrong })
		_, err = r.Run(deadline(t), s.node(), cmd("x"))
		require.ErrorIs(t, err, lifecycle.Invalid)
		require.NotContains(t, err.Error(), "canary")
	}

	store := &credentials{pem: "canary-secret that is no key"}
	r = s.client(t, func(c *sshrun.Config) { c.Signers, c.Credentials = nil, store })
	_, err = r.Run(deadline(t), s.node(), cmd("x"))
	require.ErrorIs(t, err, lifecycle.Invalid)
	require.NotContains(t, err.Error(), "canary")
	store.pem = string(pem.EncodeToMemory(plain))
	_, err = r.Run(deadline(t), s.node(), cmd("x"))
	require.NoError(t, err)
	require.Equal(t, "ssh", store.asked)
}

type credentials struct{ pem, asked string }

func (c *credentials) Credential(_ context.Context, name string) (lifecycle.Credential, error) {
	c.asked = name
	return lifecycle.Credential{Username: "admin", Password: lifecycle.NewSecret(c.pem)}, nil
}

func TestOurKeyIsRefused(t *testing.T) {
	s := (&server{session: echo, us: key(t, "another").PublicKey()}).listen(t)
	_, err := s.client(t).Run(deadline(t), s.node(), cmd("x"))
	require.ErrorIs(t, err, lifecycle.Unauthenticated)
	require.Contains(t, err.Error(), "authorized_keys")
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	s := &server{addr: addr}
	s.init(t)
	_, err = s.client(t).Run(deadline(t), s.node(), cmd("x"))
	require.ErrorIs(t, err, lifecycle.Unavailable)

	closing := (&server{session: echo, wrap: func(c net.Conn) net.Conn { _ = c.Close(); return c }}).listen(t)
	_, err = closing.client(t).Run(deadline(t), closing.node(), cmd("x"))
	require.ErrorIs(t, err, lifecycle.Unavailable)

	done, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.client(t).Run(done, s.node(), cmd("x"))
	require.ErrorIs(t, err, lifecycle.Canceled)
}

func TestParallelCommandsShareAConnection(t *testing.T) {
	var open, most atomic.Int32
	opened, gate := make(chan struct{}, 8), make(chan struct{})
	s := (&server{session: func(_ ssh.Channel, _ string, r *request) {
		n := open.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		opened <- struct{}{}
		<-gate
		open.Add(-1)
		r.exit(0)
	}}).listen(t)
	r := s.client(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			_, err := r.Run(deadline(t), s.node(), cmd("x"))
			require.NoError(t, err)
		})
	}
	for range 4 {
		<-opened
	}
	close(gate)
	wg.Wait()
	dials, _, _ := s.count()
	require.Equal(t, 1, dials)
	require.EqualValues(t, 4, most.Load())
}

func TestAWaiterGivesUpWithItsContext(t *testing.T) {
	gate := make(chan struct{})
	started := make(chan struct{}, 1)
	s := (&server{session: func(_ ssh.Channel, _ string, r *request) { started <- struct{}{}; <-gate; r.exit(0) }}).listen(t)
	r := s.client(t, func(c *sshrun.Config) { c.MaxSessions = 1 })
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := r.Run(deadline(t), s.node(), cmd("x"))
		require.NoError(t, err)
	})
	<-started
	ctx, cancel := context.WithCancel(t.Context())
	cancelled := time.AfterFunc(10*time.Millisecond, cancel)
	defer cancelled.Stop()
	_, err := r.Run(ctx, s.node(), cmd("y"))
	require.Equal(t, lifecycle.Canceled, lifecycle.KindOf(err))
	close(gate)
	wg.Wait()
	_, _, texts := s.count()
	require.Equal(t, map[string]int{"x": 1}, texts)
}

// TestARefusedSessionIsRetriedWhileOthersRun is OpenSSH counting sessions a moment longer than we do.
func TestARefusedSessionIsRetriedWhileOthersRun(t *testing.T) {
	gate := make(chan struct{})
	started := make(chan struct{}, 2)
	s := (&server{
		session: func(_ ssh.Channel, _ string, r *request) { started <- struct{}{}; <-gate; r.exit(0) },
		accept:  func(n int, _ ssh.NewChannel) bool { return n != 2 && n != 3 },
	}).listen(t)
	r := s.client(t)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			_, err := r.Run(deadline(t), s.node(), cmd("x"))
			require.NoError(t, err)
		})
		<-started
	}
	close(gate)
	wg.Wait()

	s = (&server{session: echo, accept: func(int, ssh.NewChannel) bool { return false }}).listen(t)
	_, err := s.client(t).Run(deadline(t), s.node(), cmd("x"))
	require.ErrorIs(t, err, lifecycle.Unavailable, "nobody else runs: it would be refused for ever")
}

func TestACutMidCommandIsUnknown(t *testing.T) {
	s := (&server{session: func(ch ssh.Channel, script string, r *request) {
		_, _ = io.WriteString(ch, "some output")
		if script == "after status" {
			r.exit(0)
		}
		_ = r.conn.Close()
	}}).listen(t)
	r := s.client(t)
	for _, script := range []string{"before status", "after status"} {
		_, err := r.Run(deadline(t), s.node(), cmd(script))
		require.ErrorIs(t, err, lifecycle.Unknown, script)
	}
	_, _, texts := s.count()
	require.Equal(t, map[string]int{"before status": 1, "after status": 1}, texts, "what was sent is not sent again")
}

func TestADeadConnectionIsReplacedBeforeSending(t *testing.T) {
	s := (&server{session: echo}).listen(t)
	r := s.client(t)
	for want := 1; want <= 3; want++ {
		res, err := r.Run(deadline(t), s.node(), cmd("x", "y"))
		require.NoError(t, err)
		require.Equal(t, "y\n", string(res.Stdout))
		dials, _, _ := s.count()
		require.Equal(t, want, dials)
		s.cutAll()
	}
}

func TestBrokenStreamsAreUnknown(t *testing.T) {
	s := (&server{session: echo}).listen(t)
	r := s.client(t)

	c := cmd("x")
	c.Stdin = io.MultiReader(strings.NewReader("half"), brokenReader{})
	_, err := r.Run(deadline(t), s.node(), c)
	require.ErrorIs(t, err, lifecycle.Unknown)
	require.ErrorIs(t, err, errBroken)

	c = cmd("x", "y")
	c.Stdout = brokenWriter{}
	_, err = r.Run(deadline(t), s.node(), c)
	require.ErrorIs(t, err, lifecycle.Unknown)
	require.ErrorIs(t, err, errBroken)
}

var errBroken = errors.New("broken")

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errBroken }

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

// zeros is an endless input.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestOutputIsCapped(t *testing.T) {
	s := (&server{session: func(ch ssh.Channel, script string, r *request) {
		if script == "stderr" {
			_, _ = io.CopyN(ch.Stderr(), zeros{}, 1<<20)
			_, _ = io.WriteString(ch.Stderr(), "the end")
		} else {
			_, _ = io.CopyN(ch, zeros{}, 64<<20)
			if script == "more" {
				_, _ = ch.Write([]byte{1})
			}
		}
		r.exit(0)
	}}).listen(t)
	r := s.client(t)
	res, err := r.Run(deadline(t), s.node(), cmd("fits"))
	require.NoError(t, err)
	require.Len(t, res.Stdout, 64<<20)
	_, err = r.Run(deadline(t), s.node(), cmd("more"))
	require.ErrorIs(t, err, lifecycle.Unknown)
	require.Contains(t, err.Error(), "64 MiB")
	res, err = r.Run(deadline(t), s.node(), cmd("stderr"))
	require.NoError(t, err)
	require.Len(t, res.Stderr, 64<<10)
	require.True(t, bytes.HasSuffix(res.Stderr, []byte("the end")))
}

func TestStreamBothWays(t *testing.T) {
	s := (&server{session: echo}).listen(t)
	sent, received := sha256.New(), sha256.New()
	c := cmd("x")
	c.Stdin = io.TeeReader(io.LimitReader(&noise{h: sha256.New()}, 64<<20), sent)
	c.Stdout = received
	_, err := s.client(t).Run(deadline(t), s.node(), c)
	require.NoError(t, err)
	require.Equal(t, sent.Sum(nil), received.Sum(nil))
}

// noise is an endless input that does not repeat.
type noise struct{ h hash.Hash }

func (n *noise) Read(p []byte) (int, error) {
	n.h.Write([]byte{1})
	sum := n.h.Sum(nil)
	for i := range p {
		p[i] = sum[i%len(sum)] ^ byte(i/len(sum))
	}
	return len(p), nil
}

// TestStdinIsNotWaitedFor has a command end while its input blocks.
func TestStdinIsNotWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, r *sshrun.Runner) {
		reader, writer := io.Pipe()
		defer func() { _ = writer.Close() }()
		c := cmd("x")
		c.Stdin = reader
		_, err := r.Run(t.Context(), s.node(), c)
		require.NoError(t, err)
	}, func(_ ssh.Channel, _ string, r *request) { r.exit(0) })
}

// bubble runs a test with server and client in one synctest bubble, connected in memory.
func bubble(t *testing.T, test func(t *testing.T, s *server, r *sshrun.Runner), session func(ssh.Channel, string, *request), change ...func(*server)) {
	known := filepath.Join(t.TempDir(), "known_hosts")
	synctest.Test(t, func(t *testing.T) {
		s := &server{addr: "10.0.0.1:22", session: session}
		for _, f := range change {
			f(s)
		}
		s.init(t)
		r := sshrun.New(sshrun.Config{Signers: []ssh.Signer{key(t, "us")}, KnownHosts: known,
			Dial: func(context.Context, string, string) (net.Conn, error) {
				near, far := memPipe()
				s.wg.Go(func() { s.serve(far) })
				return near, nil
			}})
		require.NoError(t, r.KeepHostKeys(t.Context(), s.node(), []string{line(s.hostKeys[0])}))
		test(t, s, r)
		require.NoError(t, r.Close())
		s.cutAll()
		s.wg.Wait()
	})
}

func TestAHungPeerIsDetected(t *testing.T) {
	release := make(chan struct{})
	bubble(t, func(t *testing.T, s *server, r *sshrun.Runner) {
		defer close(release)
		begin := time.Now()
		_, err := r.Run(t.Context(), s.node(), cmd("x"))
		require.ErrorIs(t, err, lifecycle.Unknown)
		require.Contains(t, err.Error(), "no keep-alive for 45s")
		require.Equal(t, time.Minute, time.Since(begin))
	}, func(ssh.Channel, string, *request) { <-release }, func(s *server) { s.mute = true; release = make(chan struct{}) })
}

func TestALivePeerMayTakeItsTime(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, r *sshrun.Runner) {
		begin := time.Now()
		_, err := r.Run(t.Context(), s.node(), cmd("x"))
		require.NoError(t, err)
		require.Equal(t, 10*time.Hour, time.Since(begin))
	}, func(_ ssh.Channel, _ string, r *request) { time.Sleep(10 * time.Hour); r.exit(0) })
}

func TestTheContextEndsACommand(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, r *sshrun.Runner) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		begin := time.Now()
		_, err := r.Run(ctx, s.node(), cmd("x"))
		require.ErrorIs(t, err, lifecycle.Unknown)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 10*time.Minute, time.Since(begin))
		// The peer acknowledges the end of the session: the connection is still good.
		time.Sleep(time.Minute)
		_, err = r.Run(t.Context(), s.node(), cmd("quick"))
		require.NoError(t, err)
		dials, _, _ := s.count()
		require.Equal(t, 1, dials)
	}, func(_ ssh.Channel, script string, r *request) {
		if script == "x" {
			time.Sleep(10*time.Minute + time.Second)
		}
		r.exit(0)
	})
}

// TestAnAbandonedSessionThatIsNotAcknowledged gives up its connection: OpenSSH acknowledges the end of a session when its
// command ends, and a hung peer never does.
func TestAnAbandonedSessionThatIsNotAcknowledged(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, r *sshrun.Runner) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		begin := time.Now()
		_, err := r.Run(ctx, s.node(), cmd("stuck"))
		require.ErrorIs(t, err, lifecycle.Unknown)
		require.Equal(t, 5*time.Second, time.Since(begin))
		time.Sleep(3 * time.Second)
		s.mu.Lock()
		require.Equal(t, 1, s.ended, "nobody else used the connection")
		s.mu.Unlock()
		_, err = r.Run(t.Context(), s.node(), cmd("next"))
		require.NoError(t, err)
		require.Equal(t, 8*time.Second, time.Since(begin))
		dials, _, _ := s.count()
		require.Equal(t, 2, dials)
	}, func(_ ssh.Channel, script string, r *request) {
		if script == "stuck" {
			r.conn.(*freezer).frozen.Store(true)
			return
		}
		r.exit(0)
	}, func(s *server) {
		s.wrap = func(c net.Conn) net.Conn { return &freezer{Conn: c} }
	})
}

// freezer is a connection that, once frozen, lets nothing through but its end.
type freezer struct {
	net.Conn
	frozen atomic.Bool
}

func (f *freezer) Read(p []byte) (int, error) {
	for {
		n, err := f.Conn.Read(p)
		if err != nil || !f.frozen.Load() {
			return n, err
		}
	}
}

func (f *freezer) Write(p []byte) (int, error) {
	if f.frozen.Load() {
		return len(p), nil
	}
	return f.Conn.Write(p)
}

func TestAHandshakeThatHangsIsUnavailable(t *testing.T) {
	known := filepath.Join(t.TempDir(), "known_hosts")
	synctest.Test(t, func(t *testing.T) {
		r := sshrun.New(sshrun.Config{Signers: []ssh.Signer{key(t, "us")}, KnownHosts: known,
			Dial: func(context.Context, string, string) (net.Conn, error) {
				near, _ := memPipe()
				return near, nil
			}})
		begin := time.Now()
		_, err := r.Run(t.Context(), lifecycle.Node{Name: "ncn-w001"}, cmd("x"))
		require.ErrorIs(t, err, lifecycle.Unavailable)
		require.Equal(t, 10*time.Second, time.Since(begin))
		require.NoError(t, r.Close())
	})
}

// TestAPeerThatOpensNoSession loses its connection to another one.
func TestAPeerThatOpensNoSession(t *testing.T) {
	release := make(chan struct{})
	var first atomic.Bool
	bubble(t, func(t *testing.T, s *server, r *sshrun.Runner) {
		defer close(release)
		_, err := r.Run(t.Context(), s.node(), cmd("x"))
		require.NoError(t, err)
		first.Store(true)
		begin := time.Now()
		_, err = r.Run(t.Context(), s.node(), cmd("x"))
		require.NoError(t, err)
		require.Equal(t, 10*time.Second, time.Since(begin))
		dials, _, _ := s.count()
		require.Equal(t, 2, dials)
	}, func(_ ssh.Channel, _ string, r *request) { r.exit(0) }, func(s *server) {
		release = make(chan struct{})
		s.accept = func(int, ssh.NewChannel) bool {
			if first.CompareAndSwap(true, false) {
				<-release
			}
			return true
		}
	})
}

func TestCloseEndsCommands(t *testing.T) {
	started := make(chan struct{})
	s := (&server{session: func(ch ssh.Channel, _ string, r *request) { close(started); _, _ = io.Copy(io.Discard, ch) }}).listen(t)
	r := s.client(t)
	failed := make(chan error, 1)
	go func() {
		c := cmd("x")
		c.Stdin = blocked{t.Context()}
		_, err := r.Run(deadline(t), s.node(), c)
		failed <- err
	}()
	<-started
	require.NoError(t, r.Close())
	require.ErrorIs(t, <-failed, lifecycle.Unknown)
}

type blocked struct{ ctx context.Context }

func (b blocked) Read([]byte) (int, error) { <-b.ctx.Done(); return 0, io.EOF }
