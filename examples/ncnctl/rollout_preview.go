package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ncnkit/lifecycle"
)

type rolloutPreviewCmd struct {
	rolling
	Duration []hostTime `help:"How long each host takes, such as 25m; HOST=40m for one. May be repeated." required:"" sep:"none" placeholder:"[HOST=]TIME"`
	Start    time.Time  `help:"When it would begin, such as 2026-11-20T18:00:00Z. Default: now." placeholder:"TIME"`
}

// hostTime is how long a host takes; Host is empty for all others.
type hostTime struct {
	Host string
	Time time.Duration
}

// UnmarshalText reads "25m" or "ncn-w003=40m".
func (h *hostTime) UnmarshalText(text []byte) (err error) {
	host, span, named := strings.Cut(string(text), "=")
	if !named {
		host, span = "", string(text)
	}
	h.Host = host
	if h.Time, err = time.ParseDuration(span); err == nil && h.Time <= 0 {
		err = fmt.Errorf("%q is no time to take: want one such as 25m", span)
	}
	return err
}

// durations returns how long each host takes.
func (c *rolloutPreviewCmd) durations() (map[string]time.Duration, error) {
	takes := map[string]time.Duration{}
	for _, d := range c.Duration {
		if d.Host != "" && !slices.Contains(c.Hosts, d.Host) {
			return nil, refuse("", "--duration names %s, which is none of the hosts", d.Host)
		}
		takes[d.Host] = d.Time
	}
	for _, h := range c.Hosts {
		if takes[h] == 0 {
			takes[h] = takes[""]
		}
		if takes[h] == 0 {
			return nil, refuse("", "nothing says how long %s takes; give --duration 25m for all that have none of their own", h)
		}
	}
	return takes, nil
}

// schedule is a preview as it is shown.
type schedule struct {
	Cluster string      `json:"cluster"`
	Hosts   []slot      `json:"hosts"`
	Start   time.Time   `json:"start"`
	End     time.Time   `json:"end"`
	Worst   worstMoment `json:"worst"`
	Left    []string    `json:"left,omitempty"`
	Why     string      `json:"why,omitempty"`
}

type slot struct {
	plannedHost
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
}

// worstMoment is when most hosts are out.
type worstMoment struct {
	Time  time.Time `json:"time"`
	Nodes []string  `json:"nodes"`
}

// Run shows the schedule.
func (c *rolloutPreviewCmd) Run(ctx context.Context, a *app) error {
	const what = "rollout preview"
	takes, err := c.durations()
	if err != nil {
		return failed(what, err)
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.Close()
	r, err := c.rollout(ctx, s)
	if err != nil {
		return failed(what, err)
	}
	out, err := readOutages(c.OutFile)
	if err != nil {
		return failed(what, err)
	}
	start := c.Start
	if start.IsZero() {
		start = time.Now()
	}
	got, err := r.Preview(func(host string) time.Duration { return takes[host] }, start.UTC(), out...)
	if err != nil {
		return failed(what, err)
	}
	view := scheduleOf(s.File.Cluster, got)
	if a.Output == "json" {
		return a.json(view)
	}
	view.show(a)
	return nil
}

func scheduleOf(cluster string, got lifecycle.Schedule) schedule {
	view := schedule{
		Cluster: cluster, Hosts: []slot{}, Start: got.Start, End: got.End, Left: got.Left, Why: got.Why,
		Worst: worstMoment{got.Worst.Time, append([]string{}, got.Worst.Hosts...)},
	}
	for _, h := range got.Hosts {
		view.Hosts = append(view.Hosts, slot{plannedHost{h.Host, h.Group, h.Wave}, h.Start, h.End})
	}
	return view
}

func (v *schedule) show(a *app) {
	rows := [][]string{{"NODE", "RACK", "WAVE", "BEGINS", "ENDS"}}
	for _, h := range v.Hosts {
		rows = append(rows, []string{h.Node, h.Rack, strconv.Itoa(h.Wave), stamp(h.Start), stamp(h.End)})
	}
	table(a.stdout, rows, nil)
	fmt.Fprintf(a.stdout, "\nBegins %s, ends %s, takes %v\n", stamp(v.Start), stamp(v.End), v.End.Sub(v.Start).Round(time.Second))
	if len(v.Worst.Nodes) > 0 {
		fmt.Fprintf(a.stdout, "Most are unavailable at %s: %d (%s)\n", stamp(v.Worst.Time), len(v.Worst.Nodes), clean(strings.Join(v.Worst.Nodes, ", ")))
	}
	if len(v.Left) > 0 {
		fmt.Fprintf(a.stdout, "Not begun: %s: %s\n", clean(strings.Join(v.Left, ", ")), clean(v.Why))
	}
}
