package fakessh

import "time"

// EventType says what an [Event] tells.
type EventType string

// The types.
const (
	Connected EventType = "connected" // a connection was accepted
	Refused   EventType = "refused"   // a connection was closed at once: the machine is down
	Auth      EventType = "auth"      // somebody tried to log in
	Exec      EventType = "exec"      // an exec request arrived
	Exit      EventType = "exit"      // a command ended, or its connection was cut
	Closed    EventType = "closed"    // a connection ended
)

// Event is something that was seen on the wire.
type Event struct {
	Time   time.Time
	Type   EventType
	Node   string // whose listener it was
	Remote string // address of the client

	User     string // of Auth
	Key      string // of Auth: the SHA-256 fingerprint of the client's key
	Accepted bool   // of Auth

	Sum       string // of Exec and Exit: SHA-256 of the exec request's text, in hex
	FirstLine string // of that text
	Name      string // of that text, from Config.Names

	In, Out, Err int64 // of Exit: bytes of standard input, output and error
	Status       int   // of Exit: exit status; -1 when the connection was cut without one
}
