package main

import (
	"errors"
	"strings"

	"github.com/hashicorp/go-multierror"

	"github.com/ncnkit/lifecycle"
)

// failure is an error with what the user needs besides.
type failure struct {
	what string   // what failed: "rebuild ncn-w001"
	err  error    // why
	next []string // what to type next; none: it follows from err
	code int      // the exit code; 0: it follows from err
}

func (f *failure) Error() string { return f.what + ": " + f.err.Error() }

func (f *failure) Unwrap() error { return f.err }

// failed gives an error the words for what was being done. It returns nil for nil.
func failed(what string, err error, next ...string) error {
	if err == nil {
		return nil
	}
	return &failure{what: what, err: err, next: next}
}

// report tells the user of an error, and returns the exit code.
func (a *app) report(err error) int {
	if err == nil {
		return exitOK
	}
	var f *failure
	if !errors.As(err, &f) {
		f = &failure{err: err}
	}
	if f.what != "" {
		a.say("ncnctl: %s: %s", clean(f.what), verdict(f.err))
	} else {
		a.say("ncnctl: %s", verdict(f.err))
	}
	a.say("reason: %s", clean(reason(f.err)))
	if unchanged(f.err) && f.code != exitPartly {
		a.say("nothing was changed")
	}
	next := f.next
	if inner := (*failure)(nil); len(next) == 0 && errors.As(f.err, &inner) {
		next = inner.next
	}
	if len(next) == 0 {
		next = a.nextAfter(f.err)
	}
	for _, n := range next {
		a.say("next: %s", n)
	}
	if f.code != 0 {
		return f.code
	}
	return exitCode(f.err)
}

// exitCode returns the exit code that an error of the library stands for.
func exitCode(err error) int {
	state, kind := lifecycle.StateOf(err), lifecycle.KindOf(err)
	switch {
	case err == nil:
		return exitOK
	case state == lifecycle.Undecided, state == lifecycle.NeedsHuman:
		return exitPerson
	case errors.As(err, new(*lifecycle.Held)):
		return exitHeld
	case unchanged(err):
		return exitRefused
	case state == "" && kind == lifecycle.Unknown:
		return exitPerson
	}
	return exitFailed
}

// unchanged reports whether the error says that nothing was changed: the run was refused, or none was begun.
func unchanged(err error) bool {
	switch lifecycle.StateOf(err) {
	case lifecycle.Refused:
		return true
	case "":
	default:
		return false
	}
	switch lifecycle.KindOf(err) {
	case lifecycle.Invalid, lifecycle.Unauthenticated, lifecycle.Denied, lifecycle.NotFound, lifecycle.Precondition, lifecycle.Conflict:
		return true
	}
	return false
}

// verdict says in a word or two how it ended.
func verdict(err error) string {
	state := lifecycle.StateOf(err)
	switch {
	case errors.As(err, new(*lifecycle.Held)):
		return "somebody else has the node"
	case unchanged(err):
		return "refused"
	case state == lifecycle.Open:
		return "stopped, and can be resumed"
	case state == lifecycle.CanceledBy:
		return "canceled"
	case state == "" && lifecycle.KindOf(err) == lifecycle.Canceled:
		return "stopped"
	case state == lifecycle.NeedsHuman:
		return "a person is needed"
	case state == lifecycle.Undecided, lifecycle.KindOf(err) == lifecycle.Unknown:
		return "the outcome is unknown"
	}
	return "failed"
}

// nextAfter returns what to type after an error.
func (a *app) nextAfter(err error) []string {
	var held *lifecycle.Held
	var state *lifecycle.StateError
	switch {
	case errors.As(err, &held) && held.Run != "":
		return []string{a.command("explain", held.Run)}
	case errors.As(err, &state) && state.Run != "" && state.State == lifecycle.Open:
		return []string{a.command("resume", state.Run)}
	case errors.As(err, &state) && state.Run != "" && state.State != lifecycle.Refused:
		return []string{a.command("explain", state.Run)}
	}
	return []string{a.command("explain", slug(string(lifecycle.KindOf(err))))}
}

// command returns what to type to have this program do that for the same site.
func (a *app) command(args ...string) string {
	list := []string{"ncnctl"}
	if a.Site != "" && a.Site != defaultSite {
		list = append(list, "--site", a.Site)
	}
	return words(append(list, args...))
}

// words makes words safe to be copied into a shell.
func words(list []string) string {
	var quoted []string
	for _, w := range list {
		quoted = append(quoted, quote(w))
	}
	return strings.Join(quoted, " ")
}

// quote makes a word safe to be copied into a shell.
func quote(w string) string {
	if w != "" && strings.Trim(w, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=,@+") == "" {
		return w
	}
	return "'" + strings.ReplaceAll(clean(w), "'", `'\''`) + "'"
}

func slug(s string) string { return strings.ReplaceAll(s, " ", "-") }

// reason returns why, without the names of the library's operations.
func reason(err error) string {
	switch e := err.(type) { //nolint:errorlint // each layer is taken off on purpose
	case *failure:
		return reason(e.err)
	case *lifecycle.StateError:
		return reason(e.Err)
	case *lifecycle.Error:
		if e.Err == nil {
			return string(e.Kind)
		}
		if e.Step != "" {
			return "step " + e.Step + ": " + reason(e.Err)
		}
		return reason(e.Err)
	case *multierror.Error:
		var all []string
		for _, one := range e.Errors {
			all = append(all, reason(one))
		}
		return strings.Join(all, "; and then: ")
	}
	return err.Error()
}
