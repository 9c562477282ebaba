package ipmi_test

import (
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle/power"
	"github.com/ncnkit/lifecycle/power/ipmi"
)

func TestAddress(t *testing.T) {
	got := map[string]string{}
	for _, host := range []string{
		"10.1.0.7", "10.1.0.7:6230", "x3000c0s7b0", "X3000C0S7B0.hmn", "bmc:623", "fe80::1", "[fe80::1]", "[fe80::1]:6230", "fe80::1%eth0",
		"", ":", ":623", "bmc:", "a b", "bmc:623x", "[]:1", "::1:623:",
	} {
		addr, err := ipmi.Address(host, 623)
		if err != nil {
			addr = "refused"
		}
		got[host] = addr
	}
	want := map[string]string{
		"10.1.0.7": "10.1.0.7:623", "10.1.0.7:6230": "10.1.0.7:6230", "x3000c0s7b0": "x3000c0s7b0:623", "X3000C0S7B0.hmn": "x3000c0s7b0.hmn:623",
		"bmc:623": "bmc:623", "fe80::1": "[fe80::1]:623", "[fe80::1]": "[fe80::1]:623", "[fe80::1]:6230": "[fe80::1]:6230", "fe80::1%eth0": "[fe80::1%eth0]:623",
		"": "refused", ":": "refused", ":623": "refused", "bmc:": "refused", "a b": "refused", "bmc:623x": "refused", "[]:1": "refused", "::1:623:": "refused",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
}

// What is not refused is one host and one port, and itself an address.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"10.1.0.7", "bmc:623", "[::1]:623", "fe80::1%eth0", "a:b:c", "[", "%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, host string) {
		addr, err := ipmi.Address(host, 623)
		if err != nil {
			return
		}
		h, port, err := net.SplitHostPort(addr)
		require.NoError(t, err)
		require.NotEmpty(t, h)
		require.NotEmpty(t, port)
		require.False(t, strings.ContainsAny(addr, " \t\n/;$`'\"\\@"), addr)
		again, err := ipmi.Address(addr, 1)
		require.NoError(t, err)
		require.Equal(t, addr, again)
	})
}

func TestDecode(t *testing.T) {
	none := power.Boot{Device: power.DeviceNone}
	for _, tt := range []struct {
		name    string
		flags   []byte
		invalid bool
		want    power.Boot
	}{
		{"valid bit", []byte{0xa0, 0x04, 0, 0, 0}, false, power.Boot{Device: power.PXE, EFI: true}},
		{"no valid bit: what is left of an earlier boot", []byte{0x20, 0x04, 0, 0, 0}, false, none},
		{"ipmi_sim loses the valid bit", []byte{0x00, 0x04, 0, 0, 0}, false, none},
		{"parameter marked invalid", []byte{0xa0, 0x04, 0, 0, 0}, true, none},
		{"no device", []byte{0xe0, 0x00, 0, 0, 0}, false, none},
		{"other bits of the second byte", []byte{0x80, 0xc7, 0, 0, 0}, false, power.Boot{Device: power.PXE}},
		{"CD", []byte{0x80, 0x14, 0, 0, 0}, false, power.Boot{Device: "cdrom"}},
		{"reserved", []byte{0x80, 0x28, 0, 0, 0}, false, power.Boot{Device: "selector 0xa"}},
		{"too short", []byte{0x80}, false, none},
		{"nothing", nil, false, none},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, tt.want, ipmi.Decode(tt.flags, tt.invalid))
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{0xe0, 0x04, 0, 0, 0}, false)
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, flags []byte, invalid bool) {
		b := ipmi.Decode(flags, invalid)
		require.NotEmpty(t, b.Device)
		raw, err := ipmi.Encode(b)
		if err == nil {
			require.Equal(t, b, ipmi.Decode(raw, false))
		}
	})
}

// Nothing that a BMC, or somebody in its name, sends brings the program down, and nothing within a session is believed
// without its key.
func FuzzAccept(f *testing.F) {
	head := func(kind byte, n int) []byte {
		return []byte{6, 0, 0xff, 7, 6, kind, 0, 0, 0, 0, 0, 0, 0, 0, byte(n), 0}
	}
	f.Add(append(head(0x11, 36), make([]byte, 36)...))
	f.Add(append(head(0x11, 2), 0, 1)) // a BMC without a free session says no more than that
	f.Add(append(head(0x13, 8), make([]byte, 8)...))
	f.Add(append(head(0xc0, 16), make([]byte, 32)...))
	f.Add([]byte{6, 0, 0xff, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0x81, 0x1c, 0x63, 0x20, 0, 0x38})
	f.Add([]byte{6, 0, 0xff, 6, 0, 0, 0x11, 0xbe, 0x40, 0, 0, 0xff})
	for _, p := range forgeries(1) {
		f.Add(p)
	}
	open := append(head(0x10, 8), 0, 0, 0, 0, 0xa3, 0xa2, 0xa1, 0xa0)
	rakp1 := append(head(0x12, 28), make([]byte, 28)...)
	rakp3 := append(head(0x14, 8), make([]byte, 8)...)
	f.Fuzz(func(t *testing.T, p []byte) {
		for _, sent := range [][][]byte{nil, {open}, {rakp1}, {rakp3}, {open, rakp1, rakp3}} {
			taken, err := ipmi.Accept(sent, [][]byte{p, p, p})
			require.NoError(t, err)
			if taken && len(p) > 10 && p[4] == 6 {
				require.NotEqual(t, byte(0), p[5]&0x3f, "a packet within a session was believed without a key")
			}
		}
	})
}
