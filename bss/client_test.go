package bss_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/bss"
	"github.com/ncnkit/lifecycle/bss/bsstest"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	for _, check := range bsstest.Checks() {
		t.Run("toy/"+check.Name, func(t *testing.T) {
			api := &lockedToy{toy: newToy()}
			check.Run(t, api, bsstest.WithFetch(api.fetch))
		})
		t.Run("client/"+check.Name, func(t *testing.T) {
			service := newToy()
			check.Run(t, clientOf(service), bsstest.WithFetch(service.fetch))
		})
	}
	bsstest.API(t, func(bsstest.TB) bss.API { return newToy() })
}

// failing records what the suite says, so that the suite itself is seen to fail.
type failing struct {
	bsstest.TB
	said []string
}

func (f *failing) Errorf(format string, _ ...any) { f.said = append(f.said, format) }
func (f *failing) Fatalf(format string, _ ...any) { f.said = append(f.said, format) }

// clears is an API that believes an empty string.
type clears struct{ *toy }

func (c clears) Patch(ctx context.Context, p bss.Patch) error {
	if err := c.toy.Patch(ctx, p); err != nil {
		return err
	}
	e := c.entry(p.Host)
	e.Params = p.Params
	return c.Put(ctx, e)
}

func TestConformanceFindsAWrongFake(t *testing.T) {
	f := &failing{TB: t}
	for _, check := range bsstest.Checks() {
		if check.Name == "patch does not clear" {
			check.Run(f, clears{newToy()})
		}
	}
	require.NotEmpty(t, f.said)
}

// verbatim answers GET with a fixed entry until it is patched; then the patch is taken for done.
type verbatim struct {
	mu      sync.Mutex
	body    string
	patches []string
}

func (v *verbatim) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	if r.Method == http.MethodPatch {
		b, _ := io.ReadAll(r.Body)
		v.patches = append(v.patches, string(b))
		v.body = strings.Replace(v.body, `"big"`, `"new":"v","big"`, 1)
		return
	}
	_, _ = io.WriteString(w, "["+v.body+"]\n")
}

type tokens struct {
	mu    sync.Mutex
	calls []bool
}

func (t *tokens) Token(_ context.Context, fresh bool) (lifecycle.Secret, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calls = append(t.calls, fresh)
	if fresh {
		return lifecycle.NewSecret("canary-fresh"), nil
	}
	return lifecycle.NewSecret("canary-stale"), nil
}

func TestClientKinds(t *testing.T) {
	get := func(ctx context.Context, c *bss.Client) error { _, err := c.Get(ctx, xname); return err }
	patch := func(ctx context.Context, c *bss.Client) error {
		return c.Patch(ctx, bss.Patch{Host: xname, Params: "a=b"})
	}
	put := func(ctx context.Context, c *bss.Client) error { return c.Put(ctx, bss.Entry{Hosts: []string{xname}}) }
	fetch := func(ctx context.Context, c *bss.Client) error {
		_, err := c.LastFetch(ctx, xname, bss.BootScript)
		return err
	}
	body := func(status int, kind, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text)
		}
	}
	const js, pj = "application/json; charset=UTF-8", "application/problem+json"
	for _, tc := range []struct {
		name   string
		h      http.Handler
		do     func(context.Context, *bss.Client) error
		kind   lifecycle.Kind
		phrase string
	}{
		{"null", body(200, js, "null\n"), get, lifecycle.NotFound, "xname"},
		{"empty list", body(200, js, "[]\n"), get, lifecycle.NotFound, ""},
		{"somebody else's", body(200, js, `[{"hosts":["x9000c0s0b0n0"],"params":"a"}]`), get, lifecycle.NotFound, ""},
		{"unknown host", body(404, pj, `{"detail":"Cannot find boot parameters for requested Hosts"}`), get, lifecycle.NotFound, "Cannot find"},
		{"hello", body(200, "text/plain", "Hello World!\n"), get, lifecycle.Invalid, "URL"},
		{"hello to a patch", body(200, "text/plain", "Hello World!\n"), patch, lifecycle.Invalid, "URL"},
		{"hello to a put", body(200, "text/plain", "Hello World!\n"), put, lifecycle.Invalid, "URL"},
		{"hello to a history", body(200, "text/plain", "Hello World!\n"), fetch, lifecycle.Invalid, "URL"},
		{"a login page", body(200, "text/html", "<html>"), get, lifecycle.Invalid, "URL"},
		{"denied", body(403, "text/plain", "RBAC: access denied"), get, lifecycle.Denied, "RBAC"},
		{"unauthenticated", body(401, "text/plain", "Jwt is expired"), get, lifecycle.Unauthenticated, "secret"},
		{"bad request", body(400, pj, `{"detail":"Bad Request: unexpected EOF"}`), put, lifecycle.Invalid, "unexpected EOF"},
		{"exists", body(400, pj, `{"detail":"Bad Request: Already exists: x"}`), put, lifecycle.Conflict, "Already exists"},
		{"broken", body(500, pj, `{"detail":"store"}`), patch, lifecycle.Unavailable, "store"},
		{"a gateway", body(504, "text/plain", "upstream request timeout"), patch, lifecycle.Unknown, "look"},
		{"absent", body(404, pj, `{"detail":"Key /params/x does not exist"}`), patch, lifecycle.NotFound, ""},
		{"too large", body(200, js, "["+strings.Repeat(" ", 9<<20)+"]"), get, lifecycle.Invalid, "larger"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				err := tc.do(t.Context(), clientOf(tc.h))
				require.Equal(t, tc.kind, lifecycle.KindOf(err), "%v", err)
				require.ErrorContains(t, err, tc.phrase)
			})
		})
	}
}

