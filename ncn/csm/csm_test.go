package csm_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/ncn/csm"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inMemory is a transport without sockets.
type inMemory struct{ h http.HandlerFunc }

func (m inMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	rec := httptest.NewRecorder()
	m.h(rec, r)
	return rec.Result(), nil
}

func over(h http.HandlerFunc) *http.Client { return &http.Client{Transport: inMemory{h}} }

func entry(xname, subRole string, aliases ...string) string {
	parent, _, _ := strings.Cut(xname, "n")
	quoted := ""
	for i, a := range aliases {
		if i > 0 {
			quoted += ","
		}
		quoted += fmt.Sprintf("%q", a)
	}
	return fmt.Sprintf(`{"Parent":%q,"Xname":%q,"Type":"comptype_node","Class":"River","TypeString":"Node","ExtraProperties":{"Aliases":[%s],"NID":100004,"Role":"Management","SubRole":%q}}`,
		parent, xname, quoted, subRole)
}

func inventory(body string, nodes map[string]csm.Override) *csm.Inventory {
	return csm.NewInventory(csm.Config{Gateway: "https://gw.test", Nodes: nodes, HTTP: over(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.String() != "https://gw.test/apis/sls/v1/search/hardware?extra_properties.Role=Management" {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = io.WriteString(w, body)
	})})
}

func TestInventory(t *testing.T) {
	inv := inventory("["+strings.Join([]string{
		entry("x3000c0s7b0n0", "Worker", "ncn-w001", "ncn-w001-nmn"),
		entry("x3000c0s1b0n0", "Master", "ncn-m001"),
		entry("x3000c0s13b0n0", "Storage", "odd-name"),
		entry("x3000c0s50b0n0", "Gateway", "ncn-g001"),
		strings.Replace(entry("x3000c0s60b0n0", "Worker", "uan01"), "Management", "Application", 1),
	}, ",")+"]", map[string]csm.Override{"ncn-w001": {Addr: "127.0.0.1:2201", BMC: "127.0.0.1:6230"}, "absent": {Addr: "a"}})
	nodes, err := inv.Nodes(t.Context())
	require.NoError(t, err)
	w001 := lifecycle.Node{Name: "ncn-w001", Role: lifecycle.Worker, XName: "x3000c0s7b0n0", BMC: "127.0.0.1:6230", Addr: "127.0.0.1:2201"}
	want := []lifecycle.Node{
		{Name: "ncn-m001", Role: lifecycle.Master, XName: "x3000c0s1b0n0", BMC: "ncn-m001-mgmt"},
		w001,
		{Name: "odd-name", Role: lifecycle.Storage, XName: "x3000c0s13b0n0", BMC: "odd-name-mgmt"},
	}
	require.Empty(t, cmp.Diff(want, nodes))
	nodes[0].Name = "changed"

	for _, name := range []string{"ncn-w001", "ncn-w001-nmn"} {
		got, err := inv.Node(t.Context(), name)
		require.NoError(t, err)
		require.Equal(t, w001, got)
	}
	got, err := inv.Node(t.Context(), "ncn-m001")
	require.NoError(t, err)
	require.Equal(t, want[0], got, "the caller's slice is its own")
	for name, kind := range map[string]lifecycle.Kind{
		"ncn-w00": lifecycle.NotFound, "ncn-w0011": lifecycle.NotFound, "w001": lifecycle.NotFound, "ncn-g001": lifecycle.NotFound,
		"uan01": lifecycle.NotFound, "": lifecycle.Invalid, "ncn-w001;reboot": lifecycle.Invalid, "NCN-W001": lifecycle.Invalid,
	} {
		_, err := inv.Node(t.Context(), name)
		require.Equal(t, kind, lifecycle.KindOf(err), name)
	}
	_, err = inv.Node(t.Context(), "ncn-g001")
	require.ErrorContains(t, err, "Gateway")
}

