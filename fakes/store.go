package fakes

import (
	"bytes"
	"context"
	"io"
	"sort"
	"strings"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/backup"
)

type object struct {
	data     []byte
	modified time.Time
}

// Backups returns the cluster's object store.
func (c *Cluster) Backups() backup.Store { return storeFace{c} }

type storeFace struct{ c *Cluster }

// hostOfKey returns the node that a backup's key belongs to, for faults: "ncn-backups/<host>/…".
func hostOfKey(key string) string {
	parts := strings.Split(key, "/")
	if len(parts) < 2 {
		return ""
	}
	return parts[1]
}

func (f storeFace) Put(ctx context.Context, key string, r io.Reader) error {
	if err := backup.CheckKey(key); err != nil {
		return err
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return lifecycle.Wrap(err, "fakes.Store", "")
	}
	return f.c.do(ctx, Call{Op: StorePut, Host: hostOfKey(key), Writes: true, Detail: key}, func(*Call) error {
		if _, ok := f.c.objects[key]; ok {
			return lifecycle.Errorf(lifecycle.Conflict, "fakes.Store", "", "%s exists", key)
		}
		f.c.objects[key] = object{data, f.c.now()}
		return nil
	})
}

func (f storeFace) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	if err := backup.CheckKey(key); err != nil {
		return nil, err
	}
	var data []byte
	err := f.c.do(ctx, Call{Op: StoreGet, Host: hostOfKey(key)}, func(*Call) error {
		o, ok := f.c.objects[key]
		if !ok {
			return lifecycle.Errorf(lifecycle.NotFound, "fakes.Store", "", "there is no object %s", key)
		}
		data = o.data
		return nil
	})
	if err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func (f storeFace) List(ctx context.Context, prefix string) ([]backup.Object, error) {
	var list []backup.Object
	err := f.c.do(ctx, Call{Op: StoreList, Host: hostOfKey(prefix)}, func(*Call) error {
		for key, o := range f.c.objects {
			if strings.HasPrefix(key, prefix) {
				list = append(list, backup.Object{Key: key, Size: int64(len(o.data)), Modified: o.modified})
			}
		}
		return nil
	})
	sort.Slice(list, func(i, j int) bool { return list[i].Key < list[j].Key })
	return list, err
}

func (f storeFace) Delete(ctx context.Context, key string) error {
	if err := backup.CheckKey(key); err != nil {
		return err
	}
	return f.c.do(ctx, Call{Op: StoreDelete, Host: hostOfKey(key), Writes: true, Detail: key}, func(*Call) error {
		delete(f.c.objects, key)
		return nil
	})
}

// Corrupt flips a bit in the middle of every stored object whose key contains part, as a failing disk does.
func (c *Cluster) Corrupt(part string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, o := range c.objects {
		if strings.Contains(key, part) && len(o.data) > 0 {
			o.data = bytes.Clone(o.data)
			o.data[len(o.data)/2] ^= 1
			c.objects[key] = o
		}
	}
}
