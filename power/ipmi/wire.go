package ipmi

import (
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/bougou/go-ipmi/pkg/crypto"
	"github.com/bougou/go-ipmi/pkg/types"
)

// Offsets in an RMCP+ packet (IPMI v2.0 §13.6): 4 bytes RMCP, 12 bytes session header, payload.
const (
	offAuthType = 4
	offType     = 5
	offSession  = 6
	offSeq      = 10
	offData     = 16

	authRMCPPlus   = 0x06
	maskType       = 0x3f
	flagEncrypted  = 0x80
	flagAuthentic  = 0x40
	typeCommand    = 0x00
	typeOpen       = 0x10 // and its answer, 0x11; likewise the RAKP messages
	typeRAKP1      = 0x12
	typeRAKP2      = 0x13
	typeRAKP3      = 0x14
	typeRAKP4      = 0x15
	integrityBytes = 4 // where the integrity code starts to count
)

var errRevoked = errors.New("the command was revoked before it was sent")

// wire is the socket of one session. go-ipmi neither checks the integrity of what it receives, nor tells whether a packet
// has left, nor survives every malformed packet (it parses them in a goroutine of its own, out of reach of recover). So
// the wire does: it passes on only what belongs to the session and parses, and remembers what was sent.
type wire struct {
	net.Conn
	auth      types.AuthAlg
	integrity types.IntegrityAlg
	password  string
	parse     func(p []byte) // go-ipmi's own parser; may panic

	mu       sync.Mutex
	dialed   bool
	expect   byte // payload type of the answer that session setup waits for
	setup    bool // session setup has begun, so that IPMI v1.5 is over
	console  uint32
	rand     []byte
	role     byte
	username string
	k1       []byte // integrity key, nil until the session is up
	status   byte   // of session setup, when it is not 0
	seq      uint32 // of the packet within the session that was sent last
	revoked  uint32 // seq of a packet that must not be sent any more
	idle     bool   // nobody waits for an answer
}

// Dial gives the socket to go-ipmi, once: a client that is used again after Close would otherwise open one per packet.
func (w *wire) Dial(string, string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dialed {
		return nil, net.ErrClosed
	}
	w.dialed = true
	return w, nil
}

// Write sends one packet and remembers it.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(p) < offData || p[offAuthType] != authRMCPPlus {
		return w.Conn.Write(p)
	}
	data := p[offData:]
	switch t := p[offType] & maskType; {
	case binary.LittleEndian.Uint32(p[offSession:]) != 0:
		seq := binary.LittleEndian.Uint32(p[offSeq:])
		if seq == w.revoked {
			return 0, errRevoked
		}
		w.seq, w.idle = seq, false
	case t == typeOpen && len(data) >= 8:
		w.setup, w.expect = true, t+1
		w.console = binary.LittleEndian.Uint32(data[4:])
	case t == typeRAKP1 && len(data) >= 28:
		w.expect = t + 1
		w.rand, w.role, w.username = append([]byte(nil), data[8:24]...), data[24], string(data[28:])
	case t == typeRAKP3:
		w.expect = t + 1
	}
	return w.Conn.Write(p)
}

// Read returns the next packet that may be believed.
func (w *wire) Read(p []byte) (int, error) {
	for {
		n, err := w.Conn.Read(p)
		if err != nil || w.accept(p[:n]) {
			return n, err
		}
	}
}

// accept reports whether a packet belongs here, and takes from it what the session needs.
func (w *wire) accept(p []byte) bool {
	if !parses(w.parse, p) {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case len(p) <= offAuthType:
		return false
	case p[offAuthType] != authRMCPPlus:
		return !w.setup // only the capabilities are asked for in IPMI v1.5 format
	case len(p) < offData+2:
		return false
	}
	if t := p[offType] & maskType; t == typeCommand {
		return w.genuine(p)
	} else if t != w.expect {
		return false // the late answer to something else
	}
	w.step(p[offType]&maskType, p[offData:])
	return true
}

// step follows session setup: it takes the BMC's random number from RAKP message 2, and makes the integrity key when
// message 4 says that the session is up.
func (w *wire) step(t byte, data []byte) {
	if data[1] != 0 {
		w.status = data[1]
		return
	}
	w.expect = 0
	switch {
	case t == typeRAKP2 && len(data) >= 24:
		sik, err := crypto.DeriveSIK(w.auth, w.rand, data[8:24], w.role, w.username, crypto.PadPassword20([]byte(w.password)))
		if err == nil {
			w.rand = sik
		}
	case t == typeRAKP4:
		if k1, err := crypto.DeriveK1(w.auth, w.rand); err == nil {
			w.k1 = k1
		}
	}
}

// genuine checks a packet within the session: session ID, encryption, and integrity code (IPMI v2.0 §13.28.4).
func (w *wire) genuine(p []byte) bool {
	if w.k1 == nil || binary.LittleEndian.Uint32(p[offSession:]) != w.console {
		return false
	}
	if p[offType]&(flagEncrypted|flagAuthentic) != flagEncrypted|flagAuthentic {
		return false
	}
	size, ok := crypto.IntegrityAuthCodeLen(w.integrity)
	if !ok || len(p) < offData+size {
		return false
	}
	end := len(p) - size
	want, err := crypto.SessionIntegrityAuthCode(w.integrity, p[integrityBytes:end], w.k1, w.password)
	return err == nil && crypto.Equal(want, p[end:])
}

// parses runs go-ipmi's parser and reports whether it survived.
func parses(parse func([]byte), p []byte) (ok bool) {
	defer func() { ok = recover() == nil }()
	parse(append([]byte(nil), p...))
	return true
}

// up reports whether the session stands.
func (w *wire) up() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.k1 != nil
}

// refusal returns the status with which the BMC refused the session (IPMI v2.0, table 13-15), 0 for none.
func (w *wire) refusal() types.RmcpStatusCode {
	w.mu.Lock()
	defer w.mu.Unlock()
	return types.RmcpStatusCode(w.status)
}

// next returns the number of the packet that is sent next within the session.
func (w *wire) next() uint32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seq + 1
}

// revoke reports whether the packet of that number has been sent, and keeps it from being sent from now on: go-ipmi may
// return from a canceled exchange while a goroutine of it is still about to write.
func (w *wire) revoke(seq uint32) (sent bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seq >= seq {
		return true
	}
	w.revoked = seq
	return false
}

// abandon makes go-ipmi let go of an exchange whose context has ended. It has returned from it, but a goroutine of it may
// be about to send the packet of that number, or be reading with its lock held, for which Close would wait.
func (w *wire) abandon(seq uint32) {
	w.revoke(seq)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.idle = true
	_ = w.Conn.SetReadDeadline(time.Unix(1, 0))
}

// SetReadDeadline has no effect from when an exchange was abandoned until the next one sends its packet.
func (w *wire) SetReadDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.idle {
		return nil
	}
	return w.Conn.SetReadDeadline(t)
}
