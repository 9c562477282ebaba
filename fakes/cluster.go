package fakes

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/backup"
)

// Layout says what a cluster is made of. The zero Layout has no node.
type Layout struct {
	Masters, Workers, Storage int

	// Nodes are further nodes, with names of the caller's: loaded from a site's inventory, say.
	Nodes []lifecycle.Node

	// POST is the time from power-on to the fetch of the boot script; Boot from there to the end of cloud-init.
	// Zero means 90 s and 4 min, as on real machines.
	POST, Boot time.Duration
	// Erase is the time that the erasing of one disk takes; zero means 2 s.
	Erase time.Duration
	// PowerDelay is the time from a power command's acceptance to its effect; zero means 3 s.
	PowerDelay time.Duration
}

// Cluster is one consistent cluster in memory: nodes with disks, files, power and firmware, their boot parameters, and
// stored objects. It is safe for concurrent use.
type Cluster struct {
	layout  Layout
	hooks   hooks
	journal *lifecycle.MemJournal

	mu       sync.Mutex
	machines map[string]*Machine // by node name
	byXName  map[string]*Machine
	byBMC    map[string]*Machine
	routes   map[string]string // node name -> name of the machine that answers there
	bss      *bssStore
	objects  map[string]object
	faults   []*fault
	record   []Call
	breaches []Breach
	timers   []timer                     // in the order in which they are due
	playing  time.Time                   // the due time of the timer that is running
	out      map[string]lifecycle.Outage // nodes that somebody took out of service
	allowed  map[string]bool             // nodes that may stay armed
	commands map[string]CommandFunc
	watched  lifecycle.Journal // what the checks read; the cluster's own journal unless Watch says otherwise
	kept     backup.Store      // where the checks find backups; nil is the cluster's own store
	secrets  []string
	targets  map[string]string // run -> node, of the runs seen in the journal
	confined bool              // only these nodes may be changed
	only     []string
	before   map[string]int // run -> generation of its node when it first changed something
	erased   map[string]int // run and boot -> how many wipes began to erase
	wiping   *wipeProcess   // the process that is erasing right now
}

type timer struct {
	due time.Time
	run func()
}

// New returns a cluster in good order: every node is up on the first image, and disarmed.
func New(layout Layout) *Cluster {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&layout.POST, 90*time.Second)
	def(&layout.Boot, 4*time.Minute)
	def(&layout.Erase, 2*time.Second)
	def(&layout.PowerDelay, 3*time.Second)
	c := &Cluster{
		layout:   layout,
		journal:  lifecycle.NewMemJournal(),
		machines: map[string]*Machine{},
		byXName:  map[string]*Machine{},
		byBMC:    map[string]*Machine{},
		routes:   map[string]string{},
		objects:  map[string]object{},
		out:      map[string]lifecycle.Outage{},
		allowed:  map[string]bool{},
		commands: map[string]CommandFunc{},
		before:   map[string]int{},
		erased:   map[string]int{},
		targets:  map[string]string{},
	}
	c.watched = c.journal
	c.bss = newBSSStore(c.now)
	nodes := slices.Clone(layout.Nodes)
	slot := 0
	for _, group := range []struct {
		prefix string
		role   lifecycle.Role
		count  int
	}{{"ncn-m", lifecycle.Master, layout.Masters}, {"ncn-w", lifecycle.Worker, layout.Workers}, {"ncn-s", lifecycle.Storage, layout.Storage}} {
		for i := range group.count {
			slot++
			xname := fmt.Sprintf("x%dc0s%db0n0", 3000+slot/50, slot%50)
			nodes = append(nodes, lifecycle.Node{
				Name:  fmt.Sprintf("%s%03d", group.prefix, i+1),
				Role:  group.role,
				XName: xname,
				BMC:   strings.TrimSuffix(xname, "n0"),
			})
		}
	}
	for _, n := range nodes {
		c.addMachine(n)
	}
	return c
}

// TB is the part of testing.TB that [NewCluster] needs.
type TB interface {
	Helper()
	Errorf(format string, args ...any)
	Cleanup(func())
}

// NewCluster returns [New](layout) for a test: when the test ends, every breach of an invariant and every armed fault
// that no call met is an error of the test.
func NewCluster(tb TB, layout Layout) *Cluster {
	tb.Helper()
	c := New(layout)
	tb.Cleanup(func() {
		tb.Helper()
		for _, b := range c.Check() {
			tb.Errorf("%s", b)
		}
		for _, f := range c.Unfired() {
			tb.Errorf("armed fault never fired: %s", f)
		}
	})
	return c
}

