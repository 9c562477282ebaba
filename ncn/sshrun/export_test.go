package sshrun

import (
	"os"

	"golang.org/x/crypto/ssh"
)

// ReplaceHost is replaceHost for tests.
func ReplaceHost(file []byte, names []string, keys []ssh.PublicKey) []byte {
	return replaceHost(file, names, keys)
}

// TryLock is tryLock for tests.
func TryLock(f *os.File) (bool, error) { return tryLock(f) }
