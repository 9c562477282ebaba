package main

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/examples/lab"
)

// watched is a stream that can be looked at while it is written to.
type watched struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.Write(p)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

func (w *watched) await(t *testing.T, text string) {
	t.Helper()
	for end := time.Now().Add(patience); !strings.Contains(w.String(), text); time.Sleep(time.Millisecond) {
		require.True(t, time.Now().Before(end), "%q was not said: %s", text, w)
	}
}

func noEnv(string) string { return "" }

func interrupt(t *testing.T) { require.NoError(t, syscall.Kill(syscall.Getpid(), syscall.SIGINT)) }

// The first signal stops the run between two steps, the second in the middle of one. Both leave it to be resumed.
func TestInterrupt(t *testing.T) {
	l, err := lab.Start(t.Context(), lab.Config{Dir: filepath.Join(t.TempDir(), "lab"), Workers: 2, Speed: 300})
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	ncnctl := func(out, said *watched, args ...string) chan int {
		code := make(chan int, 1)
		go func() {
			code <- run(context.Background(), append([]string{"--site", l.SiteFile()}, args...), strings.NewReader(""), out, said, noEnv)
		}()
		return code
	}

	var out, said watched
	code := ncnctl(&out, &said, "rebuild", "ncn-w001", "ncn-w002", "--confirm", "ncn-w001,ncn-w002")
	said.await(t, "boot-script: wait until")
	interrupt(t)
	require.Equal(t, exitFailed, <-code, said.String())
	require.Contains(t, said.String(), "stopping at the next safe point")
	require.Contains(t, said.String(), "boot-script: done", "the step under way is brought to its end")
	require.NotContains(t, said.String(), "boot: wait until")
	require.Contains(t, said.String(), "ncnctl: rebuild ncn-w001: stopped, and can be resumed")
	require.Regexp(t, `next: ncnctl --site \S+ resume \S+\n`, said.String())
	require.Contains(t, said.String(), "not begun: ncn-w002")
	require.Regexp(t, `next: ncnctl --site \S+ rebuild ncn-w002\n`, said.String())
	require.Regexp(t, `ncn-w001 .* 9/14 .* open\n`, out.String())

	require.NoError(t, l.Arm(lab.Fault{Op: "exec", Host: "ncn-w001", Name: "ncn.restore", Kind: lab.Hang}))
	var out2, said2 watched
	code = ncnctl(&out2, &said2, "resume")
	require.Eventually(t, func() bool { return len(l.Cluster().Unfired()) == 0 }, patience, time.Millisecond, "the restore was not begun")
	interrupt(t)
	said2.await(t, "Ctrl-C again")
	require.NotContains(t, said2.String(), "can be resumed")
	interrupt(t)
	require.Equal(t, exitFailed, <-code, said2.String())
	require.Contains(t, said2.String(), "interrupted in step restore")
	require.Regexp(t, `next: ncnctl --site \S+ resume \S+\n`, said2.String())

	var out3, said3 watched
	require.Equal(t, exitOK, <-ncnctl(&out3, &said3, "resume"), said3.String())
	require.Contains(t, out3.String(), "14/14")
	require.Empty(t, l.Verdict())
}

// A lab ends, with success, when it is interrupted.
func TestLabCommand(t *testing.T) {
	dir := t.TempDir()
	var out, said watched
	code := make(chan int, 1)
	go func() {
		code <- run(context.Background(), []string{"lab", "--dir", dir, "--workers", "1", "--ready-file", filepath.Join(dir, "ready")},
			strings.NewReader(""), &out, &said, noEnv)
	}()
	out.await(t, "Ctrl-C ends it.")
	require.Contains(t, out.String(), "site.yaml rebuild ncn-w001")
	require.Contains(t, out.String(), filepath.Join(dir, "site.yaml"))
	var planned, why watched
	require.Equal(t, exitOK, run(t.Context(), []string{"--site", filepath.Join(dir, "site.yaml"), "plan", "ncn-w001"}, nil, &planned, &why, noEnv), why.String())
	require.Contains(t, planned.String(), "wwn-0x")
	interrupt(t)
	require.Equal(t, exitOK, <-code, said.String())
	require.FileExists(t, filepath.Join(dir, "ready"))
}

