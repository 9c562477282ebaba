package lifecycle

import (
	"context"
	"regexp"
)

// Role is what a node is for. The inventory decides it, not the node's name.
type Role string

// The roles of management nodes.
const (
	Master  Role = "master"
	Worker  Role = "worker"
	Storage Role = "storage"
)

// Node is one machine as the inventory knows it. It is a plain value; copy it freely.
type Node struct {
	Name  string // the name people use, unique, an RFC 1123 label: "ncn-w001"
	Role  Role
	XName string // where the machine sits, and an identity of it: "x3000c0s7b0n0"
	BMC   string // address of its BMC, "host" or "host:port"; a name or an IP address
	Addr  string // address for SSH, "host" or "host:port"; empty means Name
}

// Inventory tells which nodes exist. Implementations are safe for concurrent use.
type Inventory interface {
	// Node returns the node of that name, or a [NotFound] error.
	Node(ctx context.Context, name string) (Node, error)
	// Nodes returns all nodes in a fixed order.
	Nodes(ctx context.Context) ([]Node, error)
}

var nodeName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// CheckName refuses, as [Invalid], a name that is not an RFC 1123 label. Every name that comes from outside passes here
// before it is used for anything.
func CheckName(name string) error {
	if nodeName.MatchString(name) {
		return nil
	}
	return Errorf(Invalid, "lifecycle.CheckName", "", "%q is not a node name: want an RFC 1123 label such as ncn-w001", name)
}
