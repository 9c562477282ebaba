package sshrun

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/ncnkit/lifecycle"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// trust decides whether a host key is that of a peer.
type trust struct {
	peer  peer
	pins  []ssh.PublicKey       // when not empty, the only keys to accept
	cas   []ssh.PublicKey       // of Config
	file  string                // known_hosts; "" when there is none
	known ssh.HostKeyCallback   // of the file; nil when there is none
	want  []knownhosts.KnownKey // what the file has for the peer
	isCA  map[int]bool          // the file's lines that are marked @cert-authority
}

// anywhere stands for the remote address, which is not looked at when there is a name.
func anywhere() net.Addr { return &net.TCPAddr{IP: net.IPv4zero} }

// trustFor reads the known_hosts file anew: others write it too.
func (r *Runner) trustFor(p peer, pins []ssh.PublicKey) (*trust, error) {
	t := &trust{peer: p, pins: pins, cas: r.cfg.HostCAs, file: r.cfg.KnownHosts}
	if len(pins) > 0 {
		return t, nil
	}
	if t.file == "" && len(t.cas) == 0 {
		return nil, p.errorf(lifecycle.Invalid, "no host can be trusted: set Config.KnownHosts or HostCAs")
	}
	if t.file == "" {
		return t, nil
	}
	known, err := knownhosts.New(t.file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return t, nil
	case err != nil:
		return nil, p.errorf(lifecycle.Invalid, "known hosts: %w; correct the file", err)
	}
	t.known = known
	for _, name := range p.names() {
		var key *knownhosts.KeyError
		if errors.As(known(name, anywhere(), noKey{}), &key) && len(key.Want) > 0 {
			t.want = key.Want
			break
		}
	}
	if len(t.want) > 0 {
		text, _ := os.ReadFile(t.file)
		t.isCA = map[int]bool{}
		for i, line := range strings.Split(string(text), "\n") {
			t.isCA[i+1] = strings.HasPrefix(strings.TrimLeft(line, " \t"), "@cert-authority")
		}
	}
	return t, nil
}

// noKey is a key that no file has; asking for it tells which keys the file has instead.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return []byte("none") }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("sshrun: no key") }

func certificateAlgorithms() []string {
	return []string{
		ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
		ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01,
	}
}

