package fakehttp_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/bss"
	"github.com/ncnkit/lifecycle/fakes"
	"github.com/ncnkit/lifecycle/fakes/fakehttp"
)

const parameters = "/boot/v1/bootparameters"

func serve(t *testing.T, cfg fakehttp.Config) *httptest.Server {
	t.Helper()
	if cfg.Cluster == nil {
		cfg.Cluster = fakes.New(fakes.Layout{Masters: 1, Workers: 1})
	}
	server := httptest.NewServer(fakehttp.New(cfg))
	t.Cleanup(server.Close)
	return server
}

// ask sends one request straight to the handler, without a network.
func ask(h http.Handler, method, path, body string, header ...string) (status int, text string) {
	req := httptest.NewRequestWithContext(context.Background(), method, path, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w.Code, w.Body.String()
}

// TestLostUpdates is section B of the recorded exchanges: everybody is answered 200, and not every change is there.
func TestLostUpdates(t *testing.T) {
	const writers = 200
	meet := make(chan struct{})
	server := serve(t, fakehttp.Config{Bare: true, Race: func() { // two have read before either stores
		select {
		case meet <- struct{}{}:
		case <-meet:
		}
	}})
	send := func(method, body string) {
		req, err := http.NewRequest(method, server.URL+parameters, strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return
		}
		res, err := server.Client().Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("%s %s: %s", method, body, res.Status)
		}
	}
	send(http.MethodPut, `{"hosts":["Global"],"cloud-init":{"meta-data":{"first":true}}}`)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			send(http.MethodPatch, fmt.Sprintf(`{"hosts":["Global"],"cloud-init":{"meta-data":{"key-%d":true}}}`, i))
		})
	}
	wg.Wait()
	res, err := server.Client().Get(server.URL + parameters + "?name=Global")
	require.NoError(t, err)
	defer res.Body.Close()
	var entries []fakes.BootParams
	require.NoError(t, json.NewDecoder(res.Body).Decode(&entries))
	survived := len(entries[0].CloudInit.MetaData) - 1
	t.Logf("%d of %d keys survived", survived, writers)
	require.Less(t, survived, writers)
	require.Positive(t, survived)
}

func TestTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fakehttp.New(fakehttp.Config{
			Cluster: fakes.New(fakes.Layout{Workers: 1}), ClientSecret: lifecycle.NewSecret("s3cr3t"), TokenLife: time.Minute, RequireToken: true,
		})
		form := func(kv ...string) (int, map[string]any) {
			values := url.Values{}
			for i := 0; i < len(kv); i += 2 {
				values.Set(kv[i], kv[i+1])
			}
			status, text := ask(h, http.MethodPost, fakehttp.TokenPath, values.Encode(), "Content-Type", "application/x-www-form-urlencoded")
			var answer map[string]any
			require.NoError(t, json.Unmarshal([]byte(text), &answer))
			return status, answer
		}
		for _, tc := range []struct {
			id, secret, grant string
			status            int
			code              string
		}{
			{"admin-client", "wrong", "client_credentials", 401, "unauthorized_client"},
			{"admin-client", "", "client_credentials", 401, "unauthorized_client"},
			{"somebody", "s3cr3t", "client_credentials", 401, "invalid_client"},
			{"admin-client", "s3cr3t", "password", 400, "unsupported_grant_type"},
			{"admin-client", "s3cr3t", "", 400, "invalid_request"},
		} {
			status, answer := form("client_id", tc.id, "client_secret", tc.secret, "grant_type", tc.grant)
			require.Equal(t, tc.status, status)
			require.Equal(t, tc.code, answer["error"])
			require.NotEmpty(t, answer["error_description"])
		}
		status, answer := form("client_id", "admin-client", "client_secret", "s3cr3t", "grant_type", "client_credentials")
		require.Equal(t, 200, status)
		require.EqualValues(t, 60, answer["expires_in"])
		require.Equal(t, "Bearer", answer["token_type"])
		token := answer["access_token"].(string)
		_, another := form("client_id", "admin-client", "client_secret", "s3cr3t", "grant_type", "client_credentials")
		require.NotEqual(t, token, another["access_token"])

		for _, path := range []string{"/apis/bss" + parameters, "/apis/sls/v1/health"} {
			status, text := ask(h, http.MethodGet, path, "")
			require.Equal(t, 401, status)
			require.Equal(t, "Jwt is missing", text)
			status, text = ask(h, http.MethodGet, path, "", "Authorization", "Bearer x")
			require.Equal(t, 401, status)
			require.Equal(t, "Jwt verification fails", text)
			status, _ = ask(h, http.MethodGet, path, "", "Authorization", "Bearer "+token)
			require.Equal(t, 200, status)
		}
		status, _ = ask(h, http.MethodGet, "/meta-data", "", "X-Forwarded-For", "10.252.1.4")
		require.Equal(t, 200, status, "a node that boots has no token")
		time.Sleep(time.Minute)
		status, text := ask(h, http.MethodGet, "/apis/bss"+parameters, "", "Authorization", "Bearer "+token)
		require.Equal(t, 401, status)
		require.Equal(t, "Jwt is expired", text)
	})
	h := fakehttp.New(fakehttp.Config{Cluster: fakes.New(fakes.Layout{})})
	status, _ := ask(h, http.MethodPost, fakehttp.TokenPath, "grant_type=client_credentials&client_id=admin-client&client_secret=",
		"Content-Type", "application/x-www-form-urlencoded")
	require.Equal(t, 401, status, "without a configured secret nobody gets a token")
	status, _ = ask(h, http.MethodGet, fakehttp.TokenPath, "")
	require.Equal(t, 405, status)
}

