package fakebmc_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bougou/go-ipmi/pkg/client"
	"github.com/bougou/go-ipmi/pkg/command/chassis"
	"github.com/bougou/go-ipmi/pkg/types"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes/fakebmc"
	"github.com/ncnkit/lifecycle/power"
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

var (
	bmc    = power.BMC{Name: "x3000c0s7b0"}
	secret = lifecycle.NewSecret("initial0")
)

// seen collects events.
type seen struct {
	mu     sync.Mutex
	events []fakebmc.Event
}

func (s *seen) add(e fakebmc.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
}

func (s *seen) all() []fakebmc.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]fakebmc.Event(nil), s.events...)
}

// timers are started by hand.
type timers struct {
	mu      sync.Mutex
	started []time.Duration
	fire    []func()
}

func (c *timers) after(d time.Duration, f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.started = append(c.started, d)
	c.fire = append(c.fire, f)
	return func() bool { return true }
}

// times returns how long the timers were started for.
func (c *timers) times() []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]time.Duration(nil), c.started...)
}

// run fires the first timer, whether or not it was stopped.
func (c *timers) run() {
	c.mu.Lock()
	f := c.fire[0]
	c.mu.Unlock()
	f()
}

func serve(t *testing.T, backend power.Controller, change ...func(*fakebmc.Config)) *fakebmc.Server {
	t.Helper()
	cfg := fakebmc.Config{BMC: bmc, Backend: backend, Username: "root", Password: secret}
	for _, f := range change {
		f(&cfg)
	}
	s, err := fakebmc.Serve(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// dial opens a session with go-ipmi's own client, which repeats what is not answered.
func dial(t *testing.T, addr string, suite types.CipherSuiteID) *client.Client {
	t.Helper()
	host, p, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	port, err := strconv.Atoi(p)
	require.NoError(t, err)
	c, err := client.NewClient(host, port, "root", secret.Reveal())
	require.NoError(t, err)
	c.WithCipherSuiteID(suite).WithTimeout(200 * time.Millisecond).WithRetry(1)
	require.NoError(t, c.Connect(t.Context()))
	return c
}

func hangUp(t *testing.T, c *client.Client) {
	t.Helper()
	require.NoError(t, c.Close(context.WithoutCancel(t.Context())))
}

func setOption(t *testing.T, c *client.Client, param byte, data ...byte) error {
	t.Helper()
	_, err := c.SetSystemBootOptionsParam(t.Context(), &chassis.SetSystemBootOptionsParamRequest{ParamSelector: types.BootOptionParamSelector(param), ParamData: data})
	return err
}

func getOption(t *testing.T, c *client.Client, param byte) []byte {
	t.Helper()
	r, err := c.GetSystemBootOptionsParam(t.Context(), types.BootOptionParamSelector(param), 0, 0)
	require.NoError(t, err)
	return r.ParamData
}

func TestOnWire(t *testing.T) {
	for _, suite := range []int{3, 17} {
		t.Run(fmt.Sprint(suite), func(t *testing.T) {
			var s seen
			m := &powertest.Machine{Initial: power.On}
			srv := serve(t, m, func(c *fakebmc.Config) { c.OnWire = s.add })
			c := dial(t, srv.Addr(), types.CipherSuiteID(suite))
			require.Equal(t, 1, srv.Sessions())
			status, err := c.GetChassisStatus(t.Context())
			require.NoError(t, err)
			require.True(t, status.PowerIsOn)
			_, err = c.ChassisControl(t.Context(), chassis.ChassisControlPowerCycle)
			require.NoError(t, err)
			require.NoError(t, setOption(t, c, 5, 0xa0, 0x04, 0, 0, 0))
			require.Error(t, setOption(t, c, 7, 1))
			getOption(t, c, 5)
			_, err = c.ChassisControl(t.Context(), chassis.ChassisControlDiagnosticInterrupt)
			require.Error(t, err)
			hangUp(t, c)

			e := func(what fakebmc.What) fakebmc.Event {
				return fakebmc.Event{BMC: bmc, What: what, User: "root", Suite: suite}
			}
			cycle, write, unknown, read, nmi := e(fakebmc.Commanded), e(fakebmc.BootWritten), e(fakebmc.BootWritten), e(fakebmc.BootRead), e(fakebmc.Commanded)
			cycle.Action = power.ActionCycle
			write.Param, write.Data = 5, []byte{0xa0, 0x04, 0, 0, 0}
			unknown.Param, unknown.Data, unknown.Code = 7, []byte{1}, 0x80
			read.Param, read.Data = 5, []byte{0xa0, 0x04, 0, 0, 0}
			nmi.Code = 0xcc
			want := []fakebmc.Event{e(fakebmc.SessionOpened), e(fakebmc.StatusRead), cycle, write, unknown, read, nmi, e(fakebmc.SessionClosed)}
			if diff := cmp.Diff(want, s.all()); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			require.Equal(t, "x3000c0s7b0: boot option written by root (suite "+fmt.Sprint(suite)+") 7: 01: code 0x80", s.all()[4].String())
		})
	}
}

// A client that repeats what is not answered has it executed twice: what power/ipmi must not do.
func TestRetransmissionExecutesTwice(t *testing.T) {
	m := &powertest.Machine{Initial: power.On}
	srv := serve(t, m)
	relay, err := fakebmc.NewRelay(srv.Addr(), func(p fakebmc.Packet) fakebmc.Verdict {
		return fakebmc.Verdict{Drop: !p.ToBMC && p.Session != 0 && p.Seq == 2}
	})
	require.NoError(t, err)
	defer relay.Close()
	c := dial(t, relay.Addr(), 17)
	_, err = c.ChassisControl(t.Context(), chassis.ChassisControlHardReset)
	require.NoError(t, err)
	hangUp(t, c)
	require.Equal(t, []power.Action{power.ActionReset, power.ActionReset}, m.Actions())
}

func TestBackendErrors(t *testing.T) {
	for kind, code := range map[lifecycle.Kind]types.CompletionCode{
		lifecycle.Invalid:         0xcc,
		lifecycle.Precondition:    0xd5,
		lifecycle.Conflict:        0xd5,
		lifecycle.Denied:          0xd4,
		lifecycle.Unauthenticated: 0xd4,
		lifecycle.NotFound:        0xcb,
		lifecycle.Unavailable:     0xc0,
		lifecycle.Internal:        0xff,
		lifecycle.Unknown:         0, // silence
		lifecycle.Timeout:         0,
		lifecycle.Canceled:        0,
	} {
		t.Run(string(kind), func(t *testing.T) {
			var s seen
			m := &powertest.Machine{Hook: func(_ context.Context, c powertest.Call) (bool, error) {
				return true, lifecycle.Errorf(kind, "test", "", "no")
			}}
			srv := serve(t, m, func(c *fakebmc.Config) { c.OnWire = s.add })
			c := dial(t, srv.Addr(), 3)
			c.WithRetry(0)
			_, err := c.ChassisControl(t.Context(), chassis.ChassisControlPowerUp)
			require.Error(t, err)
			r, answered := types.IsResponseError(err)
			require.Equal(t, code != 0, answered, "%v", err)
			if answered {
				require.Equal(t, code, r.CompletionCode())
			}
			require.Equal(t, !answered, s.all()[1].Lost)
			hangUp(t, c)
			require.Len(t, m.Actions(), 1)
		})
	}
}

func TestBootFlags(t *testing.T) {
	m := &powertest.Machine{}
	var c timers
	srv := serve(t, m, func(cfg *fakebmc.Config) { cfg.AfterFunc = c.after })
	cl := dial(t, srv.Addr(), 17)
	defer hangUp(t, cl)

	require.Equal(t, []byte{0, 0, 0, 0, 0}, getOption(t, cl, 5), "no override yet")
	require.Equal(t, []byte{0}, getOption(t, cl, 3))
	require.Equal(t, []byte{0, 0}, getOption(t, cl, 4))
	require.NoError(t, setOption(t, cl, 3, 0x08))
	require.NoError(t, setOption(t, cl, 4, 0x01, 0x01))
	require.Equal(t, []byte{0x08}, getOption(t, cl, 3))
	require.Equal(t, []byte{1, 1}, getOption(t, cl, 4))

	// Every bit comes back, also those that power.Boot does not know.
	raw := []byte{0xe0, 0x46, 0x20, 0x00, 0x03}
	require.NoError(t, setOption(t, cl, 5, raw...))
	require.Equal(t, raw, getOption(t, cl, 5))
	kept, err := m.Boot(t.Context(), bmc)
	require.NoError(t, err)
	require.Equal(t, power.Boot{Device: power.PXE, EFI: true, Persistent: true}, kept)

	// The machine has booted, and the override is used up: the backend decides.
	require.NoError(t, m.SetBoot(t.Context(), bmc, power.Boot{Device: power.Disk, EFI: true}))
	require.Equal(t, []byte{0xa0, 0x08, 0, 0, 0}, getOption(t, cl, 5))
	require.NoError(t, m.SetBoot(t.Context(), bmc, power.Boot{Device: power.DeviceNone}))
	require.Equal(t, []byte{0, 0, 0, 0, 0}, getOption(t, cl, 5))

	for _, bad := range [][]byte{{0x80}, {0x80, 4, 0, 0, 0, 0}, {0x80, 0x14, 0, 0, 0}} { // too short, too long, a CD that Machine has not
		require.Error(t, setOption(t, cl, 5, bad...))
	}
	require.Empty(t, c.times())
}

// A backend that loses the UEFI bit shows it: the bytes that were written do not hide it.
func TestBootFlagsLost(t *testing.T) {
	m := &powertest.Machine{Keep: func(b power.Boot) power.Boot { b.EFI = false; return b }}
	srv := serve(t, m)
	c := dial(t, srv.Addr(), 17)
	defer hangUp(t, c)
	require.NoError(t, setOption(t, c, 5, 0xa0, 0x04, 0, 0, 0))
	require.Equal(t, []byte{0x80, 0x04, 0, 0, 0}, getOption(t, c, 5))
}

// IPMI v2.0 §28.12: without bit 3 of parameter 3, flags end 60 seconds after they were written, unless a chassis command
// comes first.
func TestFlagsExpire(t *testing.T) {
	pxe := []byte{0xa0, 0x04, 0, 0, 0}
	for _, tt := range []struct {
		name    string
		between func(*testing.T, *client.Client)
		want    []byte
	}{
		{"nothing happens", func(*testing.T, *client.Client) {}, []byte{0x20, 0x04, 0, 0, 0}}, // the valid bit goes, the rest stays
		{"a chassis command", func(t *testing.T, c *client.Client) {
			_, err := c.ChassisControl(t.Context(), chassis.ChassisControlPowerUp)
			require.NoError(t, err)
		}, pxe},
		{"the timer is disabled", func(t *testing.T, c *client.Client) { require.NoError(t, setOption(t, c, 3, 0x08)) }, pxe},
		{"flags are written again", func(t *testing.T, c *client.Client) { require.NoError(t, setOption(t, c, 5, pxe...)) }, pxe},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := &powertest.Machine{}
			var clock timers
			srv := serve(t, m, func(cfg *fakebmc.Config) { cfg.AfterFunc = clock.after })
			c := dial(t, srv.Addr(), 17)
			defer hangUp(t, c)
			require.NoError(t, setOption(t, c, 5, pxe...))
			require.Equal(t, []time.Duration{60 * time.Second}, clock.times())
			tt.between(t, c)
			clock.run() // even when it was stopped too late
			require.Equal(t, tt.want, getOption(t, c, 5))
		})
	}
}

