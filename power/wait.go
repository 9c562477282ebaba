package power

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ncnkit/lifecycle"
)

// wait is one wait on one BMC: a deadline, the pause between looks, and what is known so far.
type wait struct {
	op  string
	ctl Controller
	bmc BMC
	o   options

	caller context.Context // the caller's, to tell its end from our deadline
	start  time.Time
	pause  time.Duration

	last    State // "" until the BMC has answered
	lastErr error // of the last question or write, nil when it was answered
	refusal error // of the last command, nil when it was accepted
	sends   int   // commands that may have reached the BMC
}

// within runs f under the deadline of one wait.
func within(ctx context.Context, op string, ctl Controller, bmc BMC, o options, f func(context.Context, *wait) error) error {
	w := &wait{op: op, ctl: ctl, bmc: bmc, o: o, caller: ctx, start: time.Now(), pause: o.first}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	return f(ctx, w)
}

// look asks for the state once. A transient failure is remembered and gives "".
func (w *wait) look(ctx context.Context) (State, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	s, err := w.ctl.State(ctx, w.bmc)
	w.lastErr = err
	if err == nil {
		w.last = s
		return s, nil
	}
	if final(err) {
		return "", lifecycle.Wrap(err, w.op, w.bmc.String())
	}
	return "", nil
}

// send sends one command. It reports whether the BMC has had the command: it accepted it, refused it for now, or nobody
// knows. With false and no error it has not, and the command can be sent at the next look.
func (w *wait) send(ctx context.Context, a Action) (had bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err = w.ctl.Do(ctx, w.bmc, a)
	w.refusal = err
	switch {
	case err != nil && final(err):
		return false, lifecycle.Wrap(err, w.op, w.bmc.String())
	case err != nil && lifecycle.KindOf(err) == lifecycle.Unavailable:
		return false, nil
	}
	w.sends++
	return true, nil
}

// sleep waits until the next look and says what for. It fails when the wait is over.
func (w *wait) sleep(ctx context.Context, want string) error {
	w.o.progress(w.bmc.String()+" "+want, w.why())
	t := time.NewTimer(w.pause)
	defer t.Stop()
	w.pause = min(2*w.pause, max(w.o.max, w.o.first))
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return w.expired(want)
	}
}

// expired tells why the wait is over, and what was known then.
func (w *wait) expired(want string) error {
	kind, how := lifecycle.Timeout, fmt.Sprintf("waited %v", time.Since(w.start).Round(time.Millisecond))
	cause := cmp.Or(w.lastErr, w.refusal)
	if err := w.caller.Err(); err != nil {
		kind, how, cause = lifecycle.KindOf(err), "was told to stop waiting", err
	}
	if cause == nil {
		cause = errors.New("look at the machine's console and at the BMC's event log")
	}
	return lifecycle.Errorf(kind, w.op, w.bmc.String(), "%s for the machine of the BMC at %s %s; %s: %w",
		how, w.bmc.Host, want, w.known(), cause)
}

func (w *wait) why() string {
	s := w.known()
	if err := cmp.Or(w.lastErr, w.refusal); err != nil {
		s += ": " + err.Error()
	}
	return s
}

func (w *wait) known() string {
	state := "it never told its state"
	if w.last != "" {
		state = "last seen " + string(w.last)
	}
	return fmt.Sprintf("%s, commands sent: %d", state, w.sends)
}

// final reports whether asking again is no use.
func final(err error) bool {
	switch lifecycle.KindOf(err) {
	case lifecycle.Invalid, lifecycle.Unauthenticated, lifecycle.Denied, lifecycle.NotFound, lifecycle.Conflict:
		return true
	}
	return false
}

// effectless reports whether err promises that the command had no effect. Anything that makes no promise is taken for
// the worst: a command that was sent, with an outcome that nobody knows.
func effectless(err error) bool {
	switch lifecycle.KindOf(err) {
	case lifecycle.Unavailable, lifecycle.Precondition:
		return true
	}
	return final(err)
}
