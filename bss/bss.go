package bss

import (
	"context"
	"encoding/json"
	"regexp"

	"github.com/ncnkit/lifecycle"
)

// Global is the name of the entry whose meta-data every node sees.
const Global = "Global"

// The endpoints of which the service remembers when a node last fetched them.
const (
	BootScript = "bootscript" // the node is booting over the network
	UserData   = "user-data"  // its cloud-init has started
)

// Entry is the boot configuration of one host, or of "Global" (BSS, pkg/bssTypes). Empty scalars and lists are omitted
// on the wire.
type Entry struct {
	Hosts     []string  `json:"hosts,omitempty"`
	MACs      []string  `json:"macs,omitempty"`
	NIDs      []int32   `json:"nids,omitempty"`
	Params    string    `json:"params,omitempty"`
	Kernel    string    `json:"kernel,omitempty"`
	Initrd    string    `json:"initrd,omitempty"`
	CloudInit CloudInit `json:"cloud-init,omitzero"`
}

// CloudInit is the cloud-init part of an [Entry]. Numbers inside keep their text, as [json.Number].
type CloudInit struct {
	MetaData  map[string]any `json:"meta-data,omitempty"`
	UserData  map[string]any `json:"user-data,omitempty"`
	PhoneHome PhoneHome      `json:"phone-home,omitzero"`
}

// PhoneHome is what a node announced of itself at the end of its first boot (cloud-init's phone_home module).
type PhoneHome struct {
	RSA        string `json:"pub_key_rsa,omitempty"`
	ECDSA      string `json:"pub_key_ecdsa,omitempty"`
	ED25519    string `json:"pub_key_ed25519,omitempty"`
	InstanceID string `json:"instance_id,omitempty"`
	Hostname   string `json:"hostname,omitempty"`
	FQDN       string `json:"fqdn,omitempty"`
}

// Patch is a partial write of one entry: empty scalars are left alone (BSS cannot clear them), CloudInit is an RFC 7386
// merge patch, except that a null meta-data or user-data as a whole is left alone too.
type Patch struct {
	Host      string
	Params    string
	Kernel    string
	Initrd    string
	CloudInit json.RawMessage // nil: untouched
}

// API is the service as the wire offers it: no call checks what it wrote, and concurrent writes lose one another. Use
// [Update], which does. Implementations are safe for concurrent use and pass bsstest.API; what they return is the
// caller's to change.
type API interface {
	// Get returns the entry of host (an xname or "Global"), or a NotFound error. A name that [CheckHost] refuses is
	// Invalid.
	Get(ctx context.Context, host string) (Entry, error)
	// Patch changes parts of the entry of p.Host, or returns a NotFound error. Unknown means that the answer was lost.
	Patch(ctx context.Context, p Patch) error
	// Put creates or replaces a whole entry; what e leaves out is gone. It is Invalid unless e has exactly one host.
	Put(ctx context.Context, e Entry) error
	// LastFetch returns when host last fetched the endpoint ([BootScript], [UserData]), in Unix seconds; 0 is never.
	// Another endpoint is Invalid.
	LastFetch(ctx context.Context, host, endpoint string) (int64, error)
}

// Locker is an optional second interface of an [API]: [Update] holds the lock of a host while it reads, writes and reads
// back, so that the updates of one process do not lose one another. [HostLocks] implements it.
type Locker interface {
	// Lock waits until no one else holds the lock of host, or ctx ends.
	Lock(ctx context.Context, host string) (unlock func(), err error)
}

var (
	hostName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)
	nodeName = regexp.MustCompile(`^x[0-9]+c[0-9]+s[0-9]+b[0-9]+n[0-9]+$`)
)

// CheckHost refuses, as Invalid, what cannot name one entry: the service takes "a,b" for two of them.
func CheckHost(host string) error {
	if hostName.MatchString(host) {
		return nil
	}
	return lifecycle.Errorf(lifecycle.Invalid, "bss.CheckHost", "", "%q names no entry: want an xname such as x3000c0s7b0n0, or %s", host, Global)
}
