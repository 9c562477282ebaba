package ipmi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/bougou/go-ipmi/pkg/client"
	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/power"
)

// patience is how long the answers to session setup and to questions are waited for, try after try. A try of session
// setup has a socket of its own, so that a late answer to the last one cannot be taken for one to this.
var patience = []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}

// session is one session with one BMC. It belongs to one goroutine.
type session struct {
	client *client.Client
	wire   *wire
}

// within runs f in a session with the BMC, on its turn.
func (c *Controller) within(ctx context.Context, op string, bmc power.BMC, f func(context.Context, *session) error) error {
	p, err := c.peer(op, bmc)
	if err != nil {
		return err
	}
	if err := p.acquire(ctx); err != nil {
		return ended(err, op, bmc, "wait for the end of another operation on this BMC")
	}
	defer p.release()
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()

	s, err := c.login(ctx, op, bmc, p)
	if err != nil {
		if caller.Err() != nil {
			return ended(caller.Err(), op, bmc, "open a session")
		}
		return err
	}
	defer s.close(ctx)
	return f(ctx, s)
}

// ended is the error for a context that ended before anything was sent that matters.
func ended(err error, op string, bmc power.BMC, what string) error {
	kind := lifecycle.Unavailable
	if errors.Is(err, context.Canceled) {
		kind = lifecycle.Canceled
	}
	return lifecycle.Errorf(kind, op, bmc.String(), "no time left to %s: %w", what, err)
}

// login opens a session with the credential at hand, and when that is refused with a newer one, if there is.
func (c *Controller) login(ctx context.Context, op string, bmc power.BMC, p *peer) (*session, error) {
	known := p.credName != ""
	cred, err := c.credential(ctx, op, bmc, p, false)
	if err != nil {
		return nil, err
	}
	s, err := c.open(ctx, op, bmc, p, cred)
	if lifecycle.KindOf(err) != lifecycle.Unauthenticated {
		return s, err
	}
	p.credName = "" // never the refused one again without asking
	if !known {
		return nil, err
	}
	newer, credErr := c.credential(ctx, op, bmc, p, true)
	if credErr != nil || newer == cred {
		return nil, err // one more refusal, and the BMC may lock the user out
	}
	s, err = c.open(ctx, op, bmc, p, newer)
	if lifecycle.KindOf(err) == lifecycle.Unauthenticated {
		p.credName = ""
	}
	return s, err
}

// open opens a session with the suite that worked last, or the first that the BMC accepts.
func (c *Controller) open(ctx context.Context, op string, bmc power.BMC, p *peer, cred lifecycle.Credential) (*session, error) {
	suites := c.cfg.CipherSuites
	if p.suite != 0 {
		suites = slices.Concat([]int{p.suite}, slices.DeleteFunc(slices.Clone(suites), func(id int) bool { return id == p.suite }))
	}
	var last error
	for _, d := range patience {
		for _, suite := range suites {
			s, err := c.connect(ctx, op, bmc, p.addr, cred, suite, d)
			switch {
			case err == nil:
				p.suite = suite
				return s, nil
			case errors.Is(err, errSuite):
				last = err
				continue // the BMC answered that it does not know this one
			case !errors.Is(err, errSilent) || ctx.Err() != nil:
				return nil, err
			}
			last = err
			break
		}
		if errors.Is(last, errSuite) {
			return nil, last
		}
	}
	return nil, last
}

var (
	errSilent = errors.New("no answer")
	errSuite  = errors.New("cipher suite refused")
)

// connect makes one try to open a session. Whatever becomes of it, no socket and no goroutine stays behind.
func (c *Controller) connect(
	ctx context.Context, op string, bmc power.BMC, addr string, cred lifecycle.Credential, suite int, d time.Duration,
) (*session, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "udp", addr)
	if err != nil {
		return nil, lifecycle.Errorf(lifecycle.Unavailable, op, bmc.String(), "reach the BMC at %s: %w", addr, err)
	}
	s, err := newSession(conn, cred, suite, privileges[c.cfg.Privilege])
	if err != nil {
		_ = conn.Close()
		return nil, lifecycle.Errorf(lifecycle.Invalid, op, bmc.String(), "%w", err)
	}
	s.client.WithTimeout(d)
	if err := s.call(ctx, s.client.Connect); err != nil {
		s.close(ctx)
		return nil, s.wire.refused(op, bmc, addr, cred.Username, suite, err)
	}
	return s, nil
}

func newSession(conn net.Conn, cred lifecycle.Credential, suite int, level types.PrivilegeLevel) (*session, error) {
	id := types.CipherSuiteID(suite)
	auth, integrity, _, ok := types.GetCipherSuiteAlgorithms(id)
	if !ok {
		return nil, fmt.Errorf("go-ipmi does not know cipher suite %d", suite)
	}
	cl, err := client.NewClient("", 0, cred.Username, cred.Password.Reveal())
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: conn, auth: auth, integrity: integrity, password: cred.Password.Reveal()}
	w.parse = func(p []byte) { _ = cl.ParseRmcpResponse(context.Background(), p, types.CommandNone, discard{}) }
	// No retransmission by the library: it would repeat commands, and confuse session setup.
	cl.WithUDPProxy(w).WithRetry(0).WithCipherSuiteID(id).WithMaxPrivilegeLevel(level)
	return &session{client: cl, wire: w}, nil
}

// discard is a response that takes anything.
type discard struct{}

func (discard) Unpack([]byte) error { return nil }
func (discard) Format() string      { return "" }

// call runs one exchange of the library: a panic becomes an error, and the end of ctx ends it at once.
func (s *session) call(ctx context.Context, exchange func(context.Context) error) (err error) {
	number := s.wire.next()
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("go-ipmi gave up on the BMC's answer: %v", r)
		}
		if ctx.Err() != nil {
			s.wire.abandon(number)
		}
	}()
	return exchange(ctx)
}

// ask puts a question that changes nothing, again when no answer comes.
func (s *session) ask(ctx context.Context, question func(context.Context) error) (err error) {
	for _, d := range patience {
		s.client.WithTimeout(d)
		err = s.call(ctx, question)
		if _, answered := codeOf(err); err == nil || answered || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// tell sends a command that changes something, once. With an error, sent reports whether it has left.
func (s *session) tell(ctx context.Context, command func(context.Context) error) (sent bool, err error) {
	number := s.wire.next()
	deadline, _ := ctx.Deadline() // within sets one
	s.client.WithTimeout(time.Until(deadline))
	err = s.call(ctx, command)
	return s.wire.revoke(number), err
}

// close ends the session, if there is one, and closes the socket. ctx may have ended; closing has a time of its own. A
// session that cannot be closed expires at the BMC after 60 seconds: that is no reason to fail what went well.
func (s *session) close(ctx context.Context) {
	if s.wire.up() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		_ = s.call(ctx, s.client.Close)
	}
	_ = s.wire.Conn.Close()
}