func TestInventoryRefuses(t *testing.T) {
	w1 := entry("x3000c0s7b0n0", "Worker", "ncn-w001")
	for _, tc := range []struct {
		name, body string
		kind       lifecycle.Kind
		phrase     string
	}{
		{"null", "null\n", lifecycle.NotFound, "no management node"},
		{"none", "[]", lifecycle.NotFound, "no management node"},
		{"hello", "Hello World!", lifecycle.Invalid, "URL"},
		{"reboot", "[" + entry("x3000c0s7b0n0", "Worker", "reboot") + "]", lifecycle.Invalid, "reboot"},
		{"rebuild", "[" + w1 + "," + entry("x3000c0s8b0n0", "Worker", "ncn-w002", "rebuild") + "]", lifecycle.Invalid, "rebuild"},
		{"no label", "[" + entry("x3000c0s7b0n0", "Worker", "ncn_w001") + "]", lifecycle.Invalid, "x3000c0s7b0n0"},
		{"a command", "[" + entry("x3000c0s7b0n0", "Worker", "a;reboot") + "]", lifecycle.Invalid, "x3000c0s7b0n0"},
		{"no alias", "[" + w1 + "," + entry("x3000c0s8b0n0", "Master") + "]", lifecycle.Invalid, "x3000c0s8b0n0"},
		{"no node's xname", "[" + entry("x3000c0s7b0", "Worker", "ncn-w001") + "]", lifecycle.Invalid, "xname"},
		{"another's BMC", "[" + strings.Replace(w1, `"Parent":"x3000c0s7b0"`, `"Parent":"x3000c0s9b0"`, 1) + "]", lifecycle.Invalid, "x3000c0s9b0"},
		{"twice", "[" + w1 + "," + entry("x3000c0s8b0n0", "Worker", "ncn-w001") + "]", lifecycle.Conflict, "x3000c0s8b0n0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inv := inventory(tc.body, nil)
			nodes, err := inv.Nodes(t.Context())
			require.Empty(t, nodes)
			require.Equal(t, tc.kind, lifecycle.KindOf(err), "%v", err)
			require.ErrorContains(t, err, tc.phrase)
			_, err = inv.Node(t.Context(), "ncn-w001")
			require.Equal(t, tc.kind, lifecycle.KindOf(err), "%v", err)
		})
	}
	_, err := csm.NewInventory(csm.Config{}).Nodes(t.Context())
	require.ErrorIs(t, err, lifecycle.Invalid)
}

func TestInventoryIsKeptForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		inv := csm.NewInventory(csm.Config{Gateway: "https://gw.test", HTTP: over(func(w http.ResponseWriter, _ *http.Request) {
			if asked.Add(1) == 1 {
				w.WriteHeader(http.StatusForbidden) // is not kept
				return
			}
			time.Sleep(time.Second)
			_, _ = io.WriteString(w, "["+entry("x3000c0s7b0n0", "Worker", "ncn-w001")+"]")
		})})
		_, err := inv.Nodes(t.Context())
		require.ErrorIs(t, err, lifecycle.Denied)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				_, err := inv.Node(t.Context(), "ncn-w001")
				require.NoError(t, err)
			})
		}
		wg.Wait()
		require.EqualValues(t, 2, asked.Load())
		time.Sleep(29 * time.Second)
		_, err = inv.Nodes(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 2, asked.Load())
		time.Sleep(2 * time.Second)
		_, err = inv.Nodes(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 3, asked.Load())
	})
}

func TestInventoryOfARealSystem(t *testing.T) {
	shared := os.Getenv("LIFECYCLE_SHARED")
	if shared == "" {
		t.Skip("LIFECYCLE_SHARED is not set: the inventory of a real system is NOT checked; set it to the directory that holds data/sls-management-ncns.json")
	}
	b, err := os.ReadFile(filepath.Join(shared, "data", "sls-management-ncns.json"))
	require.NoError(t, err)
	nodes, err := inventory(string(b), nil).Nodes(t.Context())
	require.NoError(t, err)
	count := map[lifecycle.Role]int{}
	for _, n := range nodes {
		count[n.Role]++
		require.Equal(t, n.Name+"-mgmt", n.BMC)
		letter := map[lifecycle.Role]string{lifecycle.Master: "ncn-m", lifecycle.Worker: "ncn-w", lifecycle.Storage: "ncn-s"}[n.Role]
		require.True(t, strings.HasPrefix(n.Name, letter), n.Name)
	}
	require.Len(t, nodes, strings.Count(string(b), `"Xname"`))
	require.GreaterOrEqual(t, count[lifecycle.Master], 3)
}

