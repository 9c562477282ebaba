package fakes

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ncnkit/lifecycle"
)

// Further operations, of the boot script service's HTTP face only.
const (
	BSSDelete Op = "bss.delete"
	BSSNode   Op = "bss.node" // a node fetches its boot script or cloud-init data, or phones home
)

// BootParams is the body of /boot/v1/bootparameters in both directions (hms-bss, pkg/bssTypes). It is a plain value.
type BootParams struct {
	Hosts     []string  `json:"hosts,omitempty"`
	MACs      []string  `json:"macs,omitempty"`
	NIDs      []int32   `json:"nids,omitempty"`
	Params    string    `json:"params,omitempty"`
	Kernel    string    `json:"kernel,omitempty"`
	Initrd    string    `json:"initrd,omitempty"`
	CloudInit CloudInit `json:"cloud-init"`
}

// CloudInit is the cloud-init part of [BootParams]: always printed, with null for what is not there.
type CloudInit struct {
	MetaData  map[string]any `json:"meta-data"`
	UserData  map[string]any `json:"user-data"`
	PhoneHome PhoneHome      `json:"phone-home"`
}

// PhoneHome is what a node announced of itself: all fields but one are always printed.
type PhoneHome struct {
	DSA        string `json:"pub_key_dsa"`
	RSA        string `json:"pub_key_rsa"`
	ECDSA      string `json:"pub_key_ecdsa"`
	ED25519    string `json:"pub_key_ed25519,omitempty"`
	InstanceID string `json:"instance_id"`
	Hostname   string `json:"hostname"`
	FQDN       string `json:"fqdn"`
}

// BootData is what a host boots: its entry, and what its images add.
type BootData struct {
	BootParams
	KernelParams string // image-level parameters of the kernel
	InitrdParams string // and of the initrd
	Token        string // the referral token
}

// CommandLine returns the parameters of the host, of its kernel and of its initrd, in this order.
func (d BootData) CommandLine() string {
	line := d.Params
	for _, more := range []string{d.KernelParams, d.InitrdParams} {
		if more != "" {
			line += " " + more
		}
	}
	return line
}

// EndpointAccess is a line of the endpoint history.
type EndpointAccess struct {
	Name      string `json:"name"`
	Endpoint  string `json:"endpoint"`
	LastEpoch int64  `json:"last_epoch"` // Unix seconds
}

// Refusal is the boot script service saying no, in its own words. Other errors of [BootStore] are injected faults.
type Refusal struct {
	Kind   lifecycle.Kind
	Detail string
}

// Error returns the service's words.
func (r *Refusal) Error() string { return r.Detail }

// Unwrap returns the kind.
func (r *Refusal) Unwrap() error { return r.Kind }

// BootStore is the boot script service by the rules of its HTTP verbs, for a face on the wire (hms-bss,
// cmd/boot-script-service/boot_data.go). Its methods go through the cluster's faults and records: a write is one call for
// each host it names. It is safe for concurrent use.
type BootStore struct{ c *Cluster }

// BootStore returns the store of the boot script service.
func (c *Cluster) BootStore() BootStore { return BootStore{c} }

// look lets f see the store as it is now.
func (s BootStore) look(f func(*bssStore)) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.c.advance()
	f(s.c.bss)
}

// host0 is the host by which faults and records know a call that may name several.
func (s BootStore) host0(hosts []string) string {
	if len(hosts) == 0 {
		return ""
	}
	return s.c.nameOf(hosts[0])
}

// All returns every entry: kernels, initrds, then hosts, each in the order of the service's keys. That is the order of a
// service on etcd, as real systems run it; on hms-bss's store in memory the order within each group is random.
func (s BootStore) All(ctx context.Context) ([]BootParams, error) {
	var all []BootParams
	err := s.c.do(ctx, Call{Op: BSSGet}, func(*Call) error {
		for _, i := range s.c.bss.listImages(kernelImage) {
			all = append(all, BootParams{Kernel: i.path, Params: i.params})
		}
		for _, i := range s.c.bss.listImages(initrdImage) {
			all = append(all, BootParams{Initrd: i.path, Params: i.params})
		}
		for _, host := range slices.Sorted(maps.Keys(s.c.bss.hosts)) {
			all = append(all, s.c.bss.hosts[host].print(host))
		}
		return nil
	})
	return all, err
}

