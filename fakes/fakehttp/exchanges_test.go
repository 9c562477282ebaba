package fakehttp_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle/fakes"
	"github.com/ncnkit/lifecycle/fakes/fakehttp"
)

// shared returns a file of the recorded material, or skips the test.
func shared(t *testing.T, name string) []byte {
	t.Helper()
	dir := os.Getenv("LIFECYCLE_SHARED")
	if dir == "" {
		t.Skip("LIFECYCLE_SHARED is not set: the recorded exchanges and dumps are NOT tested")
	}
	text, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	return text
}

// exchange is one recorded request with its answer.
type exchange struct {
	title        string
	method, path string
	contentType  string
	body         string
	status       int // 0: the connection ended without an answer
	header       http.Header
	answer       string
}

// recording is the document, by section letter; hsm is the hardware file that it begins with.
type recording struct {
	hsm      string
	sections map[string][]exchange
}

var exchangeText = regexp.MustCompile("(?ms)^(?:## (\\S)\\.[^\n]*|### ([^\n]*))\n(?:\n```http\n(.*?)\n--- response\n(.*?)^```)?")

func readRecording(t *testing.T) recording {
	text := string(shared(t, "facts/bss-smd-sls-exchanges.md"))
	r := recording{sections: map[string][]exchange{}}
	_, rest, ok := strings.Cut(text, "```json\n")
	require.True(t, ok)
	r.hsm, _, _ = strings.Cut(rest, "```")
	section := ""
	for _, m := range exchangeText.FindAllStringSubmatch(text, -1) {
		switch {
		case m[1] != "":
			section = m[1]
		case m[3] == "" && strings.Contains(m[2], "Second run"):
			section += " with S3"
		default:
			r.sections[section] = append(r.sections[section], parseExchange(t, m[2], m[3], m[4]))
		}
	}
	return r
}

func parseExchange(t *testing.T, title, request, response string) exchange {
	e := exchange{title: title, header: http.Header{}}
	head, body, _ := strings.Cut(request, "\n\n")
	lines := strings.Split(head, "\n")
	e.method, e.path, _ = strings.Cut(lines[0], " ")
	for _, line := range lines[1:] {
		if v, ok := strings.CutPrefix(line, "Content-Type: "); ok {
			e.contentType = v
		}
	}
	e.body = strings.TrimSpace(body)
	if strings.TrimSpace(response) == "" {
		return e
	}
	in := textproto.NewReader(bufio.NewReader(strings.NewReader(response)))
	status, err := in.ReadLine()
	require.NoError(t, err)
	_, err = fmt.Sscanf(status, "HTTP/1.1 %d", &e.status)
	require.NoError(t, err, title)
	header, err := in.ReadMIMEHeader()
	require.NoError(t, err, title)
	e.header = http.Header(header)
	rest, err := io.ReadAll(in.R)
	require.NoError(t, err)
	e.answer = strings.TrimSpace(string(rest))
	return e
}