func TestFaultsOnTheWire(t *testing.T) {
	c := fakes.New(fakes.Layout{Workers: 1})
	server := serve(t, fakehttp.Config{Cluster: c})
	const node = "x3000c0s1b0n0"
	do := func(method, path, body string) (int, error) {
		req, err := http.NewRequest(method, server.URL+path, strings.NewReader(body))
		require.NoError(t, err)
		res, err := server.Client().Do(req)
		if err != nil {
			return 0, err
		}
		defer res.Body.Close()
		_, _ = io.Copy(io.Discard, res.Body)
		return res.StatusCode, nil
	}
	params := func() string {
		e, err := c.BSS().Get(t.Context(), node)
		require.NoError(t, err)
		return e.Params
	}

	c.Fail(fakes.BSSPatch.On("ncn-w001"), lifecycle.Unavailable)
	status, err := do(http.MethodPatch, "/apis/bss"+parameters, `{"hosts":["`+node+`"],"params":"one=1"}`)
	require.NoError(t, err)
	require.Equal(t, 503, status)
	require.NotEqual(t, "one=1", params())

	c.LoseReply(fakes.BSSPatch.On("ncn-w001"))
	_, err = do(http.MethodPatch, "/apis/bss"+parameters, `{"hosts":["`+node+`"],"params":"two=2"}`)
	require.ErrorIs(t, err, io.EOF, "the answer is lost")
	require.Equal(t, "two=2", params(), "the effect happened")

	c.Ignore(fakes.Match{Op: fakes.BSSPut})
	status, err = do(http.MethodPut, "/apis/bss"+parameters, `{"hosts":["`+node+`"],"params":"three=3"}`)
	require.NoError(t, err)
	require.Equal(t, 200, status)
	require.Equal(t, "two=2", params())

	c.Fail(fakes.Match{Op: fakes.InventoryRead}, lifecycle.Denied)
	status, err = do(http.MethodGet, "/apis/sls/v1/search/hardware?extra_properties.Role=Management", "")
	require.NoError(t, err)
	require.Equal(t, 403, status)
	require.Empty(t, c.Unfired())

	var details []string
	for _, call := range c.Calls() {
		details = append(details, fmt.Sprint(call.Op, " ", call.Host, " ", call.Detail))
	}
	require.Equal(t, []string{"bss.patch ncn-w001 two=2"}, details, "the world's own record")
}

