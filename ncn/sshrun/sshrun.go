package sshrun

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/ncnkit/lifecycle"
	"golang.org/x/crypto/ssh"
)

// Config says how nodes are reached, who we are, and which hosts are trusted. At least one of Signers, KeyFile and
// Credentials is needed.
type Config struct {
	// User is the login name; empty means root, unless Credentials gives one.
	User string
	// Signers prove who we are: parsed keys, or those of an agent.
	Signers []ssh.Signer
	// KeyFile is the path of a private key in PEM form. It is read for each new connection, so it may be replaced.
	KeyFile string
	// Passphrase opens KeyFile and the key from Credentials; zero means that they are not encrypted.
	Passphrase lifecycle.Secret
	// Credentials is asked for the private key (PEM, as the password) named Credential for each new connection. A
	// user name that comes with it is used when User is empty.
	Credentials lifecycle.Credentials
	// Credential is the name to ask Credentials for; empty means "ssh".
	Credential string

	// KnownHosts is the path of a known_hosts file (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT). A node is looked up by its
	// name and then by its address; the first that the file knows decides.
	KnownHosts string
	// HostCAs are keys whose host certificates are trusted for the node's name and address.
	HostCAs []ssh.PublicKey

	// Port is used for nodes whose address has none; 0 means 22.
	Port int
	// Timeout bounds the making of one connection, and of one session on it; 0 means 10 s.
	Timeout time.Duration
	// KeepAlive is the time between two keep-alives. When three stay unanswered the connection is closed. 0 means 15 s;
	// it cannot be turned off.
	KeepAlive time.Duration
	// MaxSessions is how many commands run at a time on one node; 0 means 4. OpenSSH allows 10 (MaxSessions), and
	// refuses some below that when sessions come and go quickly.
	MaxSessions int
	// Ciphers in order of preference; nil means AES-GCM first, which is twice as fast as the default on current CPUs.
	Ciphers []string
	// Dial opens the transport; nil means TCP. Tests and jump hosts set it.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Runner is a [lifecycle.Runner] and [lifecycle.HostKeyKeeper] over SSH (RFC 4251 to 4254). It is safe for concurrent
// use. Make it with [New], and call Close when done.
type Runner struct {
	cfg Config

	keeping chan struct{}      // held while known_hosts is being rewritten
	base    context.Context    // ends with Close
	stop    context.CancelFunc // of base

	mu      sync.Mutex
	closed  bool
	targets map[string]*target
	wg      sync.WaitGroup // calls, and goroutines of connections and of abandoned commands
}

var (
	_ lifecycle.Runner        = (*Runner)(nil)
	_ lifecycle.HostKeyKeeper = (*Runner)(nil)
)

// New returns a Runner. It does no I/O; what is wrong with cfg is reported as [lifecycle.Invalid] on first use.
func New(cfg Config) *Runner {
	if cfg.Credential == "" {
		cfg.Credential = "ssh"
	}
	if cfg.Port == 0 {
		cfg.Port = 22
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.KeepAlive <= 0 {
		cfg.KeepAlive = 15 * time.Second
	}
	if cfg.MaxSessions <= 0 {
		cfg.MaxSessions = 4
	}
	if len(cfg.Ciphers) == 0 {
		cfg.Ciphers = []string{
			ssh.CipherAES128GCM, ssh.CipherAES256GCM, ssh.CipherChaCha20Poly1305,
			ssh.CipherAES128CTR, ssh.CipherAES192CTR, ssh.CipherAES256CTR,
		}
	}
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{}).DialContext
	}
	r := &Runner{cfg: cfg, keeping: make(chan struct{}, 1), targets: map[string]*target{}}
	r.base, r.stop = context.WithCancel(context.Background())
	return r
}

// Close closes all connections, and waits until nothing of the Runner is running any more. Commands in flight end with
// [lifecycle.Unknown]; later calls are [lifecycle.Invalid].
func (r *Runner) Close() error {
	r.mu.Lock()
	r.closed = true
	r.stop()
	var conns []*conn
	for _, t := range r.targets {
		if t.conn != nil {
			conns = append(conns, t.conn)
		}
		conns = append(conns, t.retired...)
	}
	r.mu.Unlock()
	for _, c := range conns {
		c.close(errRunnerClosed)
	}
	r.wg.Wait()
	return nil
}
