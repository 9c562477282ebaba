package bss_test

import (
	"testing"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/bss"
	"github.com/stretchr/testify/require"
)

const ims = "18b4f77a-a03f-4bf9-b88e-862479e1082e"

func TestSetImage(t *testing.T) {
	for _, tc := range []struct {
		name           string
		params         string
		role           lifecycle.Role
		image          bss.Image
		kernel, initrd string
		want           string
	}{
		{"older, host kept", "a metal.server=http://10.1.1.1:8080/ncn-images/k8s/0.1.109 b", lifecycle.Worker, bss.Image{Path: "ncn-images/k8s", Version: "0.1.110"},
			"s3://ncn-images/k8s/0.1.110/kernel", "s3://ncn-images/k8s/0.1.110/initrd", "a metal.server=http://10.1.1.1:8080/ncn-images/k8s/0.1.110 b"},
		{"older, none so far", "a", lifecycle.Storage, bss.Image{Path: "ncn-images/ceph", Version: "0.1.113-2.x"},
			"s3://ncn-images/ceph/0.1.113-2.x/kernel", "s3://ncn-images/ceph/0.1.113-2.x/initrd", "a metal.server=http://rgw-vip.nmn/ncn-images/ceph/0.1.113-2.x"},
		{"newer", "metal.server=http://rgw-vip.nmn/ncn-images/k8s/0.1.109 b", lifecycle.Master, bss.Image{Path: "boot-images", Version: ims},
			"s3://boot-images/" + ims + "/kernel", "s3://boot-images/" + ims + "/initrd", "metal.server=s3://boot-images/" + ims + "/rootfs b"},
		{"back to the older", "metal.server=s3://boot-images/" + ims + "/rootfs", lifecycle.Worker, bss.Image{Path: "ncn-images/k8s", Version: "1"},
			"s3://ncn-images/k8s/1/kernel", "s3://ncn-images/k8s/1/initrd", "metal.server=http://rgw-vip.nmn/ncn-images/k8s/1"},
		{"twice becomes once", "metal.server=http://a/x b metal.server=http://c/y", lifecycle.Worker, bss.Image{Path: "ncn-images/k8s", Version: "2"},
			"s3://ncn-images/k8s/2/kernel", "s3://ncn-images/k8s/2/initrd", "metal.server=http://c/ncn-images/k8s/2 b"},
		{"a user in the present one is dropped", "metal.server=http://u:p@a/x", lifecycle.Worker, bss.Image{Path: "ncn-images/k8s", Version: "2"},
			"s3://ncn-images/k8s/2/kernel", "s3://ncn-images/k8s/2/initrd", "metal.server=http://rgw-vip.nmn/ncn-images/k8s/2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := bss.Entry{Params: tc.params}
			present, _ := bss.ParseParams(tc.params).Get("metal.server")
			require.NoError(t, bss.SetImage(&e, tc.role, tc.image))
			require.Equal(t, bss.Entry{Params: tc.want, Kernel: tc.kernel, Initrd: tc.initrd}, e)
			now, _ := bss.ParseParams(e.Params).Get("metal.server")
			require.Equal(t, tc.image.Server(present), now)
		})
	}
}

func TestSetImageRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		role  lifecycle.Role
		image bss.Image
	}{
		"nothing":          {lifecycle.Worker, bss.Image{}},
		"no version":       {lifecycle.Worker, bss.Image{Path: "ncn-images/k8s"}},
		"a blank":          {lifecycle.Worker, bss.Image{Path: "ncn-images/k8s", Version: "1 metal.no-wipe=0"}},
		"a newline":        {lifecycle.Worker, bss.Image{Path: "ncn-images/k8s", Version: "1\n"}},
		"a way up":         {lifecycle.Worker, bss.Image{Path: "ncn-images/k8s", Version: "1/../2"}},
		"dots":             {lifecycle.Worker, bss.Image{Path: "ncn-images/k8s", Version: "1..2"}},
		"another bucket":   {lifecycle.Worker, bss.Image{Path: "secrets/k8s", Version: "1"}},
		"no family":        {lifecycle.Worker, bss.Image{Path: "ncn-images", Version: "1"}},
		"a slash too many": {lifecycle.Worker, bss.Image{Path: "ncn-images/k8s/", Version: "1"}},
		"no UUID":          {lifecycle.Worker, bss.Image{Path: "boot-images", Version: "0.1.110"}},
		"ceph on a worker": {lifecycle.Worker, bss.Image{Path: "ncn-images/ceph", Version: "1"}},
		"k8s on storage":   {lifecycle.Storage, bss.Image{Path: "ncn-images/k8s", Version: "1"}},
		"no role":          {"", bss.Image{Path: "boot-images", Version: ims}},
	} {
		t.Run(name, func(t *testing.T) {
			e := worker()
			require.ErrorIs(t, bss.SetImage(&e, tc.role, tc.image), lifecycle.Invalid)
			require.Equal(t, worker(), e)
		})
	}
}
