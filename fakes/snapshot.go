package fakes

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
)

// Snapshot describes what is left on a node and kept of it, without what differs from one run to the next of the same
// procedure (boot IDs, times): tests compare the end of an interrupted run with that of one that was not.
func (c *Cluster) Snapshot(name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advance()
	m := c.machines[name]
	if m == nil {
		return ""
	}
	var b strings.Builder
	e := c.bss.hosts[m.node.XName]
	fmt.Fprintf(&b, "power %s up %v finished %v generation %d image %s boot %v\n", m.power, m.up, m.finished, m.generation, m.image, m.boot)
	fmt.Fprintf(&b, "params %s\nkernel %s\ninitrd %s\nhost keys %v\n", e.params, e.kernel, e.initrd, m.keys)
	for _, d := range m.list("") {
		fmt.Fprintf(&b, "device %s %s %s %q at %q\n", d.Name, d.Type, d.WWN, d.Signature, d.Mount)
	}
	for _, f := range m.filesUnder("/") {
		file := m.files[f]
		fmt.Fprintf(&b, "file %s %v %d:%d %.8x %s\n", f, file.Mode, file.UID, file.GID, sha256.Sum256(file.Data), file.Link)
	}
	var keys []string
	for key := range c.objects {
		if hostOfKey(key) == name {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	fmt.Fprintf(&b, "objects %v\n", keys)
	return b.String()
}