// Flags also expire in real time, and by themselves.
func TestFlagsExpireByThemselves(t *testing.T) {
	m := &powertest.Machine{}
	srv := serve(t, m, func(cfg *fakebmc.Config) {
		cfg.AfterFunc = func(d time.Duration, f func()) func() bool { return time.AfterFunc(d/6000, f).Stop }
	})
	c := dial(t, srv.Addr(), 17)
	defer hangUp(t, c)
	require.NoError(t, setOption(t, c, 5, 0xa0, 0x04, 0, 0, 0))
	require.Eventually(t, func() bool { return getOption(t, c, 5)[0]&0x80 == 0 }, 5*time.Second, time.Millisecond)
}

// A backend that hangs is let go of after CallTimeout, and by Close at once.
func TestBackendHangs(t *testing.T) {
	ended := make(chan error, 10)
	entered := make(chan struct{}, 10)
	m := &powertest.Machine{Hook: func(ctx context.Context, _ powertest.Call) (bool, error) {
		entered <- struct{}{}
		<-ctx.Done()
		ended <- ctx.Err()
		return false, ctx.Err()
	}}
	srv := serve(t, m, func(c *fakebmc.Config) { c.CallTimeout = 50 * time.Millisecond })
	c := dial(t, srv.Addr(), 17)
	c.WithRetry(0)
	_, err := c.GetChassisStatus(t.Context())
	require.Error(t, err)
	require.ErrorIs(t, <-ended, context.DeadlineExceeded)
	hangUp(t, c)
	<-entered

	srv = serve(t, m)
	c = dial(t, srv.Addr(), 17)
	c.WithRetry(0)
	go func() {
		<-entered
		_ = srv.Close()
	}()
	_, err = c.GetChassisStatus(t.Context())
	require.Error(t, err)
	require.ErrorIs(t, <-ended, context.Canceled)
	_ = c.Close(context.WithoutCancel(t.Context())) // nobody is there to answer
}

