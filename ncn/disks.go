package ncn

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/internal/mutant"
)

// Disk is a disk by what does not change when devices are renumbered.
type Disk struct {
	ID    string `json:"id"` // "wwn-…", or "serial-…" for a disk without a WWN
	Size  int64  `json:"size"`
	Model string `json:"model,omitempty"`
	Name  string `json:"name"` // the kernel's name when it was looked at: for people, never to find it by
}

// selection is what a wipe would do to a machine's disks.
type selection struct {
	Victims []Disk   `json:"victims"`          // are erased
	System  []Disk   `json:"system,omitempty"` // carry the running system: the node erases them itself at its next boot, while armed
	Umounts []string `json:"umounts,omitempty"`
	Groups  []string `json:"groups,omitempty"` // volume groups
	Arrays  []string `json:"arrays,omitempty"` // MD arrays
}

// device is a block device as lsblk prints it, with what a probe found on it.
type device struct {
	Name       string   `json:"name"`
	Type       string   `json:"type"`
	Size       int64    `json:"size"`
	Tran       string   `json:"tran"`
	WWN        string   `json:"wwn"`
	Serial     string   `json:"serial"`
	Model      string   `json:"model"`
	RO         bool     `json:"ro"`
	Mountpoint string   `json:"mountpoint"`
	Children   []device `json:"children"`
	signature  string
}

// disks lists the machine's block devices. The digest is of the listing, byte for byte.
func (s *Site) disks(ctx context.Context, node lifecycle.Node) (devices []device, digest string, err error) {
	out, err := s.Exec.Run(ctx, node, command("ncn.disks"))
	if err != nil {
		return nil, "", err
	}
	devices, err = parseDisks(out.Stdout)
	return devices, fmt.Sprintf("%x", sha256.Sum256(out.Stdout)), err
}

// parseDisks reads what disks.sh prints: lsblk's JSON, then one line for each device with its signature.
func parseDisks(out []byte) ([]device, error) {
	fail := func(format string, args ...any) ([]device, error) {
		return nil, lifecycle.Errorf(lifecycle.Precondition, "ncn.disks", "", "the list of disks cannot be read: "+format, args...)
	}
	dec := json.NewDecoder(bytes.NewReader(out))
	var list struct {
		Blockdevices []device `json:"blockdevices"`
	}
	if err := dec.Decode(&list); err != nil {
		return fail("%w", err)
	}
	signatures := map[string]string{}
	for line := range bytes.Lines(out[dec.InputOffset():]) {
		fields := strings.Fields(string(line))
		switch {
		case len(fields) == 0:
		case len(fields) < 2 || fields[0] != "signature":
			return fail("unexpected line %q", line)
		default:
			signatures[fields[1]] = strings.Join(fields[2:], " ")
		}
	}
	var missing string
	for i := range list.Blockdevices {
		list.Blockdevices[i].walk(func(d *device) {
			sig, ok := signatures[d.Name]
			if !ok {
				missing = d.Name
			}
			d.signature = sig
		})
	}
	if missing != "" {
		return fail("no probe of %s", missing)
	}
	return list.Blockdevices, nil
}

func (d *device) walk(visit func(*device)) {
	visit(d)
	for i := range d.Children {
		d.Children[i].walk(visit)
	}
}

func (d *device) disk() (Disk, error) {
	var id string
	switch {
	case mutant.On("disk-by-name"):
		id = d.Name
	case d.WWN != "":
		id = "wwn-" + d.WWN
	case d.Serial != "":
		id = "serial-" + d.Serial
	default:
		return Disk{}, refuseDisk("%s has neither a WWN nor a serial number, so nothing tells it from another disk", d.Name)
	}
	return Disk{ID: id, Size: d.Size, Model: d.Model, Name: d.Name}, nil
}

func refuseDisk(format string, args ...any) error {
	return lifecycle.Errorf(lifecycle.Precondition, "ncn.disks", "", format, args...)
}

var (
	// ourMounts are where a worker's containers and their data live; a wipe unmounts them.
	ourMounts = []string{"/run/containerd", "/var/lib/containerd", "/var/lib/kubelet", "/var/lib/sdu"}
	// systemMounts are what a system that runs from its disks has mounted (dracut-metal-mdsquash).
	systemMounts = []string{"/", "/run/initramfs", "/metal/recovery"}
	// ourServices use ourMounts.
	ourServices = []string{"kubelet.service", "containerd.service"}
	// knownSignatures are what a node's own installation leaves on its disks.
	knownSignatures = []string{"", "gpt", "dos", "gpt dos", "PMBR", "LVM2_member", "linux_raid_member", "xfs", "ext4", "vfat", "vfat dos", "squashfs", "swap"}
)

