package fakes

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// Device is a block device of a machine, with what is stacked on it. Change it only through [Machine.Disks].
type Device struct {
	Name      string // "/dev/sda1"
	Type      string // lsblk's TYPE: disk, part, raid1, lvm
	Size      int64  // bytes
	Tran      string // of a disk: sata, sas, nvme, usb
	WWN       string
	Serial    string
	Model     string
	ReadOnly  bool
	Signature string // what a probe finds: gpt, LVM2_member, linux_raid_member, xfs; "" is none
	Mount     string
	Children  []*Device
}

func (d *Device) walk(visit func(*Device)) {
	visit(d)
	for _, child := range d.Children {
		child.walk(visit)
	}
}

// workerDisks returns the disks of a worker: two that carry the running system as mirrors, one with containers' data.
func workerDisks(name string, generation int) []*Device {
	disk := func(letter string) *Device {
		id := uuidOf("disk", name, letter)
		return &Device{
			Name: "/dev/sd" + letter, Type: "disk", Size: 480_103_981_056, Tran: "sata",
			WWN: "0x5" + strings.ReplaceAll(id, "-", "")[:15], Serial: "S" + strings.ToUpper(id[:8]), Model: "SAMSUNG_MZ7LH480",
		}
	}
	a, b, data := disk("a"), disk("b"), disk("c")
	data.Size = 1_920_383_410_176
	installSystem(a, b)
	installData(data)
	_ = generation
	return []*Device{a, b, data}
}

// installSystem lays the mirrors of the running system out on two disks, as dracut-metal-mdsquash does.
func installSystem(a, b *Device) {
	mounts := []struct {
		array, fs, mount string
		size             int64
	}{
		{"/dev/md127", "vfat", "/metal/recovery", 524_288_000},
		{"/dev/md126", "xfs", "/run/initramfs/live", 25_769_803_776},
		{"/dev/md125", "xfs", "/run/initramfs/overlayfs", 161_061_273_600},
	}
	a.Signature, b.Signature = "gpt", "gpt"
	a.Children, b.Children = nil, nil
	for i, m := range mounts {
		array := &Device{Name: m.array, Type: "raid1", Size: m.size, Signature: m.fs, Mount: m.mount}
		for _, disk := range []*Device{a, b} {
			disk.Children = append(disk.Children, &Device{
				Name: fmt.Sprintf("%s%d", disk.Name, i+1), Type: "part", Size: m.size,
				Signature: "linux_raid_member", Children: []*Device{array},
			})
		}
	}
}

// installData lays a volume group for containers out on a disk.
func installData(disk *Device) {
	disk.Signature = "LVM2_member"
	disk.Children = []*Device{
		{Name: "/dev/mapper/metalvg0-CONRUN", Type: "lvm", Size: 75_161_927_680, Signature: "xfs", Mount: "/run/containerd"},
		{Name: "/dev/mapper/metalvg0-CONLIB", Type: "lvm", Size: 751_619_276_800, Signature: "xfs", Mount: "/var/lib/containerd"},
		{Name: "/dev/mapper/metalvg0-K8SLET", Type: "lvm", Size: 214_748_364_800, Signature: "xfs", Mount: "/var/lib/kubelet"},
	}
}

// lsblkDevice is a device as lsblk 2.38.1 --json prints it; the order of the fields is that of ncn's --output list.
type lsblkDevice struct {
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	Size       int64          `json:"size"`
	Tran       *string        `json:"tran"`
	WWN        *string        `json:"wwn"`
	Serial     *string        `json:"serial"`
	Model      *string        `json:"model"`
	RO         bool           `json:"ro"`
	Mountpoint *string        `json:"mountpoint"`
	Children   []*lsblkDevice `json:"children,omitempty"`
}

func lsblkOf(d *Device) *lsblkDevice {
	null := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	out := &lsblkDevice{Name: d.Name, Type: d.Type, Size: d.Size, Tran: null(d.Tran), WWN: null(d.WWN), Serial: null(d.Serial),
		Model: null(d.Model), RO: d.ReadOnly, Mountpoint: null(d.Mount)}
	for _, child := range d.Children {
		out.Children = append(out.Children, lsblkOf(child))
	}
	return out
}

// LsblkJSON returns what `lsblk --json --bytes --paths --output NAME,TYPE,SIZE,TRAN,WWN,SERIAL,MODEL,RO,MOUNTPOINT`
// prints (util-linux 2.38.1).
func (m *Machine) LsblkJSON() []byte {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	return m.lsblkJSON()
}

func (m *Machine) lsblkJSON() []byte {
	var list struct {
		Blockdevices []*lsblkDevice `json:"blockdevices"`
	}
	for _, d := range m.disks {
		list.Blockdevices = append(list.Blockdevices, lsblkOf(d))
	}
	out, _ := json.MarshalIndent(list, "", "   ")
	return append(out, '\n')
}

// Device returns the block device of that path, or nil.
func (m *Machine) Device(name string) *Device {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	return m.device(name)
}

func (m *Machine) device(name string) *Device {
	var found *Device
	for _, d := range m.disks {
		d.walk(func(d *Device) {
			if d.Name == name {
				found = d
			}
		})
	}
	return found
}

// List returns the device and what is stacked on it, in lsblk's order, or all devices for "".
func (m *Machine) List(name string) []Device {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	return m.list(name)
}

func (m *Machine) list(name string) []Device {
	roots := m.disks
	if name != "" {
		roots = nil
		if d := m.device(name); d != nil {
			roots = []*Device{d}
		}
	}
	var out []Device
	for _, root := range roots {
		root.walk(func(d *Device) { out = append(out, *d) })
	}
	return out
}

// Probe returns the signature that blkid --probe finds on the device.
func (m *Machine) Probe(name string) string {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	return m.probe(name)
}

