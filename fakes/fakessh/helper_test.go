package fakessh_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes"
	"github.com/ncnkit/lifecycle/fakes/fakessh"
	"github.com/ncnkit/lifecycle/ncn"
	"github.com/ncnkit/lifecycle/ncn/sshrun"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// lab is a world with its SSH face, and a client that knows its host keys.
type lab struct {
	world  *fakes.Cluster
	server *fakessh.Server
	exec   *sshrun.Runner

	mu     sync.Mutex
	events []fakessh.Event
}

func (l *lab) node(t *testing.T, name string) lifecycle.Node {
	t.Helper()
	return lifecycle.Node{Name: name, Addr: l.server.Addrs()[name]}
}

func (l *lab) seen() []fakessh.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]fakessh.Event(nil), l.events...)
}

// run runs a script on ncn-w001.
func (l *lab) run(t *testing.T, script string, args ...string) (lifecycle.Result, error) {
	t.Helper()
	return l.exec.Run(deadline(t), l.node(t, "ncn-w001"), lifecycle.Command{Name: "test", Script: script, Args: args})
}

func deadline(t *testing.T) context.Context {
	c, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return c
}

func signer(t *testing.T, seed string) ssh.Signer {
	t.Helper()
	sum := sha256.Sum256([]byte(seed))
	s, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(sum[:]))
	require.NoError(t, err)
	return s
}

func hostKeyLine(t *testing.T, m *fakes.Machine) string {
	t.Helper()
	key, err := ssh.NewPublicKey(m.HostKey().Public())
	require.NoError(t, err)
	return key.Type() + " " + base64.StdEncoding.EncodeToString(key.Marshal())
}

func newLab(t *testing.T, layout fakes.Layout) *lab {
	t.Helper()
	l := &lab{world: fakes.New(layout)}
	us := signer(t, "us")
	names := map[string]string{}
	for name, text := range ncn.Scripts() {
		names[text] = name
	}
	var err error
	l.server, err = fakessh.Serve(fakessh.Config{
		Cluster:        l.world,
		AuthorizedKeys: []ssh.PublicKey{us.PublicKey()},
		Names:          names,
		OnWire: func(e fakessh.Event) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.events = append(l.events, e)
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.server.Close()) })

	known := filepath.Join(t.TempDir(), "known_hosts")
	require.NoError(t, os.WriteFile(known, nil, 0o600))
	l.exec = sshrun.New(sshrun.Config{User: "root", Signers: []ssh.Signer{us}, KnownHosts: known})
	t.Cleanup(func() { require.NoError(t, l.exec.Close()) })
	for _, m := range l.world.Machines() {
		require.NoError(t, l.exec.KeepHostKeys(t.Context(), l.node(t, m.Name()), []string{hostKeyLine(t, m)}))
	}
	return l
}
