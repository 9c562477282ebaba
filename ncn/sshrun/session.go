package sshrun

import (
	"context"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ncnkit/lifecycle"
	"golang.org/x/crypto/ssh"
)

const (
	maxStdout = 64 << 20 // of output that is returned rather than streamed
	maxStderr = 64 << 10 // of standard error that is kept: the last part

	// grace is how long the peer has to acknowledge the end of an abandoned session before its connection takes no more
	// commands, and how long a Read of the caller's Stdin may take after the command's end.
	grace = 2 * time.Second
)

// session is one open channel, on which one command is run.
type session struct {
	r    *Runner
	p    peer
	c    *conn
	ch   ssh.Channel
	reqs <-chan *ssh.Request
}

// outcome is what was seen of a command.
type outcome struct {
	refused bool // the server did not start it
	exited  bool // the exit status, or the signal that ended it, was seen
	status  int  // 128 and more for signals, as a shell says
	signal  string
	whole   bool  // the peer closed the channel; the output is complete
	input   error // of the caller's Stdin
	output  error // of the caller's Stdout
}

// run sends the command and follows it to its end, or to the end of ctx.
func (s *session) run(ctx context.Context, cmd lifecycle.Command) (lifecycle.Result, error) {
	stdout, stderr := newSink(cmd.Stdout), &tail{max: maxStderr}
	if ctx.Err() != nil {
		_ = s.ch.Close()
		s.end()
		return lifecycle.Result{}, s.p.ended(ctx, "before sending the command")
	}
	done := make(chan outcome, 1)
	finished := make(chan struct{})
	s.r.wg.Go(func() {
		done <- s.converse(cmd, stdout, stderr)
		close(finished)
	})
	select {
	case o := <-done:
		s.end()
		return lifecycle.Result{Stdout: stdout.bytes(), Stderr: stderr.bytes()}, s.judge(cmd, o, stderr)
	case <-ctx.Done():
		stdout.stop()
		s.abandon(finished)
		return lifecycle.Result{Stdout: stdout.bytes(), Stderr: stderr.bytes()}, s.p.errorf(lifecycle.Unknown,
			"%s: %w; it was sent and may still be running: look at the node before doing it again", cmd.Name, context.Cause(ctx))
	}
}

// end gives the session's place back.
func (s *session) end() {
	<-s.c.slots
	s.c.leave()
}

// abandon closes the channel without waiting for it. OpenSSH acknowledges that only when the command has ended, and a hung
// peer never does. The session is given up then: its connection takes no more commands, and ends with the last of those
// that others still run on it.
func (s *session) abandon(finished <-chan struct{}) {
	s.r.wg.Go(func() {
		go func() { _ = s.ch.Close() }() // blocks while the transport does
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-finished:
		case <-timer.C:
			s.r.drop(s.r.target(s.p), s.c)
		}
		s.end()
		<-finished
	})
}

// converse speaks the session protocol (RFC 4254, section 6) until the channel is closed.
func (s *session) converse(cmd lifecycle.Command, stdout *sink, stderr *tail) outcome {
	var o outcome
	var outputs sync.WaitGroup
	outputs.Go(func() {
		if _, err := io.Copy(stdout, s.ch); err != nil {
			o.output = err
			_ = s.ch.Close()
		}
	})
	outputs.Go(func() { _, _ = io.Copy(stderr, s.ch.Stderr()) })

	started, err := s.ch.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{cmd.Script}))
	if err == nil && !started {
		o.refused = true
		_ = s.ch.Close()
	}
	var in *input
	if err == nil && started {
		in = s.feed(cmd)
	}
	for req := range s.reqs {
		o.note(req)
	}
	outputs.Wait()
	if in != nil {
		o.input = in.wait()
	}
	if o.exited && o.status == 0 {
		// A lost connection looks like the end of output. When the connection is alive now, it was the peer that closed
		// the channel, and all output was seen.
		_, _, err := s.c.client.SendRequest("keepalive@openssh.com", true, nil)
		o.whole = err == nil
	}
	return o
}

