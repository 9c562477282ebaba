package sshrun_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/ncn/sshrun"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

func TestReplaceHost(t *testing.T) {
	a, b := strings.TrimSpace(line(key(t, "a"))), strings.TrimSpace(line(key(t, "b")))
	names := []string{"ncn-w001", "10.1.1.4"}
	kept := "ncn-w001,10.1.1.4 " + b + "\n"
	tests := map[string]struct{ before, after string }{
		"empty":              {"", kept},
		"one of the names":   {"ncn-w001 " + a + "\n", kept},
		"both":               {"ncn-w001,10.1.1.4 " + a + " comment\n", kept},
		"several lines":      {"ncn-w001 " + a + "\nncn-w002 " + a + "\n10.1.1.4 " + a + "\n", "ncn-w002 " + a + "\n" + kept},
		"other aliases stay": {"ncn-w001,w1.nmn " + a + " c\n", "w1.nmn " + a + " c\n" + kept},
		"no newline at end":  {"ncn-w002 " + a, "ncn-w002 " + a + "\n" + kept},
		"comments, markers":  {"# ncn-w001 x\n\n@cert-authority ncn-w001 " + a + "\n@revoked * " + a + "\n", "# ncn-w001 x\n\n@cert-authority ncn-w001 " + a + "\n@revoked * " + a + "\n" + kept},
		"wildcard":           {"ncn-w* " + a + "\n", "ncn-w*,!ncn-w001 " + a + "\n" + kept},
		"wildcard, twice":    {"ncn-w*,!ncn-w001 " + a + "\n", "ncn-w*,!ncn-w001 " + a + "\n" + kept},
		"all hosts":          {"* " + a + "\n", "*,!ncn-w001,!10.1.1.4 " + a + "\n" + kept},
		"negated and name":   {"!ncn-w009,ncn-w001 " + a + "\n", kept},
		"similar names":      {"ncn-w0011,xncn-w001 " + a + "\n", "ncn-w0011,xncn-w001 " + a + "\n" + kept},
		"other port":         {"[ncn-w001]:2222 " + a + "\n", "[ncn-w001]:2222 " + a + "\n" + kept},
		"port written out":   {"[ncn-w001]:22 " + a + "\n", kept},
		"tabs":               {"\tncn-w001\t" + a + "\n", kept},
		"malformed":          {"ncn-w002\nnonsense here\n", "ncn-w002\nnonsense here\n" + kept},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := sshrun.ReplaceHost([]byte(tt.before), names, []ssh.PublicKey{key(t, "b").PublicKey()})
			require.Empty(t, cmp.Diff(tt.after, string(got)))
		})
	}
	t.Run("hashed", func(t *testing.T) {
		other := knownhosts.HashHostname("ncn-w002") + " " + a + "\n"
		before := knownhosts.HashHostname("ncn-w001") + " " + a + "\n" + other + knownhosts.HashHostname("10.1.1.4") + " " + a + "\n"
		require.Equal(t, other+kept, string(sshrun.ReplaceHost([]byte(before), names, []ssh.PublicKey{key(t, "b").PublicKey()})))
	})
}

// FuzzReplaceHost holds the promise against the parser that connections use: the kept key is the only plain one of the
// node's names, and nothing changes for another host.
func FuzzReplaceHost(f *testing.F) {
	a := strings.TrimSpace(line(key(f, "a")))
	for _, seed := range []string{
		"", "ncn-w001 " + a, "ncn-w* " + a + "\n# c", "@cert-authority *.nmn " + a, "@revoked * " + a, "|1|x|y " + a,
		knownhosts.HashHostname("ncn-w001") + " " + a, "[ncn-w001]:22,!x,* " + a + " c\r\n", "ncn-w001,, " + a, "!ncn-w001 " + a, "10.1.1.4:22 " + a, "::1 " + a,
	} {
		f.Add(seed)
	}
	anywhere := &net.TCPAddr{IP: net.IPv4zero}
	kept, old := key(f, "b").PublicKey(), key(f, "a").PublicKey()
	f.Fuzz(func(t *testing.T, before string) {
		after := sshrun.ReplaceHost([]byte(before), []string{"ncn-w001", "10.1.1.4"}, []ssh.PublicKey{kept})
		require.Equal(t, string(after), string(sshrun.ReplaceHost(after, []string{"ncn-w001", "10.1.1.4"}, []ssh.PublicKey{kept})), "twice is once")
		if strings.Contains(before, "@") || strings.Contains(before, base64Of(kept)) {
			return
		}
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(dir+"/before", []byte(before), 0o600))
		require.NoError(t, os.WriteFile(dir+"/after", after, 0o600))
		was, err := knownhosts.New(dir + "/before")
		if err != nil {
			return
		}
		is, err := knownhosts.New(dir + "/after")
		require.NoError(t, err)
		for _, name := range []string{"ncn-w001:22", "10.1.1.4:22"} {
			require.NoError(t, is(name, anywhere, kept))
			require.Error(t, is(name, anywhere, old))
		}
		for _, name := range []string{"ncn-w002:22", "ncn-w001:2222", "w1.nmn:22"} {
			require.Equal(t, was(name, anywhere, old) == nil, is(name, anywhere, old) == nil, name)
			require.Error(t, is(name, anywhere, kept))
		}
	})
}

