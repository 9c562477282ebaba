package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"os/user"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/term"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/examples/site"
	"github.com/ncnkit/lifecycle/ncn"
)

// app is what the commands share: the flags, the three streams, and the way to stop.
type app struct {
	globals
	args   []string // as they were typed
	stdin  io.Reader
	stdout io.Writer
	stderr *console
	lines  *bufio.Reader // of stdin
	color  bool          // on stdout
	screen bool          // stderr can be drawn on

	stop    chan struct{} // closed by the first signal
	driving atomic.Int32  // how many runs are under way, which can stop between two steps
}

func newApp(g globals, args []string, stdin io.Reader, stdout, stderr io.Writer, env func(string) string) *app {
	g.Actor = cmp.Or(g.Actor, osUser(), "unknown user")
	return &app{
		globals: g,
		args:    args,
		stdin:   stdin,
		stdout:  stdout,
		stderr:  &console{w: stderr},
		lines:   bufio.NewReader(stdin),
		color:   isTerminal(stdout) && colored(g.NoColor, env),
		screen:  isTerminal(stderr) && env("TERM") != "dumb",
		stop:    make(chan struct{}),
	}
}

// colored reports whether a terminal is to be written to in colours (https://no-color.org).
func colored(noColor bool, env func(string) string) bool {
	return !noColor && env("NO_COLOR") == "" && env("TERM") != "dumb"
}

func osUser() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// watchSignals makes the first SIGINT or SIGTERM stop the run at its next safe point, and the second cancel the context;
// a third ends the process. While no run is under way, the first cancels at once.
func (a *app) watchSignals(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	quit := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer signal.Stop(signals)
		select {
		case <-signals:
		case <-quit:
			return
		}
		close(a.stop)
		if a.driving.Load() > 0 {
			a.say("stopping at the next safe point; Ctrl-C again interrupts the step that is under way")
			select {
			case <-signals:
			case <-quit:
				return
			}
		}
		cancel()
	})
	return ctx, func() {
		close(quit)
		wg.Wait()
		cancel()
	}
}

// stopped reports whether the user asked to stop.
func (a *app) stopped() bool {
	select {
	case <-a.stop:
		return true
	default:
		return false
	}
}

// say tells the user something that is no data.
func (a *app) say(format string, args ...any) {
	fmt.Fprintf(a.stderr, format+"\n", args...)
}

// open loads the site.
func (a *app) open() (*site.Site, error) {
	s, err := site.Load(a.Site)
	if err != nil {
		return nil, failed("read the site file", err, "ncnctl --site FILE …, or for a cluster to try things on: ncnctl lab --dir lab")
	}
	s.NCN.Actor = a.Actor
	return s, nil
}

// drive tells Run and Resume how this program wants them: recorded, shown, and stopped by Ctrl-C.
func (a *app) drive(s *site.Site, show *progress) []lifecycle.Option {
	return []lifecycle.Option{
		lifecycle.WithJournal(s.Journal), lifecycle.WithObserver(show.observe), lifecycle.WithActor(a.Actor), lifecycle.WithStop(a.stop),
	}
}

// free refuses, with who has it, a node that somebody drives, that one of the open runs has left half done, or that waits
// for its turn in a rollout. The run would be refused for most of that too, but only after the node was planned for and the
// user asked.
func free(ctx context.Context, s *site.Site, open []lifecycle.Status, waiting map[string]lifecycle.Status, host string) error {
	held := func(err error) error {
		return &lifecycle.Error{Op: "ncnctl", Host: host, Kind: lifecycle.KindOf(err), Err: &lifecycle.StateError{State: lifecycle.Refused, Err: err}}
	}
	for _, status := range open {
		if status.Target != host {
			continue
		}
		lease, err := s.Journal.Acquire(ctx, host, "look-before-"+status.Run, lifecycle.DefaultOwner())
		if err != nil {
			return held(err)
		}
		return s.Journal.Release(ctx, lease) // the run ended meanwhile
	}
	if rollout, ok := waiting[host]; ok {
		return held(lifecycle.Errorf(lifecycle.Conflict, "", "", "%w: hold or skip it there first",
			&lifecycle.Held{Resource: host, Run: rollout.Run, Owner: rollout.Actor}))
	}
	return nil
}

// openRuns returns the runs that have not ended, oldest first. Those that cannot be read are passed over, and told.
func openRuns(ctx context.Context, s *site.Site, passedOver func(id string, err error)) ([]lifecycle.Status, error) {
	runs, err := s.Journal.Runs(ctx)
	if err != nil {
		return nil, err
	}
	var open []lifecycle.Status
	for _, id := range runs {
		switch status, err := lifecycle.StatusOf(ctx, s.Journal, id); {
		case err != nil:
			passedOver(id, err)
		case status.State == lifecycle.Open:
			open = append(open, status)
		}
	}
	return open, nil
}

// hosts checks the names, and that nobody else is at work on them.
func hosts(ctx context.Context, s *site.Site, names []string) ([]ncn.Host, error) {
	list, err := s.NCN.Hosts(ctx, names...)
	if err != nil {
		return nil, err
	}
	open, err := openRuns(ctx, s, func(string, error) {})
	if err != nil {
		return nil, err
	}
	waiting, err := waitingIn(ctx, s, open)
	if err != nil {
		return nil, err
	}
	for _, h := range list {
		if err := free(ctx, s, open, waiting, h.Name); err != nil {
			return nil, err
		}
	}
	return list, nil
}
