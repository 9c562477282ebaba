package fakessh

import (
	"fmt"
	"strings"
)

// lsblk is util-linux 2.38.1's in the forms that the scripts use.
func lsblk(c *invocation) int {
	if c.are("--json", "--bytes", "--paths", "--output", "NAME,TYPE,SIZE,TRAN,WWN,SERIAL,MODEL,RO,MOUNTPOINT") {
		_, _ = c.out.Write(c.sh.m.LsblkJSON())
		return 0
	}
	args := c.args
	if len(args) < 4 || args[0] != "--noheadings" || args[1] != "--list" {
		return c.drift()
	}
	args = args[2:]
	paths := args[0] == "--paths"
	if paths {
		args = args[1:]
	}
	if len(args) < 2 || len(args) > 3 || args[0] != "--output" {
		return c.drift()
	}
	device := ""
	if len(args) == 3 {
		device = args[2]
		if c.sh.m.Device(device) == nil {
			return c.fail(32, "%s: not a block device", device)
		}
	}
	for _, d := range c.sh.m.List(device) {
		switch args[1] {
		case "NAME":
			name := d.Name
			if !paths {
				name = name[strings.LastIndexByte(name, '/')+1:]
			}
			c.printf("%s\n", name)
		case "TYPE":
			c.printf("%s\n", d.Type)
		case "MOUNTPOINT":
			c.printf("%s\n", d.Mount)
		default:
			return c.drift()
		}
	}
	return 0
}

// blkid is util-linux 2.38.1's low-level probe for TYPE and PTTYPE: the value alone, or status 2 for none.
func blkid(c *invocation) int {
	want := []string{"--probe", "--output", "value", "--match-tag", "TYPE", "--match-tag", "PTTYPE"}
	if len(c.args) != len(want)+1 || !c.startsWith(want...) || strings.HasPrefix(c.args[len(want)], "-") {
		return c.drift()
	}
	device := c.args[len(want)]
	if c.sh.m.Device(device) == nil {
		return c.fail(2, "error: %s: No such file or directory", device)
	}
	signature := c.sh.m.Probe(device)
	if signature == "" {
		return 2
	}
	c.printf("%s\n", signature)
	return 0
}

func (c *invocation) startsWith(args ...string) bool {
	if len(c.args) < len(args) {
		return false
	}
	for i, arg := range args {
		if c.args[i] != arg {
			return false
		}
	}
	return true
}

// said writes what an operation of the machine's says when it fails; its messages are the commands' own.
func (c *invocation) said(status int, err error) int {
	_, _ = c.err.Write([]byte(err.Error() + "\n"))
	return status
}

// wipefs is `wipefs --all DEVICE` and `wipefs --no-act DEVICE` (util-linux 2.38.1).
func wipefs(c *invocation) int {
	if len(c.args) != 2 || strings.HasPrefix(c.args[1], "-") {
		return c.drift()
	}
	device := c.args[1]
	switch c.args[0] {
	case "--all":
		signature := c.sh.m.Probe(device)
		if err := c.sh.m.Wipefs(device); err != nil {
			return c.said(1, err)
		}
		if signature != "" {
			at, magic := magicOf(signature)
			c.printf("%s: %d bytes were erased at offset 0x%08x (%s): % x\n", device, len(magic), at, signature, magic)
		}
		return 0
	case "--no-act":
		if c.sh.m.Device(device) == nil {
			return c.fail(1, "error: %s: probing initialization failed: No such file or directory", device)
		}
		if signature := c.sh.m.Probe(device); signature != "" {
			at, _ := magicOf(signature)
			name := device[strings.LastIndexByte(device, '/')+1:]
			c.printf("%-*s %-6s %-*s UUID LABEL\n", len(name), "DEVICE", "OFFSET", len(signature), "TYPE")
			c.printf("%-*s %-6s %s\n", len("DEVICE"), name, fmt.Sprintf("%#x", at), signature)
		}
		return 0
	}
	return c.drift()
}

// magicOf returns where a signature stands, and its bytes; those of a signature unknown here are its name.
func magicOf(signature string) (offset int, magic []byte) {
	switch signature {
	case "gpt":
		return 0x200, []byte("EFI PART")
	case "dos":
		return 0x1fe, []byte{0x55, 0xaa}
	case "xfs":
		return 0, []byte("XFSB")
	case "ext4":
		return 0x438, []byte{0x53, 0xef}
	case "vfat":
		return 0x52, []byte("FAT32   ")
	case "LVM2_member":
		return 0x218, []byte("LVM2 001")
	case "linux_raid_member":
		return 0x1000, []byte{0xfc, 0x4e, 0x2b, 0xa9}
	}
	return 0, []byte(signature)
}

// sgdisk is `sgdisk --zap-all DEVICE` (gdisk 1.0.9).
func sgdisk(c *invocation) int {
	if len(c.args) != 2 || c.args[0] != "--zap-all" || strings.HasPrefix(c.args[1], "-") {
		return c.drift()
	}
	fresh := c.sh.m.Probe(c.args[1]) != "gpt"
	if err := c.sh.m.ZapAll(c.args[1]); err != nil {
		return c.said(2, err)
	}
	if fresh {
		c.printf("Creating new GPT entries in memory.\n")
	}
	c.printf("GPT data structures destroyed! You may now partition the disk using fdisk or\nother utilities.\n")
	return 0
}

// umount is `umount DIRECTORY`.
func umount(c *invocation) int {
	if len(c.args) != 1 || strings.HasPrefix(c.args[0], "-") {
		return c.drift()
	}
	if err := c.sh.m.Unmount(c.args[0]); err != nil {
		return c.said(32, err)
	}
	return 0
}

// vgchange is `vgchange --activate n GROUP`.
func vgchange(c *invocation) int {
	if len(c.args) != 3 || !c.startsWith("--activate", "n") || strings.HasPrefix(c.args[2], "-") {
		return c.drift()
	}
	if err := c.sh.m.Deactivate(c.args[2]); err != nil {
		return c.said(5, err)
	}
	c.printf("  0 logical volume(s) in volume group \"%s\" now active\n", c.args[2])
	return 0
}

// vgremove is `vgremove --force --yes GROUP`. Volumes in use stop it, as they stop the real one.
func vgremove(c *invocation) int {
	if len(c.args) != 3 || !c.startsWith("--force", "--yes") || strings.HasPrefix(c.args[2], "-") {
		return c.drift()
	}
	if err := c.sh.m.Deactivate(c.args[2]); err != nil {
		return c.said(5, err)
	}
	c.printf("  Volume group \"%s\" successfully removed\n", c.args[2])
	return 0
}

// mdadm is `mdadm --stop ARRAY`.
func mdadm(c *invocation) int {
	if len(c.args) != 2 || c.args[0] != "--stop" || strings.HasPrefix(c.args[1], "-") {
		return c.drift()
	}
	if err := c.sh.m.StopArray(c.args[1]); err != nil {
		return c.said(1, err)
	}
	return c.fail(0, "stopped %s", c.args[1])
}

// systemctl is `systemctl disable --now UNIT`.
func systemctl(c *invocation) int {
	if len(c.args) != 3 || !c.startsWith("disable", "--now") || strings.HasPrefix(c.args[2], "-") {
		return c.drift()
	}
	return 0
}
