package sshrun

import (
	"context"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ncnkit/lifecycle"
	"golang.org/x/crypto/ssh/knownhosts"
)

// peer is a node as one call sees it: checked, and with its address split.
type peer struct {
	op   string // of the call, for errors
	name string
	host string
	port string
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9.]{0,251}[A-Za-z0-9])?$`)

// peerOf checks the node. What passes holds nothing that means something to a shell or in a known_hosts file.
func (r *Runner) peerOf(op string, node lifecycle.Node) (peer, error) {
	if err := lifecycle.CheckName(node.Name); err != nil {
		return peer{}, lifecycle.Wrap(err, op, "")
	}
	p := peer{op: op, name: node.Name, host: node.Addr, port: strconv.Itoa(r.cfg.Port)}
	if node.Addr == "" {
		p.host = node.Name
	} else if host, port, err := net.SplitHostPort(node.Addr); err == nil {
		p.host, p.port = host, port
	}
	p.host = strings.TrimSuffix(strings.TrimPrefix(p.host, "["), "]")
	if _, err := netip.ParseAddr(p.host); err != nil && !hostName.MatchString(p.host) {
		return peer{}, p.errorf(lifecycle.Invalid, "%q is no address: want host, host:port, or an IP address", node.Addr)
	}
	if n, err := strconv.ParseUint(p.port, 10, 16); err != nil || n == 0 {
		return peer{}, p.errorf(lifecycle.Invalid, "%q has no valid port", node.Addr)
	}
	return p, nil
}

func (p peer) errorf(kind lifecycle.Kind, format string, args ...any) error {
	return lifecycle.Errorf(kind, p.op, p.name, format, args...)
}

// address is what is dialled.
func (p peer) address() string { return net.JoinHostPort(p.host, p.port) }

// key identifies the peer among the connections. The name is part of it: a connection that was trusted as one node must
// not serve another that is said to have the same address.
func (p peer) key() string { return p.name + " " + p.address() }

// names are the addresses under which the peer's host keys are looked up, in this order.
func (p peer) names() []string {
	return slices.Compact([]string{net.JoinHostPort(p.name, p.port), p.address()})
}

// lines are the names as a known_hosts file spells them.
func (p peer) lines() []string {
	var out []string
	for _, name := range p.names() {
		out = append(out, knownhosts.Normalize(name))
	}
	return out
}

// ended reports that the caller's context ended before anything was sent.
func (p peer) ended(ctx context.Context, during string) error {
	return p.errorf(lifecycle.KindOf(ctx.Err()), "%s: %w; nothing was run", during, context.Cause(ctx))
}
