package fakessh

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes"
	"golang.org/x/crypto/ssh"
)

// exitStatus is the error of a command that ended with another status than 0.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// exec runs one exec request, under the faults that are armed for it.
func (c *conn) exec(ch ssh.Channel, req *ssh.Request, text string) {
	sum := sha256.Sum256([]byte(text))
	first, _, _ := strings.Cut(text, "\n")
	e := Event{Type: Exec, Node: c.node, Remote: c.remote, Sum: hex.EncodeToString(sum[:]), FirstLine: first, Name: c.s.cfg.Names[text]}
	c.s.tell(e)

	x := &execution{c: c, ch: ch}
	ran := false
	err := c.s.cfg.Cluster.Intercept(c.alive, fakes.Call{Op: fakes.Exec, Host: c.node, Name: e.Name}, func(*fakes.Call) error {
		ran = true
		_ = req.Reply(true, nil)
		if status := x.run(text); status != 0 {
			return exitStatus(status)
		}
		return nil
	})
	var exit exitStatus
	status, cut := 0, false
	switch {
	case c.boot.Err() != nil:
		cut = true
	case errors.As(err, &exit):
		status = int(exit)
	case err == nil && !ran: // pretended
		_ = req.Reply(true, nil)
	case err == nil:
	case errors.Is(err, lifecycle.Unknown), c.alive.Err() != nil, ran:
		cut = true
	case errors.Is(err, lifecycle.Unavailable):
		_ = req.Reply(false, nil)
		status, cut = -1, false
	default:
		_ = req.Reply(true, nil)
		_, _ = fmt.Fprintf(ch.Stderr(), "sh: %v\n", err)
		status = 1
	}
	e.Type, e.Status, e.In, e.Out, e.Err = Exit, status, x.in.Load(), x.out.Load(), x.err.Load()
	if cut {
		e.Status = -1
	}
	c.s.tell(e)
	switch {
	case cut:
		c.cut()
	case status >= 0:
		_ = ch.CloseWrite()
		_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(status)}))
	}
}

// execution is the login shell of one exec request, and its three streams.
type execution struct {
	c            *conn
	ch           ssh.Channel
	in, out, err atomic.Int64
}

// run runs the text, and returns its exit status; what it returns after the boot's end means nothing.
func (x *execution) run(text string) int {
	stdin, feed, err := os.Pipe()
	if err != nil {
		_, _ = fmt.Fprintf(x.ch.Stderr(), "sh: %v\n", err)
		return 255
	}
	x.c.s.wg.Go(func() {
		defer func() { _ = feed.Close() }()
		_, _ = io.Copy(feed, &counted{r: x.ch, n: &x.in})
	})
	defer func() { _ = stdin.Close() }()
	sh := x.c.s.newShell(x.c.boot, x.c.machine)
	defer sh.end()
	return sh.run(program{name: "sh", text: text}, streams{
		in:  stdin,
		out: &pipe{w: x.ch, n: &x.out},
		err: &pipe{w: x.ch.Stderr(), n: &x.err},
	})
}

type counted struct {
	r io.Reader
	n *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// pipe is an end of standard output or error. Who writes to it when the other end is gone is killed, as by SIGPIPE.
type pipe struct {
	w      io.Writer
	n      *atomic.Int64
	broken atomic.Bool
}

func (p *pipe) Write(b []byte) (int, error) {
	n, err := p.w.Write(b)
	p.n.Add(int64(n))
	if err != nil {
		p.broken.Store(true)
	}
	return n, err
}

// sigpipe reports whether w is a pipe that nobody reads any more.
func sigpipe(w io.Writer) bool {
	p, ok := w.(*pipe)
	return ok && p.broken.Load()
}
