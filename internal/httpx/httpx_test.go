package httpx_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/internal/httpx"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// trip is a transport without sockets; n counts from 1.
type trip struct {
	n  atomic.Int32
	do func(n int, r *http.Request) (*http.Response, error)
}

func (t *trip) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
	}
	return t.do(int(t.n.Add(1)), r)
}

func answer(status int, kind, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(strings.NewReader(body))}
}

func always(status int, kind, body string) *trip {
	return &trip{do: func(int, *http.Request) (*http.Response, error) { return answer(status, kind, body), nil }}
}

func client(t *trip) *httpx.Client {
	return httpx.New(httpx.Config{Service: "BSS", URL: "https://gw.test/apis/bss", HTTP: &http.Client{Transport: t}})
}

var (
	get  = httpx.Request{Method: http.MethodGet, Path: "/x", Query: url.Values{"q": {"canary-query"}}}
	post = httpx.Request{Method: http.MethodPost, Path: "/x", JSON: map[string]string{"a": "b"}}
	form = httpx.Request{Method: http.MethodPost, Path: "/x", Form: url.Values{"a": {"b c"}}, Repeatable: true}
)

func TestKinds(t *testing.T) {
	for _, tc := range []struct {
		status      int
		read, write lifecycle.Kind
	}{
		{302, lifecycle.Invalid, lifecycle.Invalid},
		{400, lifecycle.Invalid, lifecycle.Invalid},
		{401, lifecycle.Unauthenticated, lifecycle.Unauthenticated},
		{403, lifecycle.Denied, lifecycle.Denied},
		{404, lifecycle.NotFound, lifecycle.NotFound},
		{405, lifecycle.Invalid, lifecycle.Invalid},
		{409, lifecycle.Conflict, lifecycle.Conflict},
		{412, lifecycle.Conflict, lifecycle.Conflict},
		{422, lifecycle.Invalid, lifecycle.Invalid},
		{423, lifecycle.Conflict, lifecycle.Conflict},
		{429, lifecycle.Unavailable, lifecycle.Unavailable},
		{500, lifecycle.Unavailable, lifecycle.Unavailable},
		{501, lifecycle.Unavailable, lifecycle.Unavailable},
		{502, lifecycle.Unavailable, lifecycle.Unknown},
		{503, lifecycle.Unavailable, lifecycle.Unknown},
		{504, lifecycle.Unavailable, lifecycle.Unknown},
		{100 + 99, lifecycle.Internal, lifecycle.Internal},
	} {
		t.Run(http.StatusText(tc.status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, err := client(always(tc.status, "text/plain", "words of the service")).Do(t.Context(), get, nil)
				require.Equal(t, tc.read, lifecycle.KindOf(err), "%v", err)
				var se *httpx.StatusError
				require.ErrorAs(t, err, &se)
				require.Equal(t, tc.status, se.Status)
				require.Equal(t, "words of the service", se.Detail)
				require.NotContains(t, err.Error(), "canary")
				_, err = client(always(tc.status, "text/plain", "")).Do(t.Context(), post, nil)
				require.Equal(t, tc.write, lifecycle.KindOf(err), "%v", err)
			})
		})
	}
	_, err := client(always(503, "application/problem+json", `{"title":"maintenance"}`)).Do(t.Context(), post, nil)
	require.Equal(t, lifecycle.Unavailable, lifecycle.KindOf(err), "the service itself turned it away")
}

func TestDecoding(t *testing.T) {
	for _, tc := range []struct {
		name, body string
		want       bool // an object is wanted
		ok         bool
	}{
		{"object", `{"n":12345678901234567890}`, true, true},
		{"null", "null\n", true, true},
		{"empty for nothing", "", false, true},
		{"JSON for nothing", `{"code":0}`, false, true},
		{"empty", "", true, false},
		{"hello", "Hello World!\n", true, false},
		{"hello for nothing", "Hello World!\n", false, false},
		{"two values", `{} {}`, true, false},
		{"cut", `{"n":`, true, false},
		{"another type", `["canary-body"]`, true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out map[string]any
			var err error
			if tc.want {
				_, err = client(always(200, "application/json", tc.body)).Do(t.Context(), get, &out)
			} else {
				_, err = client(always(200, "application/json", tc.body)).Do(t.Context(), get, nil)
			}
			if tc.ok {
				require.NoError(t, err)
			} else {
				require.Equal(t, lifecycle.Invalid, lifecycle.KindOf(err))
				require.NotContains(t, err.Error(), "canary")
			}
			if tc.name == "object" {
				require.Equal(t, json.Number("12345678901234567890"), out["n"])
			}
		})
	}
}

