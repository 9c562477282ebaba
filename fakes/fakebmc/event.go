package fakebmc

import (
	"fmt"

	"github.com/ncnkit/lifecycle/power"
)

// What says what an [Event] reports.
type What string

// What a server sees.
const (
	SessionOpened What = "session opened" // RAKP message 3 was accepted
	SessionClosed What = "session closed"
	StatusRead    What = "status read"
	Commanded     What = "chassis command"
	BootWritten   What = "boot option written"
	BootRead      What = "boot option read"
)

// Event is one thing that a server saw on the wire. It is a plain value.
type Event struct {
	BMC    power.BMC
	What   What
	User   string       // of the session
	Suite  int          // cipher suite of the session (IPMI v2.0, table 22-20)
	Action power.Action // of a chassis command
	Param  int          // of a boot option (IPMI v2.0, table 28-14)
	Data   []byte       // of a boot option, as on the wire
	Code   byte         // the completion code of the answer
	Lost   bool         // no answer was sent
}

// String gives the event as one line.
func (e Event) String() string {
	s := fmt.Sprintf("%s: %s by %s (suite %d)", e.BMC, e.What, e.User, e.Suite)
	switch e.What {
	case Commanded:
		s += " " + string(e.Action)
	case BootWritten, BootRead:
		s += fmt.Sprintf(" %d: % x", e.Param, e.Data)
	}
	switch {
	case e.Lost:
		s += ": answer lost"
	case e.Code != 0:
		s += fmt.Sprintf(": code %#02x", e.Code)
	}
	return s
}
