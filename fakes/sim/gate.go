package sim

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes"
)

// gate is one call that waits to be let pass.
type gate struct {
	p      *Process
	op     string // a fakes.Op, or "journal.append"
	host   string
	name   string // of a command; of a record
	run    string
	step   string
	detail string
	strand string
	writes bool // to a target other than the journal
	seq    int
	open   chan verdict
}

const journalOps = "journal."

func (g *gate) world() bool { return !strings.HasPrefix(g.op, journalOps) }

// verdict is what becomes of a call that is let pass.
type verdict struct {
	err    error  // the call's answer; it does not reach its target
	after  func() // when the call has had its effect
	lost   error  // the answer after the effect
	repeat bool   // the call is delivered twice
}

var errKilled = errors.New("this process was killed")

// passes marks calls that are not held up: those of the simulator itself.
type passes struct{}

type processKey struct{}

// before holds up every call into the world that a process makes.
func (s *sim) before(c fakes.Call) error {
	ctx := c.Context()
	if ctx == nil || ctx.Value(passes{}) != nil {
		return nil
	}
	p, _ := ctx.Value(processKey{}).(*Process)
	if p == nil {
		return nil // the world's own doing
	}
	g := &gate{p: p, op: string(c.Op), host: c.Host, name: c.Name, run: c.By.Run, step: c.By.Step, detail: c.Detail, writes: c.Writes}
	v, err := s.pass(ctx, g)
	if err != nil {
		return err
	}
	if v.after != nil || v.lost != nil {
		s.mu.Lock()
		s.outstanding[callKey{ctx, c.Op, c.Host, c.Name}] = v
		s.mu.Unlock()
	}
	if v.repeat {
		s.mu.Lock()
		s.marked[ctx] = v
		s.mu.Unlock()
	}
	return v.err
}

// callKey tells the calls apart that are under way at the same time.
type callKey struct {
	ctx        context.Context
	op         fakes.Op
	host, name string
}

// after lets happen what the verdict has for the time after the effect.
func (s *sim) after(c fakes.Call) error {
	key := callKey{c.Context(), c.Op, c.Host, c.Name}
	s.mu.Lock()
	v, ok := s.outstanding[key]
	delete(s.outstanding, key)
	s.mu.Unlock()
	if !ok {
		return nil
	}
	if v.after != nil {
		v.after()
	}
	return v.lost
}

// mark takes the verdict on the last call under ctx, for what only a face can do.
func (s *sim) mark(ctx context.Context) verdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.marked[ctx]
	delete(s.marked, ctx)
	return v
}

// pass waits until the simulator lets the call go on, its caller stops waiting, or the process dies.
func (s *sim) pass(ctx context.Context, g *gate) (verdict, error) {
	g.strand, _ = ctx.Value(strandKey{}).(string)
	s.mu.Lock()
	if g.p.dead {
		s.mu.Unlock()
		return verdict{}, errKilled
	}
	s.seq++
	g.seq = s.seq
	g.open = make(chan verdict, 1)
	s.parked = append(s.parked, g)
	s.mu.Unlock()
	s.ring()
	select {
	case v := <-g.open:
		return v, nil
	case <-ctx.Done():
	}
	s.remove(g)
	kind := lifecycle.KindOf(ctx.Err())
	if g.writes {
		kind = lifecycle.Unknown
	}
	return verdict{}, lifecycle.Errorf(kind, g.op, g.host, "no answer: %w", ctx.Err())
}

func (s *sim) remove(g *gate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parked = slices.DeleteFunc(s.parked, func(other *gate) bool { return other == g })
}

// ring wakes the simulator when it lets time pass.
func (s *sim) ring() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// waiting returns the calls that can be let pass, in an order that does not depend on which goroutine came first.
func (s *sim) waiting() []*gate {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.ready[:0]
	for _, g := range s.parked {
		if !g.p.paused {
			list = append(list, g)
		}
	}
	if len(list) > 1 {
		slices.SortFunc(list, compareGates)
	}
	s.ready = list
	return list
}

func compareGates(a, b *gate) int {
	if a.p.number != b.p.number {
		return a.p.number - b.p.number
	}
	for _, pair := range [...][2]string{{a.strand, b.strand}, {a.host, b.host}, {a.run, b.run}, {a.op, b.op}, {a.step, b.step}, {a.name, b.name}, {a.detail, b.detail}} {
		if c := strings.Compare(pair[0], pair[1]); c != 0 {
			return c
		}
	}
	return a.seq - b.seq
}
