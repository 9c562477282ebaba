package ipmi_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes/fakebmc"
	"github.com/ncnkit/lifecycle/power"
	"github.com/ncnkit/lifecycle/power/ipmi"
	"github.com/ncnkit/lifecycle/power/powertest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

const (
	name     = "x3000c0s7b0"
	user     = "root"
	password = "canary-initial0"
)

// vault is Credentials that count how often they are asked.
type vault struct {
	mu     sync.Mutex
	asked  int
	answer func(n int) (lifecycle.Credential, error)
}

func (v *vault) Credential(_ context.Context, what string) (lifecycle.Credential, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked++
	if what != "bmc/"+name {
		return lifecycle.Credential{}, lifecycle.Errorf(lifecycle.NotFound, "vault", "", "no %s", what)
	}
	if v.answer != nil {
		return v.answer(v.asked)
	}
	return lifecycle.Credential{Username: user, Password: lifecycle.NewSecret(password)}, nil
}

// rig is a BMC, what it saw, and a Controller to talk to it.
type rig struct {
	srv     *fakebmc.Server
	machine *powertest.Machine
	vault   *vault
	ctl     *ipmi.Controller
	bmc     power.BMC

	mu   sync.Mutex
	seen []fakebmc.Event
}

func newRig(t *testing.T, m *powertest.Machine, cfg ipmi.Config, change ...func(*fakebmc.Config)) *rig {
	t.Helper()
	r := &rig{machine: m, vault: &vault{}}
	conf := fakebmc.Config{
		BMC: power.BMC{Name: name}, Backend: m, Username: user, Password: lifecycle.NewSecret(password),
		OnWire: func(e fakebmc.Event) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.seen = append(r.seen, e)
		},
	}
	for _, f := range change {
		f(&conf)
	}
	var err error
	r.srv, err = fakebmc.Serve(conf)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.srv.Close()) })
	if cfg.Credentials == nil {
		cfg.Credentials = r.vault
	}
	r.ctl = ipmi.New(cfg)
	r.bmc = power.BMC{Name: name, Host: r.srv.Addr()}
	return r
}

// via puts a relay with that rule between the Controller and the BMC.
func (r *rig) via(t *testing.T, rule func(fakebmc.Packet) fakebmc.Verdict) {
	t.Helper()
	relay, err := fakebmc.NewRelay(r.srv.Addr(), rule)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, relay.Close()) })
	r.bmc.Host = relay.Addr()
}

// events returns what the BMC saw, of these kinds.
func (r *rig) events(kinds ...fakebmc.What) []fakebmc.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []fakebmc.Event
	for _, e := range r.seen {
		for _, k := range kinds {
			if e.What == k {
				out = append(out, e)
			}
		}
	}
	return out
}

func TestConformance(t *testing.T) {
	for _, suite := range []int{17, 3} {
		t.Run(fmt.Sprint("suite ", suite), func(t *testing.T) {
			r := newRig(t, &powertest.Machine{Delay: 20 * time.Millisecond}, ipmi.Config{CipherSuites: []int{suite}})
			silent, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			require.NoError(t, err)
			defer silent.Close()
			powertest.Run(t, powertest.Harness{
				Controller: r.ctl, BMC: r.bmc, Poll: time.Millisecond, Wait: 2 * time.Second,
				Silent: power.BMC{Name: name, Host: silent.LocalAddr().String()},
			})
			opened, closed := r.events(fakebmc.SessionOpened), r.events(fakebmc.SessionClosed)
			require.Len(t, closed, len(opened), "every session is closed")
			require.Zero(t, r.srv.Sessions())
			for _, e := range opened {
				require.Equal(t, fakebmc.Event{BMC: power.BMC{Name: name}, What: fakebmc.SessionOpened, User: user, Suite: suite}, e)
			}
			require.Equal(t, 2, r.vault.asked, "once for each of two addresses, as long as it is accepted")
		})
	}
}