func TestOnlyWhatIsSafeIsRepeated(t *testing.T) {
	dial := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	reset := &net.OpError{Op: "read", Err: errors.New("connection reset by peer")}
	for _, tc := range []struct {
		name  string
		fault func() (*http.Response, error)
		r     httpx.Request
		tries int
		kind  lifecycle.Kind
	}{
		{"read, 500", func() (*http.Response, error) { return answer(500, "", ""), nil }, get, 3, ""},
		{"read, reset", func() (*http.Response, error) { return nil, reset }, get, 3, ""},
		{"read, cut", func() (*http.Response, error) {
			r := answer(200, "", "")
			r.Body = io.NopCloser(io.MultiReader(strings.NewReader("[1,"), failingReader{}))
			return r, nil
		}, get, 3, ""},
		{"marked, reset", func() (*http.Response, error) { return nil, reset }, form, 3, ""},
		{"write, not sent", func() (*http.Response, error) { return nil, dial }, post, 3, ""},
		{"write, turned away", func() (*http.Response, error) { return answer(429, "", ""), nil }, post, 3, ""},
		{"write, reset", func() (*http.Response, error) { return nil, reset }, post, 1, lifecycle.Unknown},
		{"write, 500", func() (*http.Response, error) { return answer(500, "", ""), nil }, post, 1, lifecycle.Unavailable},
		{"write, answer cut", func() (*http.Response, error) {
			r := answer(200, "", "")
			r.Body = io.NopCloser(failingReader{})
			return r, nil
		}, post, 1, lifecycle.Unknown},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr := &trip{do: func(n int, _ *http.Request) (*http.Response, error) {
					if n < 3 {
						return tc.fault()
					}
					return answer(200, "application/json", "[1]"), nil
				}}
				var out []int
				_, err := client(tr).Do(t.Context(), tc.r, &out)
				require.EqualValues(t, tc.tries, tr.n.Load())
				if tc.kind == "" {
					require.NoError(t, err)
					require.Equal(t, []int{1}, out)
				} else {
					require.Equal(t, tc.kind, lifecycle.KindOf(err))
				}
			})
		})
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// Half an answer of the first attempt must not pass for the answer of the last.
func TestACutAnswerIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &trip{do: func(n int, _ *http.Request) (*http.Response, error) {
			if n > 1 {
				return answer(503, "text/plain", "down"), nil
			}
			r := answer(200, "application/json", "")
			r.Body = io.NopCloser(io.MultiReader(strings.NewReader("[1]"), failingReader{}))
			return r, nil
		}}
		var out []int
		_, err := client(tr).Do(t.Context(), get, &out)
		require.Equal(t, lifecycle.Unavailable, lifecycle.KindOf(err))
		require.EqualValues(t, 5, tr.n.Load())
	})
}

func TestDeadlines(t *testing.T) {
	hang := func() *trip {
		return &trip{do: func(_ int, r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}}
	}
	t.Run("one attempt of a write", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			_, err := client(hang()).Do(t.Context(), post, nil)
			require.Equal(t, lifecycle.Unknown, lifecycle.KindOf(err))
			require.Equal(t, 30*time.Second, time.Since(start))
		})
	})
	t.Run("all attempts of a read", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			_, err := client(hang()).Do(t.Context(), get, nil)
			require.Equal(t, lifecycle.Unavailable, lifecycle.KindOf(err))
			require.Less(t, time.Since(start), 3*time.Minute)
		})
	})
	t.Run("the caller's", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := client(hang()).Do(ctx, get, nil)
			require.Equal(t, lifecycle.Timeout, lifecycle.KindOf(err))
			require.ErrorContains(t, err, "GET https://gw.test/apis/bss/x")
			tr := hang()
			_, err = client(tr).Do(ctx, post, nil)
			require.Equal(t, lifecycle.Timeout, lifecycle.KindOf(err), "nothing was sent")
			require.Zero(t, tr.n.Load())
		})
	})
	t.Run("a long Retry-After", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := &trip{do: func(n int, _ *http.Request) (*http.Response, error) {
				r := answer(503, "text/plain", "")
				r.Header.Set("Retry-After", "86400")
				return r, nil
			}}
			start := time.Now()
			_, err := client(tr).Do(t.Context(), get, nil)
			require.ErrorIs(t, err, lifecycle.Unavailable)
			require.Less(t, time.Since(start), time.Minute)
		})
	})
}

func TestRedirects(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("%s went elsewhere with %q", r.Method, r.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	mux := http.NewServeMux()
	mux.Handle("/near", http.RedirectHandler("/there?token=canary-query", http.StatusFound))
	mux.Handle("/far", http.RedirectHandler(elsewhere.URL+"/there?token=canary-query", http.StatusTemporaryRedirect))
	mux.HandleFunc("/there", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "[1]") })
	mux.Handle("/loop", http.RedirectHandler("/loop", http.StatusFound))
	server := httptest.NewServer(mux)
	defer server.Close()
	c := httpx.New(httpx.Config{Service: "BSS", URL: server.URL, HTTP: server.Client(), Tokens: fixed("canary-token")})
	var out []int
	_, err := c.Do(t.Context(), httpx.Request{Method: http.MethodGet, Path: "/near"}, &out)
	require.NoError(t, err)
	for _, r := range []httpx.Request{
		{Method: http.MethodPatch, Path: "/near", JSON: 1},
		{Method: http.MethodPatch, Path: "/far", JSON: 1},
		{Method: http.MethodGet, Path: "/far"},
		{Method: http.MethodGet, Path: "/loop"},
	} {
		_, err := c.Do(t.Context(), r, nil)
		require.Equal(t, lifecycle.Invalid, lifecycle.KindOf(err), "%s %s: %v", r.Method, r.Path, err)
		require.ErrorContains(t, err, "configure the URL")
		require.NotContains(t, err.Error(), "canary")
	}
}

