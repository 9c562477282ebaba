package ipmi

import (
	"net"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/power"
)

// Decode reads boot flags.
func Decode(flags []byte, invalid bool) power.Boot { return decode(flags, invalid) }

// Encode makes boot flags.
func Encode(b power.Boot) ([]byte, error) { return encode(b) }

// Address joins host and port.
func Address(host string, port int) (string, error) { return address(host, port) }

// Accept feeds packets to a session before, during and after its setup, and reports whether the last was taken.
func Accept(sent, received [][]byte) (taken bool, err error) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	go func() {
		buf := make([]byte, 1<<16)
		for {
			if _, err := far.Read(buf); err != nil {
				return
			}
		}
	}()
	s, err := newSession(near, lifecycle.Credential{Username: "root", Password: lifecycle.NewSecret("initial0")}, 17, privileges[Administrator])
	if err != nil {
		return false, err
	}
	for i, p := range received {
		if i < len(sent) {
			if _, err := s.wire.Write(sent[i]); err != nil {
				return false, err
			}
		}
		taken = s.wire.accept(p)
	}
	return taken, nil
}
