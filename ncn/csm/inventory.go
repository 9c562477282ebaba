package csm

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/internal/httpx"
)

// inventoryAge is how long an answer of SLS is believed. Nodes are added by hand, over hours.
const inventoryAge = 30 * time.Second

// Inventory is the [lifecycle.Inventory] of SLS: GET {gateway}/apis/sls/v1/search/hardware?extra_properties.Role=Management.
//
// A node is an entry of role Management whose sub-role is Master, Worker or Storage; other sub-roles are left out. Its
// name is its first alias; asked for by another alias, which must be equal and not only similar, it is returned under that
// name, so that one node never has two. Its XName is the entry's, its BMC "<name>-mgmt", its Addr empty, unless
// Config.Nodes says otherwise.
//
// An inventory that cannot be right is refused whole, because leaving a node out makes a quorum look safer than it is: a
// name that is no RFC 1123 label or is "reboot" or "rebuild" (which are paths of the REST service), a node without an
// alias or whose parent is not its BMC (Invalid), two nodes of one name (Conflict). No nodes at all is NotFound. The kinds
// of failed requests are Unauthenticated, Denied, Unavailable, Invalid, Canceled and Timeout.
//
// Answers are kept for 30 s, of one site's size; failures are not kept. It is safe for concurrent use, and callers that
// come while SLS is being asked wait for that answer.
type Inventory struct {
	http  *httpx.Client
	nodes map[string]Override

	turn chan struct{} // held while SLS is asked

	mu    sync.Mutex
	at    time.Time
	known *known
}

// known is one answer of SLS, never changed.
type known struct {
	nodes   []lifecycle.Node
	byAlias map[string]int
	other   map[string]string // alias -> sub-role of what is no node of ours
}

var _ lifecycle.Inventory = (*Inventory)(nil)

// NewInventory returns the inventory. It does no I/O; the first use reports a bad Config as Invalid.
func NewInventory(cfg Config) *Inventory {
	return &Inventory{
		http: httpx.New(httpx.Config{Service: "SLS", URL: under(cfg.Gateway, "/apis/sls"), HTTP: cfg.HTTP, Tokens: cfg.Tokens,
			Timeout: cfg.Timeout, MaxBytes: 8 << 20}),
		nodes: maps.Clone(cfg.Nodes),
		turn:  make(chan struct{}, 1),
	}
}

// Node returns the node of that name or alias, or a NotFound error. What is no name is Invalid.
func (i *Inventory) Node(ctx context.Context, name string) (lifecycle.Node, error) {
	const op = "csm.Inventory.Node"
	if err := lifecycle.CheckName(name); err != nil {
		return lifecycle.Node{}, lifecycle.Wrap(err, op, "")
	}
	k, err := i.current(ctx)
	if err != nil {
		return lifecycle.Node{}, lifecycle.Wrap(err, op, name)
	}
	if at, ok := k.byAlias[name]; ok {
		return k.nodes[at], nil
	}
	if subRole, ok := k.other[name]; ok {
		return lifecycle.Node{}, lifecycle.Errorf(lifecycle.NotFound, op, name,
			"SLS gives it the sub-role %q: only Master, Worker and Storage nodes can be maintained", subRole)
	}
	return lifecycle.Node{}, lifecycle.Errorf(lifecycle.NotFound, op, name, "no management node in SLS has this alias: check the name")
}

// Nodes returns all nodes, sorted by name. It is never empty without an error.
func (i *Inventory) Nodes(ctx context.Context) ([]lifecycle.Node, error) {
	k, err := i.current(ctx)
	if err != nil {
		return nil, lifecycle.Wrap(err, "csm.Inventory.Nodes", "")
	}
	return slices.Clone(k.nodes), nil
}

