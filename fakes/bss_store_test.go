package fakes_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/bss"
	"github.com/ncnkit/lifecycle/bss/bsstest"
	"github.com/ncnkit/lifecycle/fakes"
)

func TestBSSConformance(t *testing.T) {
	for _, check := range bsstest.Checks() {
		t.Run(check.Name, func(t *testing.T) {
			c := fakes.New(fakes.Layout{})
			check.Run(t, c.BSS(), bsstest.WithFetch(func(ctx context.Context, host, endpoint string) error {
				return c.BootStore().Node(ctx, host, func(v fakes.NodeView) error { v.Fetched(host, endpoint); return nil })
			}))
		})
	}
}

const (
	worker = "x3000c0s2b0n0" // the second node of a layout with one master and one worker
	kernel = "s3://boot-images/k/kernel"
	initrd = "s3://boot-images/k/initrd"
)

func cluster(t *testing.T) (*fakes.Cluster, fakes.BootStore) {
	c := fakes.New(fakes.Layout{Masters: 1, Workers: 1})
	return c, c.BootStore()
}

func find(t *testing.T, s fakes.BootStore, host string) fakes.BootParams {
	t.Helper()
	found, err := s.Find(t.Context(), fakes.BootParams{Hosts: []string{host}})
	require.NoError(t, err)
	require.Len(t, found, 1)
	return found[0]
}

func TestSelection(t *testing.T) {
	c, s := cluster(t)
	var comp fakes.Component
	require.NoError(t, s.Node(t.Context(), "", func(v fakes.NodeView) error { comp, _ = v.ByName(worker); return nil }))
	nid, err := comp.NID.Int64()
	require.NoError(t, err)
	mac := strings.ToUpper(comp.MAC[0])
	for _, tc := range []struct {
		name string
		p    fakes.BootParams
		want []string // hosts that a PUT stores for
	}{
		{"hosts before all", fakes.BootParams{Hosts: []string{"a", "b"}, MACs: []string{mac}, NIDs: []int32{7}, Kernel: kernel}, []string{"a", "b"}},
		{"a MAC address of a node", fakes.BootParams{MACs: []string{mac}, NIDs: []int32{7}, Kernel: kernel}, []string{worker}},
		{"an unknown MAC address", fakes.BootParams{MACs: []string{"00:00:00:00:00:01"}}, []string{"00:00:00:00:00:01"}},
		{"a NID of a node", fakes.BootParams{NIDs: []int32{int32(nid)}}, []string{worker}},
		{"an unknown NID", fakes.BootParams{NIDs: []int32{7}}, []string{"nid7"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.p.Params = "of=" + strings.ReplaceAll(tc.name, " ", "-")
			token, err := s.Put(t.Context(), tc.p)
			require.NoError(t, err)
			require.NotEmpty(t, token)
			all, err := s.All(t.Context())
			require.NoError(t, err)
			var got []string
			for _, e := range all {
				if e.Params == tc.p.Params {
					got = append(got, e.Hosts...)
				}
			}
			require.Equal(t, tc.want, got)
		})
	}
	found, err := s.Find(t.Context(), fakes.BootParams{MACs: []string{mac}})
	require.NoError(t, err)
	require.Equal(t, []string{worker}, found[0].Hosts)
	found, err = s.Find(t.Context(), fakes.BootParams{Hosts: []string{"ncn-w001"}}) // by its FQDN
	require.NoError(t, err)
	require.Equal(t, []string{worker}, found[0].Hosts)
	_, err = s.Find(t.Context(), fakes.BootParams{Hosts: []string{"x"}, NIDs: []int32{9}, Kernel: "k"})
	require.EqualError(t, err, "Cannot find boot parameters for requested Hosts, NIDs or kernel")
	_, err = s.Find(t.Context(), fakes.BootParams{})
	require.ErrorIs(t, err, lifecycle.Invalid)
	require.Len(t, c.Calls(), 6, "one call is recorded for each host that is written")
}