// Journal returns the cluster's own journal in memory, which [Cluster.Check] reads.
func (c *Cluster) Journal() *lifecycle.MemJournal { return c.journal }

// Node returns the inventory's view of a node.
func (c *Cluster) inventoryNode(name string) (lifecycle.Node, bool) {
	m, ok := c.machines[name]
	if !ok {
		return lifecycle.Node{}, false
	}
	return m.node, true
}

// Machine returns the machine that is named name, or nil.
func (c *Cluster) Machine(name string) *Machine {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.machines[name]
}

// Machines returns all machines in the order of their names.
func (c *Cluster) Machines() []*Machine {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sorted()
}

func (c *Cluster) sorted() []*Machine {
	all := make([]*Machine, 0, len(c.machines))
	for _, m := range c.machines {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b *Machine) int { return strings.Compare(a.node.Name, b.node.Name) })
	return all
}

// Route makes connections to node name end at the machine of node at, as a reused address or a swapped cable does.
func (c *Cluster) Route(name, at string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.routes[name] = at
}

// reached returns the machine that answers at the node's address.
func (c *Cluster) reached(name string) *Machine {
	if at, ok := c.routes[name]; ok {
		name = at
	}
	return c.machines[name]
}

// AllowArmed says that the node may stay armed (metal.no-wipe=0) without an open run, because the test asked for it.
func (c *Cluster) AllowArmed(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.allowed[name] = true
}

// Calls returns every call that changed something so far.
func (c *Cluster) Calls() []Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.record)
}

// Nodes implements [lifecycle.Inventory].
func (c *Cluster) Nodes(ctx context.Context) ([]lifecycle.Node, error) {
	var nodes []lifecycle.Node
	err := c.do(ctx, Call{Op: InventoryRead}, func(*Call) error {
		for _, m := range c.sorted() {
			nodes = append(nodes, m.node)
		}
		return nil
	})
	return nodes, err
}

// Node implements [lifecycle.Inventory].
func (c *Cluster) Node(ctx context.Context, name string) (lifecycle.Node, error) {
	var node lifecycle.Node
	err := c.do(ctx, Call{Op: InventoryRead, Host: name}, func(*Call) error {
		n, ok := c.inventoryNode(name)
		if !ok {
			return lifecycle.Errorf(lifecycle.NotFound, "fakes.Inventory", name, "the inventory has no such node")
		}
		node = n
		return nil
	})
	return node, err
}

func (c *Cluster) now() time.Time { return time.Now() }

// schedule has run called, under the lock, when d has passed and somebody looks.
func (c *Cluster) schedule(d time.Duration, run func()) {
	from := c.now()
	if !c.playing.IsZero() {
		from = c.playing
	}
	next := timer{from.Add(d), run}
	at := len(c.timers)
	for at > 0 && c.timers[at-1].due.After(next.due) {
		at--
	}
	c.timers = slices.Insert(c.timers, at, next)
}

// advance lets happen what is due. The world moves when it is looked at; nobody can tell the difference.
func (c *Cluster) advance() {
	now := c.now()
	for {
		if len(c.timers) == 0 || c.timers[0].due.After(now) {
			c.playing = time.Time{}
			return
		}
		next := c.timers[0]
		c.timers = c.timers[1:]
		c.playing = next.due
		next.run()
	}
}

// Advance lets happen what is due by now. A face calls it from time to time, so that machines boot while nobody asks.
func (c *Cluster) Advance() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advance()
}

// hostKey returns the SSH host key of a generation of a node's operating system.
func hostKey(name string, generation int) ed25519.PrivateKey {
	seed := sha256.Sum256(fmt.Appendf(nil, "host key %s %d", name, generation))
	return ed25519.NewKeyFromSeed(seed[:])
}

// authorizedKey returns the public half in authorized_keys form (RFC 8709, section 4).
func authorizedKey(key ed25519.PrivateKey) string {
	var b []byte
	for _, part := range [][]byte{[]byte("ssh-ed25519"), key.Public().(ed25519.PublicKey)} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
		b = append(b, part...)
	}
	return "ssh-ed25519 " + base64.StdEncoding.EncodeToString(b)
}

func uuidOf(parts ...any) string {
	h := sha256.Sum256([]byte(fmt.Sprintln(parts...)))
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[0:4], h[4:6], h[6:8], h[8:10], h[10:16])
}
