package sshrun

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ncnkit/lifecycle"
	"golang.org/x/crypto/ssh"
)

// Run implements [lifecycle.Runner]. The exec request (RFC 4254, section 6.5) is cmd.Script as it stands; the node's
// login shell runs it. Standard input is cmd.Args, one line each, then cmd.Stdin, then its end. Without cmd.Stdout, up
// to 64 MiB of output are returned.
//
// The kinds of errors:
//
//   - [lifecycle.Invalid]: the command, the node or the configuration; nothing was run.
//   - [lifecycle.Denied]: the host's key is not accepted. [lifecycle.Unauthenticated]: our key is not. Nothing was run.
//   - [lifecycle.Unavailable]: the node was not reached, or its SSH server did not start the command. Nothing was run.
//   - [lifecycle.Canceled] or [lifecycle.Timeout]: ctx ended first. Nothing was run.
//   - [lifecycle.Internal] with [lifecycle.ExitError]: the command ran and ended with another status than 0.
//   - [lifecycle.Unknown]: the command was sent, and its end was not seen: the connection was lost, ctx ended, or
//     cmd.Stdin or cmd.Stdout failed. It may still be running. Look before doing anything again.
//
// When ctx ends Run returns at once, except while a Write to cmd.Stdout is in progress. The node's shell is not signalled;
// a command that goes on regardless costs its connection, which ends with the last of the other commands on it. A Read from cmd.Stdin that blocks
// may outlive Run; no further one begins.
func (r *Runner) Run(ctx context.Context, node lifecycle.Node, cmd lifecycle.Command) (lifecycle.Result, error) {
	p, err := r.peerOf("sshrun.Run", node)
	if err != nil {
		return lifecycle.Result{}, err
	}
	if !r.begin() {
		return lifecycle.Result{}, p.errorf(lifecycle.Invalid, "%w; nothing was run", errRunnerClosed)
	}
	defer r.wg.Done()
	if err := cmd.Check(); err != nil {
		return lifecycle.Result{}, lifecycle.Wrap(err, p.op, p.name)
	}
	pins, err := parseKeys(p, cmd.HostKeys)
	if err != nil {
		return lifecycle.Result{}, err
	}
	s, err := r.open(ctx, p, pins)
	if err != nil {
		return lifecycle.Result{}, err
	}
	return s.run(ctx, cmd)
}

// open returns a session. A remembered connection that turns out to be dead is replaced once: nothing was sent on it.
func (r *Runner) open(ctx context.Context, p peer, pins []ssh.PublicKey) (*session, error) {
	for {
		c, fresh, err := r.connect(ctx, p, pins)
		if err != nil {
			return nil, err
		}
		s, err := r.openOn(ctx, p, c)
		if err == nil {
			return s, nil
		}
		c.leave()
		if !errors.Is(err, errUnusable) {
			return nil, err
		}
		if fresh {
			return nil, p.errorf(lifecycle.Unavailable, "%w; nothing was run", err)
		}
		r.drop(r.target(p), c)
	}
}

// openOn waits for one of the connection's slots and opens a session in it. errUnusable in its error says that another
// connection may do better.
func (r *Runner) openOn(ctx context.Context, p peer, c *conn) (*session, error) {
	select {
	case c.slots <- struct{}{}:
	case <-c.dead:
		return nil, fmt.Errorf("%w: %w", errUnusable, c.why())
	case <-ctx.Done():
		return nil, p.ended(ctx, "waiting until one of the other commands on this node ends")
	}
	opening, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	for {
		ch, reqs, err := c.openChannel(opening)
		var refused *ssh.OpenChannelError
		switch {
		case err == nil:
			return &session{r: r, p: p, c: c, ch: ch, reqs: reqs}, nil
		case errors.As(err, &refused) && len(c.slots) > 1 && pause(opening, 20*time.Millisecond):
			continue // OpenSSH counts a session for a moment after its end
		}
		<-c.slots
		switch {
		case errors.As(err, &refused):
			return nil, p.errorf(lifecycle.Unavailable,
				"the SSH server opens no session: %w; nothing was run: see MaxSessions in its sshd_config", err)
		case ctx.Err() != nil:
			return nil, p.ended(ctx, "opening a session")
		case opening.Err() != nil:
			return nil, fmt.Errorf("%w: the SSH server opened no session within %v", errUnusable, r.cfg.Timeout)
		default:
			return nil, fmt.Errorf("%w: %w", errUnusable, c.why())
		}
	}
}

// openChannel opens a session channel. When ctx ends first, a channel that comes later is closed.
func (c *conn) openChannel(ctx context.Context) (ssh.Channel, <-chan *ssh.Request, error) {
	type opened struct {
		ch   ssh.Channel
		reqs <-chan *ssh.Request
		err  error
	}
	done := make(chan opened, 1)
	go func() {
		ch, reqs, err := c.client.OpenChannel("session", nil)
		done <- opened{ch, reqs, err}
	}()
	select {
	case o := <-done:
		return o.ch, o.reqs, o.err
	case <-ctx.Done():
		go func() {
			if o := <-done; o.err == nil {
				go ssh.DiscardRequests(o.reqs)
				_ = o.ch.Close()
			}
		}()
		return nil, nil, ctx.Err()
	}
}

// pause waits for d, and reports whether ctx is still good.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
