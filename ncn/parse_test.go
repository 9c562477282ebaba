package ncn

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
)

// listing is what disks.sh printed on a machine with util-linux 2.38.1, shortened; the first two devices are a mirror.
const listing = `{
   "blockdevices": [
      {"name":"/dev/sda","type":"disk","size":480103981056,"tran":"sata","wwn":"0x5002538e1","serial":"S45","model":"SAMSUNG MZ7LH480","ro":false,"mountpoint":null,
       "children":[{"name":"/dev/sda1","type":"part","size":25769803776,"tran":null,"wwn":"0x5002538e1","serial":null,"model":null,"ro":false,"mountpoint":null,
        "children":[{"name":"/dev/md126","type":"raid1","size":25769803776,"tran":null,"wwn":null,"serial":null,"model":null,"ro":false,"mountpoint":"/run/initramfs/live"}]}]},
      {"name":"/dev/nvme0n1","type":"disk","size":1920383410176,"tran":"nvme","wwn":"eui.0025385","serial":"S64","model":"MZQL2","ro":false,"mountpoint":null,
       "children":[{"name":"/dev/mapper/metal--vg0-CONLIB","type":"lvm","size":751619276800,"tran":null,"wwn":null,"serial":null,"model":null,"ro":false,"mountpoint":"/var/lib/containerd"}]},
      {"name":"/dev/sdb","type":"disk","size":15728640000,"tran":"usb","wwn":null,"serial":"STICK","model":"USB","ro":false,"mountpoint":"/mnt/stick"},
      {"name":"/dev/zram0","type":"disk","size":0,"tran":null,"wwn":null,"serial":null,"model":null,"ro":false,"mountpoint":null},
      {"name":"/dev/sr0","type":"rom","size":1073741312,"tran":"sata","wwn":null,"serial":null,"model":"CD","ro":false,"mountpoint":null}
   ]
}
signature /dev/mapper/metal--vg0-CONLIB xfs 
signature /dev/md126 xfs 
signature /dev/nvme0n1 LVM2_member 
signature /dev/sda gpt 
signature /dev/sda1 linux_raid_member 
signature /dev/sdb iso9660 dos 
signature /dev/sr0 
signature /dev/zram0 
`

func TestChoose(t *testing.T) {
	devices, err := parseDisks([]byte(listing))
	require.NoError(t, err)
	s, err := choose(devices)
	require.NoError(t, err)
	require.Equal(t, []Disk{{ID: "wwn-eui.0025385", Size: 1920383410176, Model: "MZQL2", Name: "/dev/nvme0n1"}}, s.Victims)
	require.Equal(t, []Disk{{ID: "wwn-0x5002538e1", Size: 480103981056, Model: "SAMSUNG MZ7LH480", Name: "/dev/sda"}}, s.System)
	require.Equal(t, []string{"/var/lib/containerd"}, s.Umounts)
	require.Equal(t, []string{"metal-vg0"}, s.Groups)
	require.NoError(t, s.compare(s))
}

// Whatever is renumbered, the same disks are chosen; whatever is added or taken away is named.
func TestCompare(t *testing.T) {
	chosen := func(text string) selection {
		devices, err := parseDisks([]byte(text))
		require.NoError(t, err)
		s, err := choose(devices)
		require.NoError(t, err)
		return s
	}
	was := chosen(listing)
	renamed := strings.NewReplacer("/dev/nvme0n1", "/dev/nvme7n1").Replace(listing)
	require.NoError(t, was.compare(chosen(renamed)))
	for what, text := range map[string]string{
		"wwn-eui.other":    strings.ReplaceAll(listing, "eui.0025385", "eui.other"),
		"wwn-0xother":      strings.ReplaceAll(listing, "0x5002538e1", "0xother"),
		"/var/lib/kubelet": strings.ReplaceAll(listing, "/var/lib/containerd", "/var/lib/kubelet"),
		"metalother":       strings.ReplaceAll(listing, "metal--vg0", "metalother"),
	} {
		err := was.compare(chosen(text))
		require.ErrorIs(t, err, lifecycle.Precondition)
		require.ErrorContains(t, err, what)
	}
}

func TestParseDisksRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":          "",
		"no JSON":          "lsblk: unknown column",
		"a device unread":  strings.Replace(listing, "signature /dev/sda1 linux_raid_member \n", "", 1),
		"an odd line":      listing + "oops\n",
		"a torn last line": strings.TrimSuffix(listing, "signature /dev/zram0 \n") + "signature",
	} {
		_, err := parseDisks([]byte(text))
		require.ErrorIs(t, err, lifecycle.Precondition, name)
	}
}

func TestGroupOf(t *testing.T) {
	for name, want := range map[string]string{
		"/dev/mapper/metalvg0-CONLIB":      "metalvg0",
		"/dev/mapper/my--vg-my--lv":        "my-vg",
		"/dev/mapper/a----b-c":             "a--b",
		"/dev/mapper/customer--data-home1": "customer-data",
	} {
		require.Equal(t, want, groupOf(name))
	}
}

func TestParseLook(t *testing.T) {
	for text, want := range map[string]look{
		"boot b1\nabsent\n":                                      {boot: "b1", state: "absent"},
		"boot b1\nend\n":                                         {boot: "b1", state: "running", detail: "beginning"},
		"boot b1\npid 7\nerasing\nalive\nend\n":                  {boot: "b1", state: "running", detail: "erasing", alive: true},
		"boot b1\npid 7\nerasing\nerased /dev/sdc\nalive\nend\n": {boot: "b1", state: "running", detail: "erased /dev/sdc", alive: true},
		"boot b1\npid 7\nerasing\nerased /dev/sdc\ndone\nend\n":  {boot: "b1", state: "done", detail: ""},
		"boot b1\npid 7\nrefused no disk is named\nend\n":        {boot: "b1", state: "refused", detail: "no disk is named"},
		"boot b1\npid 7\nfailed /dev/sdc is held\nend\n":         {boot: "b1", state: "failed", detail: "/dev/sdc is held"},
	} {
		require.Equal(t, want, parseLook([]byte(text)), text)
	}
}

func TestImagePath(t *testing.T) {
	for server, want := range map[string]string{
		"http://rgw-vip.nmn/ncn-images/k8s/0.1.109":                   "ncn-images/k8s/0.1.109",
		"s3://boot-images/aaaa/rootfs":                                "boot-images/aaaa/rootfs",
		"http://127.0.0.1:9000/boot-images/aaaa/rootfs?X-Amz-Date=20": "boot-images/aaaa/rootfs",
		"": "",
	} {
		require.Equal(t, want, imagePath(server))
	}
}

func FuzzParseDisks(f *testing.F) {
	f.Add([]byte(listing))
	f.Fuzz(func(t *testing.T, text []byte) {
		devices, err := parseDisks(text)
		if err != nil {
			return
		}
		s, err := choose(devices)
		if err != nil {
			return
		}
		for _, v := range s.Victims {
			if v.ID == "" || fmt.Sprint(s.compare(s)) != "<nil>" {
				t.Fatalf("chose %+v", s)
			}
		}
	})
}

func FuzzParseIdentity(f *testing.F) {
	f.Add([]byte("xname x3000c0s7b0n0\nuuid u\nboot b\ncmdline a=b\ncloud-init finished\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		id, err := parseIdentity(text)
		if err == nil && (id.XName == "" || id.UUID == "" || id.Boot == "") {
			t.Fatalf("accepted %+v", id)
		}
	})
}

func FuzzParseLook(f *testing.F) {
	f.Add([]byte("boot b1\npid 7\nerasing\nend\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if l := parseLook(text); l.state == "done" && !strings.Contains("\n"+string(text), "\ndone") {
			t.Fatalf("%q is done", text)
		}
	})
}