func base64Of(k ssh.PublicKey) string { return strings.Fields(string(ssh.MarshalAuthorizedKey(k)))[1] }

func keeper(t *testing.T, file string) *sshrun.Runner {
	t.Helper()
	r := sshrun.New(sshrun.Config{KnownHosts: file})
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

func TestKeepHostKeys(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "known_hosts")
	a, b := line(key(t, "a")), line(key(t, "b"))
	node := lifecycle.Node{Name: "ncn-w001", Addr: "10.1.1.4:2222"}
	require.NoError(t, os.WriteFile(file, []byte("[10.1.1.4]:2222 "+a+"ncn-w002 "+a), 0o640))
	require.NoError(t, os.Symlink(file, dir+"/link"))
	r := keeper(t, dir+"/link")
	require.NoError(t, r.KeepHostKeys(t.Context(), node, []string{b, a}))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "ncn-w002 "+a+"[ncn-w001]:2222,[10.1.1.4]:2222 "+b+"[ncn-w001]:2222,[10.1.1.4]:2222 "+a, string(text))
	info, err := os.Lstat(file)
	require.NoError(t, err)
	require.Equal(t, "-rw-r-----", info.Mode().String())
	info, err = os.Lstat(dir + "/link")
	require.NoError(t, err)
	require.Equal(t, os.ModeSymlink, info.Mode().Type())

	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 3, "nothing is left but the file, its link and its lock")
}

func TestKeepHostKeysRefuses(t *testing.T) {
	a, b := line(key(t, "a")), line(key(t, "b"))
	node := lifecycle.Node{Name: "ncn-w001"}
	tests := map[string]struct {
		before string
		node   lifecycle.Node
		keys   []string
		kind   lifecycle.Kind
	}{
		"no key":         {"", node, nil, lifecycle.Invalid},
		"nonsense":       {"", node, []string{"ssh-ed25519 nonsense"}, lifecycle.Invalid},
		"two in one":     {"", node, []string{a + b}, lifecycle.Invalid},
		"options":        {"", node, []string{"no-pty " + a}, lifecycle.Invalid},
		"hostile name":   {"", lifecycle.Node{Name: "x\n* " + a}, []string{a}, lifecycle.Invalid},
		"malformed file": {"what is this\n", node, []string{a}, lifecycle.Invalid},
		"revoked":        {"@revoked * " + a, node, []string{b, a}, lifecycle.Denied},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "known_hosts")
			require.NoError(t, os.WriteFile(file, []byte(tt.before), 0o600))
			err := keeper(t, file).KeepHostKeys(t.Context(), tt.node, tt.keys)
			require.Equal(t, tt.kind, lifecycle.KindOf(err), "%v", err)
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, tt.before, string(text))
		})
	}
	require.ErrorIs(t, keeper(t, "").KeepHostKeys(t.Context(), node, []string{a}), lifecycle.Invalid)
}

// TestKeepersTakeTurns has two Runners, as two processes would, keep keys of many nodes in one file.
func TestKeepersTakeTurns(t *testing.T) {
	file := filepath.Join(t.TempDir(), "known_hosts")
	runners := []*sshrun.Runner{keeper(t, file), keeper(t, file)}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			node := lifecycle.Node{Name: "ncn-w0" + string(rune('a'+i))}
			require.NoError(t, runners[i%2].KeepHostKeys(t.Context(), node, []string{line(key(t, node.Name))}))
		})
	}
	wg.Wait()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, 20, strings.Count(string(text), "\n"))
}

func TestALockHeldElsewhereEndsWithTheContext(t *testing.T) {
	file := filepath.Join(t.TempDir(), "known_hosts")
	lock, err := os.Create(file + ".lock")
	require.NoError(t, err)
	defer func() { _ = lock.Close() }()
	locked, err := sshrun.TryLock(lock)
	require.NoError(t, err)
	require.True(t, locked)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	err = keeper(t, file).KeepHostKeys(ctx, lifecycle.Node{Name: "ncn-w001"}, []string{line(key(t, "a"))})
	require.Equal(t, lifecycle.Timeout, lifecycle.KindOf(err))
	require.NoFileExists(t, file)
}
