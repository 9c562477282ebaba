package fakebmc

import (
	"encoding/binary"
	"net"
	"sync"

	"github.com/bougou/go-ipmi/pkg/transport/udp"
	"github.com/bougou/go-ipmi/pkg/types"
)

// Offsets in an RMCP+ packet (IPMI v2.0 §13.6): 4 bytes RMCP, 12 bytes session header, payload.
const (
	offAuthType  = 4
	offPayload   = 5
	offSession   = 6
	offSequence  = 10
	offData      = 16
	rmcpPlus     = 0x06
	payloadType  = 0x3f // mask; the two bits above it say encrypted and authenticated
	rakpStatus   = 1    // offset in the data of RAKP messages
	rakpMessage3 = 0x14
	rakpMessage4 = 0x15
)

// wire is the server's socket. It sees sessions come up, and loses the answers that it is told to lose.
type wire struct {
	*udp.Conn
	s *Server

	mu      sync.Mutex
	opening map[string]uint32 // client address -> BMC session whose RAKP message 3 came last
	lose    map[string]bool   // client addresses whose next answer within a session is lost
}

func newWire(s *Server, conn *udp.Conn) *wire {
	return &wire{Conn: conn, s: s, opening: make(map[string]uint32), lose: make(map[string]bool)}
}

func isType(p []byte, t byte) bool {
	return len(p) >= offData+8 && p[offAuthType] == rmcpPlus && p[offPayload]&payloadType == t
}

// ReadFrom notes which session a client is about to open.
func (w *wire) ReadFrom(buf []byte) (int, net.Addr, error) {
	n, addr, err := w.Conn.ReadFrom(buf)
	if err == nil && isType(buf[:n], rakpMessage3) {
		w.mu.Lock()
		w.opening[addr.String()] = binary.LittleEndian.Uint32(buf[offData+4:])
		w.mu.Unlock()
	}
	return n, addr, err
}

// WriteTo reports sessions that are open now, and drops the answers that are to be lost.
func (w *wire) WriteTo(p []byte, addr net.Addr) (int, error) {
	if isType(p, rakpMessage4) && p[offData+rakpStatus] == 0 {
		w.opened(addr.String())
	}
	if len(p) >= offData && p[offAuthType] == rmcpPlus && binary.LittleEndian.Uint32(p[offSession:]) != 0 {
		w.mu.Lock()
		lost := w.lose[addr.String()]
		delete(w.lose, addr.String())
		w.mu.Unlock()
		if lost {
			return len(p), nil
		}
	}
	return w.Conn.WriteTo(p, addr)
}

// loseNext drops the next answer to addr within its session. The server answers a session's requests one by one, so that
// is the answer to the request that is being handled.
func (w *wire) loseNext(addr net.Addr) {
	if addr == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lose[addr.String()] = true
}

func (w *wire) opened(addr string) {
	w.mu.Lock()
	id, ok := w.opening[addr]
	delete(w.opening, addr)
	w.mu.Unlock()
	if !ok {
		return
	}
	sess, err := w.s.bmc.Sessions.Get(id)
	if err != nil {
		return
	}
	sess.ProcMu.Lock()
	e := Event{BMC: w.s.cfg.BMC, What: SessionOpened, Suite: suiteOf(sess.AuthAlg)}
	if sess.User != nil {
		e.User = sess.User.Name
	}
	sess.ProcMu.Unlock()
	w.s.cfg.OnWire(e)
}

// suiteOf names the suite by its authentication algorithm: of those that are served, each has its own.
func suiteOf(alg types.AuthAlg) int {
	if alg == types.AuthAlg_HMAC_SHA256 {
		return 17
	}
	return 3
}
