//go:build mutant

package mutant

import "sync/atomic"

var current atomic.Pointer[string]

// On reports whether the named bug is put back.
func On(name string) bool {
	p := current.Load()
	return p != nil && *p == name
}

// Set puts the named bug back, and takes away the one before; "" is none.
func Set(name string) { current.Store(&name) }