// The answer to a command is lost: it has been executed once, not once per try (facts: the library's default executes it
// twice). The second in-session packet is the command; the first sets the privilege level.
func TestLostAnswer(t *testing.T) {
	for _, tt := range []struct {
		action  power.Action
		initial power.State
	}{{power.ActionCycle, power.On}, {power.ActionReset, power.On}, {power.ActionOff, power.On}, {power.ActionOn, power.Off}} {
		t.Run(string(tt.action), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, &powertest.Machine{Initial: tt.initial}, ipmi.Config{Timeout: 2 * time.Second})
			var sent atomic.Int32
			r.via(t, func(p fakebmc.Packet) fakebmc.Verdict {
				if p.ToBMC && p.Session != 0 && p.Seq == 2 {
					sent.Add(1)
				}
				return fakebmc.Verdict{Drop: !p.ToBMC && p.Session != 0 && p.Seq == 2}
			})
			err := r.ctl.Do(t.Context(), r.bmc, tt.action)
			require.Equal(t, lifecycle.Unknown, lifecycle.KindOf(err), "%v", err)
			require.ErrorContains(t, err, "look before you send it again")
			require.Equal(t, []power.Action{tt.action}, r.machine.Actions())
			require.EqualValues(t, 1, sent.Load())
			require.Zero(t, r.srv.Sessions(), "closed all the same")
		})
	}
}

// The BMC itself loses the answer; the verbs look and find out.
func TestLostAnswerIsResolved(t *testing.T) {
	m := &powertest.Machine{Initial: power.On, Hook: func(_ context.Context, c powertest.Call) (bool, error) {
		if c.Op == powertest.Do && c.N == 1 {
			return true, lifecycle.Errorf(lifecycle.Unknown, "test", "", "lost")
		}
		return true, nil
	}}
	r := newRig(t, m, ipmi.Config{Timeout: time.Second})
	require.NoError(t, power.TurnOff(t.Context(), r.ctl, r.bmc, power.WithPoll(time.Millisecond, time.Millisecond)))
	require.Equal(t, []power.Action{power.ActionOff}, m.Actions())
	commands := r.events(fakebmc.Commanded)
	require.Len(t, commands, 1)
	require.True(t, commands[0].Lost)
}

// The command itself is lost on the way. From here that is the same as a lost answer: Unknown.
func TestLostCommand(t *testing.T) {
	r := newRig(t, &powertest.Machine{Initial: power.On}, ipmi.Config{Timeout: time.Second})
	r.via(t, func(p fakebmc.Packet) fakebmc.Verdict {
		return fakebmc.Verdict{Drop: p.ToBMC && p.Session != 0 && p.Seq == 2}
	})
	require.ErrorIs(t, r.ctl.Do(t.Context(), r.bmc, power.ActionCycle), lifecycle.Unknown)
	require.Empty(t, r.machine.Actions())
}

// A question may be asked again, and is.
func TestLostQuestion(t *testing.T) {
	r := newRig(t, &powertest.Machine{Initial: power.On}, ipmi.Config{})
	r.via(t, func(p fakebmc.Packet) fakebmc.Verdict {
		return fakebmc.Verdict{Drop: p.ToBMC && p.Session != 0 && p.Seq == 2}
	})
	state, err := r.ctl.State(t.Context(), r.bmc)
	require.NoError(t, err)
	require.Equal(t, power.On, state)
	require.Len(t, r.events(fakebmc.SessionOpened), 1)
}

// Answers that come late or twice are not taken for answers to something else.
func TestLateAndRepeated(t *testing.T) {
	t.Run("late in session setup", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, &powertest.Machine{Initial: power.On}, ipmi.Config{})
		r.via(t, func(p fakebmc.Packet) fakebmc.Verdict {
			if !p.ToBMC && p.Client == 1 && p.Type == 0x13 {
				return fakebmc.Verdict{Delay: 1100 * time.Millisecond}
			}
			return fakebmc.Verdict{}
		})
		state, err := r.ctl.State(t.Context(), r.bmc)
		require.NoError(t, err)
		require.Equal(t, power.On, state)
	})
	t.Run("late in the session", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, &powertest.Machine{Initial: power.On}, ipmi.Config{})
		r.via(t, func(p fakebmc.Packet) fakebmc.Verdict {
			if !p.ToBMC && p.Session != 0 && p.Seq == 2 {
				return fakebmc.Verdict{Delay: 1100 * time.Millisecond}
			}
			return fakebmc.Verdict{}
		})
		state, err := r.ctl.State(t.Context(), r.bmc)
		require.NoError(t, err)
		require.Equal(t, power.On, state)
	})
	t.Run("everything from the BMC twice", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, &powertest.Machine{Initial: power.On}, ipmi.Config{})
		r.via(t, func(p fakebmc.Packet) fakebmc.Verdict {
			if p.ToBMC {
				return fakebmc.Verdict{}
			}
			return fakebmc.Verdict{Again: 1}
		})
		for range 5 {
			state, err := r.ctl.State(t.Context(), r.bmc)
			require.NoError(t, err)
			require.Equal(t, power.On, state)
		}
	})
}

