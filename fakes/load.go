package fakes

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ncnkit/lifecycle"
)

// LoadBSS replaces boot parameters by those of a dump: the JSON array that GET /boot/v1/bootparameters prints. Entries of
// hosts that are not in the dump stay. A machine that is up is taken to have been booted with what is loaded: its kernel
// command line and image become those of the dump. Invalid: what is not such an array, and an entry that names neither
// host nor image; nothing is changed then.
func (c *Cluster) LoadBSS(r io.Reader) error {
	var dump []BootParams
	if err := json.NewDecoder(r).Decode(&dump); err != nil {
		return lifecycle.Errorf(lifecycle.Invalid, "fakes.LoadBSS", "", "want the array that GET /boot/v1/bootparameters prints: %w", err)
	}
	for i, p := range dump {
		if len(p.Hosts) == 0 && p.Kernel == "" && p.Initrd == "" {
			return lifecycle.Errorf(lifecycle.Invalid, "fakes.LoadBSS", "", "entry %d of %d names neither a host nor an image", i+1, len(dump))
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advance()
	c.bss.load(dump)
	for _, m := range c.machines {
		if loaded := slices.ContainsFunc(dump, func(p BootParams) bool { return slices.Contains(p.Hosts, m.node.XName) }); loaded && m.up {
			m.cmdline, _ = c.bss.params(m.node.XName)
			m.image = value(m.cmdline, "metal.server")
		}
	}
	return nil
}

func (s *bssStore) load(dump []BootParams) {
	for _, p := range dump {
		if len(p.Hosts) == 0 {
			s.setImageParams(p)
			continue
		}
		token := s.token()
		for _, host := range p.Hosts {
			s.put(host, p, token)
			delete(s.before, host)
		}
	}
	s.dropImages(dump)
}

// dropImages forgets the images of the built-in entries that nobody boots any more and the dump does not list.
func (s *bssStore) dropImages(dump []BootParams) {
	used := map[string]bool{}
	for _, p := range dump {
		used[imageKey(kernelImage, p.Kernel)], used[imageKey(initrdImage, p.Initrd)] = true, true
	}
	for _, r := range s.hosts {
		used[imageKey(kernelImage, r.kernel)], used[imageKey(initrdImage, r.initrd)] = true, true
	}
	for key := range s.images {
		if !used[key] {
			delete(s.images, key)
		}
	}
}

// Hardware is an entry of SLS (hms-sls, GenericHardware). It is a plain value.
type Hardware struct {
	Parent          string         `json:"Parent"`
	XName           string         `json:"Xname"`
	Type            string         `json:"Type"`
	Class           string         `json:"Class"`
	TypeString      string         `json:"TypeString"`
	LastUpdated     int64          `json:"LastUpdated,omitempty"` // Unix seconds
	LastUpdatedTime string         `json:"LastUpdatedTime,omitempty"`
	ExtraProperties map[string]any `json:"ExtraProperties,omitempty"`
}

// NodesFromSLS returns the nodes that SLS names in answer to GET /v1/search/hardware?extra_properties.Role=Management,
// sorted by name: Name is the first alias, Role the SubRole, BMC the Parent. They make a [Layout] like a real system.
// Invalid: what is not such an answer; an entry without alias; a sub-role that no node here has; a name that is used twice.
func NodesFromSLS(r io.Reader) ([]lifecycle.Node, error) {
	const op = "fakes.NodesFromSLS"
	var answer []Hardware
	if err := json.NewDecoder(r).Decode(&answer); err != nil {
		return nil, lifecycle.Errorf(lifecycle.Invalid, op, "", "want the array that the search for management nodes answers: %w", err)
	}
	var nodes []lifecycle.Node
	seen := map[string]bool{}
	for _, h := range answer {
		n, err := nodeOf(h)
		if err != nil {
			return nil, lifecycle.Errorf(lifecycle.Invalid, op, "", "%s: %w", h.XName, err)
		}
		if seen[n.Name] || seen[n.XName] {
			return nil, lifecycle.Errorf(lifecycle.Invalid, op, "", "%s (%s) is there twice", n.XName, n.Name)
		}
		seen[n.Name], seen[n.XName] = true, true
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(a, b lifecycle.Node) int { return strings.Compare(a.Name, b.Name) })
	return nodes, nil
}

func nodeOf(h Hardware) (lifecycle.Node, error) {
	sub, _ := h.ExtraProperties["SubRole"].(string)
	n := lifecycle.Node{XName: h.XName, BMC: h.Parent, Role: lifecycle.Role(strings.ToLower(sub))}
	if aliases, _ := h.ExtraProperties["Aliases"].([]any); len(aliases) > 0 {
		n.Name, _ = aliases[0].(string)
	}
	switch {
	case h.XName == "" || h.Parent == "":
		return n, fmt.Errorf("an entry needs Xname and Parent")
	case n.Role != lifecycle.Master && n.Role != lifecycle.Worker && n.Role != lifecycle.Storage:
		return n, fmt.Errorf("the sub-role is %q: want Master, Worker or Storage", sub)
	}
	return n, lifecycle.CheckName(n.Name)
}

// HardwareOf returns the node as SLS has it, with the NID that the cluster gave it and without times.
func (c *Cluster) HardwareOf(n lifecycle.Node) Hardware {
	c.mu.Lock()
	defer c.mu.Unlock()
	extra := map[string]any{"Aliases": []any{n.Name}, "Role": "Management", "SubRole": subRole(n.Role)}
	if comp, ok := c.bss.hsm.byName(n.XName); ok {
		extra["NID"] = comp.NID
	}
	parent := n.BMC // in SLS an xname, and not the address
	if i := strings.LastIndexByte(n.XName, 'n'); i > 0 {
		parent = n.XName[:i]
	}
	return Hardware{
		Parent: parent, XName: n.XName, Type: "comptype_node", Class: "River", TypeString: "Node", ExtraProperties: extra,
	}
}
