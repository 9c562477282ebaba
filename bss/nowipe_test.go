package bss_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/bss"
	"github.com/stretchr/testify/require"
)

func TestI7Armed(t *testing.T) {
	for line, armed := range map[string]bool{
		"":                                  true, // absent means wipe
		"quiet":                             true,
		"metal.no-wipe=0":                   true,
		"metal.no-wipe=1":                   false,
		"metal.no-wipe=1 metal.no-wipe=1":   false,
		"metal.no-wipe=1 metal.no-wipe=0":   true,
		"metal.no-wipe=0 metal.no-wipe=1":   true,
		"metal.no-wipe":                     true,
		"metal.no-wipe=":                    true,
		"metal.no-wipe=yes":                 true,
		`metal.no-wipe="1"`:                 false,
		`"metal.no-wipe=1"`:                 false,
		`note="metal.no-wipe=1"`:            true,
		"metal.no-wipe2=1 xmetal.no-wipe=1": true,
		"metal_no_wipe=1":                   true,
	} {
		require.Equal(t, armed, bss.Armed(bss.Entry{Params: line}), line)
	}
}

func TestI7ArmAndDisarmWriteOnce(t *testing.T) {
	for _, tc := range []struct{ name, before, armed, disarmed string }{
		{"set", "a metal.no-wipe=1 b", "a metal.no-wipe=0 b", "a metal.no-wipe=1 b"},
		{"absent", "a b", "a b metal.no-wipe=0", "a b metal.no-wipe=1"},
		{"twice", "metal.no-wipe=1 a metal.no-wipe=0", "metal.no-wipe=0 a", "metal.no-wipe=1 a"},
		{"no line at all", "", "metal.no-wipe=0", "metal.no-wipe=1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, op := range []struct {
				do   func(context.Context, bss.API, string, ...bss.Option) error
				want string
			}{{bss.Arm, tc.armed}, {bss.Disarm, tc.disarmed}} {
				e := worker()
				e.Params = tc.before
				api := newToy(e)
				require.NoError(t, op.do(t.Context(), api, xname))
				require.Equal(t, op.want, api.entry(xname).Params)
				require.LessOrEqual(t, len(api.writes), 1)
				for _, w := range api.writes {
					require.Equal(t, bss.Patch{Host: xname, Params: op.want}, w, "no write leaves the key out")
				}
			}
		})
	}
}

func TestDisarmIsReadBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := worker()
		e.Params = "metal.no-wipe=0"
		api := newToy(e)
		api.lose = 3
		require.NoError(t, bss.Disarm(t.Context(), api, xname))
		require.False(t, bss.Armed(api.entry(xname)))
		api.lose = 100
		require.ErrorIs(t, bss.Arm(t.Context(), api, xname), lifecycle.Conflict)
		require.False(t, bss.Armed(api.entry(xname)))
	})
}

func TestArmRefusesWhatIsNoNode(t *testing.T) {
	api := newToy(bss.Entry{Hosts: []string{bss.Global}, Params: "metal.no-wipe=1"}, bss.Entry{Hosts: []string{"Default"}})
	for _, name := range []string{bss.Global, "Default", "", "ncn-w001", "x3000c0s7b0", xname + "," + xname} {
		require.ErrorIs(t, bss.Arm(t.Context(), api, name), lifecycle.Invalid, name)
		require.ErrorIs(t, bss.Disarm(t.Context(), api, name), lifecycle.Invalid, name)
	}
	require.Empty(t, api.writes)
	require.ErrorIs(t, bss.Arm(t.Context(), api, xname), lifecycle.NotFound)
}

func TestDisarmWorksOnALineWithControlCharacters(t *testing.T) {
	e := worker()
	e.Params = "a metal.no-wipe=0\n"
	api := newToy(e)
	require.NoError(t, bss.Disarm(t.Context(), api, xname))
	require.Equal(t, "a metal.no-wipe=1\n", api.entry(xname).Params)
}
