package lifecycle

import (
	"container/heap"
	"time"
)

// Schedule is when a rollout will do what, if every host takes as long as was said and none fails. It is a plain value.
type Schedule struct {
	Hosts []Slot     // in the order in which they are started
	Waves []WaveSlot // of which at least one host is started
	Start time.Time
	End   time.Time // of the last host, or when the rollout halts
	Worst Moment    // the first with the most hosts unavailable at once
	Left  []string  // hosts that are not started
	Why   string    // and why not; empty when all are
}

// Slot is when one host runs. Wave is its wave, from 1.
type Slot struct {
	Host  string
	Group string
	Wave  int
	Start time.Time
	End   time.Time
}

// WaveSlot is when a wave, from 1, runs: from the start of its first host to the end of its last.
type WaveSlot struct {
	Wave  int
	Hosts int
	Start time.Time
	End   time.Time
}

// Moment is a time, and the hosts that are unavailable then, those that others took out included.
type Moment struct {
	Time  time.Time
	Hosts []string
}

// Preview computes what [Rollout.Run] would do from start on, with the same decisions, and has no effects: durations says
// how long each host takes, and out who is out all the time. Health is taken to be good at once. A policy or a list of
// hosts that makes no sense is [Invalid].
//
// Hosts that cannot be started, because of out, are in the schedule's Left.
func (r *Rollout) Preview(durations func(host string) time.Duration, start time.Time, out ...Outage) (Schedule, error) {
	const op = "lifecycle.Rollout.Preview"
	if durations == nil {
		return Schedule{}, Errorf(Invalid, op, "", "how long each host takes is not known: durations is nil")
	}
	a, err := r.args()
	if err != nil {
		return Schedule{}, Wrap(err, op, "")
	}
	p := preview{state: a.state(), durations: durations, now: start, Schedule: Schedule{Start: start, End: start}}
	if p.rules, err = newRules(a.Policy, p.state.Hosts); err != nil {
		return Schedule{}, Wrap(err, op, "")
	}
	p.index = p.state.index()
	p.state.Healthy = p.rules.waves
	p.state.setOut(out, p.index)
	p.waves = make([]WaveSlot, p.rules.waves)
	p.run()
	return p.Schedule, nil
}

// preview is a rollout in which time is a number.
type preview struct {
	Schedule
	rules     *rules
	state     RolloutState
	index     map[string]int
	durations func(string) time.Duration
	now       time.Time
	ends      hostEnds
	waves     []WaveSlot
}

func (p *preview) run() {
	for {
		d := p.rules.decide(&p.state, p.now)
		p.act(d)
		switch {
		case len(d.Start)+len(d.Stop) > 0:
			continue
		case d.Done || !p.advance(d.WaitUntil):
			p.finish(d)
			return
		}
	}
}

func (p *preview) act(d Decision) {
	for _, host := range d.Stop {
		p.state.Hosts[p.index[host]].Late = true
	}
	if d.Halt != "" {
		p.state.Halted = d.Halt
	}
	p.state.waits(d, p.now)
	unavailable := p.rules.count.unavailable
	for _, host := range d.Start {
		i := p.index[host]
		if p.start(i); p.state.Hosts[i].Out == nil {
			unavailable++
		}
	}
	if unavailable > len(p.Worst.Hosts) {
		p.worst()
	}
}

func (p *preview) start(i int) {
	h := &p.state.Hosts[i]
	h.Started, p.state.LastStarted = p.now, i+1
	wave := p.rules.wave[i]
	end := p.now.Add(max(0, p.durations(h.Host)))
	p.Hosts = append(p.Hosts, Slot{Host: h.Host, Group: h.Group, Wave: wave + 1, Start: p.now, End: end})
	heap.Push(&p.ends, hostEnd{end, i})
	w := &p.waves[wave]
	if w.Hosts++; w.Hosts == 1 {
		w.Wave, w.Start = wave+1, p.now
	}
	if end.After(w.End) {
		w.End = end
	}
}

// worst notes this moment.
func (p *preview) worst() {
	p.Worst = Moment{Time: p.now}
	for i := range p.state.Hosts {
		if h := &p.state.Hosts[i]; h.runs() || h.Out != nil {
			p.Worst.Hosts = append(p.Worst.Hosts, h.Host)
		}
	}
	for _, o := range p.state.Others {
		p.Worst.Hosts = append(p.Worst.Hosts, o.Host)
	}
}

// advance goes to the next moment at which something happens, and reports whether there is one.
func (p *preview) advance(until time.Time) bool {
	next := until
	if len(p.ends) > 0 {
		next = earlier(next, p.ends[0].time)
	}
	if next.IsZero() {
		return false
	}
	p.now = next.In(p.Start.Location()) // that of a window is another
	for len(p.ends) > 0 && !p.ends[0].time.After(p.now) {
		h := &p.state.Hosts[heap.Pop(&p.ends).(hostEnd).host]
		rec := Record{Outcome: OutcomeDone}
		if h.Late {
			rec = Record{Outcome: OutcomeFailed, Kind: Timeout, Message: "it would be over its deadline"}
		}
		h.end(rec, p.now)
		p.End = p.now
	}
	return true
}

func (p *preview) finish(d Decision) {
	for _, w := range p.waves {
		if w.Hosts > 0 {
			p.Waves = append(p.Waves, w)
		}
	}
	for i := range p.state.Hosts {
		if p.state.Hosts[i].waits() {
			p.Left = append(p.Left, p.state.Hosts[i].Host)
		}
	}
	if len(p.Left) == 0 {
		return
	}
	p.End = p.now
	if p.Why = p.state.Halted; p.Why == "" {
		p.Why = whyText(d.Why)
	}
}

type hostEnd struct {
	time time.Time
	host int
}

// hostEnds is a heap; hosts that end at the same time do so in their order.
type hostEnds []hostEnd

func (e hostEnds) Len() int      { return len(e) }
func (e hostEnds) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e hostEnds) Less(i, j int) bool {
	if e[i].time.Equal(e[j].time) {
		return e[i].host < e[j].host
	}
	return e[i].time.Before(e[j].time)
}

// Push is part of [heap.Interface].
func (e *hostEnds) Push(x any) { *e = append(*e, x.(hostEnd)) }

// Pop is part of [heap.Interface].
func (e *hostEnds) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}