// changing are the parts of answers that are new with every request.
var changing = []struct {
	re *regexp.Regexp
	by string
}{
	{regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`), "<uuid>"},
	{regexp.MustCompile(`X-Amz-Signature=[0-9a-f]{64}`), "X-Amz-Signature=<sig>"},
	{regexp.MustCompile(`X-Amz-Date=[0-9]{8}T[0-9]{6}Z`), "X-Amz-Date=<date>"},
	{regexp.MustCompile(`X-Amz-Credential=foo%2F[0-9]{8}%2F`), "X-Amz-Credential=foo%2F<day>%2F"},
	{regexp.MustCompile(`&ts=[0-9]{10}`), "&ts=<epoch>"},
	{regexp.MustCompile(`"last_epoch":[1-9][0-9]{9}`), `"last_epoch":"<epoch>"`},
	{regexp.MustCompile(`"instance-id":"(\w+)-[0-9a-f]{12}"`), `"instance-id":"$1-<random>"`},
	{regexp.MustCompile(`"LastUpdated":[0-9]{10}`), `"LastUpdated":"<epoch>"`},
	{regexp.MustCompile(`"LastUpdatedTime":"[-0-9]{10} [0-9:]{8}(\.[0-9]{1,6})? \+0000 UTC"`), `"LastUpdatedTime":"<time>"`},
}

// comparable returns an answer's body in the form that is compared: a JSON value, or text.
func comparableBody(body string) any {
	body = strings.TrimSpace(body)
	for _, c := range changing {
		body = c.re.ReplaceAllString(body, c.by)
	}
	var v any
	if json.Unmarshal([]byte(body), &v) == nil {
		return v
	}
	return body
}

// differences are the exchanges in which the fake does not answer as recorded, each with the reason and with what makes
// the two answers comparable.
var differences = map[string]struct {
	reason string
	adapt  func(any) any
}{
	"A: GET everything": {
		"hms-bss ran on its store in memory, whose order within kernels, initrds and hosts is that of a Go map; the fake has " +
			"the order of a service on etcd, which the dump of a real system has too",
		func(v any) any {
			group := func(e any) string {
				m := e.(map[string]any)
				switch {
				case m["hosts"] != nil:
					return "3"
				case m["kernel"] == nil:
					return "2"
				}
				return "1"
			}
			sortable := func(e any) string { text, _ := json.Marshal(e); return group(e) + string(text) }
			list := slices.Clone(v.([]any))
			ordered := slices.IsSortedFunc(list, func(a, b any) int { return strings.Compare(group(a), group(b)) })
			slices.SortFunc(list, func(a, b any) int { return strings.Compare(sortable(a), sortable(b)) })
			return map[string]any{"kernels, then initrds, then hosts": ordered, "entries": list}
		},
	},
}

// TestRecordedExchanges replays, in order and against an empty store, what the real services were asked.
func TestRecordedExchanges(t *testing.T) {
	rec := readRecording(t)
	s3 := &fakehttp.S3{Endpoint: "http://127.0.0.1:9000", AccessKey: "foo"}
	used := map[string]bool{}
	for _, run := range []struct {
		section string
		count   int
		cfg     fakehttp.Config
	}{
		{"A", 47, fakehttp.Config{Chain: "http://127.0.0.1:27778", Advertise: "http://127.0.0.1:27778"}},
		{"A with S3", 7, fakehttp.Config{Chain: "http://127.0.0.1:27778", Advertise: "http://127.0.0.1:27778", S3: s3}},
		{"D", 18, fakehttp.Config{Chain: "http://127.0.0.1:27788", Advertise: "127.0.0.1:27788", OpenCHAMI: true}},
		{"F", 10, fakehttp.Config{}},
	} {
		t.Run(run.section, func(t *testing.T) {
			exchanges := rec.sections[run.section]
			require.Len(t, exchanges, run.count, "exchanges in the document")
			run.cfg.Cluster, run.cfg.Bare = fakes.New(fakes.Layout{}), true
			require.NoError(t, run.cfg.Cluster.LoadHSM(strings.NewReader(rec.hsm)))
			server := httptest.NewServer(fakehttp.New(run.cfg))
			defer server.Close()
			for _, e := range exchanges {
				name := run.section + ": " + e.title
				used[name] = true
				replay(t, server, e, differences[name].adapt)
			}
		})
	}
	for name := range differences {
		require.True(t, used[name], "a known difference names no exchange: %s", name)
	}
}

func replay(t *testing.T, server *httptest.Server, e exchange, adapt func(any) any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), e.method, server.URL+e.path, strings.NewReader(e.body))
	require.NoError(t, err)
	if e.contentType != "" {
		req.Header.Set("Content-Type", e.contentType)
	}
	res, err := server.Client().Do(req)
	if e.status == 0 {
		require.ErrorIs(t, err, io.EOF, "%s: want no answer", e.title)
		return
	}
	require.NoError(t, err, e.title)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err, e.title)
	if res.StatusCode != e.status {
		t.Errorf("%s: status %d, recorded %d", e.title, res.StatusCode, e.status)
	}
	for _, key := range []string{"Content-Type", "Allow", "Content-Length"} {
		if key == "Content-Length" && e.header.Get(key) == "" {
			continue // sent in chunks, or with no body
		}
		if key == "Content-Length" && strings.Contains(e.answer, "LastUpdatedTime") {
			continue // the fraction of the second is as long as it needs to be
		}
		if diff := cmp.Diff(e.header.Get(key), res.Header.Get(key)); diff != "" {
			t.Errorf("%s: header %s (-recorded +fake):\n%s", e.title, key, diff)
		}
	}
	if got, want := res.Header.Get("Bss-Referral-Token") != "", e.header.Get("Bss-Referral-Token") != ""; got != want {
		t.Errorf("%s: referral token %t, recorded %t", e.title, got, want)
	}
	want, got := comparableBody(e.answer), comparableBody(string(text))
	if adapt != nil {
		want, got = adapt(want), adapt(got)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: body (-recorded +fake):\n%s", e.title, diff)
	}
}
