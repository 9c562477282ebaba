package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/alecthomas/kong"
)

// The exit codes; doc.go explains them.
const (
	exitOK      = 0
	exitFailed  = 1
	exitUsage   = 2
	exitRefused = 3
	exitPerson  = 4
	exitHeld    = 5
	exitPartly  = 6
)

// defaultSite is the default of --site.
const defaultSite = "site.yaml"

// globals are the flags that every command takes.
type globals struct {
	Site    string        `help:"Site file." placeholder:"FILE" default:"site.yaml"`
	Output  string        `help:"Form of the data on standard output: table or json." short:"o" enum:"table,json" default:"table"`
	Actor   string        `help:"On whose behalf, for the records. Default: the user's name." placeholder:"NAME"`
	NoColor bool          `help:"Leave colours out. So does NO_COLOR in the environment."`
	Quiet   bool          `help:"Show no progress." short:"q"`
	Timeout time.Duration `help:"Interrupt the command after this time, such as 90m. A run stays open then." placeholder:"TIME"`
}

// commands is the command line's grammar.
type commands struct {
	globals

	Lab     labCmd     `cmd:"" help:"Run a cluster on loopback to try things on."`
	Plan    planCmd    `cmd:"" help:"Show what a rebuild would do, and what would be lost."`
	Rebuild rebuildCmd `cmd:"" help:"Rebuild nodes, one after the other."`
	Status  statusCmd  `cmd:"" help:"List the runs, or the steps of one run."`
	Explain explainCmd `cmd:"" help:"Say what a run waits for or why it ended, and what to do next."`
	Resume  resumeCmd  `cmd:"" help:"Take up one unfinished run, or all of them, oldest first."`
	Cancel  cancelCmd  `cmd:"" help:"End an unfinished run at its next safe point."`
	Rollout rolloutCmd `cmd:"" help:"Rebuild many workers under a policy: plan, preview, run, status, watch, pause, resume, hold, skip, cancel."`

	Backup         backupCmd         `cmd:"" group:"Single steps:" help:"Copy a node's irreplaceable files to the store."`
	Wipe           wipeCmd           `cmd:"" group:"Single steps:" help:"Erase a node's disks, and leave it armed."`
	BootParameters bootParametersCmd `cmd:"" group:"Single steps:" help:"Set what a node boots next."`
	Reboot         rebootCmd         `cmd:"" group:"Single steps:" help:"Boot a node from the network, and see it up."`
	Restore        restoreCmd        `cmd:"" group:"Single steps:" help:"Put a node's files back from a backup."`
	Disarm         disarmCmd         `cmd:"" group:"Single steps:" help:"Have a node keep its disks at its next boot."`

	Backups backupsCmd `cmd:"" help:"List, verify and rehearse backups."`
	Check   checkCmd   `cmd:"" help:"Ask a lab whether a promise of the library was broken."`
}

// run is the program: it returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env func(string) string) int {
	var grammar commands
	exited := false
	parser, err := kong.New(&grammar,
		kong.Name("ncnctl"),
		kong.Description("Takes the management nodes of a cluster through maintenance."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(int) { exited = true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		fmt.Fprintf(stderr, "ncnctl: %v\n", err)
		return exitFailed
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	switch {
	case exited: // the help was printed
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "ncnctl: %s\nnext: %s\n", clean(err.Error()), helpFor(err))
		return exitUsage
	}

	if grammar.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, grammar.Timeout)
		defer cancel()
	}
	a := newApp(grammar.globals, args, stdin, stdout, stderr, env)
	ctx, done := a.watchSignals(ctx)
	defer done()
	parsed.BindTo(ctx, (*context.Context)(nil))
	return a.report(parsed.Run(a))
}

// helpFor returns what to type for help on the command that was used wrongly.
func helpFor(err error) string {
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context != nil && parse.Context.Selected() != nil {
		return "ncnctl " + parse.Context.Selected().Path() + " --help"
	}
	return "ncnctl --help"
}