// choose decides what a wipe of these devices would do, or refuses. It is a pure function, used when planning and again,
// on what is there then, right before the erasing: the two selections must be the same.
func choose(devices []device) (selection, error) {
	var s selection
	for i := range devices {
		d := &devices[i]
		if d.Type != "disk" || d.Tran == "usb" || d.RO || d.Size == 0 {
			continue
		}
		disk, err := d.disk()
		if err != nil {
			return s, err
		}
		if d.carriesSystem() {
			s.System = append(s.System, disk)
			continue
		}
		if err := s.add(d, disk); err != nil {
			return s, err
		}
	}
	if len(s.Victims) == 0 {
		return s, refuseDisk("no disk would be erased: every one is missing, on USB, read-only or carries the running system")
	}
	byID := func(a, b Disk) int { return strings.Compare(a.ID, b.ID) }
	slices.SortFunc(s.Victims, byID)
	slices.SortFunc(s.System, byID)
	sort.Sort(sort.Reverse(sort.StringSlice(s.Umounts))) // what is mounted deeper comes first
	for _, list := range []*[]string{&s.Umounts, &s.Groups, &s.Arrays} {
		*list = slices.Compact(*list)
	}
	return s, nil
}

func (d *device) carriesSystem() bool {
	found := false
	d.walk(func(d *device) {
		for _, at := range systemMounts {
			if d.Mountpoint == at || at != "/" && strings.HasPrefix(d.Mountpoint, at+"/") {
				found = true
			}
		}
	})
	return found
}

// add makes a disk a victim, unless something on it says that it must not be one.
func (s *selection) add(d *device, disk Disk) error {
	var refused error
	d.walk(func(part *device) {
		if refused != nil {
			return
		}
		refused = s.stack(disk, part)
	})
	if refused != nil {
		return refused
	}
	s.Victims = append(s.Victims, disk)
	return nil
}

// stack looks at one device on a disk.
func (s *selection) stack(disk Disk, d *device) error {
	if !slices.Contains(knownSignatures, d.signature) && !mutant.On("unknown-signature-accepted") {
		return refuseDisk("%s (%s) carries %q, which is not of this node's own installation; if it may go, erase it by hand", d.Name, disk.ID, d.signature)
	}
	switch {
	case d.Mountpoint == "":
	case slices.Contains(ourMounts, d.Mountpoint):
		s.Umounts = append(s.Umounts, d.Mountpoint)
	default:
		return refuseDisk("%s (%s) is mounted at %s, which is none of this node's own; unmount it, or take the disk out", d.Name, disk.ID, d.Mountpoint)
	}
	switch {
	case d.Type == "disk" || d.Type == "part":
	case strings.HasPrefix(d.Type, "raid"):
		s.Arrays = append(s.Arrays, d.Name)
	case d.Type == "lvm":
		group := groupOf(d.Name)
		if !strings.HasPrefix(group, "metal") {
			return refuseDisk("%s (%s) belongs to the volume group %s, which is none of this node's own", d.Name, disk.ID, group)
		}
		s.Groups = append(s.Groups, group)
	default:
		return refuseDisk("%s (%s) is held by a device of type %s", d.Name, disk.ID, d.Type)
	}
	return nil
}

// groupOf returns the volume group in the name of a mapped device: "/dev/mapper/metalvg0-CONLIB" is of metalvg0. In such
// names a hyphen of the group itself is doubled (lvm(8), "Naming").
func groupOf(name string) string {
	base := strings.ReplaceAll(path.Base(name), "--", "\x00")
	group, _, _ := strings.Cut(base, "-")
	return strings.ReplaceAll(group, "\x00", "-")
}

// compare names the first difference between what was planned and what is there.
func (s selection) compare(now selection) error {
	ids := func(disks []Disk) []string {
		var list []string
		for _, d := range disks {
			list = append(list, d.ID)
		}
		return list
	}
	for _, c := range []struct {
		what     string
		was, now []string
	}{
		{"disk to erase", ids(s.Victims), ids(now.Victims)},
		{"disk of the running system", ids(s.System), ids(now.System)},
		{"mount", s.Umounts, now.Umounts},
		{"volume group", s.Groups, now.Groups},
		{"array", s.Arrays, now.Arrays},
	} {
		for _, v := range c.now {
			if !slices.Contains(c.was, v) {
				return refuseDisk("the %s %s appeared since the plan was made; make a new plan", c.what, v)
			}
		}
		for _, v := range c.was {
			if !slices.Contains(c.now, v) {
				return refuseDisk("the %s %s was there when the plan was made, and is not now; make a new plan", c.what, v)
			}
		}
	}
	return nil
}
