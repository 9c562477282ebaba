package bss_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/bss"
)

// toy is the smallest service that behaves like the recorded one. Its faults are set before use.
type toy struct {
	mu      sync.Mutex
	entries map[string]bss.Entry
	fetched map[string]int64
	writes  []bss.Patch // in the order of arrival
	gets    int

	lose    int                                         // so many patches are answered and forgotten
	gap     func() time.Duration                        // between reading and storing, as in hms-bss: others get in
	onPatch func(n int, apply func() error) error       // decides about patch n, counted from 1
	onGet   func(n int, e bss.Entry) (bss.Entry, error) // decides about get n, counted from 1
}

func newToy(entries ...bss.Entry) *toy {
	t := &toy{entries: map[string]bss.Entry{}, fetched: map[string]int64{}}
	for _, e := range entries {
		t.entries[e.Hosts[0]] = copyEntry(e)
	}
	return t
}

func copyEntry(e bss.Entry) bss.Entry {
	b, err := json.Marshal(e)
	if err != nil {
		return bss.Entry{Params: err.Error()}
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var out bss.Entry
	if err := dec.Decode(&out); err != nil {
		return bss.Entry{Params: err.Error()}
	}
	return out
}

func (t *toy) entry(host string) bss.Entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	return copyEntry(t.entries[host])
}

func (t *toy) sent() []bss.Patch {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.writes)
}