// Find returns what sel's hosts, MAC addresses, NIDs, kernel and initrd select. A host, MAC address or NID that is not
// known is left out; when nothing is left, the error is a NotFound [Refusal], or an Invalid one when nothing was asked for.
func (s BootStore) Find(ctx context.Context, sel BootParams) ([]BootParams, error) {
	var found []BootParams
	err := s.c.do(ctx, Call{Op: BSSGet, Host: s.host0(sel.Hosts)}, func(call *Call) error {
		found = s.c.bss.findAll(sel, call.fault.stale)
		if found == nil {
			return nothingFound(sel)
		}
		return nil
	})
	return found, err
}

func (s *bssStore) findAll(sel BootParams, stale bool) []BootParams {
	var found []BootParams
	for _, i := range s.listImages(kernelImage) {
		if i.path == sel.Kernel {
			found = append(found, BootParams{Kernel: i.path, Params: i.params})
		}
	}
	for _, i := range s.listImages(initrdImage) {
		if i.path == sel.Initrd {
			found = append(found, BootParams{Initrd: i.path, Params: i.params})
		}
	}
	var rest []string
	for _, host := range sel.Hosts {
		if r, ok := s.read(host, stale); ok {
			found = append(found, r.print(host))
		} else {
			rest = append(rest, host)
		}
	}
	if len(rest)+len(sel.MACs)+len(sel.NIDs) == 0 {
		return found
	}
	for _, host := range slices.Sorted(maps.Keys(s.hosts)) {
		if c, _ := s.hsm.byName(host); selects(rest, sel, host, c) {
			found = append(found, s.hosts[host].print(host))
		}
	}
	return found
}

// selects reports whether a host that has an entry is meant by one of the names, MAC addresses or NIDs.
func selects(names []string, sel BootParams, host string, c Component) bool {
	if slices.ContainsFunc(names, func(n string) bool { return n == c.FQDN && n != "" }) {
		return true
	}
	for _, mac := range sel.MACs {
		if slices.ContainsFunc(c.MAC, func(m string) bool { return strings.EqualFold(m, mac) }) {
			return true
		}
	}
	return slices.ContainsFunc(sel.NIDs, func(nid int32) bool { return c.NID.String() == fmt.Sprint(nid) })
}

func nothingFound(sel BootParams) error {
	var what []string
	for _, w := range []struct {
		name  string
		asked bool
	}{{"Hosts", len(sel.Hosts) > 0}, {"MACs", len(sel.MACs) > 0}, {"NIDs", len(sel.NIDs) > 0}, {"kernel", sel.Kernel != ""}, {"initrd", sel.Initrd != ""}} {
		if w.asked {
			what = append(what, w.name)
		}
	}
	n := len(what)
	switch n {
	case 0:
		return &Refusal{lifecycle.Invalid, "No specified data requested"}
	case 1:
		return &Refusal{lifecycle.NotFound, "Cannot find boot parameters for requested " + what[0]}
	}
	return &Refusal{lifecycle.NotFound, "Cannot find boot parameters for requested " + strings.Join(what[:n-1], ", ") + " or " + what[n-1]}
}

