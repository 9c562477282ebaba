package backup_test

import (
	"bytes"
	"context"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/backup"
)

// memory is a store without a disk. It is safe for concurrent use.
type memory struct {
	mu      sync.Mutex
	objects map[string][]byte
	changed func(key string, n int, data []byte) []byte // what the nth Get of a key sees; nil: what is there
	gets    map[string]int
}

func newMemory() *memory { return &memory{objects: map[string][]byte{}, gets: map[string]int{}} }

func (m *memory) Put(ctx context.Context, key string, r io.Reader) error {
	if err := backup.CheckKey(key); err != nil {
		return err
	}
	data, err := io.ReadAll(r)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return lifecycle.Wrap(err, "memory.Put", "")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.objects[key]; ok {
		return lifecycle.Errorf(lifecycle.Conflict, "memory.Put", "", "%s exists", key)
	}
	m.objects[key] = data
	return nil
}

func (m *memory) Get(_ context.Context, key string) (io.ReadCloser, error) {
	if err := backup.CheckKey(key); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.objects[key]
	if !ok {
		return nil, lifecycle.Errorf(lifecycle.NotFound, "memory.Get", "", "no object %s", key)
	}
	m.gets[key]++
	if m.changed != nil {
		data = m.changed(key, m.gets[key], data)
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func (m *memory) List(_ context.Context, prefix string) ([]backup.Object, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []backup.Object
	for _, key := range slices.Sorted(maps.Keys(m.objects)) {
		if strings.HasPrefix(key, prefix) {
			out = append(out, backup.Object{Key: key, Size: int64(len(m.objects[key])), Modified: time.Unix(1, 0)})
		}
	}
	return out, nil
}

func (m *memory) Delete(_ context.Context, key string) error {
	if err := backup.CheckKey(key); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, key)
	return nil
}

// faulty is a store whose calls fail from the nth on, as after a crash. With late set, the nth call has its effect and
// only its answer is lost.
type faulty struct {
	backup.Store
	mu    sync.Mutex
	after int
	late  bool
	calls int
}

// step reports whether the call may have its effect, and whether it may answer.
func (f *faulty) step() (effect, answer bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	return f.calls < f.after || f.late && f.calls == f.after, f.calls < f.after
}

var errDown = lifecycle.Errorf(lifecycle.Unavailable, "faulty", "", "the store is down")

func (f *faulty) Put(ctx context.Context, key string, r io.Reader) error {
	effect, answer := f.step()
	if !effect {
		_, _ = io.CopyN(io.Discard, r, 100) // dies in the middle
		return errDown
	}
	if err := f.Store.Put(ctx, key, r); err != nil || answer {
		return err
	}
	return errDown
}

func (f *faulty) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	if _, answer := f.step(); !answer {
		return nil, errDown
	}
	return f.Store.Get(ctx, key)
}

func (f *faulty) List(ctx context.Context, prefix string) ([]backup.Object, error) {
	if _, answer := f.step(); !answer {
		return nil, errDown
	}
	return f.Store.List(ctx, prefix)
}

func (f *faulty) Delete(ctx context.Context, key string) error {
	effect, answer := f.step()
	if !effect {
		return errDown
	}
	if err := f.Store.Delete(ctx, key); err != nil || answer {
		return err
	}
	return errDown
}