func (m *Machine) probe(name string) string {
	if d := m.device(name); d != nil {
		return d.Signature
	}
	return ""
}

// snapshot is what disks.sh prints. It is kept until a device is another one, because it is asked for often.
func (m *Machine) snapshot() []byte {
	var key []byte
	for _, root := range m.disks {
		root.walk(func(d *Device) { key = d.appendKey(key) })
	}
	if string(key) != m.printedFor {
		m.printed, m.printedFor = m.printSnapshot(), string(key)
	}
	return slices.Clone(m.printed)
}

// appendKey appends all that is printed of the device.
func (d *Device) appendKey(key []byte) []byte {
	for _, field := range [...]string{d.Name, d.Type, d.Tran, d.WWN, d.Serial, d.Model, d.Signature, d.Mount} {
		key = append(append(key, field...), 0)
	}
	key = strconv.AppendInt(key, d.Size, 10)
	key = strconv.AppendBool(key, d.ReadOnly)
	return strconv.AppendInt(key, int64(len(d.Children)), 10)
}

func (m *Machine) printSnapshot() []byte {
	out := m.lsblkJSON()
	var names []string
	for _, d := range m.list("") {
		names = append(names, d.Name)
	}
	sort.Strings(names)
	for _, name := range slices.Compact(names) {
		sig := m.probe(name)
		if sig != "" {
			sig += " "
		}
		out = fmt.Appendf(out, "signature %s %s\n", name, sig)
	}
	return out
}

// Unmount is umount(8).
func (m *Machine) Unmount(at string) error {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	return m.unmount(at)
}

func (m *Machine) unmount(at string) error {
	found := false
	for _, root := range m.disks {
		root.walk(func(d *Device) {
			if d.Mount == at {
				d.Mount = ""
				found = true
			}
		})
	}
	if !found {
		return says("umount: %s: not mounted.", at)
	}
	return nil
}

// Deactivate is `vgchange --activate n`; Remove is `vgremove`.
func (m *Machine) Deactivate(group string) error {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	return m.deactivate(group)
}

func (m *Machine) deactivate(group string) error {
	prefix := "/dev/mapper/" + strings.ReplaceAll(group, "-", "--") + "-"
	busy := ""
	for _, d := range m.list("") {
		if d.Type == "lvm" && strings.HasPrefix(d.Name, prefix) && d.Mount != "" {
			busy = d.Name
		}
	}
	if busy != "" {
		return says("  Logical volume %s/%s contains a filesystem in use.", group, strings.TrimPrefix(busy, prefix))
	}
	m.drop(func(d *Device) bool { return d.Type == "lvm" && strings.HasPrefix(d.Name, prefix) })
	return nil
}

// StopArray is `mdadm --stop`.
func (m *Machine) StopArray(name string) error {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	return m.stopArray(name)
}

func (m *Machine) stopArray(name string) error {
	d := m.device(name)
	if d == nil {
		return fmt.Errorf("mdadm: error opening %s: No such file or directory", name)
	}
	if inUse(d) {
		return fmt.Errorf("mdadm: Cannot get exclusive access to %s:Perhaps a running process, mounted filesystem or active volume group?", name)
	}
	m.drop(func(d *Device) bool { return d.Name == name })
	return nil
}

// drop takes away the devices that match, wherever they are stacked.
func (m *Machine) drop(match func(*Device) bool) {
	for _, root := range m.disks {
		root.walk(func(d *Device) { d.Children = slices.DeleteFunc(d.Children, match) })
	}
}

// inUse reports what makes the kernel answer EBUSY to an exclusive open: a mount, or a holder that is no partition.
func inUse(d *Device) bool {
	if d.Mount != "" {
		return true
	}
	for _, child := range d.Children {
		if child.Type != "part" || inUse(child) {
			return true
		}
	}
	return false
}

// Wipefs is `wipefs --all` without --force: a device in use is refused.
func (m *Machine) Wipefs(name string) error {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	return m.wipefs(name)
}

func (m *Machine) wipefs(name string) error {
	d := m.device(name)
	switch {
	case d == nil:
		return fmt.Errorf("wipefs: error: %s: probing initialization failed: No such file or directory", name)
	case inUse(d):
		return fmt.Errorf("wipefs: error: %s: probing initialization failed: Device or resource busy", name)
	}
	d.Signature = ""
	m.c.erasing(m, d)
	return nil
}

// ZapAll is `sgdisk --zap-all`.
func (m *Machine) ZapAll(name string) error {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	return m.zapAll(name)
}

func (m *Machine) zapAll(name string) error {
	d := m.device(name)
	if d == nil {
		return says("Problem opening %s for reading! Error is 2.", name)
	}
	d.Children = slices.DeleteFunc(d.Children, func(c *Device) bool { return c.Type == "part" })
	d.Signature = ""
	m.c.erasing(m, d)
	return nil
}

// Disks lets a test look at and change the machine's disks: add one, mount one, give one a signature.
func (m *Machine) Disks(change func(disks []*Device) []*Device) {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	m.disks = change(m.disks)
}

// diskOf returns the disk that the device stands on.
func (m *Machine) diskOf(name string) *Device {
	for _, root := range m.disks {
		hit := false
		root.walk(func(d *Device) { hit = hit || d.Name == name })
		if hit {
			return root
		}
	}
	return nil
}

// says is what a command prints when it fails, which need not look like one of ours.
func says(format string, args ...any) error { return commandError(fmt.Sprintf(format, args...)) }

type commandError string

func (e commandError) Error() string { return string(e) }

func under(dir, file string) bool {
	return file == dir || strings.HasPrefix(file, strings.TrimSuffix(path.Clean(dir), "/")+"/")
}
