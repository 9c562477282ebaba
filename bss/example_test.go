package bss_test

import (
	"context"
	"fmt"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/bss"
)

// service stands for bss.New(bss.Config{URL: "https://…/apis/bss", …}).
func service() bss.API { return newToy(worker()) }

func ExampleUpdate() {
	ctx, svc := context.Background(), service()
	err := bss.Update(ctx, svc, "x3000c0s7b0n0", func(e *bss.Entry) error {
		if err := bss.DeleteMeta(e, "nested.a"); err != nil {
			return err
		}
		return bss.SetMeta(e, "ntp.servers", []string{"ncn-m001"})
	})
	fmt.Println(err)
	e, _ := svc.Get(ctx, "x3000c0s7b0n0")
	servers, _ := bss.GetMeta(e, "ntp.servers")
	fmt.Println(servers)
	// Output:
	// <nil>
	// [ncn-m001]
}

func ExampleDisarm() {
	ctx, svc := context.Background(), service()
	_ = bss.Arm(ctx, svc, "x3000c0s7b0n0") // its next boot would erase its disks
	e, _ := svc.Get(ctx, "x3000c0s7b0n0")
	fmt.Println("armed:", bss.Armed(e))
	_ = bss.Disarm(ctx, svc, "x3000c0s7b0n0")
	e, _ = svc.Get(ctx, "x3000c0s7b0n0")
	fmt.Println("armed:", bss.Armed(e))
	// Output:
	// armed: true
	// armed: false
}

func ExampleSetImage() {
	ctx, svc := context.Background(), service()
	img := bss.Image{Path: "ncn-images/k8s", Version: "0.1.110"}
	err := bss.Update(ctx, svc, "x3000c0s7b0n0", func(e *bss.Entry) error {
		return bss.SetImage(e, lifecycle.Worker, img)
	})
	e, _ := svc.Get(ctx, "x3000c0s7b0n0")
	server, _ := bss.ParseParams(e.Params).Get("metal.server")
	fmt.Println(err, e.Kernel, server)
	// Output: <nil> s3://ncn-images/k8s/0.1.110/kernel http://rgw-vip.nmn/ncn-images/k8s/0.1.110
}

func ExampleParams() {
	p := bss.ParseParams("ip=mgmt0:auto6 ip=mgmt1:auto6 metal.no-wipe=0 root=live:LABEL=SQFSRAID quiet")
	_ = p.Set("metal.no-wipe", "1")
	p.Remove("quiet")
	fmt.Println(p)
	// Output: ip=mgmt0:auto6 ip=mgmt1:auto6 metal.no-wipe=1 root=live:LABEL=SQFSRAID
}

func ExampleNew() {
	svc := bss.New(bss.Config{}) // no I/O, no error yet
	_, err := svc.Get(context.Background(), bss.Global)
	fmt.Println(lifecycle.KindOf(err))
	// Output: invalid
}
