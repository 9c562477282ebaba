package bss

import (
	"context"
	"sync"

	"github.com/ncnkit/lifecycle"
)

// HostLocks is a [Locker] for one process. The zero value is ready; do not copy it after first use. It is safe for
// concurrent use. It keeps one word per host that was ever locked.
type HostLocks struct {
	mu    sync.Mutex
	hosts map[string]chan struct{}
}

// Lock waits until no one else holds the lock of host. When ctx ends first, the error is Canceled or Timeout.
func (l *HostLocks) Lock(ctx context.Context, host string) (unlock func(), err error) {
	// A channel and not a mutex: waiting for it ends with ctx.
	ch := l.channel(host)
	unlock = sync.OnceFunc(func() { <-ch })
	select {
	case ch <- struct{}{}:
		return unlock, nil
	default:
	}
	select {
	case ch <- struct{}{}:
		return unlock, nil
	case <-ctx.Done():
		return nil, lifecycle.Errorf(lifecycle.KindOf(ctx.Err()), "bss.HostLocks.Lock", host,
			"stopped while waiting for another update of this entry to end: %w", ctx.Err())
	}
}

func (l *HostLocks) channel(host string) chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hosts == nil {
		l.hosts = map[string]chan struct{}{}
	}
	ch, ok := l.hosts[host]
	if !ok {
		ch = make(chan struct{}, 1)
		l.hosts[host] = ch
	}
	return ch
}
