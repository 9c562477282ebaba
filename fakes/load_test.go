package fakes_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes"
	"github.com/ncnkit/lifecycle/power"
)

func dump(t *testing.T, name string) []byte {
	t.Helper()
	dir := os.Getenv("LIFECYCLE_SHARED")
	if dir == "" {
		t.Skip("LIFECYCLE_SHARED is not set: the dumps of a real system are NOT tested")
	}
	text, err := os.ReadFile(filepath.Join(dir, "data", name))
	require.NoError(t, err)
	return text
}

// TestRealSystem builds a cluster like a real system from its dumps, and reboots a node of it.
func TestRealSystem(t *testing.T) {
	sls, entries := dump(t, "sls-management-ncns.json"), dump(t, "bss-bootparameters.json")
	synctest.Test(t, func(t *testing.T) {
		nodes, err := fakes.NodesFromSLS(bytes.NewReader(sls))
		require.NoError(t, err)
		require.Contains(t, nodes, lifecycle.Node{Name: "ncn-w003", Role: lifecycle.Worker, XName: "x3000c0s11b0n0", BMC: "x3000c0s11b0"})
		c := fakes.NewCluster(t, fakes.Layout{Nodes: nodes})
		require.NoError(t, c.LoadBSS(bytes.NewReader(entries)))

		// What was loaded is told as the real system told it, in its order.
		all, err := c.BootStore().All(t.Context())
		require.NoError(t, err)
		text, err := json.Marshal(all)
		require.NoError(t, err)
		var got, want any
		require.NoError(t, json.Unmarshal(text, &got))
		require.NoError(t, json.Unmarshal(entries, &want))
		require.Empty(t, cmp.Diff(want, got))

		m := c.Machine("ncn-w003")
		cmdline := func() string {
			text, err := m.ReadFile("/proc/cmdline")
			require.NoError(t, err)
			return string(text)
		}
		require.Contains(t, cmdline(), "metal.server=http://rgw-vip.nmn/ncn-images/k8s/0.1.109", "an up machine runs what was loaded")
		boot := m.BootID()

		api := c.BSS()
		e, err := api.Get(t.Context(), "x3000c0s11b0n0")
		require.NoError(t, err)
		e.Params = strings.ReplaceAll(e.Params, "0.1.109", "0.1.110")
		require.NoError(t, api.Put(t.Context(), e))
		bmc := power.BMC{Host: "x3000c0s11b0"}
		require.NoError(t, power.SetBoot(t.Context(), c.Power(), bmc, power.Boot{Device: power.PXE, EFI: true}))
		require.NoError(t, power.Cycle(t.Context(), c.Power(), bmc))
		time.Sleep(10 * time.Minute)
		require.NotEqual(t, boot, m.BootID())
		require.Contains(t, cmdline(), "metal.server=http://rgw-vip.nmn/ncn-images/k8s/0.1.110")
		require.Equal(t, 1, m.Generation(), "it was disarmed, so it kept its disks")
	})
}

func TestLoadBSS(t *testing.T) {
	c := fakes.New(fakes.Layout{Masters: 1, Workers: 1})
	s := c.BootStore()
	other := find(t, s, "x3000c0s1b0n0")
	for name, text := range map[string]string{
		"no JSON": `[{`, "no array": `{"hosts":["x"]}`, "neither host nor image": `[{"hosts":["` + worker + `"],"params":"a=b"},{"params":"c=d"}]`,
	} {
		require.ErrorIs(t, c.LoadBSS(strings.NewReader(text)), lifecycle.Invalid, name)
	}
	require.NotEqual(t, "a=b", find(t, s, worker).Params, "an array that is refused changes nothing")

	require.NoError(t, c.LoadBSS(strings.NewReader(`[{"kernel":"k","params":"of=kernel"},{"hosts":["`+worker+`"],"kernel":"k","params":"metal.server=m metal.no-wipe=1"}]`)))
	require.Equal(t, other, find(t, s, "x3000c0s1b0n0"), "hosts that are not in the dump stay")
	cmdline, err := c.Machine("ncn-w001").ReadFile("/proc/cmdline")
	require.NoError(t, err)
	require.Equal(t, "metal.server=m metal.no-wipe=1 of=kernel\n", string(cmdline))
}

