package lab_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/ncnkit/lifecycle/examples/lab"
	"github.com/ncnkit/lifecycle/examples/site"
	"github.com/ncnkit/lifecycle/ncn"
)

// A program for a real site runs against the lab unchanged: it is given another site file.
func ExampleStart() {
	dir, err := os.MkdirTemp("", "lab")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	l, err := lab.Start(ctx, lab.Config{Dir: dir, Workers: 1, Speed: 1000})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()

	s, err := site.Load(l.SiteFile())
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	err = ncn.Backup(ctx, s.NCN.Host("ncn-w001"))
	fmt.Println("backup:", err)
	fmt.Println("broken invariants:", len(l.Verdict()))
	// Output:
	// backup: <nil>
	// broken invariants: 0
}

// ReadWire tells what a program did.
func ExampleReadWire() {
	dir, err := os.MkdirTemp("", "lab")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := lab.Start(context.Background(), lab.Config{Dir: dir, Workers: 1})
	if err != nil {
		log.Fatal(err)
	}
	if err := l.Close(); err != nil {
		log.Fatal(err)
	}
	events, err := lab.ReadWire(l.WireFile())
	if err != nil {
		log.Fatal(err)
	}
	for _, e := range events {
		fmt.Println(e.Face, e.Node, e.What, e.World.Generation)
	}
	// Output:
	// world ncn-w001 boot 1
}
