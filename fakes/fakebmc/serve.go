package fakebmc

import (
	"context"
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"github.com/bougou/go-ipmi/pkg/bmc"
	"github.com/bougou/go-ipmi/pkg/clock"
	"github.com/bougou/go-ipmi/pkg/hal/mock"
	"github.com/bougou/go-ipmi/pkg/server"
	"github.com/bougou/go-ipmi/pkg/transport/udp"
	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/power"
)

// Defaults of a [Config].
const (
	defaultAddr        = "127.0.0.1:0"
	defaultCallTimeout = 30 * time.Second
	flagsValidFor      = 60 * time.Second // IPMI v2.0 §28.12, parameter 3
)

// Config says what a [Server] serves. Backend, Username and Password are required.
type Config struct {
	Addr     string           // UDP address to listen on; empty means 127.0.0.1:0
	BMC      power.BMC        // passed to Backend, and named in events
	Backend  power.Controller // what the chassis commands act on; called from several goroutines
	Username string           // at most 16 bytes
	Password lifecycle.Secret // at most 20 bytes

	Suites   []int // cipher suites that are accepted, of 3 and 17; empty means both
	Sessions int   // session slots; 0 means 4, the least that the standard allows

	// CallTimeout bounds one call to Backend; 0 means 30 seconds. A call that runs into it is not answered.
	CallTimeout time.Duration
	// AfterFunc starts the timer that makes boot flags invalid 60 seconds after they were written, and returns what stops
	// it. Nil means time.AfterFunc. A test sets it to fire the timer when it likes.
	AfterFunc func(d time.Duration, f func()) (stop func() bool)
	// OnWire is told what the server sees, from several goroutines; it must return soon. Nil means nobody is.
	OnWire func(Event)
}

// Server is one BMC on a UDP socket. It is safe for concurrent use.
type Server struct {
	cfg    Config
	bmc    *bmc.BMC
	ipmi   *server.Server
	wire   *wire
	addr   string
	served chan struct{}

	ctx    context.Context // ends with Close; calls to the backend are under it
	cancel context.CancelFunc

	mu     sync.Mutex
	closed bool
	calls  sync.WaitGroup
	flags  bootFlags
}

// Serve starts a BMC. Kinds: Invalid for a Config that cannot be served, Unavailable when the address cannot be listened
// on.
func Serve(cfg Config) (*Server, error) {
	const op = "fakebmc.Serve"
	if err := cfg.check(op); err != nil {
		return nil, err
	}
	conn, err := udp.Listen(cfg.Addr, udp.WithReadTimeout(0))
	if err != nil {
		return nil, lifecycle.Errorf(lifecycle.Unavailable, op, cfg.BMC.String(), "choose another address: %w", err)
	}
	s := &Server{cfg: cfg, addr: conn.LocalAddr().String(), served: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.bmc, err = newBMC(cfg)
	if err != nil {
		s.cancel()
		_ = conn.Close()
		return nil, lifecycle.Errorf(lifecycle.Invalid, op, cfg.BMC.String(), "add user %s: %w", cfg.Username, err)
	}
	s.wire = newWire(s, conn)
	s.ipmi = server.NewServer(s.bmc, s.wire, server.WithHandlerRegistry(s.registry()), server.WithV15Disabled())
	go func() {
		defer close(s.served)
		_ = s.ipmi.Serve(s.ctx)
	}()
	return s, nil
}

func (c *Config) check(op string) error {
	switch {
	case c.Backend == nil:
		return lifecycle.Errorf(lifecycle.Invalid, op, c.BMC.String(), "Config.Backend is nil: give the power.Controller to act on")
	case c.Username == "" || len(c.Username) > bmc.MaxUserNameLen:
		return lifecycle.Errorf(lifecycle.Invalid, op, c.BMC.String(), "Config.Username must have 1 to %d bytes", bmc.MaxUserNameLen)
	case len(c.Password.Reveal()) > bmc.MaxPasswordLen:
		return lifecycle.Errorf(lifecycle.Invalid, op, c.BMC.String(), "Config.Password must have at most %d bytes", bmc.MaxPasswordLen)
	}
	for _, id := range c.Suites {
		if id != 3 && id != 17 {
			return lifecycle.Errorf(lifecycle.Invalid, op, c.BMC.String(), "cipher suite %d cannot be served: want 3 or 17", id)
		}
	}
	if c.Addr == "" {
		c.Addr = defaultAddr
	}
	if c.Sessions <= 0 {
		c.Sessions = bmc.MaxSessions
	}
	if c.CallTimeout <= 0 {
		c.CallTimeout = defaultCallTimeout
	}
	if c.AfterFunc == nil {
		c.AfterFunc = func(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }
	}
	if c.OnWire == nil {
		c.OnWire = func(Event) {}
	}
	return nil
}

// newBMC makes the state of go-ipmi's server: one user, and a chassis that exists.
func newBMC(cfg Config) (*bmc.BMC, error) {
	var guid [16]byte
	sum := sha256.Sum256([]byte(cfg.BMC.String()))
	copy(guid[:], sum[:])
	b := bmc.New(bmc.DeviceInfo{DeviceID: 32, DeviceRevision: 1, FirmwareMajor: 1, IPMIVersion: 0x20}, guid, mock.New())
	b.Sessions = bmc.NewSessionStoreWithOptions(clock.Real, bmc.WithMaxSessions(cfg.Sessions))
	b.Sessions.SetOnRemove(b.SOL.DeactivateBySession)
	if len(cfg.Suites) > 0 {
		ids := make([]types.CipherSuiteID, 0, len(cfg.Suites))
		for _, id := range cfg.Suites {
			ids = append(ids, types.CipherSuiteID(id))
		}
		slices.Sort(ids)
		b.SetCipherSuites(ids)
	}
	user, err := b.Users.Add(2, cfg.Username)
	if err != nil {
		return nil, err
	}
	user.SetPassword([]byte(cfg.Password.Reveal()))
	user.Enabled = true
	user.ChannelAccess[1] = bmc.UserChannelAccess{MaxPrivilege: bmc.PrivilegeLevelAdministrator, Enabled: true}
	return b, nil
}

// Addr returns the address that the server listens on, "host:port".
func (s *Server) Addr() string { return s.addr }

// Sessions returns how many session slots are taken.
func (s *Server) Sessions() int { return s.bmc.Sessions.Count() }

// Close stops the server: calls to the backend that are under way are canceled and waited for. A second Close does
// nothing.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.flags.disarm()
	s.mu.Unlock()
	s.cancel()
	err := s.ipmi.Close()
	s.calls.Wait()
	<-s.served
	return lifecycle.Wrap(err, "fakebmc.Close", s.cfg.BMC.String())
}

// enter registers a call to the backend, and refuses it on a closed server.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.calls.Add(1)
	return true
}