func TestInvalid(t *testing.T) {
	m := &powertest.Machine{}
	for name, cfg := range map[string]fakebmc.Config{
		"no backend":    {Username: "root"},
		"no user":       {Backend: m},
		"long user":     {Backend: m, Username: "0123456789abcdefg"},
		"long password": {Backend: m, Username: "root", Password: lifecycle.NewSecret("0123456789abcdefghijk")},
		"suite":         {Backend: m, Username: "root", Suites: []int{0}},
	} {
		_, err := fakebmc.Serve(cfg)
		require.ErrorIs(t, err, lifecycle.Invalid, name)
	}
	_, err := fakebmc.Serve(fakebmc.Config{Backend: m, Username: "root", Addr: "192.0.2.1:1"})
	require.ErrorIs(t, err, lifecycle.Unavailable)
	_, err = fakebmc.NewRelay("nowhere", nil)
	require.ErrorIs(t, err, lifecycle.Unavailable)
}

// A thousand BMCs in one process, and nothing left of them.
func TestMany(t *testing.T) {
	const n = 1000
	before := goleak.IgnoreCurrent()
	m := &powertest.Machine{Initial: power.On}
	servers := make([]*fakebmc.Server, n)
	start := time.Now()
	for i := range servers {
		servers[i] = serve(t, m)
	}
	c := dial(t, servers[n-1].Addr(), 17)
	_, err := c.GetChassisStatus(t.Context())
	require.NoError(t, err)
	hangUp(t, c)
	for _, s := range servers {
		require.NoError(t, s.Close())
		require.NoError(t, s.Close(), "twice")
	}
	require.Less(t, time.Since(start), 20*time.Second)
	require.NoError(t, goleak.Find(before))
}

