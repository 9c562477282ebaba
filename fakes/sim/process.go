package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes"
	"github.com/ncnkit/lifecycle/ncn"
)

// Process is one controller process: its transports, its journal and its clock. What it does under another context than
// the one it was given is not held up, and does not end with it. A Process is safe for concurrent use.
type Process struct {
	Name    string // "c1"
	Cluster *fakes.Cluster
	Site    *ncn.Site
	Journal lifecycle.Journal

	s      *sim
	number int
	ctx    context.Context
	cancel context.CancelFunc
	mem    *lifecycle.MemController

	// guarded by s.mu
	dead   bool
	paused bool
	lapsed bool          // it was paused for longer than its lease lasts
	offset time.Duration // of its clock
	runs   int
	busy   time.Time // when its last slow write is through
	ended  bool
	err    error
}

// Options returns the options for runs of this process: its journal, owner and clock.
func (p *Process) Options() []lifecycle.Option {
	return []lifecycle.Option{
		lifecycle.WithJournal(p.Journal), lifecycle.WithOwner(p.Name), lifecycle.WithClock(p.Now),
		lifecycle.WithActor("sim"), lifecycle.WithObserver(p.s.observe),
	}
}

// Now is the process's wall clock. It may jump.
func (p *Process) Now() time.Time {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	return time.Now().Add(p.offset)
}

// Rand returns numbers that only the seed and what decide: the same to every process.
func (p *Process) Rand(what string) *rand.Rand { return p.s.rand("work " + what) }

type strandKey struct{}

// Strand names what is done under the returned context. Calls that wait at the same time and are alike in all else are told
// apart by it, so that the run can be repeated: two goroutines that list the runs of the journal, say. [Process.Each] names
// its calls by the host.
func Strand(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, strandKey{}, name)
}

// Each calls f for each host, with at most width at a time, and returns the first error. It ends when all have.
func (p *Process) Each(ctx context.Context, hosts []string, width int, f func(ctx context.Context, host string) error) error {
	slots := make(chan struct{}, max(1, width))
	errs := make([]error, len(hosts))
	var wg sync.WaitGroup
	for i, host := range hosts {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			errs[i] = ctx.Err()
			continue
		}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = p.guard(func() error { return f(Strand(ctx, host), host) })
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// guard turns a panic into a breach, so that its seed is known.
func (p *Process) guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
			p.s.breach("panic", "%v\n%s", r, debug.Stack())
		}
	}()
	return f()
}

// start starts a process.
func (s *sim) start(ctx context.Context) *Process {
	s.mu.Lock()
	p := &Process{s: s, number: len(s.processes) + 1, Cluster: s.w}
	p.Name = fmt.Sprintf("c%d", p.number)
	s.processes = append(s.processes, p)
	s.mu.Unlock()

	ctx, p.cancel = context.WithCancel(ctx)
	p.ctx = context.WithValue(ctx, processKey{}, p)
	p.mem = s.w.Journal().Controller(p.Name)
	p.Journal = journal{p}
	p.Site = s.w.Site()
	p.Site.Exec = runner{p.Site.Exec, p.Site.Exec.(lifecycle.HostKeyKeeper), s}
	p.Site.Power = bmcs{p.Site.Power, s}
	p.Site.BSS = newBootScripts(p.Site.BSS, s)
	p.Site.Audit = p.Journal
	p.Site.Actor = "sim"
	p.Site.Poll = s.Poll
	p.Site.Now = p.Now
	p.Site.NewID = p.newID

	s.work.Go(func() {
		err := p.guard(func() error { return s.Work(p.ctx, p) })
		s.mu.Lock()
		p.ended, p.err = true, err
		s.mu.Unlock()
		s.ring()
	})
	return p
}

func (p *Process) newID() string {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	p.runs++
	return fmt.Sprintf("%s-%d", p.Name, p.runs)
}

// kill ends a process at once, wherever it is. Nothing that it still does reaches anything.
func (p *Process) kill() {
	s := p.s
	s.mu.Lock()
	p.dead = true
	var mine []*gate
	s.parked = slices.DeleteFunc(s.parked, func(g *gate) bool {
		if g.p == p {
			mine = append(mine, g)
		}
		return g.p == p
	})
	s.mu.Unlock()
	for _, g := range mine {
		g.open <- verdict{err: errKilled}
	}
	p.mem.Kill()
	p.cancel()
}
