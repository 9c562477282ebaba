package sshrun

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ncnkit/lifecycle"
	"golang.org/x/crypto/ssh"
)

var (
	errRunnerClosed = errors.New("the Runner was closed")
	errGone         = errors.New("the connection was lost")
	errUnusable     = errors.New("the connection is of no use")
)

// missedKeepAlives is how many intervals a keep-alive may stay unanswered.
const missedKeepAlives = 3

// target holds what is remembered of one peer.
type target struct {
	dialing chan struct{} // held while a connection is chosen or made

	// Guarded by Runner.mu.
	conn    *conn
	retired []*conn // with commands that still run on them
}

// conn is one authenticated connection.
type conn struct {
	client *ssh.Client
	key    ssh.PublicKey // of the host
	slots  chan struct{} // one per session that may be open
	dead   chan struct{} // closed when the connection has ended

	mu      sync.Mutex
	cause   error // why it was closed from here
	known   bool  // the key was accepted by known_hosts or a CA, not only by a command's own keys
	retired bool  // takes no more sessions; closes when the last one ends
	users   int
}

// close ends the connection. The first cause counts.
func (c *conn) close(cause error) {
	c.mu.Lock()
	if c.cause == nil {
		c.cause = cause
	}
	c.mu.Unlock()
	_ = c.client.Close()
}

// why tells how the connection ended.
func (c *conn) why() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return c.cause
	}
	return errGone
}

func (c *conn) gone() bool {
	select {
	case <-c.dead:
		return true
	default:
		return false
	}
}

// enter counts a user, unless the connection takes none any more.
func (c *conn) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.retired || c.gone() {
		return false
	}
	c.users++
	return true
}

func (c *conn) leave() {
	c.mu.Lock()
	c.users--
	last := c.retired && c.users == 0
	c.mu.Unlock()
	if last {
		c.close(errGone)
	}
}

func (c *conn) retire() {
	c.mu.Lock()
	c.retired = true
	idle := c.users == 0
	c.mu.Unlock()
	if idle {
		c.close(errGone)
	}
}

func (c *conn) isKnown() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known
}

// accepts reports whether the connection may serve a call with this trust.
func (c *conn) accepts(t *trust) bool {
	if t.check(c.key) != nil {
		return false
	}
	if len(t.pins) == 0 {
		c.mu.Lock()
		c.known = true
		c.mu.Unlock()
	}
	return true
}

func (r *Runner) target(p peer) *target {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.targets[p.key()]
	if t == nil {
		t = &target{dialing: make(chan struct{}, 1)}
		r.targets[p.key()] = t
	}
	return t
}

// connect returns a connection that the call may use, entered, and whether it was made just now.
func (r *Runner) connect(ctx context.Context, p peer, pins []ssh.PublicKey) (c *conn, fresh bool, err error) {
	t := r.target(p)
	select {
	case t.dialing <- struct{}{}:
		defer func() { <-t.dialing }()
	case <-ctx.Done():
		return nil, false, p.ended(ctx, "waiting while another call connects")
	}
	r.mu.Lock()
	c = t.conn
	r.mu.Unlock()
	if c != nil && len(pins) == 0 && c.isKnown() && c.enter() {
		return c, false, nil
	}
	tr, err := r.trustFor(p, pins)
	if err != nil {
		return nil, false, err
	}
	if c != nil {
		if c.accepts(tr) && c.enter() {
			return c, false, nil
		}
		r.drop(t, c)
	}
	if c, err = r.dial(ctx, p, tr); err != nil {
		return nil, false, err
	}
	r.mu.Lock()
	closed := r.closed
	if !closed {
		t.conn = c
		c.users++
	}
	r.mu.Unlock()
	if closed {
		c.close(errRunnerClosed)
		return nil, false, p.errorf(lifecycle.Invalid, "%w; nothing was run", errRunnerClosed)
	}
	return c, true, nil
}

// drop takes c out of use. Commands that run on it go on.
func (r *Runner) drop(t *target, c *conn) {
	r.mu.Lock()
	if t.conn == c {
		t.conn = nil
	}
	t.retired = slices.DeleteFunc(t.retired, func(old *conn) bool { return old.gone() })
	if !c.gone() {
		t.retired = append(t.retired, c)
	}
	r.mu.Unlock()
	c.retire()
}

