package sim

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes"
)

// sim is one simulated run.
type sim struct {
	Config
	asked  Config // as the caller gave it
	w      *fakes.Cluster
	root   context.Context
	start0 time.Time
	work   sync.WaitGroup // of the processes
	wake   chan struct{}  // somebody came to a gate, or ended

	faults     []*Fault
	partitions []partition
	agenda     []appointment // in the order of their times
	booked     int
	calm       time.Time // when the last fault will be over
	step       int
	trace      []Event
	hash       hash.Hash64
	ready      []*gate
	source     *rand.PCG

	breaches    []fakes.Breach // guarded by mu
	firstBreach int
	ends        []End
	givenUp     error
	elapsed     time.Duration

	mu          sync.Mutex
	processes   []*Process
	parked      []*gate
	seq         int
	outstanding map[callKey]verdict
	marked      map[context.Context]verdict
	waits       map[string]string // by run: what it said last that it waits for
}

// appointment is something that the simulator itself does at a time.
type appointment struct {
	at  time.Time
	seq int
	do  func()
}

func newSim(cfg Config) *sim {
	s := &sim{
		Config: cfg.withDefaults(), asked: cfg, wake: make(chan struct{}, 1), hash: fnv.New64a(), start0: time.Now(),
		outstanding: map[callKey]verdict{}, marked: map[context.Context]verdict{}, waits: map[string]string{}, source: rand.NewPCG(0, 0),
	}
	s.calm = s.start0
	s.w = fakes.New(cfg.Layout)
	if cfg.Prepare != nil {
		cfg.Prepare(s.w)
	}
	s.w.OnCall(s.before, s.after)
	s.faults = s.planFaults()
	return s
}

// rand returns numbers that only the seed and what decide.
func (s *sim) rand(what string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(what))
	return rand.New(rand.NewPCG(s.Seed, h.Sum64()))
}

// draw seeds the numbers for one step: leaving out a fault does not change those of the steps before it.
func (s *sim) draw() *rand.Rand {
	s.source.Seed(s.Seed, uint64(s.step))
	return rand.New(s.source)
}

func (s *sim) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.root = ctx
	s.start(ctx)
	for s.turn() {
	}
	s.mu.Lock()
	all := slices.Clone(s.processes)
	s.mu.Unlock()
	for _, p := range all {
		if p.err != nil && !p.dead {
			s.givenUp = errors.Join(s.givenUp, fmt.Errorf("%s: %w", p.Name, p.err))
		}
		p.kill()
	}
	s.work.Wait()
	time.Sleep(time.Hour) // what is late comes now
	s.w.Advance()
	s.elapsed = time.Since(s.start0)
	s.judge()
}

// turn lets one thing happen. It reports false when all is over.
func (s *sim) turn() bool {
	synctest.Wait()
	s.drainWake()
	s.keepAppointments()
	switch {
	case s.step >= s.MaxSteps:
		s.breach("I11", "after %d calls the runs have not ended: %s", s.step, s.whoWaits())
		return false
	case s.Bound > 0 && time.Since(s.calm) > s.Bound:
		s.breach("I11", "%v after the last fault the runs have not ended: %s", s.Bound, s.whoWaits())
		return false
	case s.allEnded() && len(s.agenda) == 0:
		return false
	}
	ready := s.waiting()
	rng := s.draw()
	switch {
	case len(ready) == 0:
		s.letTimePass(s.calm.Add(s.Bound + time.Second))
	case rng.IntN(64) == 0:
		s.letTimePass(time.Now().Add(time.Duration(rng.Int64N(int64(5 * time.Second)))))
		s.step++
	default:
		if rng.IntN(4) == 0 { // a call takes its time
			time.Sleep(time.Duration(1 + rng.Int64N(int64(20*time.Millisecond))))
			synctest.Wait()
			if ready = s.waiting(); len(ready) == 0 {
				return true
			}
		}
		s.release(ready[rng.IntN(len(ready))])
	}
	return true
}

// letTimePass waits until somebody comes to a gate, an appointment is due, or the time is reached.
func (s *sim) letTimePass(until time.Time) {
	if len(s.agenda) > 0 && s.agenda[0].at.Before(until) {
		until = s.agenda[0].at
	}
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-s.wake:
	case <-timer.C:
	}
}

func (s *sim) drainWake() {
	select {
	case <-s.wake:
	default:
	}
}

// at makes an appointment after d, which is part of a fault: peace comes after it.
func (s *sim) at(d time.Duration, do func()) {
	s.booked++
	s.agenda = append(s.agenda, appointment{time.Now().Add(d), s.booked, do})
	slices.SortFunc(s.agenda, func(a, b appointment) int {
		if c := a.at.Compare(b.at); c != 0 {
			return c
		}
		return a.seq - b.seq
	})
	s.troubled(d)
}

// troubled says that a fault is over after d.
func (s *sim) troubled(d time.Duration) {
	if end := time.Now().Add(d); end.After(s.calm) {
		s.calm = end
	}
}