// Somebody on the network answers before the BMC does, with what looks right and is not signed.
func TestForgedAnswer(t *testing.T) {
	m := &powertest.Machine{Initial: power.On}
	r := newRig(t, m, ipmi.Config{})
	front, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer front.Close()
	back, err := net.Dial("udp", r.srv.Addr())
	require.NoError(t, err)
	defer back.Close()
	var client atomic.Pointer[net.UDPAddr]
	go func() { // from the client
		buf := make([]byte, 4096)
		for {
			n, addr, err := front.ReadFromUDP(buf)
			if err != nil {
				return
			}
			client.Store(addr)
			if p := buf[:n]; p[4] == 0x06 && p[6]|p[7]|p[8]|p[9] != 0 {
				for seq := range byte(0x40) {
					for _, forged := range forgeries(seq) {
						_, _ = front.WriteToUDP(forged, addr)
					}
				}
			}
			_, _ = back.Write(buf[:n])
		}
	}()
	go func() { // from the BMC
		buf := make([]byte, 4096)
		for {
			n, err := back.Read(buf)
			if err != nil {
				return
			}
			_, _ = front.WriteToUDP(buf[:n], client.Load())
		}
	}()
	state, err := r.ctl.State(t.Context(), power.BMC{Name: name, Host: front.LocalAddr().String()})
	require.NoError(t, err)
	require.Equal(t, power.On, state, "the forged answers say off")
}

// forgeries are answers to Get Chassis Status that say "off": in the format of IPMI v1.5, in a session without
// encryption, and garbage that would be decrypted to anything.
func forgeries(seq byte) [][]byte {
	sum := func(b ...byte) (s byte) {
		for _, c := range b {
			s -= c
		}
		return s
	}
	msg := []byte{0x81, 0x04, sum(0x81, 0x04), 0x20, seq << 2, 0x01, 0x00, 0x00, 0x00, 0x00}
	msg = append(msg, sum(msg[3:]...))
	v15 := append([]byte{6, 0, 0xff, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(len(msg))}, msg...)
	head := func(t byte, size int) []byte {
		return []byte{6, 0, 0xff, 7, 6, t, 0xa3, 0xa2, 0xa1, 0xa0, seq, 0, 0, 0, byte(size), 0}
	}
	plain := append(head(0x00, len(msg)), msg...)
	garbage := append(head(0xc0, 32), make([]byte, 32)...)
	garbage = append(garbage, 0xff, 0xff, 2, 7)
	garbage = append(garbage, make([]byte, 16)...)
	short := append(head(0xc0, 3), 1, 2, 3)
	return [][]byte{v15, plain, garbage, short}
}

func TestSilentBMC(t *testing.T) {
	silent, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer silent.Close()
	bmc := power.BMC{Name: name, Host: silent.LocalAddr().String()}
	ctl := ipmi.New(ipmi.Config{Credentials: &vault{}, Timeout: 1500 * time.Millisecond})

	start := time.Now()
	err = ctl.Do(t.Context(), bmc, power.ActionOff)
	require.ErrorIs(t, err, lifecycle.Unavailable)
	require.NotErrorIs(t, err, lifecycle.Unknown, "nothing was sent")
	require.Less(t, time.Since(start), 2500*time.Millisecond)

	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start = time.Now()
	_, err = ctl.State(ctx, bmc)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(start), time.Second)

	require.NoError(t, silent.Close())
	start = time.Now()
	_, err = ctl.State(t.Context(), bmc)
	require.ErrorIs(t, err, lifecycle.Unavailable, "refused by the host, at once")
	require.Less(t, time.Since(start), time.Second)
}

