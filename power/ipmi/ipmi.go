package ipmi

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/power"
)

const (
	defaultPort    = 623
	defaultTimeout = 10 * time.Second
	maxTimeout     = 25 * time.Second // go-ipmi talks by itself on a session that is 30 seconds old
	closeTimeout   = 500 * time.Millisecond
	maxUsername    = 16 // bytes (IPMI v2.0 §22.28)
	maxPassword    = 20 // bytes (IPMI v2.0 §22.30)
)

// Privilege is the privilege level that a session asks for (IPMI v2.0, table 6-1).
type Privilege string

// The privilege levels. Chassis commands need Operator at least.
const (
	User          Privilege = "user"
	Operator      Privilege = "operator"
	Administrator Privilege = "administrator"
)

// Config says how BMCs are talked to. Credentials is required, the rest may stay zero.
type Config struct {
	// Credentials is asked for "bmc/<name>", where the name is power.BMC.Name, or Host where that is empty. What it
	// answered is kept while the BMC accepts it, and asked for again when the BMC does not.
	Credentials lifecycle.Credentials

	CipherSuites []int         // of 17 and 3, in the order in which they are tried (IPMI v2.0, table 22-20); empty means 17, 3
	Privilege    Privilege     // empty means Administrator
	Port         int           // UDP port of a BMC whose Host names none; 0 means 623
	Timeout      time.Duration // of one operation from session setup to answer; 0 means 10 s, 25 s is the most
}

// Controller talks to BMCs. Make one with [New]. It is safe for concurrent use; operations on the same BMC take turns.
type Controller struct {
	cfg Config
	bad error // why cfg cannot be used

	mu    sync.Mutex
	peers map[string]*peer
}

var _ power.Controller = (*Controller)(nil)

// peer is what is remembered of one BMC. Who holds turn may use the rest.
type peer struct {
	addr string        // host:port
	turn chan struct{} // capacity 1

	suite    int // that worked last, 0 when none has yet
	credName string
	cred     lifecycle.Credential
}

// New returns a Controller. It does no I/O; a Config that cannot be used is reported as Invalid by the first operation.
func New(cfg Config) *Controller {
	c := &Controller{peers: make(map[string]*peer)}
	if len(cfg.CipherSuites) == 0 {
		cfg.CipherSuites = []int{17, 3}
	}
	if cfg.Privilege == "" {
		cfg.Privilege = Administrator
	}
	if cfg.Port == 0 {
		cfg.Port = defaultPort
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	c.cfg, c.bad = cfg, cfg.check()
	return c
}

func (cfg Config) check() error {
	const op = "ipmi.New"
	if cfg.Credentials == nil {
		return lifecycle.Errorf(lifecycle.Invalid, op, "", "Config.Credentials is nil: give the source of the BMCs' passwords")
	}
	for _, id := range cfg.CipherSuites {
		if id != 17 && id != 3 {
			return lifecycle.Errorf(lifecycle.Invalid, op, "",
				"cipher suite %d is not spoken: without good authentication, integrity and encryption a BMC is anybody's; want 17 or 3", id)
		}
	}
	if _, ok := privileges[cfg.Privilege]; !ok {
		return lifecycle.Errorf(lifecycle.Invalid, op, "",
			"unknown privilege level %q: want user, operator or administrator", string(cfg.Privilege))
	}
	if cfg.Timeout < 0 || cfg.Timeout > maxTimeout {
		return lifecycle.Errorf(lifecycle.Invalid, op, "",
			"the timeout of an operation must be positive and at most %v, not %v", maxTimeout, cfg.Timeout)
	}
	if cfg.Port < 1 || cfg.Port > 65535 {
		return lifecycle.Errorf(lifecycle.Invalid, op, "", "%d is not a UDP port", cfg.Port)
	}
	return nil
}

var privileges = map[Privilege]types.PrivilegeLevel{
	User:          types.PrivilegeLevelUser,
	Operator:      types.PrivilegeLevelOperator,
	Administrator: types.PrivilegeLevelAdministrator,
}

// peer returns what is remembered of the BMC.
func (c *Controller) peer(op string, bmc power.BMC) (*peer, error) {
	if c.bad != nil {
		return nil, c.bad
	}
	addr, err := address(bmc.Host, c.cfg.Port)
	if err != nil {
		return nil, lifecycle.Errorf(lifecycle.Invalid, op, bmc.String(), "%w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.peers[addr]
	if !ok {
		p = &peer{addr: addr, turn: make(chan struct{}, 1)}
		c.peers[addr] = p
	}
	return p, nil
}

// address joins a BMC's host with the port, where it names none.
func address(host string, port int) (string, error) {
	h, p, err := net.SplitHostPort(host)
	if err != nil {
		h, p = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"), strconv.Itoa(port)
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil || n == 0 {
		return "", errHost(host)
	}
	ip, err := netip.ParseAddr(h)
	if err != nil && !plain(h) || ip.Zone() != "" && !plain(ip.Zone()) {
		return "", errHost(host)
	}
	return net.JoinHostPort(strings.ToLower(h), strconv.FormatUint(n, 10)), nil
}

// plain reports whether a name has only characters of host names.
func plain(host string) bool {
	for _, r := range host {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune(".-_", r):
		default:
			return false
		}
	}
	return host != ""
}

type errHost string

func (e errHost) Error() string {
	return strconv.Quote(string(e)) + ` is not the address of a BMC: want "host" or "host:port"`
}

// acquire waits for this operation's turn at the BMC.
func (p *peer) acquire(ctx context.Context) error {
	select {
	case p.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *peer) release() { <-p.turn }

// credential returns the BMC's name and password; with fresh set, not those that it has refused.
func (c *Controller) credential(
	ctx context.Context, op string, bmc power.BMC, p *peer, fresh bool,
) (lifecycle.Credential, error) {
	name := "bmc/" + bmc.String()
	if p.credName == name && !fresh {
		return p.cred, nil
	}
	cred, err := c.cfg.Credentials.Credential(ctx, name)
	if err != nil {
		kind := lifecycle.KindOf(err)
		if kind == lifecycle.Internal || kind == lifecycle.Timeout || kind == lifecycle.Unknown {
			kind = lifecycle.Unavailable // nothing has been sent to the BMC
		}
		return cred, lifecycle.Errorf(kind, op, bmc.String(), "get the credential %s: %w", name, err)
	}
	switch {
	case len(cred.Username) > maxUsername:
		return cred, lifecycle.Errorf(lifecycle.Invalid, op, bmc.String(),
			"the user name of %s has more than %d bytes", name, maxUsername)
	case len(cred.Password.Reveal()) > maxPassword:
		return cred, lifecycle.Errorf(lifecycle.Invalid, op, bmc.String(),
			"the password of %s has more than %d bytes, which IPMI does not know", name, maxPassword)
	}
	p.credName, p.cred = name, cred
	return cred, nil
}
