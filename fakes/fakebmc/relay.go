package fakebmc

import (
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/ncnkit/lifecycle"
)

// Packet is one datagram on its way through a [Relay].
type Packet struct {
	ToBMC   bool   // from the client; else an answer
	Type    byte   // payload type of RMCP+ (IPMI v2.0, table 13-16): 0 for a command, 0x10 to 0x15 for session setup
	Session uint32 // session ID; 0 outside a session
	Seq     uint32 // number within the session and direction, from 1; a client's first is Set Session Privilege Level
	Client  int    // number of the client, that is of its socket, from 1
	Data    []byte // the datagram; not to be changed
}

// Verdict says what becomes of a packet. The zero Verdict lets it pass.
type Verdict struct {
	Drop  bool
	Delay time.Duration
	Again int // how many more times it is delivered
}

// Relay passes UDP datagrams between clients and one BMC, and loses, delays or repeats those that its rule names. It is
// safe for concurrent use.
type Relay struct {
	front *net.UDPConn
	back  *net.UDPAddr
	rule  func(Packet) Verdict

	mu      sync.Mutex
	closed  bool
	clients map[string]*relayed
	done    chan struct{}
	work    sync.WaitGroup
}

type relayed struct {
	number int
	addr   *net.UDPAddr
	conn   *net.UDPConn // to the BMC
}

// NewRelay starts a relay in front of the BMC at target, "host:port". The rule is called for every datagram, from several
// goroutines; nil lets everything pass. Errors are of kind Unavailable.
func NewRelay(target string, rule func(Packet) Verdict) (*Relay, error) {
	const op = "fakebmc.NewRelay"
	back, err := net.ResolveUDPAddr("udp", target)
	if err != nil {
		return nil, lifecycle.Errorf(lifecycle.Unavailable, op, target, "give the BMC's address as host:port: %w", err)
	}
	front, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, lifecycle.Errorf(lifecycle.Unavailable, op, target, "listen on loopback: %w", err)
	}
	if rule == nil {
		rule = func(Packet) Verdict { return Verdict{} }
	}
	r := &Relay{front: front, back: back, rule: rule, clients: make(map[string]*relayed), done: make(chan struct{})}
	r.work.Add(1)
	go r.fromClients()
	return r, nil
}

// Addr returns the address for clients, "host:port".
func (r *Relay) Addr() string { return r.front.LocalAddr().String() }

// Close stops the relay; delayed packets are lost. A second Close does nothing.
func (r *Relay) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	close(r.done)
	errs := []error{r.front.Close()}
	for _, c := range r.clients {
		errs = append(errs, c.conn.Close())
	}
	r.mu.Unlock()
	r.work.Wait()
	return lifecycle.Wrap(errors.Join(errs...), "fakebmc.Relay.Close", r.back.String())
}

func (r *Relay) fromClients() {
	defer r.work.Done()
	buf := make([]byte, 4096)
	for {
		n, addr, err := r.front.ReadFromUDP(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		if c := r.client(addr); c != nil {
			r.deliver(parse(buf[:n], true, c.number), func(p []byte) { _, _ = c.conn.Write(p) })
		}
	}
}

// client returns the client at addr, with a socket of its own to the BMC; nil when the relay is closed.
func (r *Relay) client(addr *net.UDPAddr) *relayed {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c, ok := r.clients[addr.String()]; ok || r.closed {
		return c
	}
	conn, err := net.DialUDP("udp", nil, r.back)
	if err != nil {
		return nil
	}
	c := &relayed{number: len(r.clients) + 1, addr: addr, conn: conn}
	r.clients[addr.String()] = c
	r.work.Add(1)
	go r.toClient(c)
	return c
}

func (r *Relay) toClient(c *relayed) {
	defer r.work.Done()
	buf := make([]byte, 4096)
	for {
		n, err := c.conn.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // the BMC's port is closed, say
		}
		r.deliver(parse(buf[:n], false, c.number), func(p []byte) { _, _ = r.front.WriteToUDP(p, c.addr) })
	}
}

func (r *Relay) deliver(p Packet, send func([]byte)) {
	v := r.rule(p)
	if v.Drop {
		return
	}
	all := func() {
		for range 1 + v.Again {
			send(p.Data)
		}
	}
	if v.Delay <= 0 {
		all()
		return
	}
	r.work.Add(1)
	go func() {
		defer r.work.Done()
		t := time.NewTimer(v.Delay)
		defer t.Stop()
		select {
		case <-t.C:
			all()
		case <-r.done:
		}
	}()
}

func parse(data []byte, toBMC bool, client int) Packet {
	p := Packet{ToBMC: toBMC, Client: client, Data: append([]byte(nil), data...)}
	if len(data) >= offData && data[offAuthType] == rmcpPlus {
		p.Type = data[offPayload] & payloadType
		p.Session = binary.LittleEndian.Uint32(data[offSession:])
		p.Seq = binary.LittleEndian.Uint32(data[offSequence:])
	}
	return p
}
