package bsstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/bss"
)

// TB is the part of testing.TB that the suite needs. Fatalf does not return.
type TB interface {
	Helper()
	Context() context.Context
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Check is one property of an [bss.API]. It is a plain value.
type Check struct {
	Name string
	run  func(tb TB, api bss.API, o options)
}

// Run checks api, which must be empty.
func (c Check) Run(tb TB, api bss.API, opts ...Option) {
	tb.Helper()
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	c.run(tb, api, o)
}

// Option tells the suite what it cannot find out through the interface.
type Option func(*options)

type options struct {
	fetch func(ctx context.Context, host, endpoint string) error
}

// WithFetch gives the suite a way to fetch an endpoint as a node would, so that it can check that the history moves.
func WithFetch(fetch func(ctx context.Context, host, endpoint string) error) Option {
	return func(o *options) { o.fetch = fetch }
}

// API runs all checks, each on an empty API that open returns.
func API(tb TB, open func(tb TB) bss.API, opts ...Option) {
	tb.Helper()
	for _, c := range Checks() {
		c.Run(named{tb, c.Name}, open(tb), opts...)
	}
}

// named puts the check's name before what it reports.
type named struct {
	TB
	name string
}

func (n named) Errorf(format string, args ...any) {
	n.Helper()
	n.TB.Errorf("%s: %s", n.name, fmt.Sprintf(format, args...))
}

func (n named) Fatalf(format string, args ...any) {
	n.Helper()
	n.TB.Fatalf("%s: %s", n.name, fmt.Sprintf(format, args...))
}

// Checks returns the checks in a fixed order.
func Checks() []Check {
	return []Check{
		{"absent is NotFound", absent},
		{"bad names are Invalid", badNames},
		{"a canceled context is an error", canceled},
		{"put creates Global and nodes", putCreates},
		{"put replaces everything", putReplaces},
		{"put needs exactly one host", putHosts},
		{"patch changes only what it names", patchScalars},
		{"patch does not clear", patchClears},
		{"cloud-init is a merge patch", patchMerges},
		{"a null part is left alone", patchNull},
		{"an object takes the place of a scalar, and back", patchTypes},
		{"numbers keep their text", numbers},
		{"what is returned is the caller's", copies},
		{"never fetched is 0", history},
		{"update writes and reads back", update},
		{"a locker serialises updates", concurrent},
		{"arm and disarm", noWipe},
	}
}

const node = "x3000c0s7b0n0"

func entry() bss.Entry {
	return bss.Entry{
		Hosts:  []string{node},
		Params: "console=tty0 console=ttyS0,115200 metal.server=s3://boot-images/a/rootfs metal.no-wipe=1 rd.luks",
		Kernel: "s3://boot-images/a/kernel",
		Initrd: "s3://boot-images/a/initrd",
		CloudInit: bss.CloudInit{
			MetaData: map[string]any{"shasta-role": "ncn-worker", "wipe": "no", "nested": map[string]any{"a": "1", "b": "2"}},
			UserData: map[string]any{"hostname": "ncn-w001", "runcmd": []any{"one", "two"}},
		},
	}
}

func put(tb TB, api bss.API, e bss.Entry) {
	tb.Helper()
	if err := api.Put(tb.Context(), e); err != nil {
		tb.Fatalf("Put: %v", err)
	}
}

func patch(tb TB, api bss.API, p bss.Patch) {
	tb.Helper()
	if err := api.Patch(tb.Context(), p); err != nil {
		tb.Fatalf("Patch: %v", err)
	}
}

// want compares the entry of a host with what it should be. Empty maps and missing ones are the same.
func want(tb TB, api bss.API, e bss.Entry) {
	tb.Helper()
	got, err := api.Get(tb.Context(), e.Hosts[0])
	if err != nil {
		tb.Fatalf("Get: %v", err)
	}
	if g, w := text(tb, got), text(tb, e); g != w {
		tb.Errorf("Get:\n got %s\nwant %s", g, w)
	}
}

func text(tb TB, e bss.Entry) string {
	tb.Helper()
	b, err := json.Marshal(e)
	if err != nil {
		tb.Fatalf("entry is not JSON: %v", err)
	}
	return string(b)
}

func wantKind(tb TB, what string, err error, kind lifecycle.Kind) {
	tb.Helper()
	if !errors.Is(err, kind) {
		tb.Errorf("%s: got error %v, want one of kind %q", what, err, kind)
	}
}

func absent(tb TB, api bss.API, _ options) {
	ctx := tb.Context()
	_, err := api.Get(ctx, node)
	wantKind(tb, "Get", err, lifecycle.NotFound)
	wantKind(tb, "Patch", api.Patch(ctx, bss.Patch{Host: node, Params: "a=b"}), lifecycle.NotFound)
	_, err = api.Get(ctx, node)
	wantKind(tb, "Get after Patch", err, lifecycle.NotFound)
	err = bss.Update(ctx, api, node, func(e *bss.Entry) error { e.Params = "a=b"; return nil })
	wantKind(tb, "Update", err, lifecycle.NotFound)
}

func badNames(tb TB, api bss.API, _ options) {
	ctx := tb.Context()
	put(tb, api, entry())
	for _, host := range []string{"", node + ",Global", "a b", "../x", "x\n"} {
		_, err := api.Get(ctx, host)
		wantKind(tb, fmt.Sprintf("Get(%q)", host), err, lifecycle.Invalid)
		wantKind(tb, fmt.Sprintf("Patch(%q)", host), api.Patch(ctx, bss.Patch{Host: host, Params: "a=b"}), lifecycle.Invalid)
		wantKind(tb, fmt.Sprintf("Put(%q)", host), api.Put(ctx, bss.Entry{Hosts: []string{host}}), lifecycle.Invalid)
	}
	want(tb, api, entry())
}

func canceled(tb TB, api bss.API, _ options) {
	put(tb, api, entry())
	ctx, cancel := context.WithCancel(tb.Context())
	cancel()
	_, err := api.Get(ctx, node)
	wantKind(tb, "Get", err, lifecycle.Canceled)
}

func putCreates(tb TB, api bss.API, _ options) {
	global := bss.Entry{Hosts: []string{bss.Global}, CloudInit: bss.CloudInit{MetaData: map[string]any{"first-master-hostname": "ncn-m001"}}}
	put(tb, api, global)
	put(tb, api, entry())
	want(tb, api, global)
	want(tb, api, entry())
}

func putReplaces(tb TB, api bss.API, _ options) {
	put(tb, api, entry())
	only := bss.Entry{Hosts: []string{node}, Params: "only=this"}
	put(tb, api, only)
	want(tb, api, only)
}

func putHosts(tb TB, api bss.API, _ options) {
	wantKind(tb, "Put without a host", api.Put(tb.Context(), bss.Entry{Params: "a=b"}), lifecycle.Invalid)
	wantKind(tb, "Put with two", api.Put(tb.Context(), bss.Entry{Hosts: []string{node, bss.Global}}), lifecycle.Invalid)
	_, err := api.Get(tb.Context(), node)
	wantKind(tb, "Get", err, lifecycle.NotFound)
}

func patchScalars(tb TB, api bss.API, _ options) {
	put(tb, api, entry())
	e := entry()
	e.Params = "metal.no-wipe=0 rd.luks"
	patch(tb, api, bss.Patch{Host: node, Params: e.Params})
	want(tb, api, e)
	e.Kernel, e.Initrd = "s3://boot-images/b/kernel", "s3://boot-images/b/initrd"
	patch(tb, api, bss.Patch{Host: node, Kernel: e.Kernel, Initrd: e.Initrd})
	want(tb, api, e)
}

func patchClears(tb TB, api bss.API, _ options) {
	put(tb, api, entry())
	patch(tb, api, bss.Patch{Host: node})
	want(tb, api, entry())
	err := bss.Update(tb.Context(), api, node, func(e *bss.Entry) error { e.Params = ""; return nil })
	wantKind(tb, "Update", err, lifecycle.Invalid)
	want(tb, api, entry())
}

func patchMerges(tb TB, api bss.API, _ options) {
	put(tb, api, entry())
	patch(tb, api, bss.Patch{Host: node, CloudInit: json.RawMessage(
		`{"meta-data":{"wipe":null,"nested":{"b":"3","c":"4"},"new":"n"},"user-data":{"runcmd":["three"]}}`)})
	e := entry()
	delete(e.CloudInit.MetaData, "wipe")
	e.CloudInit.MetaData["nested"] = map[string]any{"a": "1", "b": "3", "c": "4"}
	e.CloudInit.MetaData["new"] = "n"
	e.CloudInit.UserData["runcmd"] = []any{"three"}
	want(tb, api, e)
}

func patchNull(tb TB, api bss.API, _ options) {
	put(tb, api, entry())
	patch(tb, api, bss.Patch{Host: node, CloudInit: json.RawMessage(`{"meta-data":null,"user-data":null}`)})
	want(tb, api, entry())
}

func patchTypes(tb TB, api bss.API, _ options) {
	put(tb, api, entry())
	patch(tb, api, bss.Patch{Host: node, CloudInit: json.RawMessage(`{"meta-data":{"wipe":{"osds":"no"},"nested":"flat"}}`)})
	e := entry()
	e.CloudInit.MetaData["wipe"] = map[string]any{"osds": "no"}
	e.CloudInit.MetaData["nested"] = "flat"
	want(tb, api, e)
}

func numbers(tb TB, api bss.API, _ options) {
	put(tb, api, bss.Entry{Hosts: []string{bss.Global}, CloudInit: bss.CloudInit{MetaData: map[string]any{"mtu": 1376}}})
	patch(tb, api, bss.Patch{Host: bss.Global, CloudInit: json.RawMessage(`{"meta-data":{"pods":{"max":200}}}`)})
	e, err := api.Get(tb.Context(), bss.Global)
	if err != nil {
		tb.Fatalf("Get: %v", err)
	}
	for key, number := range map[string]json.Number{"mtu": "1376", "pods.max": "200"} {
		if got, _ := bss.GetMeta(e, key); got != any(number) {
			tb.Errorf("%s is %T %v, want json.Number %s", key, got, got, number)
		}
	}
}

func copies(tb TB, api bss.API, _ options) {
	mine := entry()
	put(tb, api, mine)
	mine.CloudInit.MetaData["nested"].(map[string]any)["a"] = "changed after Put"
	e, err := api.Get(tb.Context(), node)
	if err != nil {
		tb.Fatalf("Get: %v", err)
	}
	e.CloudInit.MetaData["nested"].(map[string]any)["a"] = "changed after Get"
	e.CloudInit.UserData["runcmd"].([]any)[0] = "changed"
	e.Hosts[0] = "changed"
	want(tb, api, entry())
}

func history(tb TB, api bss.API, o options) {
	ctx := tb.Context()
	put(tb, api, entry())
	for _, endpoint := range []string{bss.BootScript, bss.UserData} {
		if at, err := api.LastFetch(ctx, node, endpoint); at != 0 || err != nil {
			tb.Errorf("LastFetch(%s) before any boot: %d, %v; want 0", endpoint, at, err)
		}
	}
	_, err := api.LastFetch(ctx, node, "bootscripts")
	wantKind(tb, "LastFetch of an endpoint that is not recorded", err, lifecycle.Invalid)
	if o.fetch == nil {
		return
	}
	if err := o.fetch(ctx, node, bss.BootScript); err != nil {
		tb.Fatalf("fetch: %v", err)
	}
	if at, err := api.LastFetch(ctx, node, bss.BootScript); at <= 0 || err != nil {
		tb.Errorf("LastFetch after a fetch: %d, %v; want Unix seconds", at, err)
	}
	if at, err := api.LastFetch(ctx, node, bss.UserData); at != 0 || err != nil {
		tb.Errorf("LastFetch of the other endpoint: %d, %v; want 0", at, err)
	}
}

func update(tb TB, api bss.API, _ options) {
	put(tb, api, entry())
	edit := func(e *bss.Entry) error {
		e.Kernel = "s3://boot-images/b/kernel"
		return errors.Join(
			bss.SetMeta(e, "nested.c", []string{"x", "y"}),
			bss.DeleteMeta(e, "wipe"),
			bss.SetUser(e, "ntp.enabled", true))
	}
	if err := bss.Update(tb.Context(), api, node, edit); err != nil {
		tb.Fatalf("Update: %v", err)
	}
	e := entry()
	if err := edit(&e); err != nil {
		tb.Fatalf("edit: %v", err)
	}
	want(tb, api, e)
}

func concurrent(tb TB, api bss.API, _ options) {
	if _, ok := api.(bss.Locker); !ok {
		return
	}
	put(tb, api, entry())
	e := entry()
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		key := fmt.Sprintf("key-%d", i)
		e.CloudInit.MetaData[key] = "here"
		wg.Go(func() {
			errs[i] = bss.Update(tb.Context(), api, node, func(e *bss.Entry) error { return bss.SetMeta(e, key, "here") })
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		tb.Errorf("Update: %v", err)
	}
	want(tb, api, e)
}

func noWipe(tb TB, api bss.API, _ options) {
	put(tb, api, entry())
	for _, step := range []struct {
		name  string
		do    func(context.Context, bss.API, string, ...bss.Option) error
		value string
	}{{"Arm", bss.Arm, "0"}, {"Arm again", bss.Arm, "0"}, {"Disarm", bss.Disarm, "1"}} {
		if err := step.do(tb.Context(), api, node); err != nil {
			tb.Fatalf("%s: %v", step.name, err)
		}
		e, err := api.Get(tb.Context(), node)
		if err != nil {
			tb.Fatalf("Get: %v", err)
		}
		got := bss.ParseParams(e.Params).All("metal.no-wipe")
		if !reflect.DeepEqual(got, []string{step.value}) || bss.Armed(e) != (step.value == "0") {
			tb.Errorf("%s: metal.no-wipe is %q, armed %t", step.name, got, bss.Armed(e))
		}
	}
}
