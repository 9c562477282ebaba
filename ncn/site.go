package ncn

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/backup"
	"github.com/ncnkit/lifecycle/bss"
	"github.com/ncnkit/lifecycle/internal/mutant"
	"github.com/ncnkit/lifecycle/power"
)

// The roles, under the names by which callers of this package read them.
const (
	Master  = lifecycle.Master
	Worker  = lifecycle.Worker
	Storage = lifecycle.Storage
)

// Site is one cluster and the transports that lead to it. It is built once, by naming the transports that the program
// needs; what a verb needs and the site lacks is refused as Invalid before any effect. A Site is safe for concurrent use
// once it is built.
type Site struct {
	Inventory lifecycle.Inventory // which nodes exist
	Exec      lifecycle.Runner    // runs commands on nodes
	Power     power.Controller    // reaches their BMCs
	BSS       bss.API             // their boot parameters
	Backups   backup.Store        // where their files are kept

	// Audit, when set, records the single verbs too. Plans are recorded in the journal that they are run with.
	Audit lifecycle.Journal
	// Observe, when set, is told of the progress of single verbs.
	Observe lifecycle.Observer
	// Actor names on whose behalf single verbs act.
	Actor string

	// Settle is how long a node stays off before it is turned on again; 0 means 5 s. Poll is how often a wait for a node
	// looks; 0 means 5 s.
	Settle, Poll time.Duration

	// NewID returns a new run ID; nil means the time and a random part. Now is the wall clock; nil means time.Now.
	NewID func() string
	Now   func() time.Time
}

// Host is one node of one site: the subject of every verb. It is a plain value.
type Host struct {
	Name string
	site *Site
}

// Host returns the node of that name. It does no I/O: a verb that is given the host of an unknown node says so.
func (s *Site) Host(name string) Host { return Host{Name: name, site: s} }

// Hosts returns the named nodes, in the order given. No name at all is Invalid, never "all"; so is a name given twice. A
// name that the inventory does not know is NotFound.
func (s *Site) Hosts(ctx context.Context, names ...string) ([]Host, error) {
	hosts, err := s.hosts(ctx, names)
	return hosts, refused(err, "ncn.Hosts", "")
}

func (s *Site) hosts(ctx context.Context, names []string) ([]Host, error) {
	const op = "ncn.Site"
	if err := need(op, "", transport{"Inventory", s.Inventory}); err != nil {
		return nil, err
	}
	if mutant.On("empty-means-all") && len(names) == 0 {
		nodes, _ := s.Inventory.Nodes(ctx)
		for _, n := range nodes {
			names = append(names, n.Name)
		}
	}
	if len(names) == 0 {
		return nil, lifecycle.Errorf(lifecycle.Invalid, op, "", "no host is named; name each one, nothing stands for all")
	}
	var hosts []Host
	for i, name := range names {
		if err := lifecycle.CheckName(name); err != nil {
			return nil, err
		}
		if slices.Contains(names[:i], name) {
			return nil, lifecycle.Errorf(lifecycle.Invalid, op, "", "%s is named twice", name)
		}
		if _, err := s.Inventory.Node(ctx, name); err != nil {
			return nil, err
		}
		hosts = append(hosts, s.Host(name))
	}
	return hosts, nil
}

func (s *Site) now() time.Time {
	if s.Now != nil {
		return s.Now().UTC()
	}
	return time.Now().UTC()
}

func (s *Site) newID() string {
	if s.NewID != nil {
		return s.NewID()
	}
	b := make([]byte, 4)
	_, _ = rand.Read(b) // never fails
	return s.now().Format("20060102t150405") + "-" + hex.EncodeToString(b)
}

func or(d, def time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return def
}

type transport struct {
	name  string
	value any
}

// need refuses a site that lacks a transport, by the transport's name.
func need(op, host string, all ...transport) error {
	var missing []string
	for _, t := range all {
		if isNil(t.value) {
			missing = append(missing, "Site."+t.name)
		}
	}
	if len(missing) > 0 {
		return lifecycle.Errorf(lifecycle.Invalid, op, host, "%s is nil; set it", strings.Join(missing, " and "))
	}
	return nil
}

// isNil also sees a nil pointer inside an interface, which would fail only at first use.
func isNil(v any) bool {
	if v == nil {
		return true
	}
	r := reflect.ValueOf(v)
	switch r.Kind() {
	case reflect.Pointer, reflect.Func, reflect.Map, reflect.Interface:
		return r.IsNil()
	}
	return false
}