func TestRelay(t *testing.T) {
	echo, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer echo.Close()
	go func() {
		buf := make([]byte, 100)
		for {
			n, addr, err := echo.ReadFromUDP(buf)
			if err != nil {
				return
			}
			_, _ = echo.WriteToUDP(buf[:n], addr)
		}
	}()
	var clients atomic.Int32
	relay, err := fakebmc.NewRelay(echo.LocalAddr().String(), func(p fakebmc.Packet) fakebmc.Verdict {
		clients.Store(max(clients.Load(), int32(p.Client)))
		switch {
		case !p.ToBMC:
			return fakebmc.Verdict{}
		case string(p.Data) == "drop":
			return fakebmc.Verdict{Drop: true}
		case string(p.Data) == "thrice":
			return fakebmc.Verdict{Again: 2}
		case string(p.Data) == "late":
			return fakebmc.Verdict{Delay: 30 * time.Millisecond}
		case string(p.Data) == "never":
			return fakebmc.Verdict{Delay: time.Hour}
		}
		return fakebmc.Verdict{}
	})
	require.NoError(t, err)
	conn, err := net.Dial("udp", relay.Addr())
	require.NoError(t, err)
	defer conn.Close()
	other, err := net.Dial("udp", relay.Addr())
	require.NoError(t, err)
	defer other.Close()

	for _, word := range []string{"drop", "late", "never", "thrice", "plain"} {
		_, err := conn.Write([]byte(word))
		require.NoError(t, err)
	}
	got := map[string]int{}
	buf := make([]byte, 100)
	for range 5 {
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(5*time.Second)))
		n, err := conn.Read(buf)
		require.NoError(t, err)
		got[string(buf[:n])]++
	}
	require.Equal(t, map[string]int{"late": 1, "thrice": 3, "plain": 1}, got)
	_, err = other.Write([]byte("plain"))
	require.NoError(t, err)
	_, err = other.Read(buf)
	require.NoError(t, err)
	require.EqualValues(t, 2, clients.Load())
	require.NoError(t, relay.Close())
	require.NoError(t, relay.Close())
}
