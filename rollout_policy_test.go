package lifecycle_test

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
)

func TestAmount(t *testing.T) {
	for text, want := range map[string]struct {
		amount lifecycle.Amount
		of     [4]int // 1, 10, 99, 10000 hosts
	}{
		"":        {lifecycle.Amount{}, [4]int{0, 0, 0, 0}},
		"3":       {lifecycle.Amount{Count: 3}, [4]int{3, 3, 3, 3}},
		"25%":     {lifecycle.Amount{Percent: 25}, [4]int{1, 2, 24, 2500}},
		"3,25%":   {lifecycle.Amount{Count: 3, Percent: 25}, [4]int{1, 2, 3, 3}},
		"9,100%":  {lifecycle.Amount{Count: 9, Percent: 100}, [4]int{1, 9, 9, 9}},
		"1%":      {lifecycle.Amount{Percent: 1}, [4]int{1, 1, 1, 100}},
		"500,29%": {lifecycle.Amount{Count: 500, Percent: 29}, [4]int{1, 2, 28, 500}},
	} {
		got, err := lifecycle.ParseAmount(text)
		require.NoError(t, err, text)
		require.Equal(t, want.amount, got)
		require.Equal(t, text, got.String())
		require.Equal(t, want.of, [4]int{got.Of(1), got.Of(10), got.Of(99), got.Of(10000)}, text)
	}
	for _, text := range []string{"x", "-1", "101%", "3,4", "5%,6%", "3;5%", " 3", "3,", "%", "1e3", "99999999999"} {
		_, err := lifecycle.ParseAmount(text)
		require.ErrorIs(t, err, lifecycle.Invalid, text)
	}
}

// Whatever is read as an amount is written as one that is the same.
func FuzzParseAmount(f *testing.F) {
	for _, text := range []string{"", "3", "25%", "3,25%", "25%,3", "007"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := lifecycle.ParseAmount(text)
		if err != nil {
			require.ErrorIs(t, err, lifecycle.Invalid)
			return
		}
		again, err := lifecycle.ParseAmount(a.String())
		require.NoError(t, err)
		require.Equal(t, a, again)
		require.GreaterOrEqual(t, a.Of(100), 0)
	})
}

func TestPolicyJSON(t *testing.T) {
	p := lifecycle.Policy{
		Width: 5, MaxUnavailable: lifecycle.Amount{Percent: 25}, Canary: 1,
		Waves:   lifecycle.Waves{First: lifecycle.Amount{Count: 2}, Growth: 1.5, Soak: time.Minute},
		Budget:  lifecycle.Budget{Total: lifecycle.Amount{Count: 3, Percent: 10}, MinTried: 5},
		Windows: []lifecycle.Window{{Location: "Europe/Zurich", Days: []time.Weekday{time.Saturday}, Start: "22:00", End: "05:00"}},
	}
	text, err := json.Marshal(p)
	require.NoError(t, err)
	require.JSONEq(t, `{"width":5,"maxUnavailable":"25%","canary":1,"waves":{"first":"2","growth":1.5,"soak":60000000000},
		"budget":{"total":"3,10%","minTried":5},"windows":[{"location":"Europe/Zurich","days":[6],"start":"22:00","end":"05:00"}]}`, string(text))
	var again lifecycle.Policy
	require.NoError(t, json.Unmarshal(text, &again))
	require.Empty(t, cmp.Diff(p, again))
	text, err = json.Marshal(lifecycle.Policy{})
	require.NoError(t, err)
	require.Equal(t, "{}", string(text))
}