func TestClientChecksBeforeItAsks(t *testing.T) {
	c := clientOf(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("asked") }))
	_, err := c.Get(t.Context(), "a\nb")
	require.ErrorIs(t, err, lifecycle.Invalid)
	require.NotContains(t, err.Error(), "\n")
	require.ErrorIs(t, c.Patch(t.Context(), bss.Patch{Host: "a,b"}), lifecycle.Invalid)
	require.ErrorIs(t, c.Put(t.Context(), bss.Entry{MACs: []string{"98:03:9b:bb:a9:94"}, Kernel: "k"}), lifecycle.Invalid)
	_, err = c.LastFetch(t.Context(), xname, "zzz")
	require.ErrorIs(t, err, lifecycle.Invalid)
	_, err = bss.New(bss.Config{}).Get(t.Context(), xname)
	require.ErrorIs(t, err, lifecycle.Invalid)
	require.ErrorContains(t, err, "configuration")
}

func TestClientRefreshesItsTokenOnce(t *testing.T) {
	service := newToy(worker())
	var mu sync.Mutex
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.Method+" "+r.Header.Get("Authorization"))
		mu.Unlock()
		if r.Header.Get("Authorization") != "Bearer canary-fresh" {
			http.Error(w, "the token canary-stale has expired", http.StatusUnauthorized)
			return
		}
		service.ServeHTTP(w, r)
	}))
	defer server.Close()
	source := &tokens{}
	c := bss.New(bss.Config{URL: server.URL + "/apis/bss/", HTTP: server.Client(), Tokens: source})
	require.NoError(t, c.Patch(t.Context(), bss.Patch{Host: xname, Kernel: "k"}))
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, []string{"PATCH Bearer canary-stale", "PATCH Bearer canary-fresh"}, asked)
	require.Equal(t, []bool{false, true}, source.calls)
	require.Len(t, service.sent(), 1)
}

// A connection that dies after the request was read: the write may have happened, and is not sent again.
func TestClientDoesNotRepeatAWrite(t *testing.T) {
	service := newToy(worker())
	var drop atomic.Int32
	drop.Store(1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPatch || drop.Add(-1) < 0 {
			service.ServeHTTP(w, r)
			return
		}
		service.ServeHTTP(httptest.NewRecorder(), r)
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	}))
	defer server.Close()
	c := bss.New(bss.Config{URL: server.URL + "/apis/bss", HTTP: server.Client()})
	err := c.Patch(t.Context(), bss.Patch{Host: xname, Params: "a=b"})
	require.Equal(t, lifecycle.Unknown, lifecycle.KindOf(err), "%v", err)
	require.Len(t, service.sent(), 1)
	drop.Store(1)
	require.NoError(t, bss.Update(t.Context(), c, xname, func(e *bss.Entry) error { e.Params = "c=d"; return nil }))
	require.Len(t, service.sent(), 2, "Update looked and found it")
}

func TestClientIsUnavailableWhenNothingWasSent(t *testing.T) {
	dials := 0
	hc := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		dials++
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	}}}
	synctest.Test(t, func(t *testing.T) {
		c := bss.New(bss.Config{URL: "http://user:canary-pw@gw.test/apis/bss", HTTP: hc})
		err := c.Patch(t.Context(), bss.Patch{Host: xname, Params: "a=b"})
		require.Equal(t, lifecycle.Unavailable, lifecycle.KindOf(err))
		require.NotContains(t, err.Error(), "canary")
		require.Greater(t, dials, 1, "what was never sent is tried again")
	})
}
