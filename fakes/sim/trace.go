package sim

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// Event is a call that was let pass.
type Event struct {
	Step     int
	At       time.Duration // of the cluster's time, from the beginning
	Process  string
	Op       string // "exec", "power.set", "journal.append"
	Host     string
	Name     string // of a command, of a record
	Run      string
	PlanStep string
	Detail   string
	Fault    string // what befell the call
}

func (e Event) String() string {
	b := fmt.Sprintf("%5d %12s %-3s %s", e.Step, e.At.Round(time.Millisecond), e.Process, e.Op)
	for _, part := range []string{e.Name, e.Host, e.Detail} {
		if part = strings.TrimSpace(part); part != "" {
			b += " " + part
		}
	}
	if e.Run != "" {
		b += " [" + strings.TrimSpace(e.Run+" "+e.PlanStep) + "]"
	}
	if e.Fault != "" {
		b += "   <-- " + e.Fault
	}
	return b
}

// note puts a call into the trace.
func (s *sim) note(g *gate, fault string) {
	e := Event{
		Step: s.step, At: time.Since(s.start0), Process: g.p.Name, Op: g.op, Host: g.host, Name: g.name,
		Run: g.run, PlanStep: g.step, Detail: g.detail, Fault: fault,
	}
	s.trace = append(s.trace, e)
	var at [8]byte
	binary.LittleEndian.PutUint64(at[:], uint64(e.At))
	_, _ = s.hash.Write(at[:])
	for _, part := range [...]string{e.Process, e.Op, e.Host, e.Name, e.Run, e.PlanStep, e.Detail, e.Fault} {
		_, _ = s.hash.Write([]byte(part))
		_, _ = s.hash.Write([]byte{0})
	}
}

// Story tells what was broken, how to see it again, and the events that matter: those around faults and around the first
// breach, and the writes to the journal.
func (r Result) Story() string {
	var b strings.Builder
	for _, breach := range r.Breaches {
		fmt.Fprintln(&b, breach)
	}
	fmt.Fprintf(&b, "seed %d, %d calls in %v of the cluster's time\n", r.Config.Seed, r.Steps, r.Elapsed.Round(time.Second))
	fmt.Fprintf(&b, "replay: go test ./fakes/sim -run %s -sim.seed=%d%s\n", r.test, r.Config.Seed, r.Config.without())
	fmt.Fprintf(&b, "or sim.Config{Seed: %d, Without: %#v, …}\n", r.Config.Seed, r.Config.Without)
	for _, f := range r.Faults {
		fmt.Fprintln(&b, "fault", f)
	}
	last := -1
	for i, e := range r.Trace {
		if !r.matters(i) {
			continue
		}
		if i != last+1 {
			fmt.Fprintln(&b, "      …")
		}
		last = i
		fmt.Fprintln(&b, e)
	}
	for _, e := range r.Ends {
		fmt.Fprintln(&b, "end:", e)
	}
	return b.String()
}

func (c Config) without() string {
	if len(c.Without) == 0 {
		return ""
	}
	return " -sim.without=" + strings.Trim(strings.ReplaceAll(fmt.Sprint(c.Without), " ", ","), "[]")
}

func (r Result) matters(i int) bool {
	e := r.Trace[i]
	if e.Op == "journal.append" || r.At > 0 && e.Step > r.At-8 && e.Step <= r.At {
		return true
	}
	for j := max(0, i-2); j <= min(len(r.Trace)-1, i+2); j++ {
		if r.Trace[j].Fault != "" {
			return true
		}
	}
	for _, f := range r.Faults {
		if f.Step >= e.Step-2 && f.Step <= e.Step+2 {
			return true
		}
	}
	return false
}
