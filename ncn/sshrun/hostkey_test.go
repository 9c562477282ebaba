package sshrun_test

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/ncn/sshrun"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// certify returns a host certificate for principal, signed by ca.
func certify(t *testing.T, host, ca ssh.Signer, principal string, change ...func(*ssh.Certificate)) ssh.Signer {
	t.Helper()
	cert := &ssh.Certificate{Key: host.PublicKey(), CertType: ssh.HostCert, ValidPrincipals: []string{principal}, ValidBefore: ssh.CertTimeInfinity}
	for _, f := range change {
		f(cert)
	}
	require.NoError(t, cert.SignCert(rand.Reader, ca))
	signer, err := ssh.NewCertSigner(cert, host)
	require.NoError(t, err)
	return signer
}

func TestHostKeys(t *testing.T) {
	host, other, ca := key(t, "host"), key(t, "other"), key(t, "ca")
	rsa := rsaKey(t)
	at := func(s *server, k ssh.Signer) string { return knownhosts.Line([]string{s.addr}, k.PublicKey()) + "\n" }
	named := func(s *server, prefix string, k ssh.Signer) string {
		_, port, _ := strings.Cut(s.addr, ":")
		return prefix + "[ncn-w001]:" + port + " " + line(k)
	}
	none := func(*server) string { return "" }
	tests := map[string]struct {
		server []ssh.Signer
		known  func(s *server) string
		cas    []ssh.PublicKey
		says   string // "" is accepted
	}{
		"known":         {[]ssh.Signer{host}, func(s *server) string { return at(s, host) }, nil, ""},
		"known by name": {[]ssh.Signer{host}, func(s *server) string { return named(s, "", host) }, nil, ""},
		"hashed": {[]ssh.Signer{host}, func(s *server) string {
			return knownhosts.HashHostname(knownhosts.Normalize(s.addr)) + " " + line(host)
		}, nil, ""},
		"one of two":                {[]ssh.Signer{host}, func(s *server) string { return at(s, other) + at(s, host) }, nil, ""},
		"empty file":                {[]ssh.Signer{host}, none, nil, "the host is unknown"},
		"another host's":            {[]ssh.Signer{host}, func(*server) string { return "ncn-w002 " + line(host) }, nil, "the host is unknown"},
		"changed":                   {[]ssh.Signer{host}, func(s *server) string { return at(s, other) }, nil, ssh.FingerprintSHA256(other.PublicKey())},
		"the name decides":          {[]ssh.Signer{host}, func(s *server) string { return named(s, "", other) + at(s, host) }, nil, "mismatch"},
		"revoked":                   {[]ssh.Signer{host}, func(s *server) string { return at(s, host) + "@revoked * " + line(host) }, nil, "revoked"},
		"known type is asked for":   {[]ssh.Signer{host, rsa, ecdsaKey(t)}, func(s *server) string { return at(s, rsa) }, nil, ""},
		"another type":              {[]ssh.Signer{host}, func(s *server) string { return at(s, rsa) }, nil, "mismatch"},
		"certificate, CA in file":   {[]ssh.Signer{certify(t, host, ca, "ncn-w001")}, func(s *server) string { return named(s, "@cert-authority ", ca) }, nil, ""},
		"certificate, CA given":     {[]ssh.Signer{certify(t, host, ca, "ncn-w001")}, none, []ssh.PublicKey{ca.PublicKey()}, ""},
		"certificate of an IP":      {[]ssh.Signer{certify(t, host, ca, "127.0.0.1")}, none, []ssh.PublicKey{ca.PublicKey()}, ""},
		"certificate and key":       {[]ssh.Signer{certify(t, host, ca, "ncn-w001"), rsa}, func(s *server) string { return at(s, rsa) }, []ssh.PublicKey{ca.PublicKey()}, ""},
		"another's certificate":     {[]ssh.Signer{certify(t, host, ca, "ncn-w002")}, none, []ssh.PublicKey{ca.PublicKey()}, "certificate is not accepted"},
		"another CA":                {[]ssh.Signer{certify(t, host, other, "ncn-w001")}, none, []ssh.PublicKey{ca.PublicKey()}, "certificate is not accepted"},
		"user certificate":          {[]ssh.Signer{certify(t, host, ca, "ncn-w001", func(c *ssh.Certificate) { c.CertType = ssh.UserCert })}, none, []ssh.PublicKey{ca.PublicKey()}, "certificate is not accepted"},
		"expired certificate":       {[]ssh.Signer{certify(t, host, ca, "ncn-w001", func(c *ssh.Certificate) { c.ValidBefore = uint64(time.Now().Add(-time.Hour).Unix()) })}, none, []ssh.PublicKey{ca.PublicKey()}, "expired"},
		"revoked CA":                {[]ssh.Signer{certify(t, host, ca, "ncn-w001")}, func(*server) string { return "@revoked * " + line(ca) }, []ssh.PublicKey{ca.PublicKey()}, "revoked"},
		"revoked CA in file":        {[]ssh.Signer{certify(t, host, ca, "ncn-w001")}, func(s *server) string { return named(s, "@cert-authority ", ca) + "@revoked * " + line(ca) }, nil, "revoked"},
		"revoked certified key":     {[]ssh.Signer{certify(t, host, ca, "ncn-w001")}, func(*server) string { return "@revoked * " + line(host) }, []ssh.PublicKey{ca.PublicKey()}, "revoked"},
		"no certificate at all":     {[]ssh.Signer{host}, none, []ssh.PublicKey{ca.PublicKey()}, "the host is unknown"},
		"expired, but key is known": {[]ssh.Signer{certify(t, host, ca, "ncn-w001", func(c *ssh.Certificate) { c.ValidBefore = 1 })}, func(s *server) string { return at(s, host) }, []ssh.PublicKey{ca.PublicKey()}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := (&server{session: echo, hostKeys: tt.server}).listen(t)
			file := filepath.Join(t.TempDir(), "known_hosts")
			require.NoError(t, os.WriteFile(file, []byte(tt.known(s)), 0o600))
			r := sshrun.New(sshrun.Config{Signers: []ssh.Signer{key(t, "us")}, KnownHosts: file, HostCAs: tt.cas})
			_, err := r.Run(deadline(t), s.node(), cmd("x"))
			require.NoError(t, r.Close())
			_, auths, texts := s.count()
			if tt.says == "" {
				require.NoError(t, err)
				return
			}
			require.Equal(t, lifecycle.Denied, lifecycle.KindOf(err), "%v", err)
			require.Contains(t, err.Error(), tt.says)
			require.Contains(t, err.Error(), "nothing was run")
			require.Zero(t, auths, "our key was shown to a stranger")
			require.Empty(t, texts)
		})
	}
}

