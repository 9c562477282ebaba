package fakessh_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes"
	"github.com/ncnkit/lifecycle/fakes/fakessh"
	"github.com/ncnkit/lifecycle/ncn"
	"github.com/ncnkit/lifecycle/ncn/sshrun"
	"github.com/ncnkit/lifecycle/power"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

func TestServeNeedsACluster(t *testing.T) {
	_, err := fakessh.Serve(fakessh.Config{})
	require.ErrorIs(t, err, lifecycle.Invalid)
}

func TestServeClosesWhatItOpenedWhenAnAddressIsTaken(t *testing.T) {
	l := newLab(t, fakes.Layout{Workers: 1})
	_, err := fakessh.Serve(fakessh.Config{Cluster: l.world, Addr: l.server.Addrs()["ncn-w001"]})
	require.ErrorIs(t, err, lifecycle.Unavailable)
}

func TestEvents(t *testing.T) {
	l := newLab(t, fakes.Layout{Workers: 1})
	_, err := l.run(t, "cat; echo 12 >&2; exit 3", "four")
	require.Error(t, err)
	require.NoError(t, l.exec.Close())
	require.Eventually(t, func() bool { events := l.seen(); return events[len(events)-1].Type == fakessh.Closed }, 10*time.Second, time.Millisecond)

	events := l.seen()
	var types []fakessh.EventType
	for _, e := range events {
		types = append(types, e.Type)
		require.Equal(t, "ncn-w001", e.Node)
		require.NotEmpty(t, e.Remote)
		require.False(t, e.Time.IsZero())
	}
	require.Equal(t, []fakessh.EventType{fakessh.Connected, fakessh.Auth, fakessh.Exec, fakessh.Exit, fakessh.Closed}, types)
	require.Equal(t, ssh.FingerprintSHA256(signer(t, "us").PublicKey()), events[1].Key)
	require.True(t, events[1].Accepted)
	require.Equal(t, "root", events[1].User)
	exit := events[3]
	require.Equal(t, fmt.Sprintf("%x", sha256.Sum256([]byte("cat; echo 12 >&2; exit 3"))), exit.Sum)
	require.Equal(t, []int64{5, 5, 3, 3}, []int64{exit.In, exit.Out, exit.Err, int64(exit.Status)})
}

func TestAStrangerIsNotLetIn(t *testing.T) {
	l := newLab(t, fakes.Layout{Workers: 1})
	r := sshrun.New(sshrun.Config{Signers: []ssh.Signer{signer(t, "stranger")}})
	defer func() { require.NoError(t, r.Close()) }()
	cmd := lifecycle.Command{Name: "x", Script: "touch", HostKeys: []string{hostKeyLine(t, l.world.Machine("ncn-w001"))}}
	_, err := r.Run(deadline(t), l.node(t, "ncn-w001"), cmd)
	require.ErrorIs(t, err, lifecycle.Unauthenticated)
	for _, e := range l.seen() {
		require.NotEqual(t, fakessh.Exec, e.Type)
		require.False(t, e.Accepted)
	}
}

func TestFaults(t *testing.T) {
	const touch = "echo x >/tmp/effect; echo out"
	effect := func(l *lab) bool {
		_, err := l.world.Machine("ncn-w001").Stat("/tmp/effect")
		return err == nil
	}
	on := fakes.Exec.On("ncn-w001")
	tests := map[string]struct {
		arm    func(w *fakes.Cluster)
		kind   lifecycle.Kind
		effect bool
		stdout string
	}{
		"lost reply":      {func(w *fakes.Cluster) { w.LoseReply(on) }, lifecycle.Unknown, true, "out\n"},
		"unavailable":     {func(w *fakes.Cluster) { w.Fail(on, lifecycle.Unavailable) }, lifecycle.Unavailable, false, ""},
		"unknown":         {func(w *fakes.Cluster) { w.Fail(on, lifecycle.Unknown) }, lifecycle.Unknown, false, ""},
		"refused":         {func(w *fakes.Cluster) { w.Fail(on, lifecycle.Precondition) }, lifecycle.Internal, false, ""},
		"ignored":         {func(w *fakes.Cluster) { w.Ignore(on) }, "", false, ""},
		"slow":            {func(w *fakes.Cluster) { w.Slow(on, 20*time.Millisecond) }, "", true, "out\n"},
		"crash":           {func(w *fakes.Cluster) { w.Crash(on) }, lifecycle.Unknown, true, "out\n"},
		"late is refused": {func(w *fakes.Cluster) { w.Late(on, time.Millisecond) }, lifecycle.Internal, false, ""},
		"another host":    {func(w *fakes.Cluster) { w.LoseReply(fakes.Exec.On("ncn-w002")) }, "", true, "out\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, fakes.Layout{Workers: 2})
			tt.arm(l.world)
			res, err := l.run(t, touch)
			require.Equal(t, tt.kind, lifecycle.KindOf(err), "%v", err)
			require.Equal(t, tt.effect, effect(l))
			require.Equal(t, tt.stdout, string(res.Stdout))
			if name != "another host" {
				require.Empty(t, l.world.Unfired())
			}
		})
	}
}