func (s *sim) keepAppointments() {
	for len(s.agenda) > 0 && !s.agenda[0].at.After(time.Now()) {
		next := s.agenda[0]
		s.agenda = s.agenda[1:]
		next.do()
		synctest.Wait()
	}
}

func (s *sim) allEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.processes {
		if !p.ended && !p.dead {
			return false
		}
	}
	return true
}

// release lets a call pass, with the fault that is its turn.
func (s *sim) release(g *gate) {
	s.step++
	s.startFaults(g)
	if g.p.paused || g.p.dead {
		return
	}
	v, fault := s.verdict(g)
	s.note(g, fault)
	s.remove(g)
	arrived := s.arrivals()
	g.open <- v
	synctest.Wait()
	if s.step%s.CheckEvery == 0 {
		s.check()
	}
	if g.p.lapsed && g.op == journalOps+"records" {
		s.follow(g, arrived)
	}
}

// arrivals returns how many calls have come to a gate so far.
func (s *sim) arrivals() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seq
}

// follow lets the write pass that follows a look at the journal, before another controller can take over: a process whose
// lease has lapsed may not know it yet, and the package documentation says why there is nothing in between.
func (s *sim) follow(look *gate, arrived int) {
	for _, g := range s.waiting() {
		if g.p == look.p && g.run == look.run && g.writes && g.seq > arrived {
			s.release(g)
			return
		}
	}
}

// check asks the cluster for the invariants that were broken.
func (s *sim) check() {
	for _, b := range s.w.Check() {
		s.breach(b.Invariant, "%s", b.Detail)
	}
}

func (s *sim) breach(invariant, format string, args ...any) {
	b := fakes.Breach{Invariant: invariant, Detail: fmt.Sprintf(format, args...)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(s.breaches, b) {
		return
	}
	if len(s.breaches) == 0 {
		s.firstBreach = s.step
	}
	s.breaches = append(s.breaches, b)
}

// judge looks at the end: the cluster's invariants, and where each run stands.
func (s *sim) judge() {
	s.check()
	ctx := context.Background()
	runs, _ := s.w.Journal().Runs(ctx)
	done := map[string]bool{} // by target
	for _, id := range runs {
		status, err := lifecycle.StatusOf(ctx, s.w.Journal(), id)
		if err != nil {
			s.breach("I12", "the journal of run %s cannot be read: %v", id, err)
			continue
		}
		s.ends = append(s.ends, End{id, status.Target, status.State, status.Message})
		switch {
		case status.State == lifecycle.Open:
			s.breach("I12", "run %s of %s is open, and nobody drives it to an end: %s", id, status.Target, s.why(id))
		case status.State != lifecycle.Done && status.Message == "":
			s.breach("I11", "run %s of %s ended %s, and does not say why", id, status.Target, status.State)
		case status.State == lifecycle.Done:
			done[status.Target] = true
		}
	}
	s.judgeGentle(done)
	s.checkEqual()
}

// judgeGentle demands what the plain run would have had, where controllers were stopped and nothing else went wrong. Where
// two controllers were at it, one of them may have planned what the other one did.
func (s *sim) judgeGentle(done map[string]bool) {
	gentle, alone := s.gentle()
	if !gentle {
		return
	}
	for _, e := range s.ends {
		if e.State != lifecycle.Done && (alone || !done[e.Target]) {
			s.breach("I12", "run %s of %s ended %s (%s), though controllers were stopped and nothing else went wrong", e.Run, e.Target, e.State, e.Message)
		}
	}
}

// checkEqual puts the end into the hash.
func (s *sim) checkEqual() {
	for _, e := range s.ends {
		fmt.Fprintln(s.hash, e.Run, e.Target, e.State)
	}
	for _, m := range s.w.Machines() {
		_, _ = s.hash.Write([]byte(s.w.Snapshot(m.Name())))
	}
	for _, b := range s.breaches {
		fmt.Fprintln(s.hash, b.Invariant)
	}
}

// observe remembers what a run waits for.
func (s *sim) observe(e lifecycle.Event) {
	if e.Type != lifecycle.EventWait {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waits[e.Run] = e.Step + ": " + e.Detail
}

func (s *sim) why(run string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var said []string
	if w := s.waits[run]; w != "" {
		said = append(said, "it waited last for "+w)
	}
	for _, p := range s.processes {
		if p.err != nil {
			said = append(said, fmt.Sprintf("%s ended: %v", p.Name, p.err))
		}
	}
	return strings.Join(said, "; ")
}

func (s *sim) whoWaits() string {
	ctx := context.Background()
	runs, _ := s.w.Journal().Runs(ctx)
	var open []string
	for _, id := range runs {
		if status, err := lifecycle.StatusOf(ctx, s.w.Journal(), id); err == nil && status.State == lifecycle.Open {
			open = append(open, fmt.Sprintf("%s of %s (%s)", id, status.Target, s.why(id)))
		}
	}
	if len(open) == 0 {
		return "no run is open, and a process has not returned"
	}
	return strings.Join(open, ", ")
}