func TestWindow(t *testing.T) {
	night := lifecycle.Window{Location: "Europe/Zurich", Start: "22:00", End: "05:00"}
	in := func(start, end string, days ...time.Weekday) lifecycle.Window {
		return lifecycle.Window{Location: "Europe/Zurich", Start: start, End: end, Days: days}
	}
	for name, c := range map[string]struct {
		window lifecycle.Window
		at     string
		open   bool
		until  string
	}{
		"before it opens":                {night, "2026-11-20T20:59:59Z", false, "2026-11-20T21:00:00Z"},
		"as it opens":                    {night, "2026-11-20T21:00:00Z", true, "2026-11-21T04:00:00Z"},
		"after midnight":                 {night, "2026-11-21T03:59:59Z", true, "2026-11-21T04:00:00Z"},
		"at its end":                     {night, "2026-11-21T04:00:00Z", false, "2026-11-21T21:00:00Z"},
		"the day on which it opens":      {in("22:00", "05:00", time.Friday), "2026-11-21T01:00:00Z", true, "2026-11-21T04:00:00Z"},
		"not that on which it ends":      {in("22:00", "05:00", time.Saturday), "2026-11-21T01:00:00Z", false, "2026-11-21T21:00:00Z"},
		"next week":                      {in("22:00", "05:00", time.Friday), "2026-11-21T04:00:00Z", false, "2026-11-27T21:00:00Z"},
		"a whole day":                    {in("00:00", "00:00", time.Saturday), "2026-11-20T23:00:00Z", true, "2026-11-21T23:00:00Z"},
		"spring: an hour less":           {night, "2026-03-28T21:00:00Z", true, "2026-03-29T03:00:00Z"},
		"spring: opens when skipped":     {in("02:30", "04:00"), "2026-03-29T00:59:59Z", false, "2026-03-29T01:00:00Z"},
		"spring: open behind the skip":   {in("02:30", "04:00"), "2026-03-29T01:00:00Z", true, "2026-03-29T02:00:00Z"},
		"spring: closes when skipped":    {in("01:00", "02:30"), "2026-03-29T00:30:00Z", true, "2026-03-29T01:00:00Z"},
		"spring: skipped altogether":     {in("02:10", "02:50"), "2026-03-29T00:30:00Z", false, "2026-03-30T00:10:00Z"},
		"autumn: an hour more":           {night, "2026-10-24T20:00:00Z", true, "2026-10-25T04:00:00Z"},
		"autumn: closes the first time":  {in("22:00", "02:30"), "2026-10-25T00:30:00Z", false, "2026-10-25T21:00:00Z"},
		"autumn: and not again":          {in("22:00", "02:30"), "2026-10-25T01:15:00Z", false, "2026-10-25T21:00:00Z"},
		"autumn: opens the first time":   {in("02:30", "04:00"), "2026-10-25T00:30:00Z", true, "2026-10-25T03:00:00Z"},
		"autumn: open the second time":   {in("02:30", "04:00"), "2026-10-25T01:15:00Z", true, "2026-10-25T03:00:00Z"},
		"autumn: within the double hour": {in("02:15", "02:45"), "2026-10-25T00:20:00Z", true, "2026-10-25T00:45:00Z"},
		"UTC":                            {lifecycle.Window{Start: "12:00", End: "13:00"}, "2026-10-25T12:59:00Z", true, "2026-10-25T13:00:00Z"},
	} {
		open, until, err := lifecycle.WindowAt(date(c.at), c.window)
		require.NoError(t, err)
		require.Equal(t, c.open, open, name)
		require.Equal(t, c.until, until.UTC().Format(time.RFC3339), name)
	}
}

// A clock without rules of summer time, and one far in the past, do no harm.
func TestWindowElsewhere(t *testing.T) {
	for _, zone := range []string{"Asia/Kolkata", "Pacific/Apia", "America/Sao_Paulo", "Antarctica/Troll", "UTC"} {
		for _, year := range []int{1, 1900, 2011, 2026, 2100} {
			for at := time.Date(year, 12, 28, 0, 0, 0, 0, time.UTC); at.Day() != 4; at = at.Add(97 * time.Minute) {
				_, until, err := lifecycle.WindowAt(at, lifecycle.Window{Location: zone, Start: "23:30", End: "00:30"})
				require.NoError(t, err)
				require.True(t, until.After(at), "%s %s: %s", zone, at, until)
				require.Less(t, until.Sub(at), 72*time.Hour)
			}
		}
	}
}

// What the preview says comes to be.
func TestPreviewIsReality(t *testing.T) {
	minutes := func(host string) time.Duration {
		return time.Duration(20+(int(host[3]-'0')*7+int(host[2]-'0')*3)%25) * time.Minute
	}
	for name, p := range map[string]lifecycle.Policy{
		"width":   {Width: 7},
		"limit":   {Width: 7, MaxUnavailable: lifecycle.Amount{Percent: 10}},
		"waves":   {Width: 9, Canary: 2, Waves: lifecycle.Waves{First: lifecycle.Amount{Count: 3}, Growth: 2, Soak: 15 * time.Minute}},
		"groups":  {Width: 9, PerGroup: 2, Stagger: 90 * time.Second},
		"serial":  {Width: 4, Serial: true},
		"windows": {Width: 3, Windows: []lifecycle.Window{{Location: "Europe/Zurich", Start: "22:00", End: "01:00"}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet()
				f.takes = minutes
				r := f.rollout(p, names(60))
				r.Group = func(host string) string { return host[2:3] }
				f.out = []lifecycle.Outage{{Host: "w050", Why: "NotReady"}, {Host: "elsewhere", By: "ops"}}
				schedule, err := r.Preview(minutes, time.Now(), f.out...)
				require.NoError(t, err)
				require.Empty(t, schedule.Left)
				require.NoError(t, f.run(t, r)())
				for _, s := range schedule.Hosts {
					if p.PerGroup > 0 {
						break // when two end at once, who is seen first decides which group goes on
					}
					require.Equal(t, s.Start.Format(time.DateTime), f.started[s.Host].Format(time.DateTime), s.Host)
				}
				require.Len(t, schedule.Hosts, 60)
				require.InEpsilon(t, time.Since(schedule.Start), schedule.End.Sub(schedule.Start), 0.02)
				waves, hosts := 0, 0
				for _, w := range schedule.Waves {
					waves, hosts = waves+1, hosts+w.Hosts
					require.Equal(t, waves, w.Wave)
				}
				require.Equal(t, 60, hosts)
			})
		})
	}
}