// algorithms asks a server with several keys for one that is known. The other algorithms follow, so that a server with
// another key is refused by naming that key and not by a failed negotiation.
func (t *trust) algorithms() []string {
	certs := len(t.pins) == 0 && len(t.cas) > 0
	keys := slices.Clone(t.pins)
	for _, known := range t.want {
		if t.isCA[known.Line] {
			certs = true
		} else {
			keys = append(keys, known.Key)
		}
	}
	var all []string
	if certs {
		all = append(all, certificateAlgorithms()...)
	}
	for _, key := range keys {
		if key.Type() == ssh.KeyAlgoRSA {
			all = append(all, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		} else {
			all = append(all, key.Type())
		}
	}
	for _, algo := range ssh.SupportedAlgorithms().HostKeys {
		if !slices.Contains(certificateAlgorithms(), algo) {
			all = append(all, algo)
		}
	}
	var once []string
	for _, algo := range all {
		if !slices.Contains(once, algo) {
			once = append(once, algo)
		}
	}
	return once
}

// check is the whole decision. Its errors are of kind Denied and say what to do.
func (t *trust) check(key ssh.PublicKey) error {
	if len(t.pins) > 0 {
		if slices.ContainsFunc(t.pins, func(pin ssh.PublicKey) bool { return sameKey(pin, key) }) {
			return nil
		}
		return t.deny(key, "it is none of the %d keys that the plan accepts for this node: another machine answers there, "+
			"or the node was installed again since", len(t.pins))
	}
	if cert, ok := key.(*ssh.Certificate); ok {
		err := t.checkCertificate(cert)
		if err == nil {
			return nil
		}
		// As OpenSSH does: a certificate that is not accepted may certify a key that is known by itself.
		if t.checkPlain(cert.Key) == nil {
			return nil
		}
		return t.deny(cert.Key, "its certificate is not accepted: %w; have it signed for %q by a trusted CA", err, t.peer.name)
	}
	return t.checkPlain(key)
}

func (t *trust) checkCertificate(cert *ssh.Certificate) error {
	if t.known != nil {
		for _, key := range []ssh.PublicKey{cert.Key, cert.SignatureKey} {
			if err := t.known(t.peer.address(), anywhere(), key); errors.As(err, new(*knownhosts.RevokedError)) {
				return err
			}
		}
	}
	checker := ssh.CertChecker{IsHostAuthority: func(ca ssh.PublicKey, _ string) bool {
		return slices.ContainsFunc(t.cas, func(known ssh.PublicKey) bool { return sameKey(known, ca) })
	}}
	checks := []ssh.HostKeyCallback{checker.CheckHostKey}
	if t.known != nil {
		checks = append(checks, t.known)
	}
	var first error // that tells more than that a list does not have the authority
	for _, name := range t.peer.names() {
		for _, check := range checks {
			err := check(name, anywhere(), cert)
			if err == nil {
				return nil
			}
			if first == nil && !strings.Contains(err.Error(), "no authorities for hostname") {
				first = err
			}
		}
	}
	if first == nil {
		return errors.New("no trusted authority signed it")
	}
	return first
}

func (t *trust) checkPlain(key ssh.PublicKey) error {
	if t.known != nil {
		for _, name := range t.peer.names() {
			err := t.known(name, anywhere(), key)
			var mismatch *knownhosts.KeyError
			var revoked *knownhosts.RevokedError
			switch {
			case err == nil:
				return nil
			case errors.As(err, &revoked):
				return t.deny(key, "%w (%s:%d); this key must not be used any more: find out who answers there",
					err, revoked.Revoked.Filename, revoked.Revoked.Line)
			case errors.As(err, &mismatch) && len(mismatch.Want) > 0:
				known := mismatch.Want[0]
				return t.deny(key, "%w: %s:%d has %s; another machine answers there, or the node was installed again and its new "+
					"key was not kept", err, known.Filename, known.Line, ssh.FingerprintSHA256(known.Key))
			}
		}
	}
	where := "add a host certificate"
	if t.file != "" {
		where = "add it to " + t.file
	}
	return t.deny(key, "the host is unknown; compare this with `ssh-keygen -lf /etc/ssh/ssh_host_%s_key.pub` on the node's "+
		"console, then %s", shortType(key), where)
}

func (t *trust) deny(key ssh.PublicKey, format string, args ...any) error {
	return t.peer.errorf(lifecycle.Denied, "host key %s (%s) of %s is refused, nothing was run: %w",
		ssh.FingerprintSHA256(key), key.Type(), t.peer.address(), fmt.Errorf(format, args...))
}

func shortType(key ssh.PublicKey) string {
	switch key.Type() {
	case ssh.KeyAlgoED25519:
		return "ed25519"
	case ssh.KeyAlgoRSA:
		return "rsa"
	default:
		return "ecdsa"
	}
}

func sameKey(a, b ssh.PublicKey) bool { return bytes.Equal(a.Marshal(), b.Marshal()) }

// parseKeys parses host keys in authorized_keys form (sshd(8), AUTHORIZED_KEYS FILE FORMAT).
func parseKeys(p peer, lines []string) ([]ssh.PublicKey, error) {
	var keys []ssh.PublicKey
	for i, line := range lines {
		key, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil || len(options) > 0 || len(bytes.TrimSpace(rest)) > 0 {
			return nil, p.errorf(lifecycle.Invalid, "host key %d is not one key in authorized_keys form", i+1)
		}
		keys = append(keys, key)
	}
	return keys, nil
}
