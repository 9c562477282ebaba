package dirstore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/backup/dirstore"
)

func ExampleNew() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "backups")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	store := dirstore.New(dirstore.Config{Dir: dir})
	fmt.Println(store.Put(ctx, "notes/one.txt", strings.NewReader("kept\n")))
	err = store.Put(ctx, "notes/one.txt", strings.NewReader("lost\n"))
	fmt.Println(errors.Is(err, lifecycle.Conflict))
	objects, err := store.List(ctx, "notes/")
	fmt.Println(objects[0].Key, objects[0].Size, err)
	// Output:
	// <nil>
	// true
	// notes/one.txt 5 <nil>
}