// keycloak hands out t1, t2, …
type keycloak struct {
	mu     sync.Mutex
	n      int
	expiry string
	secret string
	forms  []string
}

func (k *keycloak) serve(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	time.Sleep(time.Second)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.forms = append(k.forms, r.Method+" "+r.URL.Path+" "+string(b))
	w.Header().Set("Content-Type", "application/json")
	if !strings.Contains(string(b), "client_secret="+k.secret) {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"error":"unauthorized_client","error_description":"Invalid secret `+k.secret+` for the client"}`)
		return
	}
	k.n++
	_, _ = fmt.Fprintf(w, `{"access_token":"t%d","expires_in":%s,"token_type":"Bearer"}`, k.n, k.expiry)
}

type creds struct {
	mu   sync.Mutex
	cred lifecycle.Credential
	err  error
}

func (c *creds) Credential(_ context.Context, name string) (lifecycle.Credential, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if name != "admin-client" {
		return lifecycle.Credential{}, lifecycle.Errorf(lifecycle.NotFound, "test", "", "no %q", name)
	}
	return c.cred, c.err
}

func source(k *keycloak, c lifecycle.Credentials) *csm.Tokens {
	return csm.NewTokens(csm.TokensConfig{Gateway: "https://gw.test/", HTTP: over(k.serve), Credentials: c, Name: "admin-client"})
}

func TestTokensAreKeptUntilShortlyBeforeTheirEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &keycloak{expiry: "300", secret: "s1"}
		tokens := source(k, &creds{cred: lifecycle.Credential{Password: lifecycle.NewSecret("s1")}})
		token := func(fresh bool) string {
			s, err := tokens.Token(t.Context(), fresh)
			require.NoError(t, err)
			return s.Reveal()
		}
		start := time.Now()
		require.Equal(t, "t1", token(false))
		time.Sleep(270*time.Second - time.Since(start) - time.Millisecond)
		require.Equal(t, "t1", token(false))
		time.Sleep(time.Millisecond)
		require.Equal(t, "t2", token(false))
		require.Equal(t, "t3", token(true))
		require.Equal(t, "t3", token(false))
		require.Equal(t, "POST /keycloak/realms/shasta/protocol/openid-connect/token client_id=admin-client&client_secret=s1&grant_type=client_credentials", k.forms[0])
	})
}

func TestTokensAreFetchedOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &keycloak{expiry: "300", secret: "s1"}
		tokens := source(k, &creds{cred: lifecycle.Credential{Username: "me", Password: lifecycle.NewSecret("s1")}})
		for i, fresh := range []bool{false, true} {
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					s, err := tokens.Token(t.Context(), fresh)
					require.NoError(t, err)
					require.Equal(t, fmt.Sprintf("t%d", i+1), s.Reveal())
				})
			}
			wg.Wait()
		}
		require.Equal(t, 2, k.n)
		require.Contains(t, k.forms[0], "client_id=me&")

		go func() { _, _ = tokens.Token(t.Context(), true) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := tokens.Token(ctx, true)
		require.ErrorIs(t, err, lifecycle.Timeout)
		time.Sleep(time.Minute)
	})
}

func TestTokensFailures(t *testing.T) {
	good := lifecycle.Credential{Password: lifecycle.NewSecret("canary")}
	for _, tc := range []struct {
		name string
		k    *keycloak
		c    *creds
		kind lifecycle.Kind
	}{
		{"no secret", &keycloak{}, &creds{err: lifecycle.Errorf(lifecycle.Denied, "test", "", "no")}, lifecycle.Denied},
		{"odd answer", &keycloak{secret: "canary", expiry: `"soon"`}, &creds{cred: good}, lifecycle.Invalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, err := source(tc.k, tc.c).Token(t.Context(), false)
				require.Equal(t, tc.kind, lifecycle.KindOf(err), "%v", err)
				require.NotContains(t, err.Error(), "canary")
			})
		})
	}
	t.Run("refused, then rotated", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k := &keycloak{secret: "canary", expiry: "20"} // shorter than the margin: good for this once
			c := &creds{cred: lifecycle.Credential{Password: lifecycle.NewSecret("old")}}
			tokens := source(k, c)
			k.secret = "old-canary"
			c.cred.Password = lifecycle.NewSecret("canary")
			_, err := tokens.Token(t.Context(), false)
			require.Equal(t, lifecycle.Unauthenticated, lifecycle.KindOf(err), "%v", err)
			require.NotContains(t, err.Error(), "-canary for")
			c.cred.Password = lifecycle.NewSecret("old-canary")
			for i := range 2 {
				s, err := tokens.Token(t.Context(), false)
				require.NoError(t, err)
				require.Equal(t, fmt.Sprintf("t%d", i+1), s.Reveal())
			}
		})
	})
	_, err := csm.NewTokens(csm.TokensConfig{Gateway: "https://gw"}).Token(t.Context(), false)
	require.ErrorIs(t, err, lifecycle.Invalid)
	_, err = csm.NewTokens(csm.TokensConfig{Credentials: &creds{}, Name: "admin-client"}).Token(t.Context(), false)
	require.ErrorIs(t, err, lifecycle.Invalid)
}

func TestCredentialsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials.json")
	write := func(mode os.FileMode, text string) {
		tmp := path + ".new"
		require.NoError(t, os.WriteFile(tmp, []byte(text), 0o600))
		require.NoError(t, os.Chmod(tmp, mode))
		require.NoError(t, os.Rename(tmp, path))
	}
	file := csm.NewCredentialsFile(path)
	ask := func(name string) (lifecycle.Credential, error) { return file.Credential(t.Context(), name) }

	_, err := ask("a")
	require.ErrorIs(t, err, lifecycle.NotFound)
	write(0o600, `{"a":{"username":"u","password":"p1"},"b":{"username":"u"},"c":null}`)
	cred, err := ask("a")
	require.NoError(t, err)
	require.Equal(t, lifecycle.Credential{Username: "u", Password: lifecycle.NewSecret("p1")}, cred)
	for _, name := range []string{"b", "c", "d", ""} {
		_, err := ask(name)
		require.ErrorIs(t, err, lifecycle.NotFound, name)
	}
	write(0o400, `{"a":{"username":"u","password":"p2"}}`)
	cred, err = ask("a")
	require.NoError(t, err)
	require.Equal(t, "p2", cred.Password.Reveal(), "it rotates")

	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o601, 0o644} {
		write(mode, `{"a":{"username":"u","password":"canary"}}`)
		_, err = ask("a")
		require.Equal(t, lifecycle.Precondition, lifecycle.KindOf(err), "%o", mode)
		require.ErrorContains(t, err, "chmod 600")
	}
	for _, text := range []string{`{"a":"canary"}`, `{"a":{"password":7777}}`, `canary`, `{"a":{"password":"canary`, `[]`, ""} {
		write(0o600, text)
		_, err = ask("a")
		require.Equal(t, lifecycle.Invalid, lifecycle.KindOf(err), text)
		require.NotContains(t, err.Error(), "canary")
		require.NotContains(t, err.Error(), "7777")
	}
	write(0o600, strings.Repeat(" ", 2<<20))
	_, err = ask("a")
	require.ErrorIs(t, err, lifecycle.Invalid)
	_, err = csm.NewCredentialsFile(t.TempDir()).Credential(t.Context(), "a")
	require.ErrorIs(t, err, lifecycle.Precondition)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = file.Credential(ctx, "a")
	require.ErrorIs(t, err, lifecycle.Canceled)
}
