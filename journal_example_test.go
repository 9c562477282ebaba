package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/ncnkit/lifecycle"
)

// Two programs on one machine share a directory: who comes second learns who is at work.
func ExampleNewDirJournal() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "journal")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	first := lifecycle.NewDirJournal(filepath.Join(dir, "lifecycle"))
	lease, err := first.Acquire(ctx, "ncn-w001", "rebuild-1", "alice@ncn-m001 pid 7")
	if err != nil {
		log.Fatal(err)
	}
	defer first.Release(ctx, lease)

	second := lifecycle.NewDirJournal(filepath.Join(dir, "lifecycle"))
	_, err = second.Acquire(ctx, "ncn-w001", "rebuild-2", "bob@ncn-m001 pid 8")
	var held *lifecycle.Held
	if errors.Is(err, lifecycle.Conflict) && errors.As(err, &held) {
		fmt.Println(held)
	}
	// Output: ncn-w001 is held by alice@ncn-m001 pid 7 for run rebuild-1
}

// A test lets a controller die and another one take its run over.
func ExampleMemJournal_Controller() {
	ctx := context.Background()
	store := lifecycle.NewMemJournal()
	a, b := store.Controller("a"), store.Controller("b")
	if _, err := a.Acquire(ctx, "ncn-w001", "rebuild-1", ""); err != nil {
		log.Fatal(err)
	}
	a.Kill()
	lease, err := b.Acquire(ctx, "ncn-w001", "rebuild-1", "")
	fmt.Println(lease.Owner, lease.Epoch, err)
	// Output: b 2 <nil>
}