func (t *toy) Get(ctx context.Context, host string) (bss.Entry, error) {
	if err := check(ctx, host); err != nil {
		return bss.Entry{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gets++
	e, ok := t.entries[host]
	if !ok {
		return bss.Entry{}, lifecycle.Errorf(lifecycle.NotFound, "toy", host, "no entry")
	}
	e = copyEntry(e)
	if t.onGet != nil {
		return t.onGet(t.gets, e)
	}
	return e, nil
}

func check(ctx context.Context, host string) error {
	if err := ctx.Err(); err != nil {
		return lifecycle.Wrap(err, "toy", "")
	}
	return bss.CheckHost(host)
}

func (t *toy) Patch(ctx context.Context, p bss.Patch) error {
	if err := check(ctx, p.Host); err != nil {
		return err
	}
	t.mu.Lock()
	t.writes = append(t.writes, p)
	n, lost := len(t.writes), t.lose > 0
	t.lose--
	t.mu.Unlock()
	apply := func() error {
		if lost {
			return nil
		}
		return t.merge(p)
	}
	if t.onPatch != nil {
		return t.onPatch(n, apply)
	}
	return apply()
}

// merge reads, merges and stores without holding the lock in between, as the real one does.
func (t *toy) merge(p bss.Patch) error {
	t.mu.Lock()
	e, ok := t.entries[p.Host]
	t.mu.Unlock()
	if !ok {
		return lifecycle.Errorf(lifecycle.NotFound, "toy", p.Host, "no entry")
	}
	e = copyEntry(e)
	if t.gap != nil {
		time.Sleep(t.gap())
	}
	for to, value := range map[*string]string{&e.Params: p.Params, &e.Kernel: p.Kernel, &e.Initrd: p.Initrd} {
		if value != "" {
			*to = value
		}
	}
	if p.CloudInit != nil {
		var patch bss.CloudInit
		dec := json.NewDecoder(bytes.NewReader(p.CloudInit))
		dec.UseNumber()
		if err := dec.Decode(&patch); err != nil {
			return lifecycle.Errorf(lifecycle.Invalid, "toy", p.Host, "%w", err)
		}
		e.CloudInit.MetaData = mergeObject(e.CloudInit.MetaData, patch.MetaData)
		e.CloudInit.UserData = mergeObject(e.CloudInit.UserData, patch.UserData)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entries[p.Host] = e
	return nil
}

// mergeObject is RFC 7386.
func mergeObject(target, patch map[string]any) map[string]any {
	target = maps.Clone(target)
	if target == nil {
		target = map[string]any{}
	}
	for key, v := range patch {
		switch v := v.(type) {
		case nil:
			delete(target, key)
		case map[string]any:
			sub, _ := target[key].(map[string]any)
			target[key] = mergeObject(sub, v)
		default:
			target[key] = v
		}
	}
	return target
}

func (t *toy) Put(ctx context.Context, e bss.Entry) error {
	if len(e.Hosts) != 1 {
		return lifecycle.Errorf(lifecycle.Invalid, "toy", "", "want one host")
	}
	if err := check(ctx, e.Hosts[0]); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entries[e.Hosts[0]] = copyEntry(e)
	return nil
}

func (t *toy) fetch(_ context.Context, host, endpoint string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fetched[host+" "+endpoint] = 1795168324
	return nil
}

func (t *toy) LastFetch(ctx context.Context, host, endpoint string) (int64, error) {
	if err := check(ctx, host); err != nil {
		return 0, err
	}
	if endpoint != bss.BootScript && endpoint != bss.UserData {
		return 0, lifecycle.Errorf(lifecycle.Invalid, "toy", host, "no such endpoint")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.fetched[host+" "+endpoint], nil
}

// ServeHTTP is the wire as recorded: what is not known is 200 "Hello World!".
func (t *toy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method + " " + r.URL.Path {
	case "GET /apis/bss/boot/v1/bootparameters":
		e, err := t.Get(r.Context(), r.URL.Query().Get("name"))
		if err != nil {
			problem(w, 404, "Cannot find boot parameters for requested Hosts")
			return
		}
		reply(w, []bss.Entry{e})
	case "PATCH /apis/bss/boot/v1/bootparameters":
		var b struct {
			Hosts                  []string
			Params, Kernel, Initrd string
			CloudInit              json.RawMessage `json:"cloud-init"`
		}
		if err := json.NewDecoder(r.Body).Decode(&b); err != nil || len(b.Hosts) != 1 {
			problem(w, 400, "Bad Request")
			return
		}
		if err := t.Patch(r.Context(), bss.Patch{Host: b.Hosts[0], Params: b.Params, Kernel: b.Kernel, Initrd: b.Initrd, CloudInit: b.CloudInit}); err != nil {
			problem(w, 404, "Not Found: Error looking up "+b.Hosts[0])
			return
		}
		reply(w, nil)
	case "PUT /apis/bss/boot/v1/bootparameters":
		var e bss.Entry
		dec := json.NewDecoder(r.Body)
		dec.UseNumber()
		if err := dec.Decode(&e); err != nil {
			problem(w, 400, "Bad Request: "+err.Error())
			return
		}
		_ = t.Put(r.Context(), e)
		reply(w, nil)
	case "GET /apis/bss/boot/v1/endpoint-history":
		host, endpoint := r.URL.Query().Get("name"), r.URL.Query().Get("endpoint")
		at, err := t.LastFetch(r.Context(), host, endpoint)
		if err != nil {
			reply(w, []any{})
			return
		}
		reply(w, []any{map[string]any{"name": host, "endpoint": endpoint, "last_epoch": at}})
	default:
		_, _ = io.WriteString(w, "Hello World!")
	}
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	if v != nil {
		_ = json.NewEncoder(w).Encode(v)
	}
}

func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"type": "about:blank", "title": http.StatusText(status), "detail": detail, "status": status})
}

// inMemory is a transport without sockets, so that a client works on the clock of a synctest bubble.
type inMemory struct{ h http.Handler }

func (m inMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	rec := httptest.NewRecorder()
	m.h.ServeHTTP(rec, r)
	return rec.Result(), nil
}

func clientOf(h http.Handler) *bss.Client {
	return bss.New(bss.Config{URL: "http://gw.test/apis/bss", HTTP: &http.Client{Transport: inMemory{h}}})
}

const xname = "x3000c0s7b0n0"

func worker() bss.Entry {
	return bss.Entry{
		Hosts:  []string{xname},
		Params: "ip=mgmt1:auto6 ip=mgmt0:auto6 console=tty0 metal.server=http://rgw-vip.nmn/ncn-images/k8s/0.1.109 metal.no-wipe=1 root=live:LABEL=SQFSRAID rd.luks append quiet",
		Kernel: "s3://ncn-images/k8s/0.1.109/kernel",
		Initrd: "s3://ncn-images/k8s/0.1.109/initrd",
		CloudInit: bss.CloudInit{
			MetaData: map[string]any{"shasta-role": "ncn-worker", "xname": xname, "mtu": 1376, "nested": map[string]any{"a": "1", "b": "2"}},
			UserData: map[string]any{"hostname": "ncn-w001", "runcmd": []any{"one"}},
		},
	}
}

func words(line string) []string { return strings.Fields(line) }