// The BMC hangs in the middle of an operation, and the caller gives up.
func TestHangingBMC(t *testing.T) {
	m := &powertest.Machine{Initial: power.On, Hook: func(ctx context.Context, c powertest.Call) (bool, error) {
		<-ctx.Done()
		return false, ctx.Err()
	}}
	r := newRig(t, m, ipmi.Config{Timeout: 5 * time.Second}, func(c *fakebmc.Config) { c.CallTimeout = 300 * time.Millisecond })
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	start := time.Now()
	err := r.ctl.Do(ctx, r.bmc, power.ActionOff)
	require.Equal(t, lifecycle.Unknown, lifecycle.KindOf(err), "it was sent: %v", err)
	require.Less(t, time.Since(start), 1500*time.Millisecond)

	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	_, err = r.ctl.State(ctx, r.bmc)
	require.Equal(t, lifecycle.Canceled, lifecycle.KindOf(err), "%v", err)
	require.Eventually(t, func() bool { return r.srv.Sessions() == 0 }, 5*time.Second, 10*time.Millisecond)
}

func TestPassword(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer []lifecycle.Credential // one by one; the last stays
		asked  int
		opens  int
		kind   lifecycle.Kind
	}{
		{"right", []lifecycle.Credential{{Username: user, Password: lifecycle.NewSecret(password)}}, 1, 2, ""},
		{"wrong", []lifecycle.Credential{{Username: user, Password: lifecycle.NewSecret("canary-wrong")}}, 2, 0, lifecycle.Unauthenticated},
		{"unknown user", []lifecycle.Credential{{Username: "nobody", Password: lifecycle.NewSecret(password)}}, 2, 0, lifecycle.Unauthenticated},
		{"empty", []lifecycle.Credential{{Username: user}}, 2, 0, lifecycle.Unauthenticated},
		{"too long", []lifecycle.Credential{{Username: user, Password: lifecycle.NewSecret("canary-" + strings.Repeat("x", 14))}}, 2, 0, lifecycle.Invalid},
		{"long user name", []lifecycle.Credential{{Username: strings.Repeat("u", 17)}}, 2, 0, lifecycle.Invalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var setups atomic.Int32
			r := newRig(t, &powertest.Machine{}, ipmi.Config{})
			r.via(t, func(p fakebmc.Packet) fakebmc.Verdict {
				if p.ToBMC && p.Type == 0x10 {
					setups.Add(1)
				}
				return fakebmc.Verdict{}
			})
			r.vault.answer = func(n int) (lifecycle.Credential, error) { return tt.answer[min(n, len(tt.answer))-1], nil }
			for range 2 {
				_, err := r.ctl.State(t.Context(), r.bmc)
				require.Equal(t, tt.kind, lifecycle.KindOf(err), "%v", err)
				if err != nil {
					require.NotContains(t, fmt.Sprintf("%+v %#v", err, err), "canary")
				}
			}
			require.Equal(t, tt.asked, r.vault.asked)
			require.Len(t, r.events(fakebmc.SessionOpened), tt.opens)
			if tt.kind == lifecycle.Unauthenticated {
				require.EqualValues(t, 2, setups.Load(), "one refusal for each operation: more may lock the user out")
			}
		})
	}
}

// The BMC's password changes while a run is on; the vault has the new one.
func TestPasswordRotates(t *testing.T) {
	r := newRig(t, &powertest.Machine{}, ipmi.Config{})
	current := password
	r.vault.answer = func(int) (lifecycle.Credential, error) {
		return lifecycle.Credential{Username: user, Password: lifecycle.NewSecret(current)}, nil
	}
	_, err := r.ctl.State(t.Context(), r.bmc)
	require.NoError(t, err)

	host := r.srv.Addr()
	require.NoError(t, r.srv.Close())
	current = "canary-rotated"
	again, err := fakebmc.Serve(fakebmc.Config{Addr: host, Backend: r.machine, Username: user, Password: lifecycle.NewSecret(current)})
	require.NoError(t, err)
	defer again.Close()
	_, err = r.ctl.State(t.Context(), r.bmc)
	require.NoError(t, err)
	require.Equal(t, 2, r.vault.asked)
}

func TestSessionSlots(t *testing.T) {
	r := newRig(t, &powertest.Machine{Initial: power.On}, ipmi.Config{}, func(c *fakebmc.Config) { c.Sessions = 1 })
	// Somebody else's session: its end is lost, so that it keeps the slot.
	other := ipmi.New(ipmi.Config{Credentials: r.vault})
	relay, err := fakebmc.NewRelay(r.srv.Addr(), func(p fakebmc.Packet) fakebmc.Verdict {
		return fakebmc.Verdict{Drop: p.ToBMC && p.Session != 0 && p.Seq == 3}
	})
	require.NoError(t, err)
	defer relay.Close()
	start := time.Now()
	_, err = other.State(t.Context(), power.BMC{Name: name, Host: relay.Addr()})
	require.NoError(t, err, "what went well does not fail because the session could not be closed")
	require.Less(t, time.Since(start), 900*time.Millisecond, "closing has 500 ms")
	require.Equal(t, 1, r.srv.Sessions())

	err = r.ctl.Do(t.Context(), r.bmc, power.ActionOff)
	require.Equal(t, lifecycle.Unavailable, lifecycle.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "another session holds it")
	require.ErrorContains(t, err, "60 s")
	require.Empty(t, r.machine.Actions())
}