// note takes an exit status or signal from a request of the peer's (RFC 4254, section 6.10).
func (o *outcome) note(req *ssh.Request) {
	switch req.Type {
	case "exit-status":
		var msg struct{ Status uint32 }
		if ssh.Unmarshal(req.Payload, &msg) == nil {
			o.exited, o.status = true, int(msg.Status)
		}
	case "exit-signal":
		var msg struct {
			Signal     string
			CoreDumped bool
			Error      string
			Lang       string
		}
		if ssh.Unmarshal(req.Payload, &msg) == nil {
			o.exited, o.signal, o.status = true, msg.Signal, 128+number(msg.Signal)
		}
	}
	if req.WantReply {
		_ = req.Reply(false, nil)
	}
}

// judge turns what was seen into an error.
func (s *session) judge(cmd lifecycle.Command, o outcome, stderr *tail) error {
	const look = "it was sent and may still be running: look at the node before doing it again"
	switch {
	case o.refused:
		return s.p.errorf(lifecycle.Unavailable, "%s: the SSH server refused to start it; nothing was run", cmd.Name)
	case o.input != nil:
		return s.p.errorf(lifecycle.Unknown, "%s: its standard input failed: %w; %s", cmd.Name, o.input, look)
	case o.output != nil:
		return s.p.errorf(lifecycle.Unknown, "%s: its standard output: %w; %s", cmd.Name, o.output, look)
	case !o.exited:
		return s.p.errorf(lifecycle.Unknown, "%s: no exit status came (%w): %w; %s", cmd.Name, s.c.why(), &ssh.ExitMissingError{}, look)
	case o.status != 0:
		text := string(stderr.bytes())
		if o.signal != "" {
			text = strings.TrimSuffix(text, "\n") + "\nended by signal " + o.signal
		}
		return &lifecycle.Error{Op: s.p.op, Host: s.p.name, Kind: lifecycle.Internal,
			Err: &lifecycle.ExitError{Command: cmd.Name, Status: o.status, Stderr: text}}
	case !o.whole:
		return s.p.errorf(lifecycle.Unknown, "%s: %w when it ended; its output may be incomplete: look at the node", cmd.Name, s.c.why())
	}
	return nil
}

// feed sends the arguments and the caller's input.
func (s *session) feed(cmd lifecycle.Command) *input {
	in := &input{r: cmd.Stdin, done: make(chan struct{})}
	var args strings.Builder
	for _, arg := range cmd.Args {
		args.WriteString(arg + "\n")
	}
	go func() {
		defer close(in.done)
		if _, err := io.WriteString(s.ch, args.String()); err != nil {
			return // the command ended without reading; its status tells
		}
		if cmd.Stdin != nil {
			_, _ = io.Copy(s.ch, in)
			if in.err != nil {
				// The command must not take a broken input for a complete one.
				_ = s.ch.Close()
				return
			}
		}
		_ = s.ch.CloseWrite()
	}()
	return in
}

// input remembers how reading from the caller's Stdin went.
type input struct {
	r       io.Reader
	stopped atomic.Bool
	err     error
	done    chan struct{}
}

func (in *input) Read(p []byte) (int, error) {
	if in.stopped.Load() {
		return 0, io.EOF
	}
	n, err := in.r.Read(p)
	if err != nil && err != io.EOF {
		in.err = err
	}
	return n, err
}

// wait waits until Stdin is not being read any more, but not for ever.
func (in *input) wait() error {
	in.stopped.Store(true)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-in.done:
		return in.err
	case <-timer.C:
		return nil
	}
}

// number returns the number of a signal that SSH knows (RFC 4254, section 6.10), as Linux has it.
func number(signal string) int {
	switch ssh.Signal(signal) {
	case ssh.SIGHUP:
		return 1
	case ssh.SIGINT:
		return 2
	case ssh.SIGQUIT:
		return 3
	case ssh.SIGILL:
		return 4
	case ssh.SIGABRT:
		return 6
	case ssh.SIGFPE:
		return 8
	case ssh.SIGKILL:
		return 9
	case ssh.SIGSEGV:
		return 11
	case ssh.SIGPIPE:
		return 13
	case ssh.SIGALRM:
		return 14
	case ssh.SIGTERM:
		return 15
	}
	return 127
}
