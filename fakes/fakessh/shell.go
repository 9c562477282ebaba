package fakessh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// program is a text to interpret.
type program struct {
	name string // $0
	text string
	args []string
}

type streams struct {
	in       *os.File
	out, err io.Writer
}

// pidVariable takes the place of $$, which the interpreter would answer with the number of this very process.
const pidVariable = "FAKESSH_PID"

// errKilled ends a shell that writes to a pipe without a reader.
var errKilled = errors.New("killed by SIGPIPE")

// run interprets the program to its end, and returns its exit status.
func (sh *shell) run(p program, std streams) int {
	file, err := parse(p.text, p.name)
	if err != nil {
		_, _ = fmt.Fprintf(std.err, "%s: %v\n", p.name, err)
		return 2
	}
	runner, err := interp.New(
		interp.Env(expand.ListEnviron(
			"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/sh",
			"UID=0", "EUID=0", "GID=0", "TMPDIR=/tmp", pidVariable+"="+strconv.Itoa(sh.pid))),
		func(r *interp.Runner) error { r.Dir = "/"; return nil }, // interp.Dir would look at the real directory
		interp.StdIO(std.in, std.out, std.err),
		func(r *interp.Runner) error { r.Params = p.args; return nil }, // interp.Params would take options from them
		interp.CallHandler(sh.call),
		interp.ExecHandlers(func(interp.ExecHandlerFunc) interp.ExecHandlerFunc { return sh.exec }),
		interp.OpenHandler(sh.open),
		interp.StatHandler(sh.stat),
		interp.AccessHandler(sh.access),
		interp.ReadDirHandler2(sh.readDir),
	)
	if err != nil {
		_, _ = fmt.Fprintf(std.err, "%s: %v\n", p.name, err)
		return 2
	}
	err = runner.Run(sh.boot, file)
	var status interp.ExitStatus
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	case errors.Is(err, errKilled):
		return 128 + 13
	default:
		_, _ = fmt.Fprintf(std.err, "%s: %v\n", p.name, err)
		return 2
	}
}

// parse parses a POSIX shell program, and refuses what would reach through to the machine underneath.
func parse(text, name string) (*syntax.File, error) {
	file, err := syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).Parse(strings.NewReader(text), name)
	if err != nil {
		return nil, err
	}
	return file, contain(file)
}

// contain walks a program: $$ becomes the fake's own number, and process substitution (a real FIFO), home directories of
// other users (the real /etc/passwd) and [[ ]] (the real user) are refused. The last three cannot come from a POSIX
// parser, but from those that the interpreter uses for eval and trap.
func contain(file *syntax.File) error {
	var refused error
	refuse := func(pos syntax.Pos, what string) {
		if refused == nil {
			refused = fmt.Errorf("%s: fakessh does not imitate %s", pos, what)
		}
	}
	syntax.Walk(file, func(node syntax.Node) bool {
		switch node := node.(type) {
		case *syntax.ParamExp:
			if node.Param != nil && (node.Param.Value == "$" || node.Param.Value == "PPID") {
				node.Short, node.Param.Value = false, pidVariable
			}
		case *syntax.ProcSubst:
			refuse(node.Pos(), "process substitution")
		case *syntax.TestClause:
			refuse(node.Pos(), "[[ ]]")
		case *syntax.CoprocClause:
			refuse(node.Pos(), "coprocesses")
		case *syntax.Lit:
			if otherHome(node.Value) {
				refuse(node.Pos(), "~user")
			}
		}
		return true
	})
	return refused
}

// otherHome reports whether a literal may be expanded to another user's home directory.
func otherHome(text string) bool {
	for i := range len(text) - 1 {
		if text[i] == '~' && (i == 0 || text[i-1] == ':' || text[i-1] == '=') && text[i+1] != '/' && text[i+1] != ':' {
			return true
		}
	}
	return false
}

// again checks a text that a built-in command will parse by itself, and returns it rewritten.
func again(text string) (string, error) {
	if _, err := parse(text, "eval"); err != nil {
		return "", err
	}
	file, err := syntax.NewParser().Parse(strings.NewReader(text), "eval") // as the interpreter will
	if err != nil {
		return "", err
	}
	if err := contain(file); err != nil {
		return "", err
	}
	var out strings.Builder
	if err := syntax.NewPrinter().Print(&out, file); err != nil {
		return "", err
	}
	return out.String(), nil
}

// refusal is the name of the command that call puts in the place of one that must not run. It cannot be typed.
const refusal = "\x00refused"

// call sees every simple command before it runs, those that are built into the interpreter too. Built-in commands that
// would look at the machine underneath are replaced by ours or refused.
func (sh *shell) call(ctx context.Context, args []string) ([]string, error) {
	hc := interp.HandlerCtx(ctx)
	if sigpipe(hc.Stdout) {
		return nil, errKilled
	}
	for args[0] == "command" {
		if len(args) == 1 {
			return []string{"true"}, nil
		}
		if strings.HasPrefix(args[1], "-") {
			return append([]string{"\x00command"}, args[1:]...), nil
		}
		args = args[1:]
	}
	switch name := args[0]; name {
	case ":", "break", "cd", "continue", "echo", "exec", "exit", "export", "false", "getopts", "printf", "read", "readonly",
		"return", "set", "shift", "true", "unset", "wait":
		return args, nil
	case "[", "test":
		if slices.Contains(args, "-O") || slices.Contains(args, "-G") || slices.Contains(args, "-N") {
			return []string{refusal, name, "fakessh does not imitate -O, -G and -N"}, nil
		}
		return args, nil
	case "eval":
		text, err := again(strings.Join(args[1:], " "))
		if err != nil {
			return []string{refusal, name, err.Error()}, nil //nolint:nilerr // the refusal tells it
		}
		return []string{name, text}, nil
	case "trap":
		if len(args) < 3 || args[1] == "-" {
			return args, nil
		}
		text, err := again(args[1])
		if err != nil {
			return []string{refusal, name, err.Error()}, nil //nolint:nilerr // the refusal tells it
		}
		return append([]string{name, text}, args[2:]...), nil
	case "kill", "pwd", "umask":
		return append([]string{"\x00" + name}, args[1:]...), nil
	default:
		if interp.IsBuiltin(name) {
			return []string{refusal, name, "not found"}, nil
		}
		return args, nil
	}
}

// exec runs a command of the fake's. Nothing ever falls through to the machine underneath.
func (sh *shell) exec(ctx context.Context, args []string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	hc := interp.HandlerCtx(ctx)
	call := &invocation{sh: sh, ctx: ctx, args: args[1:], dir: hc.Dir, in: hc.Stdin, out: hc.Stdout, err: hc.Stderr}
	call.stdin, _ = hc.Stdin.(*os.File)
	if hc.Stdin == nil {
		call.in = strings.NewReader("")
	}
	if args[0] == refusal {
		_, _ = fmt.Fprintf(hc.Stderr, "sh: %s: %s\n", args[1], args[2])
		return interp.ExitStatus(127)
	}
	call.name = strings.TrimPrefix(args[0], "\x00")
	switch path.Dir(call.name) {
	case "/bin", "/sbin", "/usr/bin", "/usr/sbin":
		call.name = path.Base(call.name)
	}
	f := command(call.name)
	if f == nil {
		_, _ = fmt.Fprintf(hc.Stderr, "sh: %s: not found\n", args[0])
		return interp.ExitStatus(127)
	}
	if status := f(call); status != 0 {
		return interp.ExitStatus(status)
	}
	return nil
}