// targets returns the hosts that a PUT or POST stores for: those named, else those of the MAC addresses, else of the NIDs.
// What the hardware inventory does not know is stored under the MAC address or NID itself.
func (s *bssStore) targets(p BootParams) []string {
	var hosts []string
	switch {
	case len(p.Hosts) > 0:
		hosts = p.Hosts
	case len(p.MACs) > 0:
		for _, mac := range p.MACs {
			c, _ := s.hsm.byMAC(mac)
			hosts = append(hosts, cmp.Or(c.ID, mac))
		}
	default:
		for _, nid := range p.NIDs {
			c, _ := s.hsm.byNID(int64(nid))
			hosts = append(hosts, cmp.Or(c.ID, fmt.Sprintf("nid%d", nid)))
		}
	}
	return hosts
}

// existing returns the first thing that a POST may not find there.
func (s *bssStore) existing(p BootParams) string {
	switch {
	case len(p.Hosts) > 0 || len(p.MACs) > 0 || len(p.NIDs) > 0:
		for i, host := range s.targets(p) {
			if _, ok := s.hosts[host]; ok {
				switch {
				case len(p.Hosts) > 0:
					return host
				case len(p.MACs) > 0:
					return p.MACs[i]
				}
				return fmt.Sprint(p.NIDs[i])
			}
		}
	case p.Kernel != "":
		return s.images[imageKey(kernelImage, p.Kernel)].path
	case p.Initrd != "":
		return s.images[imageKey(initrdImage, p.Initrd)].path
	}
	return ""
}

// Post creates entries and returns their referral token; one that is there already is a Conflict [Refusal].
func (s BootStore) Post(ctx context.Context, p BootParams) (token string, err error) {
	var there string
	s.look(func(b *bssStore) { there = b.existing(p) })
	if there != "" {
		return "", &Refusal{lifecycle.Conflict, "Already exists: " + there}
	}
	return s.Put(ctx, p)
}

// Put replaces the entries of hosts, one after the other, and returns their new referral token. When p names no host, MAC
// address or NID, the parameters become those of its kernel or else initrd, for everybody who boots it; when it names
// nothing at all, nothing happens. There is no token then.
func (s BootStore) Put(ctx context.Context, p BootParams) (token string, err error) {
	var hosts []string
	s.look(func(b *bssStore) {
		if hosts = b.targets(p); len(hosts) > 0 {
			token = b.token()
		}
	})
	for _, host := range hosts {
		call := Call{Op: BSSPut, Host: s.c.nameOf(host), Writes: true, Detail: p.Params}
		err := s.c.do(ctx, call, func(*Call) error { s.c.bss.put(host, p, token); return nil })
		if err != nil {
			return "", err
		}
	}
	if len(hosts) == 0 {
		err = s.c.do(ctx, Call{Op: BSSPut, Writes: true, Detail: p.Params}, func(*Call) error { s.c.bss.setImageParams(p); return nil })
	}
	return token, err
}

