package lifecycle

import (
	"context"
	"fmt"
	"io"
	"strings"
)

// Command is a program for a node. The program's text is a constant of whoever wrote it; what varies goes in Args, which
// never become part of a shell's text: the runner sends them on standard input, one line each, before Stdin, and the
// script takes them with `IFS= read -r`.
type Command struct {
	// Name identifies the command in events, in records and to fakes: "ncn.inspect".
	Name string
	// Script is a POSIX shell program, the same for every call.
	Script string
	// Args are the values for this call. None may contain a newline or a NUL byte.
	Args []string
	// Stdin follows the arguments; nil means nothing.
	Stdin io.Reader
	// Stdout receives the program's output as it comes; nil means that it is returned in [Result].
	Stdout io.Writer
	// HostKeys, when not empty, are the only host keys to accept for this call, in authorized_keys form. After a
	// rebuild they are those that the node announced over a channel that the plan trusts.
	HostKeys []string
}

// Check refuses, as [Invalid], a command that no runner may send.
func (c Command) Check() error {
	if c.Name == "" || c.Script == "" {
		return Errorf(Invalid, "lifecycle.Command", "", "a command needs a name and a script")
	}
	for i, arg := range c.Args {
		if strings.ContainsAny(arg, "\n\x00") {
			return Errorf(Invalid, "lifecycle.Command", "", "%s: argument %d contains a newline or NUL", c.Name, i+1)
		}
	}
	return nil
}

// Result is what a command left behind.
type Result struct {
	Stdout []byte // empty when Command.Stdout was set
	Stderr []byte // at most the last 64 KiB
}

// ExitError is the cause of an error for a command that ran and ended with another status than 0. Its Kind is
// [Internal], unless the caller knows better.
type ExitError struct {
	Command string
	Status  int
	Stderr  string
}

// Error names the command, its status, and what it wrote to standard error.
func (e *ExitError) Error() string {
	return fmt.Sprintf("%s: exit status %d: %s", e.Command, e.Status, strings.TrimSpace(e.Stderr))
}

// Runner runs commands on nodes. Implementations are safe for concurrent use.
//
// Run returns nil only when the command ran to its end with status 0. An [ExitError] in the chain means that it ran and
// said no. [Denied] means that the host's identity or ours was not accepted, and nothing ran; [Unavailable] means that
// the node was not reached, and nothing ran; [Unknown] means that the connection ended after the command was sent.
type Runner interface {
	Run(ctx context.Context, node Node, cmd Command) (Result, error)
}

// HostKeyKeeper is an optional second interface of a [Runner] that remembers host keys. Keep makes keys (authorized_keys
// form) the only ones accepted for node from now on, durably.
type HostKeyKeeper interface {
	KeepHostKeys(ctx context.Context, node Node, keys []string) error
}
