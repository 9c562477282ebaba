package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Kind says what class of thing went wrong, so that a program can act on it. Programs should act upon an error's Kind,
// not its message:
//
//	if errors.Is(err, lifecycle.NotFound) { … }
//
// A Kind is itself an error, and every [Error] unwraps to its Kind as well as to its cause.
type Kind string

// The kinds, from the caller's mistakes to the world's.
const (
	Invalid         Kind = "invalid"         // a bad argument or body, an empty selection, a nil transport
	Unauthenticated Kind = "unauthenticated" // the far side does not know who we are
	Denied          Kind = "denied"          // it knows, and does not let us
	NotFound        Kind = "not found"       // no such host, run, object
	Precondition    Kind = "precondition"    // a condition that must hold does not; nothing was changed
	Conflict        Kind = "conflict"        // somebody else holds it, or changed it first
	Unknown         Kind = "outcome unknown" // the effect may or may not have happened
	Unavailable     Kind = "unavailable"     // a service or device cannot be reached, or cannot answer now
	Timeout         Kind = "timeout"         // a named wait ran out of time
	Canceled        Kind = "canceled"        // somebody asked to stop
	Internal        Kind = "internal"        // anything else
)

// Error makes a Kind usable as the target of [errors.Is].
func (k Kind) Error() string { return string(k) }

// HTTPStatus returns the status code with which a REST service answers for the kind unless its own table says
// otherwise.
func (k Kind) HTTPStatus() int {
	switch k {
	case Invalid:
		return http.StatusBadRequest
	case Unauthenticated:
		return http.StatusUnauthorized
	case Denied:
		return http.StatusForbidden
	case NotFound:
		return http.StatusNotFound
	case Precondition:
		return http.StatusUnprocessableEntity
	case Conflict:
		return http.StatusConflict
	default:
		return http.StatusInternalServerError
	}
}

// Error is what the public functions of this module return when they fail.
type Error struct {
	Op   string // what was being done: "ncn.Wipe", "bss.Update"
	Host string // the node, as the inventory names it; empty when none is concerned
	Step string // the step of a run, when there is one
	Kind Kind
	Err  error // the cause; its message says what to do next
}

// Error formats the error as one line: operation, host, step, cause.
func (e *Error) Error() string {
	var b strings.Builder
	for _, part := range []string{e.Op, e.Host, e.Step} {
		if part != "" {
			b.WriteString(part)
			b.WriteString(": ")
		}
	}
	if e.Err != nil {
		b.WriteString(e.Err.Error())
	} else {
		b.WriteString(string(e.Kind))
	}
	return b.String()
}

// Unwrap returns the cause and the kind, so that [errors.Is] and [errors.As] find both.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Err, e.Kind}
}

// Errorf returns an [Error] of the given kind for op and host. The format takes %w.
func Errorf(kind Kind, op, host, format string, args ...any) error {
	return &Error{Op: op, Host: host, Kind: kind, Err: fmt.Errorf(format, args...)}
}

// Wrap returns err as an [Error] of op on host that keeps err's kind. It returns nil for nil.
func Wrap(err error, op, host string) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Host: host, Kind: KindOf(err), Err: err}
}

// KindOf returns the kind of err: that of the outermost [Error] or [Kind] in its tree; [Canceled] or [Timeout] for the
// context's errors; [Internal] for anything else, and "" for nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) && e.Kind != "" {
		return e.Kind
	}
	var k Kind
	if errors.As(err, &k) {
		return k
	}
	switch {
	case errors.Is(err, context.Canceled):
		return Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return Timeout
	}
	return Internal
}

// Held is the cause of a [Conflict] in which another driver holds what was asked for.
type Held struct {
	Resource string // what is held, as the holder named it
	Run      string // the run for which it is held
	Owner    string // who holds it: user, host and process
}

// Error names the holder.
func (h *Held) Error() string {
	return fmt.Sprintf("%s is held by %s for run %s", h.Resource, h.Owner, h.Run)
}
