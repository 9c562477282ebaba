package sshrun

import "golang.org/x/crypto/ssh"

// ReplaceHost is replaceHost for tests.
func ReplaceHost(file []byte, names []string, keys []ssh.PublicKey) []byte {
	return replaceHost(file, names, keys)
}
