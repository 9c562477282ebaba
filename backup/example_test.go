package backup_test

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/ncnkit/lifecycle/backup"
	"github.com/ncnkit/lifecycle/backup/dirstore"
)

// tarOnNode stands for a tar that runs on the node and writes to a connection.
func tarOnNode(_ context.Context, w io.Writer) error {
	tw := tar.NewWriter(w)
	content := "ssh-ed25519 AAAA admin\n"
	if err := tw.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: "root/.ssh/authorized_keys", Mode: 0o600, Size: int64(len(content)),
	}); err != nil {
		return err
	}
	if _, err := io.WriteString(tw, content); err != nil {
		return err
	}
	return tw.Close()
}

// exampleStore returns a store with one backup in it, and what takes it away.
func exampleStore(ctx context.Context) (store backup.Store, prefix string, remove func()) {
	dir, err := os.MkdirTemp("", "backups")
	if err != nil {
		fmt.Println(err)
	}
	store = dirstore.New(dirstore.Config{Dir: dir})
	prefix = backup.Prefix("ncn-w001", time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), "rebuild-7")
	_, err = backup.Create(ctx, store, prefix, backup.Info{Host: "ncn-w001", Run: "rebuild-7"},
		func(ctx context.Context, w io.Writer) ([]string, error) { return nil, tarOnNode(ctx, w) })
	if err != nil {
		fmt.Println(err)
	}
	return store, prefix, func() { _ = os.RemoveAll(dir) }
}

func ExampleCreate() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "backups")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	store := dirstore.New(dirstore.Config{Dir: dir})

	prefix := backup.Prefix("ncn-w001", time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), "rebuild-7")
	info := backup.Info{Host: "ncn-w001", XName: "x3000c0s7b0n0", Run: "rebuild-7"}
	m, err := backup.Create(ctx, store, prefix, info, func(ctx context.Context, w io.Writer) ([]string, error) {
		return []string{"root/.ssh/config"}, tarOnNode(ctx, w)
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(prefix)
	fmt.Println(m.Entries[0].Path, m.Entries[0].Mode, m.Entries[0].Size)
	fmt.Println("absent:", m.Absent)
	// Output:
	// ncn-backups/ncn-w001/20260304T050607Z-rebuild-7
	// root/.ssh/authorized_keys 0600 23
	// absent: [root/.ssh/config]
}

func ExampleVerify() {
	ctx := context.Background()
	store, prefix, remove := exampleStore(ctx)
	defer remove()

	m, err := backup.Verify(ctx, store, prefix)
	fmt.Println(len(m.Entries), err)

	if err := store.Delete(ctx, prefix+"/archive.tar.zst"); err != nil {
		fmt.Println(err)
	}
	_, err = backup.Verify(ctx, store, prefix)
	fmt.Println(err)
	// Output:
	// 1 <nil>
	// backup.Verify: ncn-w001: the archive ncn-backups/ncn-w001/20260304T050607Z-rebuild-7/archive.tar.zst is gone: dirstore.Get: there is no object ncn-backups/ncn-w001/20260304T050607Z-rebuild-7/archive.tar.zst; use another backup
}

func ExampleRestore() {
	ctx := context.Background()
	store, prefix, remove := exampleStore(ctx)
	defer remove()

	_, err := backup.Restore(ctx, store, prefix, func(_ context.Context, r io.Reader, _ backup.Manifest) error {
		tr := tar.NewReader(r) // a real sink runs tar -x on the node, with r as its standard input
		for {
			h, err := tr.Next()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			fmt.Println("restoring", h.Name)
		}
	})
	if err != nil {
		fmt.Println(err)
	}
	// Output: restoring root/.ssh/authorized_keys
}

// A restore is rehearsed before it is needed.
func ExampleExtract() {
	ctx := context.Background()
	store, prefix, remove := exampleStore(ctx)
	defer remove()
	scratch, err := os.MkdirTemp("", "rehearsal")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(scratch)

	written, err := backup.Extract(ctx, store, prefix, scratch)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, e := range written {
		content, err := os.ReadFile(scratch + "/" + e.Path)
		fmt.Printf("%s: %s%v\n", e.Path, content, err)
	}
	// Output:
	// root/.ssh/authorized_keys: ssh-ed25519 AAAA admin
	// <nil>
}

func ExampleLatest() {
	ctx := context.Background()
	store, _, remove := exampleStore(ctx)
	defer remove()

	latest, err := backup.Latest(ctx, store, "ncn-w001")
	fmt.Println(latest.Run, latest.Time, err)
	_, err = backup.Latest(ctx, store, "ncn-w002")
	fmt.Println(err)
	// Output:
	// rebuild-7 2026-03-04 05:06:07 +0000 UTC <nil>
	// backup.Latest: ncn-w002: there is no complete backup of ncn-w002: make one
}