func TestOnWire(t *testing.T) {
	var mu sync.Mutex
	var events []fakehttp.Event
	h := fakehttp.New(fakehttp.Config{
		Cluster: fakes.New(fakes.Layout{Workers: 1}), ClientSecret: lifecycle.NewSecret("s3cr3t"),
		OnWire: func(e fakehttp.Event) { mu.Lock(); defer mu.Unlock(); events = append(events, e) },
	})
	const formType = "application/x-www-form-urlencoded"
	ask(h, "PATCH", "/apis/bss"+parameters, `{"hosts":["x3000c0s1b0n0"], "params":"a=b"}`)
	ask(h, "GET", "/apis/bss"+parameters+"?name=nosuch", "")
	ask(h, "POST", fakehttp.TokenPath, "client_id=admin-client&client_secret=s3cr3t&grant_type=client_credentials", "Content-Type", formType)
	ask(h, "PATCH", "/apis/bss"+parameters, `{"hosts":["x3000c0s1b0n0"],"cloud-init":{"user-data":{"n":12345678901234567890,"users":[{"Passwd":"s3cr3t"}]}}}`)
	ask(h, "PUT", "/apis/bss"+parameters, `{"password":"s3cr3t`)
	var got []string
	for _, e := range events {
		require.False(t, e.Time.IsZero())
		got = append(got, fmt.Sprintf("%s %s %d %s", e.Method, e.Path, e.Status, e.Body))
	}
	require.Equal(t, []string{
		`PATCH /apis/bss/boot/v1/bootparameters 200 {"hosts":["x3000c0s1b0n0"], "params":"a=b"}`,
		`GET /apis/bss/boot/v1/bootparameters?name=nosuch 404 `,
		`POST /keycloak/realms/shasta/protocol/openid-connect/token 200 client_id=admin-client&client_secret=%5Bredacted%5D&grant_type=client_credentials`,
		`PATCH /apis/bss/boot/v1/bootparameters 200 {"cloud-init":{"user-data":{"n":12345678901234567890,"users":[{"Passwd":"[redacted]"}]}},"hosts":["x3000c0s1b0n0"]}`,
		`PUT /apis/bss/boot/v1/bootparameters 400 [19 bytes that cannot be parsed]`,
	}, got)
}

func TestSLSOfTheCluster(t *testing.T) {
	h := fakehttp.New(fakehttp.Config{Cluster: fakes.New(fakes.Layout{Masters: 1, Workers: 1, Storage: 1})})
	status, text := ask(h, http.MethodGet, "/apis/sls/v1/search/hardware?extra_properties.Role=Management", "")
	require.Equal(t, 200, status)
	nodes, err := fakes.NodesFromSLS(strings.NewReader(text))
	require.NoError(t, err)
	want, err := fakes.New(fakes.Layout{Masters: 1, Workers: 1, Storage: 1}).Nodes(t.Context())
	require.NoError(t, err)
	require.Equal(t, want, nodes)
	for path, want := range map[string]int{
		"/apis/sls/v1/search/hardware?extra_properties.SubRole=Worker&class=River": 1,
		"/apis/sls/v1/search/hardware?extra_properties.NID=100001":                 1,
		"/apis/sls/v1/search/hardware?parent=x3000c0s2b0":                          1,
		"/apis/sls/v1/search/hardware?type=comptype_node":                          3,
		"/apis/sls/v1/search/hardware?extra_properties.Aliases=ncn-w001":           0,
		"/apis/sls/v1/search/hardware?extra_properties.Role=Management&xname=x1":   0,
		"/apis/sls/v1/hardware": 3,
	} {
		status, text := ask(h, http.MethodGet, path, "")
		require.Equal(t, 200, status, path)
		var found []any
		require.NoError(t, json.Unmarshal([]byte(text), &found))
		require.Len(t, found, want, path)
	}
	for _, tc := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/apis/sls/v1/search/hardware", "", 400},
		{"GET", "/apis/sls/v1/search/hardware?extra_properties.=a", "", 400},
		{"GET", "/apis/sls/v1/hardware/x3000c0s49b0n0", "", 404},
		{"POST", "/apis/sls/v1/hardware", `{"Xname":"x3000c0s1b0n0","Class":"River"}`, 409},
		{"POST", "/apis/sls/v1/hardware", `{"Xname":"x3000c0s49b0","Class":"River"}`, 400},
		{"POST", "/apis/sls/v1/hardware", `{"Xname":"x3000c0s49b0n0","Class":"Ocean"}`, 400},
		{"POST", "/apis/sls/v1/hardware", `{`, 400},
		{"DELETE", "/apis/sls/v1/hardware/x3000c0s1b0n0", "", 405},
	} {
		status, text := ask(h, tc.method, tc.path, tc.body)
		require.Equal(t, tc.status, status, "%s %s: %s", tc.method, tc.path, text)
	}
}