type fixed string

func (f fixed) Token(context.Context, bool) (lifecycle.Secret, error) {
	return lifecycle.NewSecret(string(f)), nil
}

type failingTokens struct{}

func (failingTokens) Token(context.Context, bool) (lifecycle.Secret, error) {
	return lifecycle.Secret{}, lifecycle.Errorf(lifecycle.Unauthenticated, "csm", "", "the client is not known")
}

func TestTokens(t *testing.T) {
	tr := always(401, "text/plain", "token canary-token is bad")
	c := httpx.New(httpx.Config{Service: "BSS", URL: "https://gw.test", HTTP: &http.Client{Transport: tr}, Tokens: fixed("canary-token")})
	_, err := c.Do(t.Context(), post, nil)
	require.ErrorIs(t, err, lifecycle.Unauthenticated)
	require.EqualValues(t, 2, tr.n.Load(), "one fresh token, no more")
	require.NotContains(t, err.Error(), "canary")
	require.ErrorContains(t, err, "[redacted]")

	tr = always(200, "", "")
	c = httpx.New(httpx.Config{Service: "BSS", URL: "https://gw.test", HTTP: &http.Client{Transport: tr}, Tokens: failingTokens{}})
	_, err = c.Do(t.Context(), post, nil)
	require.ErrorIs(t, err, lifecycle.Unauthenticated)
	require.Zero(t, tr.n.Load())
}

func TestWhatIsSent(t *testing.T) {
	var mu sync.Mutex
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		got = append(got, strings.Join([]string{r.Method, r.URL.String(), r.Header.Get("Content-Type"), r.Header.Get("Authorization"), string(b)}, "|"))
	}))
	defer server.Close()
	c := httpx.New(httpx.Config{Service: "BSS", URL: server.URL + "/apis/bss/", HTTP: server.Client(), Tokens: fixed("tok")})
	for _, r := range []httpx.Request{get, post, form} {
		_, err := c.Do(t.Context(), r, nil)
		require.NoError(t, err)
	}
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, []string{
		"GET|/apis/bss/x?q=canary-query||Bearer tok|",
		`POST|/apis/bss/x|application/json|Bearer tok|{"a":"b"}`,
		"POST|/apis/bss/x|application/x-www-form-urlencoded|Bearer tok|a=b+c",
	}, got)
}

func TestSecretsStayOutOfErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, do := range map[string]func() *trip{
			"echoed": func() *trip {
				return always(400, "text/plain", "bad: canary-form canary-pw "+strings.Repeat("x", 280)+"canary-form")
			},
			"OAuth": func() *trip {
				return always(400, "application/json", `{"error":"invalid_client","error_description":"canary-form"}`)
			},
			"no answer": func() *trip {
				return &trip{do: func(int, *http.Request) (*http.Response, error) { return nil, errors.New("eof") }}
			},
			"wrong body": func() *trip { return always(200, "application/json", `canary-form`) },
		} {
			c := httpx.New(httpx.Config{Service: "S", URL: "https://user:canary-pw@gw.test/", HTTP: &http.Client{Transport: do()}})
			r := httpx.Request{Method: http.MethodPost, Path: "/t", Query: url.Values{"secret": {"canary-query"}},
				Form: url.Values{"client_secret": {"canary-form"}}, Secrets: []lifecycle.Secret{lifecycle.NewSecret("canary-form")}}
			_, err := c.Do(t.Context(), r, nil)
			require.Error(t, err)
			require.NotContains(t, err.Error(), "canary", name)
		}
	})
	for _, bad := range []string{"", "gw.test/canary", "ftp://canary", "https://gw?token=canary", "https://gw/#canary", "https://u:canary@%zz", "https:///canary"} {
		_, err := httpx.New(httpx.Config{Service: "S", URL: bad}).Do(t.Context(), get, nil)
		require.Equal(t, lifecycle.Invalid, lifecycle.KindOf(err), bad)
		require.NotContains(t, err.Error(), "canary")
	}
	_, err := client(always(200, "", "")).Do(t.Context(), httpx.Request{Method: "GET", JSON: make(chan int)}, nil)
	require.ErrorIs(t, err, lifecycle.Invalid)
}

func TestAnswersAreCapped(t *testing.T) {
	tr := always(200, "application/json", "["+strings.Repeat(" ", 100)+"]")
	c := httpx.New(httpx.Config{Service: "S", URL: "https://gw", HTTP: &http.Client{Transport: tr}, MaxBytes: 100})
	_, err := c.Do(t.Context(), get, nil)
	require.Equal(t, lifecycle.Invalid, lifecycle.KindOf(err))
	require.EqualValues(t, 1, tr.n.Load())
}