func TestExitCodes(t *testing.T) {
	in := func(state lifecycle.State, err error) error {
		return lifecycle.Wrap(&lifecycle.StateError{Run: "r", State: state, Err: err}, "op", "ncn-w001")
	}
	held := lifecycle.Errorf(lifecycle.Conflict, "op", "ncn-w001", "%w: wait", &lifecycle.Held{Resource: "ncn-w001", Run: "r", Owner: "me"})
	for name, c := range map[string]struct {
		err  error
		want int
	}{
		"none":                      {nil, exitOK},
		"failed":                    {in(lifecycle.Failed, lifecycle.Timeout), exitFailed},
		"canceled":                  {in(lifecycle.CanceledBy, lifecycle.Canceled), exitFailed},
		"stopped":                   {in(lifecycle.Open, lifecycle.Canceled), exitFailed},
		"refused":                   {in(lifecycle.Refused, lifecycle.Unavailable), exitRefused},
		"invalid, no run":           {lifecycle.Errorf(lifecycle.Invalid, "op", "", "no"), exitRefused},
		"a run that has ended":      {lifecycle.Errorf(lifecycle.Precondition, "op", "", "ended"), exitRefused},
		"unavailable, no run":       {lifecycle.Errorf(lifecycle.Unavailable, "op", "", "down"), exitFailed},
		"undecided":                 {in(lifecycle.Undecided, lifecycle.Unknown), exitPerson},
		"needs a person":            {in(lifecycle.NeedsHuman, lifecycle.Denied), exitPerson},
		"unknown, no run":           {lifecycle.Errorf(lifecycle.Unknown, "op", "", "lost"), exitPerson},
		"held":                      {held, exitHeld},
		"held, found when planning": {in(lifecycle.Refused, held), exitHeld},
		"none of ours":              {errors.New("x"), exitFailed},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, exitCode(c.err)) })
	}
}

func TestReason(t *testing.T) {
	err := failed("rebuild ncn-w001", lifecycle.Wrap(&lifecycle.StateError{Run: "r", State: lifecycle.Failed, Err: &lifecycle.Error{
		Op: "lifecycle.Step", Step: "wipe", Kind: lifecycle.Precondition, Err: lifecycle.Errorf(lifecycle.Precondition, "ncn.disks", "", "a disk is mounted"),
	}}, "lifecycle.Run", "ncn-w001"))
	require.Equal(t, "step wipe: a disk is mounted", reason(err))
}

func TestWords(t *testing.T) {
	a := &app{globals: globals{Site: "my site.yaml"}}
	require.Equal(t, `ncnctl --site 'my site.yaml' cancel r-1 --because 'it'\''s late'`, a.command("cancel", "r-1", "--because", "it's late"))
	a.Site = defaultSite
	require.Equal(t, "ncnctl resume", a.command("resume"))
	require.Equal(t, "a\uFFFD[31mred b", clean("a\x1b[31mred\nb"))
}

func TestColors(t *testing.T) {
	env := func(key, value string) func(string) string {
		return func(k string) string {
			if k == key {
				return value
			}
			return ""
		}
	}
	require.True(t, colored(false, noEnv))
	require.False(t, colored(true, noEnv))
	require.False(t, colored(false, env("NO_COLOR", "1")))
	require.False(t, colored(false, env("TERM", "dumb")))

	var plain, painted bytes.Buffer
	rows := func() [][]string { return [][]string{{"STATE", "X"}, {"done", "y"}} }
	table(&plain, rows(), (&app{}).states)
	table(&painted, rows(), (&app{color: true}).states)
	require.Equal(t, "STATE  X\ndone   y\n", plain.String())
	require.Equal(t, "STATE  X\n\x1b[32mdone\x1b[0m   y\n", painted.String())
}

// On a terminal there is one line per host, drawn anew; what is said goes above the lines.
func TestBars(t *testing.T) {
	var out watched
	a := newApp(globals{}, nil, strings.NewReader(""), &bytes.Buffer{}, &out, noEnv)
	a.screen = true
	p := a.progress("ncn-w001", "ncn-w002")
	at := time.Now()
	event := func(e lifecycle.Event) {
		e.Time, e.Run, e.Target, e.Total = at, "r", "ncn-w001", 14
		p.observe(e)
	}
	event(lifecycle.Event{Type: lifecycle.EventPlan, Summary: "ncn.rebuild"})
	require.Positive(t, a.driving.Load())
	event(lifecycle.Event{Type: lifecycle.EventStep, Index: 7, Step: "power-off", Summary: "turn it off"})
	event(lifecycle.Event{Type: lifecycle.EventWait, Index: 7, Step: "power-off", Detail: "the BMC: busy\x1b[2J"})
	a.say("a word")
	event(lifecycle.Event{Type: lifecycle.EventResult, Index: 7, Step: "power-off", Outcome: lifecycle.OutcomeDone})
	event(lifecycle.Event{Type: lifecycle.EventEnd, State: lifecycle.Done})
	require.Zero(t, a.driving.Load())
	p.close()
	a.say("the end")

	text := out.String()
	require.Contains(t, text, "ncn-w001   [#######.......]  7/14")
	require.Contains(t, text, "waits for the BMC: busy\uFFFD[2J")
	require.Contains(t, text, "ncn-w002   [..............]  0/0      -  waits for its turn\n")
	require.Contains(t, text, "\x1b[2F\x1b[Ja word\n", "the two lines are taken away first")
	require.True(t, strings.HasSuffix(text, "waits for its turn\nthe end\n"), "what was drawn last stays")
	for line := range strings.Lines(text) {
		require.LessOrEqual(t, len([]rune(strings.TrimPrefix(line, "\x1b[2F\x1b[J"))), 80, "%q", line)
	}
}
