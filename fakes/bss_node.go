package fakes

import (
	"context"
	"encoding/json"
	"slices"
)

// NodeView is what the boot script service knows when a node calls: the hardware, and the entries. It is a view of one
// moment, and valid only inside the function that [BootStore.Node] calls.
type NodeView struct{ s *bssStore }

// Node lets f see the service as a calling node does, in one step, through faults for [BSSNode]. name is the node by which
// faults are told apart, as far as the caller knows it.
func (s BootStore) Node(ctx context.Context, name string, f func(NodeView) error) error {
	return s.c.do(ctx, Call{Op: BSSNode, Host: s.c.nameOf(name)}, func(*Call) error { return f(NodeView{s.c.bss}) })
}

// Components returns what the hardware inventory knows.
func (v NodeView) Components() []Component { return slices.Clone(v.s.hsm.components) }

// FromFile reports whether the hardware came from a file, so that there is no HSM to be asked for its health.
func (v NodeView) FromFile() bool { return v.s.hsm.file }

// ByName returns the component of that xname.
func (v NodeView) ByName(xname string) (Component, bool) { return v.s.hsm.byName(xname) }

// ByMAC returns the component that has the MAC address, unless its slot is empty.
func (v NodeView) ByMAC(mac string) (Component, bool) { return v.s.hsm.byMAC(mac) }

// ByNID returns the component of that NID.
func (v NodeView) ByNID(nid int64) (Component, bool) { return v.s.hsm.byNID(nid) }

// XName returns the xname of the node with that IP address.
func (v NodeView) XName(ip string) (string, bool) {
	xname, ok := v.s.hsm.addresses[ip]
	return xname, ok
}

// Lookup returns the entry of the first of the names that has one. Names are those of a node, a role, or "Default".
func (v NodeView) Lookup(names ...string) BootData {
	for _, name := range names {
		if d, ok := v.s.data(name); ok && name != "" {
			return d
		}
	}
	return BootData{}
}

// Global returns the meta-data of "Global", which the service remembers for up to a second.
func (v NodeView) Global() map[string]any {
	if now := v.s.now().Unix(); v.s.global == nil || now > v.s.globalAt {
		if d, ok := v.s.data("Global"); ok {
			v.s.global, v.s.globalAt = d.CloudInit.MetaData, now
		}
	}
	if len(v.s.global) == 0 {
		return map[string]any{}
	}
	return cloneData(v.s.global)
}

func cloneData(m map[string]any) map[string]any {
	var out map[string]any
	b, _ := json.Marshal(m) // it came from JSON
	_ = json.Unmarshal(b, &out)
	return out
}

// Fetched records that the node fetched the endpoint now.
func (v NodeView) Fetched(xname, endpoint string) { v.s.fetched(xname, endpoint) }

// PhoneHome stores what a node announces of itself, together with the cloud-init data that the service found for it, and
// returns them. A node without an entry of its own is a NotFound [Refusal].
func (v NodeView) PhoneHome(xname string, said PhoneHome) (BootParams, error) {
	c, _ := v.s.hsm.byName(xname)
	p := BootParams{Hosts: []string{xname}, CloudInit: v.Lookup(xname, c.Role, "Default").CloudInit}
	p.CloudInit.PhoneHome = said
	old, err := v.s.find(xname)
	if err != nil {
		return p, err
	}
	v.s.write(xname, old, old.merge(p))
	return p, nil
}

// InstanceID returns a new instance-id for cloud-init. It looks random, and is the same in every run.
func (v NodeView) InstanceID(prefix string) string {
	if prefix == "" {
		prefix = "default"
	}
	v.s.tokens++
	id := uuidOf("instance-id", v.s.tokens)
	return prefix + "-" + id[len(id)-12:]
}
