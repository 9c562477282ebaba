package fakes

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ncnkit/lifecycle"
)

// Component is a node as the hardware state manager tells it to the boot script service (HSM v2, State/Components and
// Inventory joined; GET /boot/v1/hosts shows it). It is a plain value.
type Component struct {
	ID              string      `json:"ID"`
	Type            string      `json:"Type"`
	State           string      `json:"State,omitempty"`
	Flag            string      `json:"Flag,omitempty"`
	Enabled         *bool       `json:"Enabled,omitempty"`
	Role            string      `json:"Role,omitempty"`
	SubRole         string      `json:"SubRole,omitempty"`
	NID             json.Number `json:"NID,omitempty"`
	NetType         string      `json:"NetType,omitempty"`
	Arch            string      `json:"Arch,omitempty"`
	FQDN            string      `json:"FQDN"`
	MAC             []string    `json:"MAC"`
	EndpointEnabled bool        `json:"EndpointEnabled"`
}

// hardware is what the boot script service knows of the nodes.
type hardware struct {
	components []Component
	addresses  map[string]string // IP address -> xname
	file       bool              // it came from a file: there is no HSM to be asked
}

// add makes up what an HSM tells of a node: NIDs from 100001, addresses from 10.252.1.4, MAC addresses that stay the same.
func (h *hardware) add(n lifecycle.Node) {
	enabled := true
	i := len(h.components)
	sum := sha256.Sum256([]byte("mac " + n.XName))
	h.components = append(h.components, Component{
		ID: n.XName, Type: "Node", State: "Ready", Flag: "OK", Enabled: &enabled,
		Role: "Management", SubRole: subRole(n.Role), NID: json.Number(fmt.Sprint(100001 + i)), NetType: "Sling", Arch: "X86",
		FQDN: n.Name, MAC: []string{fmt.Sprintf("98:03:9b:%02x:%02x:%02x", sum[0], sum[1], sum[2])}, EndpointEnabled: true,
	})
	if h.addresses == nil {
		h.addresses = map[string]string{}
	}
	h.addresses[fmt.Sprintf("10.252.%d.%d", 1+i/250, 4+i%250)] = n.XName
}

// subRole is a role as HSM and SLS write it: "Master".
func subRole(r lifecycle.Role) string {
	if r == "" {
		return ""
	}
	return strings.ToUpper(string(r[:1])) + string(r[1:])
}

func (h *hardware) find(match func(Component) bool) (Component, bool) {
	i := slices.IndexFunc(h.components, match)
	if i < 0 {
		return Component{}, false
	}
	return h.components[i], true
}

func (h *hardware) byName(name string) (Component, bool) {
	return h.find(func(c Component) bool { return c.ID == name })
}

func (h *hardware) byMAC(mac string) (Component, bool) {
	same := func(m string) bool { return strings.EqualFold(m, mac) }
	return h.find(func(c Component) bool {
		return !strings.EqualFold(c.State, "empty") && slices.ContainsFunc(c.MAC, same)
	})
}

func (h *hardware) byNID(nid int64) (Component, bool) {
	return h.find(func(c Component) bool { n, err := c.NID.Int64(); return err == nil && n == nid })
}

// LoadHSM replaces what the boot script service knows of the hardware by a file in the form that hms-bss takes with
// `-hsm file:`: Components, and IPAddresses, by which a node that calls is recognised. It changes no machine. Invalid: what
// is not that JSON; nothing is changed then.
func (c *Cluster) LoadHSM(r io.Reader) error {
	var file struct {
		Components  []Component
		IPAddresses map[string]struct{ ComponentID string }
	}
	if err := json.NewDecoder(r).Decode(&file); err != nil {
		return lifecycle.Errorf(lifecycle.Invalid, "fakes.LoadHSM", "", "want an HSM file with Components and IPAddresses: %w", err)
	}
	h := hardware{components: file.Components, addresses: map[string]string{}, file: true}
	for ip, iface := range file.IPAddresses {
		h.addresses[ip] = iface.ComponentID
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bss.hsm = h
	return nil
}