func TestAHangingCommandEndsWithItsCaller(t *testing.T) {
	l := newLab(t, fakes.Layout{Workers: 1})
	l.world.Hang(fakes.Exec.On("ncn-w001"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := l.exec.Run(ctx, l.node(t, "ncn-w001"), lifecycle.Command{Name: "x", Script: "echo x"})
	require.ErrorIs(t, err, lifecycle.Unknown)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	_, err = l.run(t, "echo fine")
	require.NoError(t, err)
}

func TestAFaultMeetsACommandByItsName(t *testing.T) {
	l := newLab(t, fakes.Layout{Workers: 1})
	l.world.LoseReply(fakes.Exec.Command("ncn.inspect"))
	require.Empty(t, ask(t, l.exec, l.node(t, "ncn-w001"), "ncn.disks", "").Kind)
	require.Equal(t, lifecycle.Unknown, ask(t, l.exec, l.node(t, "ncn-w001"), "ncn.inspect", "").Kind)
	require.Empty(t, ask(t, l.exec, l.node(t, "ncn-w001"), "ncn.inspect", "").Kind)
}

func TestPowerLoss(t *testing.T) {
	l := newLab(t, fakes.Layout{Workers: 1, POST: 20 * time.Millisecond, Boot: 20 * time.Millisecond, PowerDelay: time.Millisecond})
	m := l.world.Machine("ncn-w001")
	started, kept := make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := l.exec.Run(deadline(t), l.node(t, "ncn-w001"), lifecycle.Command{
			Name: "long", Script: "echo started; cat; echo never >/tmp/after", Stdin: forever{t.Context()}, Stdout: signalWriter(started)})
		kept <- err
	}()
	<-started
	_, err := l.run(t, "echo 'cat </tmp/fifo; sleep 1; while true; do sleep 1; done' >/tmp/daemon; setsid sh /tmp/daemon </dev/null >/tmp/log 2>&1 &")
	require.NoError(t, err)

	require.NoError(t, l.world.Power().Do(t.Context(), power.BMC{Name: "x", Host: "x3000c0s1b0"}, power.ActionOff))
	require.ErrorIs(t, <-kept, lifecycle.Unknown)
	_, err = l.run(t, "echo x")
	require.ErrorIs(t, err, lifecycle.Unavailable)
	require.Contains(t, types(l), fakessh.Refused)

	require.NoError(t, l.world.Power().Do(t.Context(), power.BMC{Name: "x", Host: "x3000c0s1b0"}, power.ActionOn))
	require.Eventually(t, m.Up, 10*time.Second, time.Millisecond)
	res, err := l.run(t, "[ -e /tmp/after ] || echo clean")
	require.NoError(t, err)
	require.Equal(t, "clean\n", string(res.Stdout))
}

func types(l *lab) (all []fakessh.EventType) {
	for _, e := range l.seen() {
		all = append(all, e.Type)
	}
	return all
}

// forever is an input that does not end before its context.
type forever struct{ ctx context.Context }

func (f forever) Read([]byte) (int, error) { <-f.ctx.Done(); return 0, io.EOF }

// signalWriter closes the channel on the first write.
func signalWriter(ch chan struct{}) io.Writer { return &onceWriter{ch: ch} }

type onceWriter struct {
	once sync.Once
	ch   chan struct{}
}

func (w *onceWriter) Write(p []byte) (int, error) {
	w.once.Do(func() { close(w.ch) })
	return len(p), nil
}

// TestAProcessOutlivesItsConnection is what wipe-start.sh relies on: the effect goes on when nobody listens any more.
func TestAProcessOutlivesItsConnection(t *testing.T) {
	l := newLab(t, fakes.Layout{Workers: 1})
	_, err := l.run(t, "echo 'while ! [ -e /tmp/go ]; do sleep 0.001; done; echo $$ >/tmp/pid; while ! [ -e /tmp/stop ]; do sleep 0.001; done; echo over >/tmp/over' >/tmp/d\n"+
		"setsid sh /tmp/d </dev/null >/tmp/log 2>&1 &\necho started")
	require.NoError(t, err)
	require.NoError(t, l.exec.Close())

	other := newClient(t, l)
	run := func(script string) string {
		res, err := other.Run(deadline(t), l.node(t, "ncn-w001"), lifecycle.Command{Name: "x", Script: script})
		require.NoError(t, err)
		return string(res.Stdout)
	}
	run("echo >/tmp/go")
	require.Equal(t, "alive\n", run("while ! [ -s /tmp/pid ]; do sleep 0.001; done; kill -0 $(cat /tmp/pid) && echo alive"))
	run("echo >/tmp/stop")
	require.Equal(t, "over\ngone\n", run("while kill -0 $(cat /tmp/pid) 2>/dev/null; do sleep 0.001; done; cat /tmp/over; echo gone"))
}

func newClient(t *testing.T, l *lab) *sshrun.Runner {
	t.Helper()
	r := sshrun.New(sshrun.Config{Signers: []ssh.Signer{signer(t, "us")}, KnownHosts: t.TempDir() + "/known_hosts"})
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	for _, m := range l.world.Machines() {
		require.NoError(t, r.KeepHostKeys(t.Context(), l.node(t, m.Name()), []string{hostKeyLine(t, m)}))
	}
	return r
}

// TestARouteLeadsToTheOtherMachine is a reused address: the other machine answers, with its own key and name.
func TestARouteLeadsToTheOtherMachine(t *testing.T) {
	l := newLab(t, fakes.Layout{Workers: 2})
	l.world.Route("ncn-w001", "ncn-w002")
	_, err := l.run(t, "hostname")
	require.ErrorIs(t, err, lifecycle.Denied)
	res, err := l.exec.Run(deadline(t), l.node(t, "ncn-w001"), lifecycle.Command{Name: "x", Script: "hostname",
		HostKeys: []string{hostKeyLine(t, l.world.Machine("ncn-w002"))}})
	require.NoError(t, err)
	require.Equal(t, "ncn-w002\n", string(res.Stdout))
}

// TestTheWireSeesAConstantSetOfTexts sends hostile arguments through every script, and looks at what arrived.
func TestTheWireSeesAConstantSetOfTexts(t *testing.T) {
	l := newLab(t, fakes.Layout{Workers: 1})
	known := map[string]bool{}
	for _, text := range ncn.Scripts() {
		known[fmt.Sprintf("%x", sha256.Sum256([]byte(text)))] = true
	}
	before := l.world.Machine("ncn-w001").Files("/")
	for _, arg := range []string{"; rm -rf /", "$(rm -rf /)", "`rm -rf /`", `"; rm -rf / #`, `'; rm -rf / #`, "-oProxyCommand=x", "*", "~", "日本語\u202e", strings.Repeat("a", 300), "a b\tc", `\`, "$IFS", ""} {
		for _, name := range []string{"ncn.sums", "ncn.backup"} {
			a := ask(t, l.exec, l.node(t, "ncn-w001"), name, "", counted(arg+"x")...)
			require.Empty(t, a.Kind, a.Stderr)
			require.Contains(t, a.Stdout+a.Stderr, "absent "+arg+"x\n")
		}
		require.Empty(t, ask(t, l.exec, l.node(t, "ncn-w001"), "ncn.wipe-look", "", arg+"x").Kind)
	}
	require.Equal(t, before, l.world.Machine("ncn-w001").Files("/"))
	for _, e := range l.seen() {
		if e.Type == fakessh.Exec {
			require.True(t, known[e.Sum], "%s is not one of the scripts", e.FirstLine)
		}
	}
}

func TestSessionsAreCapped(t *testing.T) {
	l := newLab(t, fakes.Layout{Workers: 1})
	us := signer(t, "us")
	client, err := ssh.Dial("tcp", l.server.Addrs()["ncn-w001"], &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(us)}, HostKeyCallback: ssh.InsecureIgnoreHostKey()})
	require.NoError(t, err)
	defer func() { _ = client.Close() }()
	for range 10 {
		s, err := client.NewSession()
		require.NoError(t, err)
		require.Error(t, s.Setenv("X", "y"))
		require.Error(t, s.Shell())
	}
	_, err = client.NewSession()
	var refused *ssh.OpenChannelError
	require.ErrorAs(t, err, &refused)
	_, _, err = client.OpenChannel("direct-tcpip", nil)
	require.ErrorAs(t, err, &refused)
}

func TestALongStreamArrivesWhole(t *testing.T) {
	l := newLab(t, fakes.Layout{Workers: 1})
	const size = 64 << 20
	sent, received := sha256.New(), sha256.New()
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(i * i >> 7)
	}
	input := func() io.Reader {
		return io.LimitReader(repeat{block}, size)
	}
	_, err := io.Copy(sent, input())
	require.NoError(t, err)

	_, err = l.exec.Run(deadline(t), l.node(t, "ncn-w001"), lifecycle.Command{Name: "x", Script: "cat", Stdin: input(), Stdout: received})
	require.NoError(t, err)
	require.Equal(t, sent.Sum(nil), received.Sum(nil))
	res, err := l.exec.Run(deadline(t), l.node(t, "ncn-w001"), lifecycle.Command{Name: "x", Script: "cat >/tmp/big; sha256sum </tmp/big", Stdin: input()})
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("%x  -\n", sent.Sum(nil)), string(res.Stdout))
}

// repeat is an endless input.
type repeat struct{ block []byte }

func (r repeat) Read(p []byte) (int, error) { return copy(p, r.block), nil }