// TestRealSystem serves the dumps of a real system, and gives back what was loaded.
func TestRealSystem(t *testing.T) {
	sls, entries := shared(t, "data/sls-management-ncns.json"), shared(t, "data/bss-bootparameters.json")
	nodes, err := fakes.NodesFromSLS(strings.NewReader(string(sls)))
	require.NoError(t, err)
	c := fakes.NewCluster(t, fakes.Layout{Nodes: nodes})
	require.NoError(t, c.LoadBSS(strings.NewReader(string(entries))))
	h := fakehttp.New(fakehttp.Config{Cluster: c, SLS: sls})
	for path, want := range map[string]string{
		"/apis/sls/v1/search/hardware?extra_properties.Role=Management": string(sls),
		"/apis/bss" + parameters: string(entries),
	} {
		status, text := ask(h, http.MethodGet, path, "")
		require.Equal(t, 200, status)
		require.JSONEq(t, want, text)
	}
	_, text := ask(h, http.MethodGet, "/user-data", "", "X-Forwarded-For", "10.0.0.1, 10.252.1.4")
	require.Contains(t, text, "#cloud-config\nhostname: ")
	status, text := ask(h, http.MethodGet, "/apis/bss/boot/v1/bootscript?name=x3000c0s7b0n0", "")
	require.Equal(t, 404, status, text)
}

func TestBadConfig(t *testing.T) {
	status, text := ask(fakehttp.New(fakehttp.Config{}), http.MethodGet, parameters, "")
	require.Equal(t, 500, status)
	require.Contains(t, text, "Cluster")
	h := fakehttp.New(fakehttp.Config{Cluster: fakes.New(fakes.Layout{}), SLS: []byte(`{`)})
	status, text = ask(h, http.MethodGet, "/apis/sls/v1/search/hardware?class=River", "")
	require.Equal(t, 500, status)
	require.Contains(t, text, "Config.SLS")
}

// TestDisabledEndpoint is section C of the recorded exchanges: a node whose BMC HSM does not know is unknown.
func TestDisabledEndpoint(t *testing.T) {
	c := fakes.New(fakes.Layout{})
	require.NoError(t, c.LoadHSM(strings.NewReader(`{"Components":[{"ID":"x3000c0s7b0n0","Type":"Node","State":"Ready","NID":100004}]}`)))
	h := fakehttp.New(fakehttp.Config{Cluster: c, Bare: true, Chain: "http://127.0.0.1:27778"})
	status, _ := ask(h, http.MethodPut, parameters, `{"hosts":["x3000c0s7b0n0"],"kernel":"http://127.0.0.1/k"}`)
	require.Equal(t, 200, status)
	status, script := ask(h, http.MethodGet, "/boot/v1/bootscript?name=x3000c0s7b0n0", "")
	require.Equal(t, 200, status)
	require.Regexp(t, `^#!ipxe\nsleep 1\nchain http://127.0.0.1:27778/boot/v1/bootscript\?name=x3000c0s7b0n0&arch=\$\{buildarch\}&ts=\d+\n\n$`, script)
	_, text := ask(h, http.MethodGet, "/boot/v1/endpoint-history?name=x3000c0s7b0n0", "")
	require.Equal(t, "[]\n", text, "a script that makes the node ask again is no boot")

	status, script = ask(h, http.MethodGet, "/boot/v1/bootscript?name=x3000c0s7b0n0&arch=x86_64", "")
	require.Equal(t, 200, status, "with nothing for unknown nodes, it gets its own")
	require.Contains(t, script, "kernel --name kernel http://127.0.0.1/k xname=x3000c0s7b0n0 nid=100004 ")
}

