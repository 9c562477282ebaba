// Package bss reads and changes what nodes boot: kernel, initrd, kernel command line and cloud-init data, as the boot
// script service keeps them (Cray-HPE/hms-bss and OpenCHAMI/bss, HTTP API version 1).
//
//	svc := bss.New(bss.Config{URL: "https://api-gw-service-nmn.local/apis/bss", HTTP: client, Tokens: tokens})
//
//	err := bss.Disarm(ctx, svc, "x3000c0s7b0n0")                  // metal.no-wipe=1, written and read back
//
//	err = bss.Update(ctx, svc, bss.Global, func(e *bss.Entry) error {
//		return bss.SetMeta(e, "first-master-hostname", "ncn-m002")
//	})
//
//	img := bss.Image{Path: "ncn-images/k8s", Version: "0.1.110"}
//	err = bss.Update(ctx, svc, "x3000c0s7b0n0", func(e *bss.Entry) error {
//		return bss.SetImage(e, lifecycle.Worker, img)
//	})
//
// The service answers 200 to a write that it then loses: its PATCH reads, merges and stores without a lock. [Update]
// therefore reads back and repeats. Nothing here uses POST, which OpenCHAMI refuses for Global.
//
// A kernel command line without metal.no-wipe erases the node's disks at its next boot; see [Armed].
//
// Where to look next: [Params] edits a kernel command line without disturbing the rest, [SetMeta] and [SetUser] edit
// cloud-init data, [Client] is the HTTP client, and package bsstest is what every [API] must pass.
package bss