// Patch merges p into the entries that it names. It reads them, calls pause without holding any lock, and stores what it
// read and merged: as in hms-bss, writers who overlap lose one another's changes, and nobody is told. pause may be nil.
//
// A MAC address or NID that the hardware inventory does not know is passed over; when no host is left and p names a kernel
// or initrd, its parameters are replaced for everybody who boots it. A host without an entry is a NotFound [Refusal].
func (s BootStore) Patch(ctx context.Context, p BootParams, pause func()) error {
	var olds map[string]bootRecord
	var refused error
	s.look(func(b *bssStore) { olds, refused = b.readForPatch(p) })
	if refused != nil || len(olds) == 0 {
		return s.c.do(ctx, Call{Op: BSSPatch, Host: s.host0(p.Hosts), Writes: true, Detail: p.Params}, func(*Call) error {
			s.c.bss.storeImages(p)
			if refused == nil {
				s.c.bss.setImageParams(p)
			}
			return refused
		})
	}
	if pause != nil {
		pause()
	}
	for _, host := range slices.Sorted(maps.Keys(olds)) {
		changed := olds[host].merge(p)
		call := Call{Op: BSSPatch, Host: s.c.nameOf(host), Writes: true, Detail: p.Params}
		err := s.c.do(ctx, call, func(*Call) error {
			s.c.bss.storeImages(p)
			s.c.bss.write(host, olds[host], changed)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// readForPatch returns what a PATCH would change. Unlike PUT it takes hosts, MAC addresses and NIDs together.
func (s *bssStore) readForPatch(p BootParams) (map[string]bootRecord, error) {
	olds := map[string]bootRecord{}
	take := func(names ...string) error {
		var err error
		for _, name := range names {
			var r bootRecord
			if r, err = s.find(name); err == nil {
				olds[name] = r
				return nil
			}
		}
		return err
	}
	for _, host := range p.Hosts {
		if err := take(host); err != nil {
			return nil, err
		}
	}
	for _, mac := range p.MACs {
		if c, ok := s.hsm.byMAC(mac); ok {
			if err := take(c.ID, mac); err != nil {
				return nil, err
			}
		}
	}
	for _, nid := range p.NIDs {
		if c, ok := s.hsm.byNID(int64(nid)); ok {
			if err := take(c.ID, fmt.Sprintf("nid%d", nid)); err != nil {
				return nil, err
			}
		}
	}
	return olds, nil
}

// Delete removes the entries of hosts, MAC addresses and NIDs, and the kernel and initrd from the list of images and from
// every entry. It goes on after a host that has no entry, and returns an Invalid [Refusal] for the first of them.
func (s BootStore) Delete(ctx context.Context, p BootParams) error {
	return s.c.do(ctx, Call{Op: BSSDelete, Host: s.host0(p.Hosts), Writes: true}, func(*Call) error {
		return s.c.bss.remove(p)
	})
}

func (s *bssStore) remove(p BootParams) error {
	var first error
	hosts := slices.Clone(p.Hosts)
	for _, mac := range p.MACs {
		if c, ok := s.hsm.byMAC(mac); ok {
			hosts = append(hosts, c.ID)
		}
	}
	hosts = append(hosts, s.targets(BootParams{NIDs: p.NIDs})...)
	for _, host := range hosts {
		if _, ok := s.hosts[host]; !ok && first == nil {
			first = &Refusal{lifecycle.Invalid, fmt.Sprintf("Key %s deletion: Key /params/%s does not exist", host, host)}
		}
		s.remember(host)
		delete(s.hosts, host)
	}
	delete(s.images, imageKey(kernelImage, p.Kernel))
	delete(s.images, imageKey(initrdImage, p.Initrd))
	for host, r := range s.hosts {
		old := r
		if r.kernel == p.Kernel {
			r.kernel = ""
		}
		if r.initrd == p.Initrd {
			r.initrd = ""
		}
		s.write(host, old, r)
	}
	return first
}

// History returns the endpoint history by the rules of GET /boot/v1/endpoint-history: of all, of a name, or of a name and
// endpoint, where "never" is a line with 0 when there is such an endpoint. An endpoint without a name is an Internal
// [Refusal].
func (s BootStore) History(ctx context.Context, name, endpoint string) ([]EndpointAccess, error) {
	lines := []EndpointAccess{}
	err := s.c.do(ctx, Call{Op: BSSHistory, Host: s.c.nameOf(name)}, func(*Call) error {
		switch {
		case name == "" && endpoint != "":
			return &Refusal{lifecycle.Internal, fmt.Sprintf("Failed to search for name: %s, endpoint: %s", name, endpoint)}
		case endpoint != "":
			at, ok := s.c.bss.fetches[fetchKey(name, endpoint)]
			if ok || strings.EqualFold(endpoint, "bootscript") || strings.EqualFold(endpoint, "user-data") {
				lines = append(lines, EndpointAccess{name, endpoint, at})
			}
			return nil
		}
		for _, key := range slices.Sorted(maps.Keys(s.c.bss.fetches)) {
			who, what, _ := strings.Cut(key, "/")
			if name == "" || name == who {
				lines = append(lines, EndpointAccess{who, what, s.c.bss.fetches[key]})
			}
		}
		return nil
	})
	return lines, err
}