func TestMetaDataOfRole(t *testing.T) {
	c := fakes.New(fakes.Layout{Workers: 1})
	for host, meta := range map[string]map[string]any{
		"ncn-worker": {"from": "role", "both": map[string]any{"a": "role", "b": "role"}, "local-hostname": "role"},
		bss.Global:   {"k": "v"},
	} {
		require.NoError(t, c.BSS().Put(t.Context(), bss.Entry{Hosts: []string{host}, CloudInit: bss.CloudInit{MetaData: meta}}))
	}
	require.NoError(t, c.BSS().Patch(t.Context(), bss.Patch{Host: "x3000c0s1b0n0", CloudInit: json.RawMessage(`{"meta-data":{"both":{"a":"node"}}}`)}))
	h := fakehttp.New(fakehttp.Config{Cluster: c})
	for key, want := range map[string]string{
		"from": `"role"`, "both": `{"a":"node","b":"role"}`, "local-hostname": `"ncn-w001"`, "shasta-type": `"Management"`, "Global": `{"k":"v"}`,
	} {
		status, text := ask(h, http.MethodGet, "/meta-data?key="+key, "", "X-Forwarded-For", "10.252.1.4")
		require.Equal(t, 200, status, key)
		require.Equal(t, want+"\n", text, key)
	}
	status, text := ask(h, http.MethodGet, "/meta-data?key=instance-id", "", "X-Forwarded-For", "192.0.2.1")
	require.Equal(t, 200, status)
	require.Regexp(t, `^"default-[0-9a-f]{12}"\n$`, text, "a caller that is not known")
	status, _ = ask(h, http.MethodPost, "/phone-home", `{}`, "X-Forwarded-For", "192.0.2.1")
	require.Equal(t, 404, status)
}

func FuzzBootParameters(f *testing.F) {
	for _, method := range []string{"PUT", "POST", "PATCH", "DELETE"} {
		f.Add(method, `{"hosts":["x3000c0s1b0n0"],"params":"a=b","cloud-init":{"meta-data":{"a":null,"b":{"c":[1,{}]}},"user-data":null}}`)
		f.Add(method, `{"macs":["00:00:00:00:00:01"],"nids":[100001,7],"kernel":"s3://k","initrd":"initrd"}`)
		f.Add(method, `{"hosts":["x3000c0s1b0n0","",null],"cloud-init":{"meta-data":[]}}`)
		f.Add(method, `null`)
		f.Add(method, `{"hosts":`)
	}
	f.Fuzz(func(t *testing.T, method, body string) {
		if method != "PUT" && method != "PATCH" && method != "POST" && method != "DELETE" {
			return
		}
		for _, openCHAMI := range []bool{false, true} {
			h := fakehttp.New(fakehttp.Config{
				Cluster: fakes.New(fakes.Layout{Workers: 1}), Bare: true, OpenCHAMI: openCHAMI, S3: &fakehttp.S3{Endpoint: "http://s3"},
				OnWire: func(fakehttp.Event) {},
			})
			switch status, text := ask(h, method, parameters, body); status {
			case 200, 201:
				if text != "" {
					t.Errorf("%d with a body: %q", status, text)
				}
			case 400, 404:
				if !json.Valid([]byte(text)) {
					t.Errorf("%d without a problem: %q", status, text)
				}
			default:
				t.Errorf("status %d: %s", status, text)
			}
			// Whatever was stored can be read, and booted.
			for _, path := range []string{parameters, "/boot/v1/dumpstate", "/boot/v1/bootscript?name=x3000c0s1b0n0", "/meta-data", "/user-data"} {
				if status, text := ask(h, "GET", path, "", "X-Forwarded-For", "10.252.1.4"); status != 200 && status != 404 {
					t.Errorf("%s: %d %s", path, status, text)
				}
			}
		}
	})
}