func TestPreviewOfWhatCannotBe(t *testing.T) {
	r := newFleet().rollout(lifecycle.Policy{Width: 3, MaxUnavailable: lifecycle.Amount{Count: 4}}, names(6))
	hour := func(string) time.Duration { return time.Hour }
	start := date("2026-11-20T12:00:00Z")
	schedule, err := r.Preview(hour, start, lifecycle.Outage{Host: "w002", By: "ops", Why: "cordoned"}, lifecycle.Outage{Host: "far"})
	require.NoError(t, err)
	require.Equal(t, []string{"w002"}, schedule.Left)
	require.Contains(t, schedule.Why, "w002 (cordoned by ops)")
	require.Empty(t, cmp.Diff(lifecycle.Moment{Time: start, Hosts: []string{"w001", "w002", "w003", "far"}}, schedule.Worst))

	r.Policy.HostDeadline = time.Minute
	schedule, err = r.Preview(hour, start)
	require.NoError(t, err)
	require.Contains(t, schedule.Why, "the budget is spent")
	require.Len(t, schedule.Left, 3)

	_, err = r.Preview(nil, start)
	require.ErrorIs(t, err, lifecycle.Invalid)
	_, err = (&lifecycle.Rollout{}).Preview(hour, start)
	require.ErrorIs(t, err, lifecycle.Invalid)
}

// Decide needs no preparation, and changes nothing.
func TestDecideIsPure(t *testing.T) {
	state := lifecycle.RolloutState{Hosts: []lifecycle.HostState{{Host: "a"}, {Host: "b", Out: &lifecycle.Outage{Host: "b", By: "ops"}}, {Host: "c"}}}
	now := date("2026-11-20T12:00:00Z")
	p := lifecycle.Policy{Width: 2, MaxUnavailable: lifecycle.Amount{Count: 2}}
	first := lifecycle.Decide(p, state, now)
	require.Equal(t, []string{"a"}, first.Start)
	require.Len(t, first.Why, 1)
	require.Equal(t, "2 of 3 are unavailable, the limit is 2: b (out by ops)", first.Why[0].String())
	require.Empty(t, cmp.Diff(first, lifecycle.Decide(p, state, now)))
	require.True(t, state.Hosts[0].Started.IsZero())

	bad := lifecycle.Decide(lifecycle.Policy{Width: -1}, state, now)
	require.True(t, bad.Done)
	require.Equal(t, lifecycle.Failed, bad.State)
}

// A rollout in files: what one process leaves, another takes up.
func TestRolloutInFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, dir := newFleet(), t.TempDir()
		stop := make(chan struct{})
		time.AfterFunc(15*time.Minute, func() { close(stop) })
		j := lifecycle.NewDirJournal(dir)
		err := f.rollout(lifecycle.Policy{Width: 2}, names(4)).Run(t.Context(), lifecycle.WithJournal(j), lifecycle.WithStop(stop))
		require.Equal(t, lifecycle.Open, lifecycle.StateOf(err))
		other := lifecycle.NewDirJournal(dir)
		require.NoError(t, lifecycle.Control{Rollout: "r1", Journal: other, Actor: "ops"}.Skip(t.Context(), "w004", "it is gone"))
		require.NoError(t, f.rollout(lifecycle.Policy{}, nil).Run(t.Context(), lifecycle.WithJournal(other)))
		require.Equal(t, 2, f.peak)
		f.checkOnce(t, names(3))
		require.Zero(t, f.wiped["w004"])
	})
}

// A journal that has something else by that name, and one that takes no requests, are refused.
func TestRolloutRefusesJournals(t *testing.T) {
	ctx, f, j := t.Context(), newFleet(), lifecycle.NewMemJournal()
	step := lifecycle.Step{ID: "a", Effect: lifecycle.Read, Do: func(context.Context) error { return nil }}
	require.NoError(t, lifecycle.Run(ctx, &lifecycle.Plan{ID: "r1", Kind: "toy", Target: "x", Steps: []lifecycle.Step{step}}, lifecycle.WithJournal(j)))
	require.ErrorIs(t, f.rollout(lifecycle.Policy{}, names(1)).Run(ctx, lifecycle.WithJournal(j)), lifecycle.Invalid)
	_, _, err := lifecycle.LoadRollout(ctx, j, "r1")
	require.ErrorIs(t, err, lifecycle.Invalid)
	_, _, err = lifecycle.LoadRollout(ctx, j, "r2")
	require.ErrorIs(t, err, lifecycle.NotFound)
	require.ErrorIs(t, lifecycle.Control{Rollout: "r1"}.Pause(ctx, "x"), lifecycle.Invalid)
	require.ErrorIs(t, lifecycle.Control{Rollout: "r1", Journal: struct{ lifecycle.Journal }{j}}.Pause(ctx, "x"), lifecycle.Invalid)
}
