package bss_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/bss"
	"github.com/stretchr/testify/require"
)

func TestParamsEdits(t *testing.T) {
	set := func(key, value string) func(*bss.Params) error {
		return func(p *bss.Params) error { return p.Set(key, value) }
	}
	remove := func(key string) func(*bss.Params) error {
		return func(p *bss.Params) error { p.Remove(key); return nil }
	}
	for _, tc := range []struct {
		name, line string
		edit       func(*bss.Params) error
		want       string
	}{
		{"set in place", "a=1 metal.no-wipe=1 b", set("metal.no-wipe", "0"), "a=1 metal.no-wipe=0 b"},
		{"set absent", "a=1", set("b", "2"), "a=1 b=2"},
		{"set on nothing", "", set("b", "2"), "b=2"},
		{"set after blanks", "a  ", set("b", "2"), "a  b=2"},
		{"set removes the others", "x=1 k=1 y k=2 z k", set("k", "3"), "x=1 k=3 y z"},
		{"set makes a flag a value", "a rd.luks b", set("rd.luks", "0"), "a rd.luks=0 b"},
		{"value with equals signs", "root=live:LABEL=OLD q", set("root", "live:LABEL=SQFSRAID"), "root=live:LABEL=SQFSRAID q"},
		{"no key is a prefix of another", "metal.no-wipe-x=1 xmetal.no-wipe=1", set("metal.no-wipe", "0"), "metal.no-wipe-x=1 xmetal.no-wipe=1 metal.no-wipe=0"},
		{"quoted word is one", `a="k=1 k=2" k=3`, set("k", "4"), `a="k=1 k=2" k=4`},
		{"word quoted as a whole", `"k=1 2" b`, set("k", `"3 4"`), `k="3 4" b`},
		{"blanks are kept", "a\t b  c\n", set("b", "2"), "a\t b=2  c\n"},
		{"empty value", "a", set("k", ""), "a k="},
		{"remove first", "k=1 a b", remove("k"), "a b"},
		{"remove last", "a b k=1", remove("k"), "a b"},
		{"remove repeated", "ip=1 a ip=2 b ip", remove("ip"), "a b"},
		{"remove absent", " a  b ", remove("k"), " a  b "},
		{"remove flag", "a append b", remove("append"), "a b"},
		{"add repeats", "ip=1", func(p *bss.Params) error { return p.Add("ip", "2") }, "ip=1 ip=2"},
		{"add flag", "a", func(p *bss.Params) error { return p.AddFlag("quiet") }, "a quiet"},
		{"add flag that is there", "quiet a", func(p *bss.Params) error { return p.AddFlag("quiet") }, "quiet a"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := bss.ParseParams(tc.line)
			copied := p
			require.NoError(t, tc.edit(&p))
			require.Equal(t, tc.want, p.String())
			require.Equal(t, tc.line, copied.String(), "a copy is independent")
		})
	}
}

func TestParamsReads(t *testing.T) {
	p := bss.ParseParams(`ip=a ip=b rd.luks root=live:LABEL=X q="b c" "r=d e" ip`)
	require.Equal(t, []string{"a", "b", ""}, p.All("ip"))
	for key, want := range map[string]string{"rd.luks": "", "root": "live:LABEL=X", "q": "b c", "r": "d e", "ip": ""} {
		got, ok := p.Get(key)
		require.True(t, ok, key)
		require.Equal(t, want, got, key)
		require.True(t, p.Has(key))
	}
	_, ok := p.Get("c")
	require.False(t, ok)
	require.False(t, p.Has("LABEL"))
}

