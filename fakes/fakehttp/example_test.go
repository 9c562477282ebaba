package fakehttp_test

import (
	"context"
	"fmt"
	"net/http/httptest"

	"github.com/ncnkit/lifecycle/bss"
	"github.com/ncnkit/lifecycle/fakes"
	"github.com/ncnkit/lifecycle/fakes/fakehttp"
)

func ExampleNew() {
	world := fakes.New(fakes.Layout{Masters: 3, Workers: 3, Storage: 3})
	server := httptest.NewServer(fakehttp.New(fakehttp.Config{
		Cluster: world,
		OnWire:  func(e fakehttp.Event) { fmt.Println(e.Method, e.Path, e.Status) },
	}))
	defer server.Close()

	svc := bss.New(bss.Config{URL: server.URL + "/apis/bss", HTTP: server.Client()})
	entry, err := svc.Get(context.Background(), "x3000c0s4b0n0")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(entry.CloudInit.MetaData["local-hostname"], "boots", entry.Kernel)
	// Output:
	// GET /apis/bss/boot/v1/bootparameters?name=x3000c0s4b0n0 200
	// ncn-w001 boots s3://ncn-images/k8s/0.1.109/kernel
}
