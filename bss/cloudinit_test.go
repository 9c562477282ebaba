package bss_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/bss"
	"github.com/stretchr/testify/require"
)

func TestSetMeta(t *testing.T) {
	var e bss.Entry
	require.NoError(t, bss.SetMeta(&e, "a.b.c", 1))
	require.NoError(t, bss.SetMeta(&e, "a.b.d", map[string]string{"x": "y"}))
	require.NoError(t, bss.SetMeta(&e, "a.b.d.z", []string{"q"}), "what was set can be entered")
	require.NoError(t, bss.SetUser(&e, "hostname", "ncn-w001"))
	want := bss.CloudInit{
		MetaData: map[string]any{"a": map[string]any{"b": map[string]any{"c": json.Number("1"), "d": map[string]any{"x": "y", "z": []any{"q"}}}}},
		UserData: map[string]any{"hostname": "ncn-w001"},
	}
	require.Empty(t, cmp.Diff(want, e.CloudInit))
	require.NoError(t, bss.DeleteMeta(&e, "a.b"))
	require.NoError(t, bss.DeleteMeta(&e, "a.b.c"), "absent is no error")
	require.NoError(t, bss.DeleteMeta(&e, "x.y.z"))
	require.NoError(t, bss.DeleteUser(&e, "hostname.x"))
	require.NoError(t, bss.DeleteUser(&e, "hostname"))
	require.Empty(t, cmp.Diff(bss.CloudInit{MetaData: map[string]any{"a": map[string]any{}}, UserData: map[string]any{}}, e.CloudInit))
	_, ok := bss.GetUser(e, "hostname")
	require.False(t, ok)
}

func TestSetMetaRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		key   string
		value any
	}{
		"no key":              {"", 1},
		"a dot first":         {".a", 1},
		"a dot last":          {"a.", 1},
		"two dots":            {"a..b", 1},
		"too deep":            {strings.Repeat("a.", 32) + "a", 1},
		"through a scalar":    {"shasta-role.x", 1},
		"through an array":    {"list.0", 1},
		"null":                {"new", nil},
		"null in an object":   {"new", map[string]any{"x": nil}},
		"what JSON cannot do": {"new", func() {}},
	} {
		t.Run(name, func(t *testing.T) {
			e := worker()
			e.CloudInit.MetaData["list"] = []any{"x"}
			before := len(e.CloudInit.MetaData)
			require.ErrorIs(t, bss.SetMeta(&e, tc.key, tc.value), lifecycle.Invalid)
			require.Len(t, e.CloudInit.MetaData, before)
		})
	}
	var e bss.Entry
	require.ErrorIs(t, bss.DeleteMeta(&e, "a..b"), lifecycle.Invalid)
	require.NoError(t, bss.SetMeta(&e, "list", []any{nil, map[string]any{"x": nil}}), "inside an array, null is a value")
}

func FuzzDottedKeys(f *testing.F) {
	f.Add(`{"a":{"b":1},"c":[1,null]}`, "a.b", "v")
	f.Add(`{}`, "a..b", "")
	f.Add(`{"":{"":0}}`, "x.y.z", "w")
	f.Fuzz(func(t *testing.T, doc, key, value string) {
		var e bss.Entry
		if json.Unmarshal([]byte(doc), &e.CloudInit.MetaData) != nil {
			return
		}
		e = copyEntry(e)
		before := copyEntry(e)
		if err := bss.SetMeta(&e, key, value); err != nil {
			if diff := cmp.Diff(before, copyEntry(e)); diff != "" {
				t.Fatalf("a refused SetMeta changed something: %s", diff)
			}
			return
		}
		if got, ok := bss.GetMeta(e, key); !ok || got != any(strings.ToValidUTF8(value, "\ufffd")) {
			if strings.ToValidUTF8(value, "") == value {
				t.Fatalf("set %q to %q, got %v", key, value, got)
			}
		}
		if err := bss.DeleteMeta(&e, key); err != nil {
			t.Fatal(err)
		}
		if _, ok := bss.GetMeta(e, key); ok {
			t.Fatalf("%q is there after DeleteMeta", key)
		}
	})
}

// What Update computes must give the wanted document under RFC 7386, or be refused.
func FuzzMergePatch(f *testing.F) {
	f.Add(`{"a":{"b":1},"c":2}`, `{"a":{"d":1}}`)
	f.Add(`{"a":{"b":null}}`, `{"a":{"b":null,"c":{}}}`)
	f.Add(`{"a":[1,{"x":null}]}`, `{"a":[{"x":null}]}`)
	f.Add(`{"a":1.0}`, `{"a":1}`)
	f.Fuzz(func(t *testing.T, before, after string) {
		var from, to map[string]any
		if json.Unmarshal([]byte(before), &from) != nil || json.Unmarshal([]byte(after), &to) != nil || len(from) == 0 {
			return
		}
		api := newToy(bss.Entry{Hosts: []string{xname}, CloudInit: bss.CloudInit{MetaData: from}})
		err := bss.Update(t.Context(), api, xname, func(e *bss.Entry) error { e.CloudInit.MetaData = to; return nil }, bss.WithAttempts(1))
		if err != nil && lifecycle.KindOf(err) != lifecycle.Invalid {
			t.Fatalf("from %s to %s by %s: %v", before, after, api.writes, err)
		}
	})
}