func (i *Inventory) current(ctx context.Context) (*known, error) {
	if k := i.fresh(); k != nil {
		return k, nil
	}
	select {
	case i.turn <- struct{}{}:
		defer func() { <-i.turn }()
	case <-ctx.Done():
		return nil, lifecycle.Errorf(lifecycle.KindOf(ctx.Err()), "", "", "stopped while waiting for SLS to answer another caller: %w", ctx.Err())
	}
	if k := i.fresh(); k != nil { // while we waited
		return k, nil
	}
	var found []hardware
	query := url.Values{"extra_properties.Role": {"Management"}}
	r := httpx.Request{Method: http.MethodGet, Path: "/v1/search/hardware", Query: query}
	if _, err := i.http.Do(ctx, r, &found); err != nil {
		return nil, err
	}
	k, err := i.read(found)
	if err != nil {
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.known, i.at = k, time.Now()
	return k, nil
}

func (i *Inventory) fresh() *known {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.known == nil || time.Since(i.at) >= inventoryAge {
		return nil
	}
	return i.known
}

// hardware is an entry of SLS (hms-sls, GenericHardware), as far as it matters here.
type hardware struct {
	Parent, Xname, TypeString string

	ExtraProperties struct {
		Aliases       []string
		Role, SubRole string
	}
}

var (
	roles    = map[string]lifecycle.Role{"Master": lifecycle.Master, "Worker": lifecycle.Worker, "Storage": lifecycle.Storage}
	nodeName = regexp.MustCompile(`^(x[0-9]+c[0-9]+s[0-9]+b[0-9]+)n[0-9]+$`)
)

func (i *Inventory) read(found []hardware) (*known, error) {
	k := &known{byAlias: map[string]int{}, other: map[string]string{}}
	slices.SortFunc(found, func(a, b hardware) int { return strings.Compare(a.name(), b.name()) })
	for _, h := range found {
		if h.ExtraProperties.Role != "Management" { // the service was asked for it, but so much depends on it
			continue
		}
		if _, ours := roles[h.ExtraProperties.SubRole]; !ours {
			for _, alias := range h.ExtraProperties.Aliases {
				k.other[alias] = h.ExtraProperties.SubRole
			}
			continue
		}
		node, err := i.node(h)
		if err != nil {
			return nil, err
		}
		k.nodes = append(k.nodes, node)
		for _, alias := range h.ExtraProperties.Aliases {
			if other, taken := k.byAlias[alias]; taken && other != len(k.nodes)-1 {
				return nil, lifecycle.Errorf(lifecycle.Conflict, "", "", "SLS gives the alias %q to %s and to %s: correct one of them",
					alias, k.nodes[other].XName, h.Xname)
			}
			k.byAlias[alias] = len(k.nodes) - 1
		}
	}
	if len(k.nodes) == 0 {
		return nil, lifecycle.Errorf(lifecycle.NotFound, "", "", "SLS lists no management node: check that it is loaded, and that the gateway is that of the right site")
	}
	return k, nil
}

func (h hardware) name() string {
	if len(h.ExtraProperties.Aliases) == 0 {
		return ""
	}
	return h.ExtraProperties.Aliases[0]
}

func (i *Inventory) node(h hardware) (lifecycle.Node, error) {
	fail := func(format string, args ...any) (lifecycle.Node, error) {
		return lifecycle.Node{}, lifecycle.Errorf(lifecycle.Invalid, "", "", "SLS entry %q: "+format, append([]any{h.Xname}, args...)...)
	}
	at := nodeName.FindStringSubmatch(h.Xname)
	switch {
	case at == nil:
		return fail("it is no node's xname: correct the entry")
	case h.Parent != at[1]:
		return fail("its parent %q is not the BMC of its xname: correct the entry", h.Parent)
	case h.name() == "":
		return fail("it has no alias: give it the node's name")
	}
	for _, alias := range h.ExtraProperties.Aliases {
		if err := lifecycle.CheckName(alias); err != nil {
			return fail("%w: correct the alias", err)
		}
		if alias == "reboot" || alias == "rebuild" {
			return fail("a node cannot be called %q, which is a path of the REST service: rename it", alias)
		}
	}
	n := lifecycle.Node{Name: h.name(), Role: roles[h.ExtraProperties.SubRole], XName: h.Xname, BMC: h.name() + "-mgmt"}
	o := i.nodes[n.Name]
	if o.Addr != "" {
		n.Addr = o.Addr
	}
	if o.BMC != "" {
		n.BMC = o.BMC
	}
	return n, nil
}
