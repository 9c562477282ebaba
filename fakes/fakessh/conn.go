package fakessh

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"

	"github.com/ncnkit/lifecycle/fakes"
	"golang.org/x/crypto/ssh"
)

// conn is one connection to one machine's present boot.
type conn struct {
	s       *Server
	node    string // whose listener it is
	machine *fakes.Machine
	remote  string
	raw     net.Conn
	boot    context.Context // ends when the machine goes down
	alive   context.Context // ends when the connection or boot does
}

// serve speaks SSH on an accepted connection until it ends.
func (s *Server) serve(node string, raw net.Conn) {
	defer func() { _ = raw.Close() }()
	remote := raw.RemoteAddr().String()
	m := s.cfg.Cluster.Reached(node)
	if m == nil {
		return
	}
	boot := s.bootOf(m)
	if boot == nil {
		s.tell(Event{Type: Refused, Node: node, Remote: remote})
		return
	}
	defer context.AfterFunc(boot, func() { _ = raw.Close() })()
	s.tell(Event{Type: Connected, Node: node, Remote: remote})
	defer s.tell(Event{Type: Closed, Node: node, Remote: remote})

	c := &conn{s: s, node: node, machine: m, remote: remote, raw: raw, boot: boot}
	config, err := c.config()
	if err != nil {
		return
	}
	sc, channels, requests, err := ssh.NewServerConn(raw, config)
	if err != nil {
		return
	}
	alive, gone := context.WithCancel(boot)
	c.alive = alive
	defer gone()
	s.wg.Go(func() {
		_ = sc.Wait()
		gone()
	})
	s.wg.Go(func() { ssh.DiscardRequests(requests) }) // answers keep-alives
	c.sessions(channels)
}

func (c *conn) config() (*ssh.ServerConfig, error) {
	signer, err := ssh.NewSignerFromKey(c.machine.HostKey())
	if err != nil {
		return nil, err
	}
	config := &ssh.ServerConfig{
		ServerVersion: "SSH-2.0-OpenSSH_9.2p1 fakessh",
		PublicKeyCallback: func(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if !slices.ContainsFunc(c.s.cfg.AuthorizedKeys, func(k ssh.PublicKey) bool { return bytes.Equal(k.Marshal(), key.Marshal()) }) {
				c.s.tell(Event{Type: Auth, Node: c.node, Remote: c.remote, User: meta.User(), Key: ssh.FingerprintSHA256(key)})
				return nil, errors.New("unknown key")
			}
			return &ssh.Permissions{Extensions: map[string]string{"key": ssh.FingerprintSHA256(key)}}, nil
		},
		// Only here has the client proved that it has the key; the callback above is asked about keys that it may not have.
		VerifiedPublicKeyCallback: func(meta ssh.ConnMetadata, key ssh.PublicKey, perm *ssh.Permissions, _ string) (*ssh.Permissions, error) {
			c.s.tell(Event{Type: Auth, Node: c.node, Remote: c.remote, User: meta.User(), Key: ssh.FingerprintSHA256(key), Accepted: true})
			return perm, nil
		},
	}
	config.AddHostKey(signer)
	return config, nil
}

// sessions serves channels, as many at a time as allowed.
func (c *conn) sessions(channels <-chan ssh.NewChannel) {
	open := make(chan struct{}, c.s.cfg.MaxSessions)
	for offered := range channels {
		if offered.ChannelType() != "session" {
			_ = offered.Reject(ssh.UnknownChannelType, "unknown channel type")
			continue
		}
		select {
		case open <- struct{}{}:
		default:
			_ = offered.Reject(ssh.ConnectionFailed, "open failed")
			continue
		}
		ch, requests, err := offered.Accept()
		if err != nil {
			<-open
			continue
		}
		c.s.wg.Go(func() {
			defer func() { <-open }()
			c.session(ch, requests)
		})
	}
}

// session waits for the one exec request of a session and runs it.
func (c *conn) session(ch ssh.Channel, requests <-chan *ssh.Request) {
	defer func() { _ = ch.Close() }()
	for req := range requests {
		if req.Type != "exec" {
			_ = req.Reply(false, nil)
			continue
		}
		var msg struct{ Command string }
		if ssh.Unmarshal(req.Payload, &msg) != nil {
			_ = req.Reply(false, nil)
			return
		}
		c.s.wg.Go(func() { ssh.DiscardRequests(requests) })
		c.exec(ch, req, msg.Command)
		return
	}
}

// cut ends the connection as a pulled cable does.
func (c *conn) cut() {
	if tcp, ok := c.raw.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.raw.Close()
}
