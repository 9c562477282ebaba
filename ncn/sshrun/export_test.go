package sshrun

import (
	"net"
	"os"

	"golang.org/x/crypto/ssh"
)

// ReplaceHost is replaceHost for tests.
func ReplaceHost(file []byte, names []string, keys []ssh.PublicKey) []byte {
	return replaceHost(file, names, keys)
}

// TryLock is tryLock for tests.
func TryLock(f *os.File) (bool, error) { return tryLock(f) }

// OneEnd wraps a transport as connections do.
func OneEnd(c net.Conn) net.Conn { return &oneEnd{Conn: c} }
