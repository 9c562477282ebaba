//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package sshrun

import (
	"errors"
	"os"
	"syscall"
)

// tryLock takes an exclusive lock that ends with the file's being closed, without waiting.
func tryLock(f *os.File) (bool, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return false, err
	}
	var failed error
	err = conn.Control(func(fd uintptr) { failed = syscall.Flock(int(fd), syscall.LOCK_EX|syscall.LOCK_NB) })
	switch {
	case err != nil:
		return false, err
	case failed == nil:
		return true, nil
	case errors.Is(failed, syscall.EWOULDBLOCK), errors.Is(failed, syscall.EINTR):
		return false, nil
	}
	return false, os.NewSyscallError("flock", failed)
}