// TestPinsAndRotation follows a node through a rebuild: its new key is accepted for one command first, then kept.
func TestPinsAndRotation(t *testing.T) {
	s := (&server{session: echo}).listen(t)
	r := s.client(t)
	run := func(pins ...string) error {
		c := cmd("x")
		c.HostKeys = pins
		_, err := r.Run(deadline(t), s.node(), c)
		return err
	}
	dials := func() int { n, _, _ := s.count(); return n }
	oldLine, newLine := line(key(t, "host")), line(key(t, "rebuilt"))

	require.NoError(t, run())
	require.NoError(t, run(oldLine), "the remembered connection has the key that is asked for")
	require.Equal(t, 1, dials())
	require.ErrorIs(t, run(newLine), lifecycle.Denied, "the remembered connection must not serve a call that wants another key")
	require.NoError(t, run())

	s.hostKeys = []ssh.Signer{key(t, "rebuilt")}
	s.cutAll()
	require.ErrorIs(t, run(), lifecycle.Denied)
	require.ErrorIs(t, run(oldLine), lifecycle.Denied)
	require.NoError(t, run(oldLine, newLine))
	n := dials()
	require.NoError(t, run(newLine))
	require.Equal(t, n, dials())
	require.ErrorIs(t, run(), lifecycle.Denied, "a connection that only a plan's key opened must not serve others")

	require.NoError(t, run(newLine))
	require.NoError(t, r.KeepHostKeys(t.Context(), s.node(), []string{newLine}))
	n = dials()
	require.NoError(t, run())
	require.Equal(t, n+1, dials(), "keeping keys ends the use of older connections")
	require.ErrorIs(t, run(oldLine), lifecycle.Denied)
}

// TestTwoNamesOfOneAddress is a reused address: what was trusted as one node is not trusted as another.
func TestTwoNamesOfOneAddress(t *testing.T) {
	s := (&server{session: echo}).listen(t)
	r := s.client(t)
	_, err := r.Run(deadline(t), s.node(), cmd("x"))
	require.NoError(t, err)
	impostor := lifecycle.Node{Name: "ncn-w002", Addr: s.addr}
	c := cmd("x")
	c.HostKeys = []string{line(key(t, "w002"))}
	_, err = r.Run(deadline(t), impostor, c)
	require.ErrorIs(t, err, lifecycle.Denied)
}
