package sshrun_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// key returns the key that belongs to a seed.
func key(t testing.TB, seed string) ssh.Signer {
	t.Helper()
	sum := sha256.Sum256([]byte(seed))
	s, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(sum[:]))
	require.NoError(t, err)
	return s
}

func rsaKey(t testing.TB) ssh.Signer {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	s, err := ssh.NewSignerFromKey(k)
	require.NoError(t, err)
	return s
}

func ecdsaKey(t testing.TB) ssh.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	s, err := ssh.NewSignerFromKey(k)
	require.NoError(t, err)
	return s
}

func line(k ssh.Signer) string {
	return string(ssh.MarshalAuthorizedKey(k.PublicKey()))
}

// server is an SSH server for odd cases: what a session does is the test's.
type server struct {
	t        *testing.T
	addr     string
	hostKeys []ssh.Signer
	us       ssh.PublicKey
	session  func(ch ssh.Channel, script string, in *request)
	accept   func(n int, offered ssh.NewChannel) bool // nil: all
	mute     bool                                     // leaves global requests unanswered
	wrap     func(net.Conn) net.Conn

	mu    sync.Mutex
	texts map[string]int // exec strings that were seen
	dials int
	ended int // connections that have ended
	auths int
	conns []net.Conn
	wg    sync.WaitGroup
}

// request is what a session can do besides writing.
type request struct {
	ch   ssh.Channel
	conn net.Conn
}

func (r *request) exit(status int) {
	_, _ = r.ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(status)}))
}

// listen starts the server on loopback.
func (s *server) listen(t *testing.T) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s.addr = l.Addr().String()
	s.init(t)
	s.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() { s.serve(c) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); s.cutAll(); s.wg.Wait() })
	return s
}

func (s *server) init(t *testing.T) {
	s.t, s.texts = t, map[string]int{}
	if s.hostKeys == nil {
		s.hostKeys = []ssh.Signer{key(t, "host")}
	}
	if s.us == nil {
		s.us = key(t, "us").PublicKey()
	}
}

func (s *server) cutAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
}

func (s *server) serve(c net.Conn) {
	if s.wrap != nil {
		c = s.wrap(c)
	}
	s.mu.Lock()
	s.conns = append(s.conns, c)
	s.dials++
	s.mu.Unlock()
	defer func() { _ = c.Close() }()
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
		s.mu.Lock()
		s.auths++
		s.mu.Unlock()
		if string(k.Marshal()) != string(s.us.Marshal()) {
			return nil, fmt.Errorf("no")
		}
		return nil, nil
	}}
	for _, k := range s.hostKeys {
		config.AddHostKey(k)
	}
	_, channels, requests, err := ssh.NewServerConn(c, config)
	if err != nil {
		return
	}
	s.wg.Go(func() {
		for req := range requests {
			if !s.mute && req.WantReply {
				_ = req.Reply(false, nil)
			}
		}
	})
	defer func() { s.mu.Lock(); s.ended++; s.mu.Unlock() }()
	n := 0
	for offered := range channels {
		n++
		if s.accept != nil && !s.accept(n, offered) {
			_ = offered.Reject(ssh.ConnectionFailed, "open failed")
			continue
		}
		ch, reqs, err := offered.Accept()
		if err != nil {
			return
		}
		s.wg.Go(func() { s.converse(c, ch, reqs) })
	}
}

func (s *server) converse(c net.Conn, ch ssh.Channel, reqs <-chan *ssh.Request) {
	defer func() { _ = ch.Close() }()
	for req := range reqs {
		if req.Type != "exec" {
			_ = req.Reply(false, nil)
			continue
		}
		var msg struct{ Command string }
		_ = ssh.Unmarshal(req.Payload, &msg)
		s.mu.Lock()
		s.texts[msg.Command]++
		s.mu.Unlock()
		if msg.Command == "refuse me" {
			_ = req.Reply(false, nil)
			continue
		}
		_ = req.Reply(true, nil)
		s.wg.Go(func() { ssh.DiscardRequests(reqs) })
		s.session(ch, msg.Command, &request{ch, c})
		return
	}
}

func (s *server) count() (dials, auths int, texts map[string]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	texts = map[string]int{}
	for k, v := range s.texts {
		texts[k] = v
	}
	return s.dials, s.auths, texts
}

func (s *server) node() lifecycle.Node { return lifecycle.Node{Name: "ncn-w001", Addr: s.addr} }

// echo is a session that returns its input.
func echo(ch ssh.Channel, _ string, r *request) {
	_, _ = io.Copy(ch, ch)
	_ = ch.CloseWrite()
	r.exit(0)
}

func cmd(script string, args ...string) lifecycle.Command {
	return lifecycle.Command{Name: "test", Script: script, Args: args}
}