// dial makes a connection within the time-out.
func (r *Runner) dial(ctx context.Context, p peer, tr *trust) (*conn, error) {
	dialing, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	defer context.AfterFunc(r.base, cancel)()
	user, signers, err := r.identity(dialing, p)
	if err != nil {
		return nil, err
	}
	transport, err := r.cfg.Dial(dialing, "tcp", p.address())
	if err != nil {
		if ctx.Err() != nil {
			return nil, p.ended(ctx, "connecting")
		}
		return nil, p.errorf(lifecycle.Unavailable, "%w; nothing was run: is the node up, and does sshd listen there?", err)
	}
	c, err := r.handshake(dialing, p, tr, transport, user, signers)
	if err != nil {
		if ctx.Err() != nil {
			return nil, p.ended(ctx, "connecting")
		}
		return nil, err
	}
	return c, nil
}

// handshake turns a transport into a connection that is looked after until it ends.
func (r *Runner) handshake(ctx context.Context, p peer, tr *trust, transport net.Conn, user string, signers []ssh.Signer) (*conn, error) {
	c := &conn{slots: make(chan struct{}, r.cfg.MaxSessions), dead: make(chan struct{}), known: len(tr.pins) == 0}
	var refused error
	checkKey := func(_ string, _ net.Addr, key ssh.PublicKey) error {
		if c.key == nil {
			c.key, refused = key, tr.check(key)
			return refused
		}
		if !sameKey(c.key, key) { // when keys are exchanged again, after an hour or a gigabyte
			return errors.New("sshrun: the host changed its key within a connection")
		}
		return nil
	}
	config := &ssh.ClientConfig{
		Config: ssh.Config{Ciphers: r.cfg.Ciphers},
		User:   user,
		Auth:   []ssh.AuthMethod{ssh.PublicKeys(signers...)},

		HostKeyCallback:   checkKey,
		HostKeyAlgorithms: tr.algorithms(),
	}
	end := &oneEnd{Conn: transport}
	transport = end
	stop := context.AfterFunc(ctx, func() { _ = transport.Close() })
	sc, chans, reqs, err := ssh.NewClientConn(transport, p.address(), config)
	switch {
	case !stop() && err == nil:
		_ = sc.Close()
		return nil, p.errorf(lifecycle.Unavailable, "no SSH handshake within %v; nothing was run", r.cfg.Timeout)
	case refused != nil:
		return nil, refused
	case err != nil:
		return nil, r.explain(ctx, p, user, c.key != nil, err)
	}
	c.client = ssh.NewClient(sc, chans, reqs)
	end.over.Store(c.client)
	r.wg.Go(func() {
		_ = c.client.Wait()
		close(c.dead)
	})
	r.wg.Go(func() { c.keepAlive(r.cfg.KeepAlive) })
	return c, nil
}

// begin counts a call that Close waits for, unless the Runner is closed. Only calls start goroutines.
func (r *Runner) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.wg.Add(1)
	return true
}

// explain finds the kind of a failed handshake. The ssh package has no types for these, so the text decides.
func (r *Runner) explain(ctx context.Context, p peer, user string, hostAccepted bool, err error) error {
	text := err.Error()
	switch {
	case hostAccepted && (strings.Contains(text, "unable to authenticate") || strings.Contains(text, "disconnect, reason 2:") ||
		strings.Contains(text, "disconnect, reason 14:")):
		return p.errorf(lifecycle.Unauthenticated, "%s does not let us in as %s, nothing was run: %w; add our public key to that "+
			"user's authorized_keys there", p.address(), user, err)
	case ctx.Err() != nil:
		return p.errorf(lifecycle.Unavailable, "no SSH handshake with %s within %v; nothing was run", p.address(), r.cfg.Timeout)
	default:
		return p.errorf(lifecycle.Unavailable, "%s: %w; nothing was run: is the node up?", p.address(), err)
	}
}

// keepAlive closes the connection when the peer leaves keep-alives unanswered, which no error of TCP tells in time.
func (c *conn) keepAlive(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-c.dead:
			return
		}
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			_, _, _ = c.client.SendRequest("keepalive@openssh.com", true, nil)
		}()
		patience := time.NewTimer(missedKeepAlives * every)
		select {
		case <-answered:
			patience.Stop()
		case <-patience.C:
			c.close(fmt.Errorf("the node answered no keep-alive for %v", missedKeepAlives*every))
			<-answered
			return
		}
	}
}

// oneEnd is a transport whose writers learn of its end before its reader does. x/crypto/ssh (v0.58.0, handshake.go,
// readLoop and writePacket) tells the reader first, and swallows the first error of a write: a channel that is opened in
// between is never answered.
type oneEnd struct {
	net.Conn
	over atomic.Pointer[ssh.Client]
}

func (o *oneEnd) Read(p []byte) (int, error) {
	n, err := o.Conn.Read(p)
	if err != nil {
		_ = o.Conn.Close()
		if client := o.over.Load(); client != nil {
			_, _, _ = client.SendRequest("keepalive@openssh.com", false, nil) // fails, and is remembered
		}
	}
	return n, err
}