// A BMC that refuses the session says why with a number. Some (ipmi_sim) send nothing but the number.
func TestSessionRefused(t *testing.T) {
	for status, want := range map[byte]struct {
		kind lifecycle.Kind
		says string
	}{
		0x01: {lifecycle.Unavailable, "another session holds it"},
		0x02: {lifecycle.Unavailable, "another session holds it"},
		0x0b: {lifecycle.Unavailable, "another session holds it"},
		0x04: {lifecycle.Invalid, "refuses cipher suite"},
		0x11: {lifecycle.Invalid, "refuses cipher suite"},
		0x09: {lifecycle.Denied, "choose a lower Config.Privilege"},
		0x0a: {lifecycle.Denied, "choose a lower Config.Privilege"},
		0x0d: {lifecycle.Unauthenticated, "check the credential bmc/" + name},
		0x0f: {lifecycle.Unauthenticated, "check the credential bmc/" + name},
	} {
		t.Run(fmt.Sprintf("%#02x", status), func(t *testing.T) {
			r := newRig(t, &powertest.Machine{}, ipmi.Config{})
			r.bmc.Host = refuse(t, r.srv.Addr(), status)
			err := r.ctl.Do(t.Context(), r.bmc, power.ActionOn)
			require.Equal(t, want.kind, lifecycle.KindOf(err), "%v", err)
			require.ErrorContains(t, err, want.says)
			require.ErrorContains(t, err, fmt.Sprintf("RMCP+ status %#02x", status))
			require.Empty(t, r.machine.Actions())
		})
	}
}

// refuse passes everything to the BMC but requests for a session, which it answers itself, with two bytes.
func refuse(t *testing.T, bmc string, status byte) (addr string) {
	t.Helper()
	front, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	t.Cleanup(func() { _ = front.Close() })
	back, err := net.Dial("udp", bmc)
	require.NoError(t, err)
	t.Cleanup(func() { _ = back.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, client, err := front.ReadFromUDP(buf)
			if err != nil {
				return
			}
			if buf[4] == 0x06 && buf[5] == 0x10 {
				_, _ = front.WriteToUDP([]byte{6, 0, 0xff, 7, 6, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, status}, client)
				continue
			}
			if _, err = back.Write(buf[:n]); err != nil {
				return
			}
			if n, err = back.Read(buf); err != nil {
				return
			}
			_, _ = front.WriteToUDP(buf[:n], client)
		}
	}()
	return front.LocalAddr().String()
}

