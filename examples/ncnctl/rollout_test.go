package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/examples/site"
)

func TestWindow(t *testing.T) {
	for text, want := range map[string]lifecycle.Window{
		"22:00-05:00":                         {Start: "22:00", End: "05:00"},
		"22:00-05:00 Europe/Zurich":           {Start: "22:00", End: "05:00", Location: "Europe/Zurich"},
		"Mon-Wed 22:00-05:00":                 {Start: "22:00", End: "05:00", Days: []time.Weekday{1, 2, 3}},
		"Fri-Sun,Wed 01:00-02:00 Europe/Rome": {Start: "01:00", End: "02:00", Days: []time.Weekday{5, 6, 0, 3}, Location: "Europe/Rome"},
	} {
		var w window
		require.NoError(t, w.UnmarshalText([]byte(text)), text)
		require.Equal(t, want, w.Window, text)
	}
	for _, text := range []string{"", "tonight", "Mon", "Mo 22:00-05:00", "Mon- 22:00-05:00", "22:00", "22:00-05:00 UTC more", "Mon Tue 22:00-05:00"} {
		var w window
		require.Error(t, w.UnmarshalText([]byte(text)), text)
	}
}

// What is read is said in a way that is read the same.
func FuzzWindow(f *testing.F) {
	f.Add("Fri-Sun,Wed 01:00-02:00 Europe/Rome")
	f.Add("22:00-05:00")
	f.Fuzz(func(t *testing.T, text string) {
		var w, again window
		if w.UnmarshalText([]byte(text)) != nil || (lifecycle.Policy{Windows: []lifecycle.Window{w.Window}}).Check() != nil {
			return
		}
		require.NoError(t, again.UnmarshalText([]byte(windowText(w.Window))))
		require.Equal(t, w, again)
	})
}

func TestOutages(t *testing.T) {
	got, err := parseOutages("# drained\nncn-w001\n\n ncn-w002 ops the DIMM  is replaced # until noon\nncn-w003 ops\n")
	require.NoError(t, err)
	require.Equal(t, []lifecycle.Outage{
		{Host: "ncn-w001", By: "others"}, {Host: "ncn-w002", By: "ops", Why: "the DIMM is replaced"}, {Host: "ncn-w003", By: "ops"},
	}, got)
	_, err = parseOutages("ncn-w001\nncn_w002\n")
	require.ErrorContains(t, err, "line 2")
}

// Nobody is out for no reason, and whoever is out has a name that a host can have.
func FuzzOutages(f *testing.F) {
	f.Add("ncn-w001\nncn-w002 ops a DIMM # x\n")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseOutages(text)
		if err != nil {
			return
		}
		require.LessOrEqual(t, len(list), strings.Count(text, "\n")+1)
		for _, o := range list {
			require.NoError(t, lifecycle.CheckName(o.Host))
			require.NotEmpty(t, o.By)
		}
	})
}

// A policy file has the flags' names, and numbers may be numbers.
func TestPolicyFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy.yaml")
	require.NoError(t, os.WriteFile(file, []byte(`
width: 4
max-unavailable: 25%
canary: 1
wave-first: 2
wave-growth: 1.5
soak: 10m
budget: 3,10%
budget-per-wave: 1
min-tried: 5
per-group: 2
serial: true
window: [Mon-Tue 22:00-05:00 Europe/Zurich]
stagger: 30s
host-deadline: 2h
out-deadline: 3h
`), 0o600))
	span := func(d time.Duration) site.Duration { return site.Duration{Duration: d} }
	flags := policyFlags{policyValues: policyValues{
		Width: 4, MaxUnavailable: amount{lifecycle.Amount{Percent: 25}}, Canary: 1, WaveFirst: amount{lifecycle.Amount{Count: 2}}, WaveGrowth: 1.5,
		Soak: span(10 * time.Minute), Budget: amount{lifecycle.Amount{Count: 3, Percent: 10}}, BudgetPerWave: amount{lifecycle.Amount{Count: 1}},
		MinTried: 5, PerGroup: 2, Serial: true, Stagger: span(30 * time.Second), HostDeadline: span(2 * time.Hour), OutDeadline: span(3 * time.Hour),
		Window: []window{{lifecycle.Window{Days: []time.Weekday{1, 2}, Start: "22:00", End: "05:00", Location: "Europe/Zurich"}}},
	}}
	fromFlags, err := flags.policy()
	require.NoError(t, err)
	fromFile, err := policyFlags{Policy: file}.policy()
	require.NoError(t, err)
	require.Equal(t, fromFlags, fromFile)
	require.Len(t, limits(fromFile, 40), 12)

	require.Error(t, policyFlags{Policy: file, policyValues: policyValues{Serial: true}}.Validate())
	_, err = policyFlags{Policy: file + ".none"}.policy()
	require.Equal(t, lifecycle.Invalid, lifecycle.KindOf(err))
}

func TestRack(t *testing.T) {
	require.Equal(t, "x3000", rack("x3000c0s2b0n0"))
	require.Equal(t, "x1", rack("x1c0s2b0n0"))
	require.Equal(t, "somewhere", rack("somewhere"))
}

// Of a rollout only hosts under way have a line on a terminal; how one ended is said above.
func TestRolloutBars(t *testing.T) {
	var out watched
	a := newApp(globals{}, nil, strings.NewReader(""), &bytes.Buffer{}, &out, noEnv)
	a.screen = true
	p := a.rolloutProgress(1)
	at := time.Now()
	event := func(run, target string, e lifecycle.Event) {
		e.Time, e.Run, e.Target, e.Total = at, run, target, 3
		p.observe(e)
	}
	event("r", "rollout-r", lifecycle.Event{Type: lifecycle.EventPlan, Summary: lifecycle.KindRollout})
	for _, host := range []string{"ncn-w002", "ncn-w003"} {
		event("r", "rollout-r", lifecycle.Event{Type: lifecycle.EventStep, Step: host, Index: 2})
		event("r-"+host, host, lifecycle.Event{Type: lifecycle.EventPlan, Summary: "ncn.rebuild"})
	}
	event("r-ncn-w002", "ncn-w002", lifecycle.Event{Type: lifecycle.EventEnd, State: lifecycle.Done})
	require.Positive(t, a.driving.Load(), "Ctrl-C stops at a safe point while any is under way")
	event("r", "rollout-r", lifecycle.Event{Type: lifecycle.EventResult, Step: "ncn-w002", Index: 2, Outcome: lifecycle.OutcomeDone})
	event("r", "rollout-r", lifecycle.Event{Type: lifecycle.EventWait, Detail: "no new start: paused"})
	p.close()

	drawn := out.String()[strings.LastIndex(out.String(), "\x1b[J")+len("\x1b[J"):]
	require.Contains(t, drawn, "rollout    [#########.....]  2/3 ")
	require.Contains(t, drawn, "no new start: paused")
	require.Contains(t, drawn, "ncn-w003 ")
	require.NotContains(t, drawn, "ncn-w002 ")
	require.Regexp(t, `\[Jncn-w002 .* done\n`, out.String())
}
