package fakessh

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes"
	"golang.org/x/crypto/ssh"
)

// Config says what is served, and to whom.
type Config struct {
	// Cluster is the world. It must not be nil.
	Cluster *fakes.Cluster
	// Addr is where each machine's listener listens; empty means "127.0.0.1:0".
	Addr string
	// AuthorizedKeys may log in, under any user name. Empty means that nobody may.
	AuthorizedKeys []ssh.PublicKey
	// Names gives commands a name by their whole text, for faults that are armed with fakes.Exec.Command and for events.
	// What is executed does not depend on it.
	Names map[string]string
	// OnWire receives what is seen on the wire, one event at a time; nil means nobody. It must not call the Server.
	OnWire func(Event)
	// Sleep is what the command sleep does; nil means that it takes as long as it says, but 5 ms at most.
	Sleep func(ctx context.Context, d time.Duration)
	// MaxSessions is how many sessions one connection may have; 0 means 10, as in OpenSSH.
	MaxSessions int
	// Tick is how often the world is moved on while nobody looks at it; 0 means 10 ms.
	Tick time.Duration
}

// Server serves one cluster. It is safe for concurrent use.
type Server struct {
	cfg   Config
	base  context.Context
	stop  context.CancelFunc
	addrs map[string]string
	procs *processes

	wire sync.Mutex // held while OnWire is called

	mu        sync.Mutex
	closed    bool
	listeners []net.Listener
	conns     map[net.Conn]bool
	boots     map[*fakes.Machine]boot
	wg        sync.WaitGroup
}

// Serve starts a listener for each machine that the cluster has now, and returns when all listen. Errors are
// [lifecycle.Invalid] for a missing Cluster, [lifecycle.Unavailable] for an address that cannot be had.
func Serve(cfg Config) (*Server, error) {
	if cfg.Cluster == nil {
		return nil, lifecycle.Errorf(lifecycle.Invalid, "fakessh.Serve", "", "Config.Cluster is nil")
	}
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	if cfg.MaxSessions == 0 {
		cfg.MaxSessions = 10
	}
	if cfg.Tick == 0 {
		cfg.Tick = 10 * time.Millisecond
	}
	if cfg.Sleep == nil {
		cfg.Sleep = func(ctx context.Context, d time.Duration) { wait(ctx, min(d, 5*time.Millisecond)) }
	}
	s := &Server{cfg: cfg, addrs: map[string]string{}, procs: newProcesses(), conns: map[net.Conn]bool{}, boots: map[*fakes.Machine]boot{}}
	s.base, s.stop = context.WithCancel(context.Background())
	for _, m := range cfg.Cluster.Machines() {
		l, err := (&net.ListenConfig{}).Listen(s.base, "tcp", cfg.Addr)
		if err != nil {
			_ = s.Close()
			return nil, lifecycle.Errorf(lifecycle.Unavailable, "fakessh.Serve", m.Name(), "%w", err)
		}
		s.listeners = append(s.listeners, l)
		s.addrs[m.Name()] = l.Addr().String()
		s.wg.Go(func() { s.accept(m.Name(), l) })
	}
	s.wg.Go(s.advance)
	return s, nil
}

// Addrs returns the address of each machine's listener by the node's name.
func (s *Server) Addrs() map[string]string {
	addrs := map[string]string{}
	for name, addr := range s.addrs {
		addrs[name] = addr
	}
	return addrs
}

// Close stops listening, cuts all connections, ends all processes, and waits for them.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	var errs []error
	for _, l := range s.listeners {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.stop()
	s.wg.Wait()
	return errors.Join(errs...)
}

// advance lets machines boot, and go down, while nobody asks.
func (s *Server) advance() {
	for wait(s.base, s.cfg.Tick) {
		s.cfg.Cluster.Advance()
	}
}

func (s *Server) accept(node string, l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		closed := s.closed
		if !closed {
			s.conns[c] = true
			s.wg.Go(func() {
				s.serve(node, c)
				s.mu.Lock()
				delete(s.conns, c)
				s.mu.Unlock()
			})
		}
		s.mu.Unlock()
		if closed {
			_ = c.Close()
			return
		}
	}
}

func (s *Server) tell(e Event) {
	if s.cfg.OnWire == nil {
		return
	}
	s.wire.Lock()
	defer s.wire.Unlock()
	e.Time = time.Now()
	s.cfg.OnWire(e)
}

// boot is one boot of a machine, as a context.
type boot struct {
	down <-chan struct{}
	ctx  context.Context
}

// bootOf returns a context that ends with the machine's present boot, or nil when the machine is down.
func (s *Server) bootOf(m *fakes.Machine) context.Context {
	down := m.Down() // before Up: a boot that ends in between shows as ended
	if !m.Up() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.boots[m]; b.down == down {
		return b.ctx
	}
	ctx, cancel := context.WithCancel(s.base)
	s.boots[m] = boot{down, ctx}
	go func() {
		defer cancel()
		select {
		case <-down:
		case <-s.base.Done():
		}
	}()
	return ctx
}

// hold keeps Close from returning until release is called. It reports whether the Server is still open.
func (s *Server) hold() (release func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, false
	}
	s.wg.Add(1)
	return s.wg.Done, true
}

// wait waits for d, and reports whether ctx is still good.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