// Eight goroutines and one session slot: operations on one BMC take turns.
func TestConcurrent(t *testing.T) {
	r := newRig(t, &powertest.Machine{Initial: power.On}, ipmi.Config{}, func(c *fakebmc.Config) { c.Sessions = 1 })
	var wg sync.WaitGroup
	errs := make(chan error, 160)
	for range 8 {
		wg.Go(func() {
			for range 20 {
				_, err := r.ctl.State(t.Context(), r.bmc)
				errs <- err
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	require.Len(t, r.events(fakebmc.StatusRead), 160)
}

// An operation that waits for its turn waits no longer than its context.
func TestTurn(t *testing.T) {
	release := make(chan struct{})
	entered := make(chan struct{}, 1)
	m := &powertest.Machine{Hook: func(context.Context, powertest.Call) (bool, error) {
		entered <- struct{}{}
		<-release
		return true, nil
	}}
	r := newRig(t, m, ipmi.Config{})
	first := make(chan error, 1)
	go func() {
		_, err := r.ctl.State(t.Context(), r.bmc)
		first <- err
	}()
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := r.ctl.State(ctx, r.bmc)
	require.ErrorIs(t, err, lifecycle.Unavailable)
	require.ErrorContains(t, err, "another operation on this BMC")
	close(release)
	require.NoError(t, <-first)
}

func TestCipherSuites(t *testing.T) {
	r := newRig(t, &powertest.Machine{}, ipmi.Config{}, func(c *fakebmc.Config) { c.Suites = []int{3} })
	var setups atomic.Int32
	r.via(t, func(p fakebmc.Packet) fakebmc.Verdict {
		if p.ToBMC && p.Type == 0x10 {
			setups.Add(1)
		}
		return fakebmc.Verdict{}
	})
	for range 3 {
		_, err := r.ctl.State(t.Context(), r.bmc)
		require.NoError(t, err)
	}
	require.EqualValues(t, 4, setups.Load(), "17 refused once, then 3 remembered")

	only17 := ipmi.New(ipmi.Config{Credentials: r.vault, CipherSuites: []int{17}})
	_, err := only17.State(t.Context(), r.bmc)
	require.ErrorIs(t, err, lifecycle.Invalid)
	require.ErrorContains(t, err, "cipher suite 17")
}

func TestCompletionCodes(t *testing.T) {
	for kind, want := range map[lifecycle.Kind]struct {
		kind lifecycle.Kind
		code string
	}{
		lifecycle.Precondition: {lifecycle.Precondition, "0xd5"},
		lifecycle.Invalid:      {lifecycle.Invalid, "0xcc"},
		lifecycle.Denied:       {lifecycle.Denied, "0xd4"},
		lifecycle.Unavailable:  {lifecycle.Unavailable, "0xc0"},
		lifecycle.Internal:     {lifecycle.Unknown, "0xff"},
	} {
		t.Run(string(kind), func(t *testing.T) {
			m := &powertest.Machine{Hook: func(_ context.Context, c powertest.Call) (bool, error) {
				return false, lifecycle.Errorf(kind, "test", "", "no")
			}}
			r := newRig(t, m, ipmi.Config{})
			err := r.ctl.Do(t.Context(), r.bmc, power.ActionOn)
			require.Equal(t, want.kind, lifecycle.KindOf(err), "%v", err)
			require.ErrorContains(t, err, want.code)
			require.Len(t, m.Actions(), 1)
			_, err = r.ctl.Boot(t.Context(), r.bmc)
			require.ErrorContains(t, err, want.code)
			require.NotErrorIs(t, err, lifecycle.Unknown, "a question leaves nothing unknown")
		})
	}
}

func TestPrivilege(t *testing.T) {
	r := newRig(t, &powertest.Machine{}, ipmi.Config{Privilege: ipmi.User})
	_, err := r.ctl.State(t.Context(), r.bmc)
	require.NoError(t, err)
	err = r.ctl.Do(t.Context(), r.bmc, power.ActionOn)
	require.ErrorIs(t, err, lifecycle.Denied)
	require.Empty(t, r.machine.Actions())
}

// The bytes on the wire: the 60-second timer is stopped before the flags are written.
func TestSetBootBytes(t *testing.T) {
	type written struct {
		Param int
		Data  []byte
	}
	before := []written{{3, []byte{0x08}}, {4, []byte{0x01, 0x01}}}
	for _, tt := range []struct {
		boot power.Boot
		want []byte
	}{
		{power.Boot{Device: power.PXE}, []byte{0x80, 0x04, 0, 0, 0}},
		{power.Boot{Device: power.PXE, EFI: true}, []byte{0xa0, 0x04, 0, 0, 0}},
		{power.Boot{Device: power.PXE, EFI: true, Persistent: true}, []byte{0xe0, 0x04, 0, 0, 0}},
		{power.Boot{Device: power.Disk, Persistent: true}, []byte{0xc0, 0x08, 0, 0, 0}},
		{power.Boot{Device: power.DeviceNone}, []byte{0x80, 0x00, 0, 0, 0}},
	} {
		t.Run(tt.boot.String(), func(t *testing.T) {
			var timers atomic.Int32
			r := newRig(t, &powertest.Machine{}, ipmi.Config{}, func(c *fakebmc.Config) {
				c.AfterFunc = func(time.Duration, func()) func() bool {
					timers.Add(1)
					return func() bool { return true }
				}
			})
			require.NoError(t, r.ctl.SetBoot(t.Context(), r.bmc, tt.boot))
			var got []written
			for _, e := range r.events(fakebmc.BootWritten) {
				require.Zero(t, e.Code)
				got = append(got, written{e.Param, e.Data})
			}
			want := append(append([]written(nil), before...), written{5, tt.want})
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("boot options (-want +got):\n%s", diff)
			}
			require.Zero(t, timers.Load(), "flags that would expire")
			kept, err := r.ctl.Boot(t.Context(), r.bmc)
			require.NoError(t, err)
			require.Equal(t, tt.boot, kept)
		})
	}
}

// The BMC forgets the UEFI bit: the verb says so instead of booting the wrong firmware.
func TestBootFlagsLost(t *testing.T) {
	m := &powertest.Machine{Keep: func(b power.Boot) power.Boot { b.EFI = false; return b }}
	r := newRig(t, m, ipmi.Config{})
	err := power.SetBoot(t.Context(), r.ctl, r.bmc, power.Boot{Device: power.PXE, EFI: true},
		power.WithPoll(time.Millisecond, time.Millisecond), power.WithQuiet(5*time.Millisecond))
	require.ErrorIs(t, err, lifecycle.Unavailable)
	require.ErrorContains(t, err, `it keeps "pxe, legacy, next boot only" after 3 writes`)
}

// The BMC accepts and ignores; the verb repeats what may be repeated, in sessions of their own.
func TestIgnoredCommand(t *testing.T) {
	m := &powertest.Machine{Hook: func(_ context.Context, c powertest.Call) (bool, error) { return c.Op != powertest.Do || c.N > 2, nil }}
	r := newRig(t, m, ipmi.Config{})
	require.NoError(t, power.TurnOn(t.Context(), r.ctl, r.bmc, power.WithPoll(time.Millisecond, 5*time.Millisecond), power.WithQuiet(20*time.Millisecond)))
	require.Len(t, m.Actions(), 3)
}

func TestInvalid(t *testing.T) {
	good := &vault{}
	for what, tt := range map[string]struct {
		cfg  ipmi.Config
		host string
	}{
		"no credentials":   {ipmi.Config{}, "127.0.0.1"},
		"suite 0":          {ipmi.Config{Credentials: good, CipherSuites: []int{17, 0}}, "127.0.0.1"},
		"suite 8":          {ipmi.Config{Credentials: good, CipherSuites: []int{8}}, "127.0.0.1"},
		"privilege":        {ipmi.Config{Credentials: good, Privilege: "god"}, "127.0.0.1"},
		"long timeout":     {ipmi.Config{Credentials: good, Timeout: time.Minute}, "127.0.0.1"},
		"negative timeout": {ipmi.Config{Credentials: good, Timeout: -1}, "127.0.0.1"},
		"port":             {ipmi.Config{Credentials: good, Port: 70000}, "127.0.0.1"},
		"no host":          {ipmi.Config{Credentials: good}, ""},
		"shell":            {ipmi.Config{Credentials: good}, "bmc; reboot"},
		"port in host":     {ipmi.Config{Credentials: good}, "bmc:99999"},
		"port 0":           {ipmi.Config{Credentials: good}, "bmc:0"},
		"two ports":        {ipmi.Config{Credentials: good}, "bmc:1:2"},
		"URL":              {ipmi.Config{Credentials: good}, "http://bmc"},
	} {
		t.Run(what, func(t *testing.T) {
			ctl, bmc := ipmi.New(tt.cfg), power.BMC{Name: name, Host: tt.host}
			_, err := ctl.State(t.Context(), bmc)
			require.ErrorIs(t, err, lifecycle.Invalid)
			require.ErrorIs(t, ctl.Do(t.Context(), bmc, power.ActionOn), lifecycle.Invalid)
			require.ErrorIs(t, ctl.SetBoot(t.Context(), bmc, power.Boot{Device: power.PXE}), lifecycle.Invalid)
			_, err = ctl.Boot(t.Context(), bmc)
			require.ErrorIs(t, err, lifecycle.Invalid)
		})
	}
	require.Zero(t, good.asked, "nothing is asked for what cannot be used")
}

func TestUnknownCredential(t *testing.T) {
	ctl := ipmi.New(ipmi.Config{Credentials: &vault{}})
	_, err := ctl.State(t.Context(), power.BMC{Name: "x9", Host: "127.0.0.1:1"})
	require.ErrorIs(t, err, lifecycle.NotFound)
	require.ErrorContains(t, err, "bmc/x9")
	// Without a name the host is the name.
	_, err = ctl.State(t.Context(), power.BMC{Host: "127.0.0.1:1"})
	require.ErrorContains(t, err, "bmc/127.0.0.1:1")
}