func TestParamsRefuses(t *testing.T) {
	for _, tc := range []struct{ name, line, key, value string }{
		{"blank", "a", "k", "b c"},
		{"tab", "a", "k", "b\tc"},
		{"newline in quotes", "a", "k", "\"b\nc\""},
		{"NUL", "a", "k", "\x00"},
		{"escape", "a", "k", "\x1b[0m"},
		{"half a quote", "a", "k", `"b c`},
		{"one quote", "a", "k", `"`},
		{"quote inside", "a", "k", `a"b`},
		{"three quotes", "a", "k", `"a"b"`},
		{"not UTF-8", "a", "k", "\xff"},
		{"no-break space", "a", "k", "a\u00a0b"},
		{"key empty", "a", "", "v"},
		{"key with equals", "a", "k=x", "v"},
		{"key with blank", "a", "k x", "v"},
		{"key that ends a boot command", "a", "||", "v"},
		{"line not closed", `a="b`, "k", "v"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := bss.ParseParams(tc.line)
			require.ErrorIs(t, p.Set(tc.key, tc.value), lifecycle.Invalid)
			require.ErrorIs(t, p.Add(tc.key, tc.value), lifecycle.Invalid)
			require.Equal(t, tc.line, p.String())
		})
	}
	p := bss.ParseParams(`a="b`)
	require.ErrorIs(t, p.AddFlag("k"), lifecycle.Invalid)
}

// dump reads every entry of a real system.
func dump(t *testing.T) []bss.Entry {
	t.Helper()
	shared := os.Getenv("LIFECYCLE_SHARED")
	if shared == "" {
		t.Skip("LIFECYCLE_SHARED is not set: the entries of a real system are NOT checked; set it to the directory that holds data/bss-bootparameters.json")
	}
	b, err := os.ReadFile(filepath.Join(shared, "data", "bss-bootparameters.json"))
	require.NoError(t, err)
	var entries []bss.Entry
	require.NoError(t, json.Unmarshal(b, &entries))
	require.Greater(t, len(entries), 9)
	return entries
}

func TestParamsOfARealSystem(t *testing.T) {
	for _, e := range dump(t) {
		if e.Params == "" {
			continue
		}
		p := bss.ParseParams(e.Params)
		require.Equal(t, e.Params, p.String())
		require.Equal(t, words(e.Params), words(p.String()))
		before := words(e.Params)
		had := p.Has("metal.no-wipe")
		require.NoError(t, p.Set("metal.no-wipe", "0"))
		after := words(p.String())
		if !had {
			require.Equal(t, append(before, "metal.no-wipe=0"), after)
			continue
		}
		require.Len(t, after, len(before))
		changed := 0
		for i := range before {
			if before[i] != after[i] {
				changed++
				require.Equal(t, "metal.no-wipe=0", after[i])
			}
		}
		require.Equal(t, 1, changed, e.Hosts)
	}
}

func FuzzParams(f *testing.F) {
	f.Add("a=1 metal.no-wipe=1 b", "metal.no-wipe", "0")
	f.Add(`ip=1 q="b c" ip=2  `, "ip", `"x y"`)
	f.Add(`"k=1 2`, "k", "v")
	f.Add("k k=1 \t\n k", "k", "")
	f.Fuzz(func(t *testing.T, line, key, value string) {
		p := bss.ParseParams(line)
		if p.String() != line {
			t.Fatalf("not lossless: %q became %q", line, p.String())
		}
		removed := p
		removed.Remove(key)
		if again := bss.ParseParams(removed.String()); again.Has(key) {
			t.Fatalf("%q still has %q after Remove: %q", line, key, removed.String())
		}
		if err := p.Set(key, value); err != nil {
			if p.String() != line {
				t.Fatalf("a refused Set changed %q to %q", line, p.String())
			}
			return
		}
		again := bss.ParseParams(p.String())
		plain := strings.TrimSuffix(strings.TrimPrefix(value, `"`), `"`)
		if diff := cmp.Diff([]string{plain}, again.All(key)); diff != "" {
			t.Fatalf("Set(%q, %q) on %q gave %q: %s", key, value, line, p.String(), diff)
		}
		again.Remove(key)
		if a, b := strings.Fields(again.String()), strings.Fields(removed.String()); cmp.Diff(a, b) != "" {
			t.Fatalf("Set(%q) on %q changed other words: %q, %q", key, line, a, b)
		}
	})
}