func TestImages(t *testing.T) {
	c, s := cluster(t)
	ctx := t.Context()
	_, err := s.Put(ctx, fakes.BootParams{Hosts: []string{worker}, Params: "a=b metal.no-wipe=1", Kernel: kernel, Initrd: initrd})
	require.NoError(t, err)

	// A PATCH that finds no host writes the parameters of everybody who boots the kernel.
	require.NoError(t, s.Patch(ctx, fakes.BootParams{MACs: []string{"00:00:00:00:00:01"}, Kernel: kernel, Params: "oops=1"}, nil))
	require.Equal(t, "a=b metal.no-wipe=1", find(t, s, worker).Params, "what a host shows are its own parameters")
	var line string
	require.NoError(t, s.Node(ctx, "", func(v fakes.NodeView) error { line = v.Lookup(worker).CommandLine(); return nil }))
	require.Equal(t, "a=b metal.no-wipe=1 oops=1", line)
	found, err := s.Find(ctx, fakes.BootParams{Kernel: kernel})
	require.NoError(t, err)
	require.Equal(t, []fakes.BootParams{{Kernel: kernel, Params: "oops=1"}}, found)

	_, err = s.Post(ctx, fakes.BootParams{Kernel: kernel})
	require.EqualError(t, err, "Already exists: "+kernel)
	token, err := s.Put(ctx, fakes.BootParams{Kernel: kernel, Params: "metal.no-wipe=0"})
	require.NoError(t, err)
	require.Empty(t, token, "images have no referral token")
	require.NotEmpty(t, c.Check(), "the image's parameters arm the node, and the invariant I7 sees it")

	require.NoError(t, s.Delete(ctx, fakes.BootParams{Kernel: kernel}))
	require.Empty(t, find(t, s, worker).Kernel, "who boots a deleted image loses it")
	require.Equal(t, initrd, find(t, s, worker).Initrd)
}

func TestPatchRules(t *testing.T) {
	_, s := cluster(t)
	ctx := t.Context()
	merge := func(host, cloudInit string) string {
		p := fakes.BootParams{Hosts: []string{host}}
		require.NoError(t, json.Unmarshal([]byte(cloudInit), &p.CloudInit))
		require.NoError(t, s.Patch(ctx, p, nil))
		text, err := json.Marshal(find(t, s, host).CloudInit.MetaData)
		require.NoError(t, err)
		return string(text)
	}
	_, err := s.Put(ctx, fakes.BootParams{Hosts: []string{"x"}, Params: "a=b"})
	require.NoError(t, err)
	for _, step := range []struct{ name, patch, want string }{
		{"null leaves alone", `{"meta-data":null}`, `null`},
		{"an empty object leaves alone", `{"meta-data":{}}`, `null`},
		{"into nothing, the patch is taken as it is", `{"meta-data":{"gone":null,"a":{"b":null}}}`, `{"a":{"b":null},"gone":null}`},
		{"into something, null deletes", `{"meta-data":{"gone":null,"a":{"c":1},"d":{"e":null,"f":2}}}`, `{"a":{"b":null,"c":1},"d":{"f":2}}`},
		{"lists and scalars replace", `{"meta-data":{"a":[1],"d":"flat"}}`, `{"a":[1],"d":"flat"}`},
		{"everything deleted", `{"meta-data":{"a":null,"d":null}}`, `{}`},
	} {
		require.Equal(t, step.want, merge("x", step.patch), step.name)
	}

	p := fakes.BootParams{Hosts: []string{"x"}}
	p.CloudInit.PhoneHome = fakes.PhoneHome{RSA: "r", Hostname: "h"}
	require.NoError(t, s.Patch(ctx, p, nil))
	p.CloudInit.PhoneHome = fakes.PhoneHome{ED25519: "e"}
	require.NoError(t, s.Patch(ctx, p, nil))
	require.Equal(t, fakes.PhoneHome{ED25519: "e"}, find(t, s, "x").CloudInit.PhoneHome, "phone-home is replaced as a whole")

	err = s.Patch(ctx, fakes.BootParams{Hosts: []string{"x", "nosuch"}, Params: "c=d"}, nil)
	require.ErrorIs(t, err, lifecycle.NotFound)
	require.Equal(t, "a=b", find(t, s, "x").Params, "all are read before the first is stored")
}

// TestReferralToken: PUT changes it, PATCH keeps it; it is what BOS sessions notice.
func TestReferralToken(t *testing.T) {
	_, s := cluster(t)
	ctx := t.Context()
	token := func() (token string) {
		require.NoError(t, s.Node(ctx, "", func(v fakes.NodeView) error { token = v.Lookup(worker).Token; return nil }))
		return token
	}
	first := token()
	require.NoError(t, s.Patch(ctx, fakes.BootParams{Hosts: []string{worker}, Params: "a=b"}, nil))
	require.Equal(t, first, token())
	second, err := s.Put(ctx, fakes.BootParams{Hosts: []string{worker}, Params: "a=b"})
	require.NoError(t, err)
	require.NotEqual(t, first, second)
	require.Equal(t, second, token())
}

