package backup_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/backup"
)

func TestLoad(t *testing.T) {
	store := newMemory()
	_, err := backup.Load(t.Context(), store, prefix)
	requireKind(t, lifecycle.NotFound, err)
	_, err = backup.Load(t.Context(), nil, prefix)
	requireKind(t, lifecycle.Invalid, err)

	good := mustCreate(t, store, tarOf(t, home...))
	text := string(manifest(t, good))
	for what, bad := range map[string]string{
		"nothing":         "",
		"no JSON":         "archive",
		"no manifest":     "{}",
		"a list":          "[]",
		"two of them":     text + text,
		"space":           text + " ",
		"other spelling":  strings.Replace(text, `"host"`, `"Host"`, 1),
		"an unknown key":  strings.Replace(text, `"host"`, `"x":1,"host"`, 1),
		"no sum":          strings.Replace(text, good.Sum, "", 1),
		"another machine": strings.Replace(text, info.XName, "x3000c0s8b0n0", 1),
		"entries no list": `{"version":1,"entries":{"a":1}}`,
		"many entries":    `{"version":1,"entries":[` + strings.Repeat("{},", 50) + "{}]}",
	} {
		store.objects[prefix+manifestKey] = []byte(bad)
		_, err = backup.Load(t.Context(), store, prefix, backup.WithLimits(backup.Limits{Entries: 20}))
		require.Error(t, err, what)
		requireKind(t, lifecycle.Precondition, err)
	}
}

func TestMode(t *testing.T) {
	for text, want := range map[string]backup.Mode{"0644": 0o644, "4755": 0o4755, "0000": 0} {
		var m backup.Mode
		require.NoError(t, m.UnmarshalText([]byte(text)))
		require.Equal(t, want, m)
		require.Equal(t, text, fmt.Sprint(m))
	}
	var m backup.Mode
	for _, bad := range []string{"", "9", "-1", "10000", "0x1", "0o644"} {
		require.Error(t, m.UnmarshalText([]byte(bad)), bad)
	}
}

func FuzzLoad(f *testing.F) {
	store := newMemory()
	f.Add(manifest(f, mustCreate(f, store, tarOf(f, home...))))
	f.Add([]byte(`{"version":1,"entries":[{}]}`))
	f.Add([]byte(`{"version":1,"host":"ncn-w001","run":"run-1","entries":null,"sum":""}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		store := newMemory()
		store.objects[prefix+manifestKey] = data
		m, err := backup.Load(t.Context(), store, prefix, backup.WithLimits(backup.Limits{Entries: 50}))
		if err != nil {
			requireKind(t, lifecycle.Precondition, err)
			return
		}
		require.Equal(t, string(data), string(manifest(t, m)), "there is one way to write a manifest")
	})
}