func TestNodesFromSLS(t *testing.T) {
	const good = `{"Parent":"x1c0s1b0","Xname":"x1c0s1b0n0","ExtraProperties":{"Aliases":["ncn-m001"],"SubRole":"Master"}}`
	nodes, err := fakes.NodesFromSLS(strings.NewReader(`null`)) // what SLS answers when it finds nothing
	require.NoError(t, err)
	require.Empty(t, nodes)
	for name, tc := range map[string]struct{ text, want string }{
		"no JSON":      {`{`, "want the array"},
		"no alias":     {`[{"Parent":"p","Xname":"x1","ExtraProperties":{"SubRole":"Worker"}}]`, "x1"},
		"no parent":    {`[{"Xname":"x1","ExtraProperties":{"Aliases":["a"],"SubRole":"Worker"}}]`, "Parent"},
		"other role":   {`[{"Parent":"p","Xname":"x1","ExtraProperties":{"Aliases":["uan01"],"SubRole":"UAN"}}]`, `"UAN"`},
		"twice":        {`[` + good + `,` + good + `]`, "twice"},
		"not a string": {`[{"Parent":"p","Xname":"x1","ExtraProperties":{"Aliases":[1],"SubRole":"Worker"}}]`, "x1"},
	} {
		_, err := fakes.NodesFromSLS(strings.NewReader(tc.text))
		require.ErrorIs(t, err, lifecycle.Invalid, name)
		require.ErrorContains(t, err, tc.want, name)
	}
	nodes, err = fakes.NodesFromSLS(strings.NewReader(`[` + good + `]`))
	require.NoError(t, err)
	require.Equal(t, []lifecycle.Node{{Name: "ncn-m001", Role: lifecycle.Master, XName: "x1c0s1b0n0", BMC: "x1c0s1b0"}}, nodes)
}

func TestLoadHSM(t *testing.T) {
	c := fakes.New(fakes.Layout{Masters: 1})
	require.ErrorIs(t, c.LoadHSM(strings.NewReader(`[]`)), lifecycle.Invalid)
	require.NoError(t, c.LoadHSM(strings.NewReader(`{"Components":[{"ID":"x1","NID":7}],"IPAddresses":{"10.0.0.1":{"ComponentID":"x1"}}}`)))
	require.NoError(t, c.BootStore().Node(t.Context(), "", func(v fakes.NodeView) error {
		comp, ok := v.ByNID(7)
		require.True(t, ok)
		require.Equal(t, "x1", comp.ID)
		xname, _ := v.XName("10.0.0.1")
		require.Equal(t, "x1", xname)
		_, ok = v.ByName("x3000c0s1b0n0")
		require.False(t, ok, "the file replaces all")
		return nil
	}))
}

func FuzzNodesFromSLS(f *testing.F) {
	f.Add(`[{"Parent":"p","Xname":"x1","ExtraProperties":{"Aliases":["ncn-w001"],"SubRole":"Worker"}}]`)
	f.Add(`[{"ExtraProperties":{"Aliases":[null]}}]`)
	f.Fuzz(func(t *testing.T, text string) {
		nodes, err := fakes.NodesFromSLS(strings.NewReader(text))
		for _, n := range nodes {
			if err != nil || lifecycle.CheckName(n.Name) != nil || n.XName == "" {
				t.Fatalf("%+v, %v", n, err)
			}
		}
	})
}

func FuzzLoadBSS(f *testing.F) {
	f.Add(`[{"hosts":["Global"],"cloud-init":{"meta-data":{"a":1}}},{"kernel":"k"}]`)
	f.Add(`null`)
	f.Fuzz(func(t *testing.T, text string) {
		c := fakes.New(fakes.Layout{})
		if c.LoadBSS(strings.NewReader(text)) != nil {
			return
		}
		if _, err := c.BootStore().All(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}