// TestAtomicPatch: on face 1 no concurrent PATCH is lost.
func TestAtomicPatch(t *testing.T) {
	c := fakes.New(fakes.Layout{})
	api := c.BSS()
	require.NoError(t, api.Put(t.Context(), bss.Entry{Hosts: []string{bss.Global}, CloudInit: bss.CloudInit{MetaData: map[string]any{"a": "b"}}}))
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			patch := fmt.Sprintf(`{"meta-data":{"key-%d":true}}`, i)
			if err := api.Patch(t.Context(), bss.Patch{Host: bss.Global, CloudInit: json.RawMessage(patch)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	e, err := api.Get(t.Context(), bss.Global)
	require.NoError(t, err)
	require.Len(t, e.CloudInit.MetaData, 201)
}

// TestLostUpdate: two writers who read before either stores lose one of the changes, and both are told that all is well.
func TestLostUpdate(t *testing.T) {
	_, s := cluster(t)
	ctx := t.Context()
	change := func(key string) fakes.BootParams {
		p := fakes.BootParams{Hosts: []string{worker}}
		p.CloudInit.MetaData = map[string]any{key: true}
		return p
	}
	var inner error
	require.NoError(t, s.Patch(ctx, change("slow"), func() { inner = s.Patch(ctx, change("quick"), nil) }))
	require.NoError(t, inner)
	got := find(t, s, worker).CloudInit.MetaData
	require.Contains(t, got, "slow")
	require.NotContains(t, got, "quick")

	// A change that changes nothing is not stored, and so loses nobody's.
	same := fakes.BootParams{Hosts: []string{worker}, Params: find(t, s, worker).Params}
	require.NoError(t, s.Patch(ctx, same, func() { inner = s.Patch(ctx, change("quick"), nil) }))
	require.NoError(t, inner)
	require.Contains(t, find(t, s, worker).CloudInit.MetaData, "quick")
}

func TestStaleReads(t *testing.T) {
	c, s := cluster(t)
	ctx := t.Context()
	before := find(t, s, worker)
	require.NoError(t, c.BSS().Patch(ctx, bss.Patch{Host: worker, Params: "new=1"}))
	c.Stale(fakes.BSSGet.On("ncn-w001").Times(2))
	e, err := c.BSS().Get(ctx, worker)
	require.NoError(t, err)
	require.Equal(t, before.Params, e.Params)
	require.Empty(t, cmp.Diff(before, find(t, s, worker)))
	require.Equal(t, "new=1", find(t, s, worker).Params)

	_, err = s.Put(ctx, fakes.BootParams{Hosts: []string{"x"}, Params: "a=b"})
	require.NoError(t, err)
	c.Stale(fakes.BSSGet.On("x"))
	_, err = c.BSS().Get(ctx, "x")
	require.ErrorIs(t, err, lifecycle.NotFound, "what was not there before the last write")
}

func TestHistory(t *testing.T) {
	_, s := cluster(t)
	ctx := t.Context()
	require.NoError(t, s.Node(ctx, "", func(v fakes.NodeView) error {
		v.Fetched("b", "user-data")
		v.Fetched("b", "bootscript")
		v.Fetched("a", "bootscript")
		return nil
	}))
	for _, tc := range []struct {
		name, endpoint string
		want           []string
	}{
		{"", "", []string{"a bootscript true", "b bootscript true", "b user-data true"}},
		{"b", "", []string{"b bootscript true", "b user-data true"}},
		{"b", "user-data", []string{"b user-data true"}},
		{"a", "user-data", []string{"a user-data false"}},
		{"a", "zzz", nil},
	} {
		lines, err := s.History(ctx, tc.name, tc.endpoint)
		require.NoError(t, err)
		var got []string
		for _, l := range lines {
			got = append(got, fmt.Sprintf("%s %s %t", l.Name, l.Endpoint, l.LastEpoch > 0))
		}
		require.Equal(t, tc.want, got)
	}
	_, err := s.History(ctx, "", "bootscript")
	require.ErrorIs(t, err, lifecycle.Internal)
}
