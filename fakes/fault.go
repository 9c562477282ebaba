package fakes

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ncnkit/lifecycle"
)

// Op names a call into the world, for faults and records.
type Op string

// The operations. Those of the second group change something.
const (
	InventoryRead Op = "inventory.read"
	OutRead       Op = "out.read"
	PowerState    Op = "power.state"
	PowerBoot     Op = "power.boot"
	BSSGet        Op = "bss.get"
	BSSHistory    Op = "bss.history"
	StoreGet      Op = "store.get"
	StoreList     Op = "store.list"

	PowerSet     Op = "power.set"
	PowerSetBoot Op = "power.set-boot"
	BSSPatch     Op = "bss.patch"
	BSSPut       Op = "bss.put"
	StorePut     Op = "store.put"
	StoreDelete  Op = "store.delete"
	Exec         Op = "exec" // any command on a node; Command narrows it
	KeepHostKeys Op = "hostkeys.keep"
)

// Match says which calls a fault is for. The zero Host and Name match all.
type Match struct {
	Op    Op
	Host  string
	Name  string // of the command, for Exec
	Count int    // how many calls it hits; 0 means 1
	Skip  int    // how many matching calls it lets pass first
}

// On narrows the operation to one host.
func (o Op) On(host string) Match { return Match{Op: o, Host: host} }

// Command narrows [Exec] to the command of that name.
func (o Op) Command(name string) Match { return Match{Op: o, Name: name} }

// On narrows the match to one host.
func (m Match) On(host string) Match { m.Host = host; return m }

// Times sets how many calls are hit.
func (m Match) Times(n int) Match { m.Count = n; return m }

// After lets n matching calls pass first.
func (m Match) After(n int) Match { m.Skip = n; return m }

func (m Match) String() string {
	return fmt.Sprintf("%s %s on %q after %d, %d times", m.Op, m.Name, m.Host, m.Skip, m.Count)
}

type fault struct {
	Match
	kind   lifecycle.Kind // the call fails, and has no effect
	slow   time.Duration  // the call takes that long
	hang   bool           // the call never answers
	lose   bool           // the effect happens, the answer is lost
	ignore bool           // the answer is success, and there is no effect
	late   time.Duration  // the answer is success, and the effect comes later
	stale  bool           // a read answers what was there before the last write
	crash  bool           // the node loses power when the effect has happened
	lie    bool           // a power state is told the wrong way round
	fired  int
}

// Fail makes matching calls fail with that kind, without effect.
func (c *Cluster) Fail(m Match, kind lifecycle.Kind) { c.arm(&fault{Match: m, kind: kind}) }

// Slow makes matching calls take that long.
func (c *Cluster) Slow(m Match, d time.Duration) { c.arm(&fault{Match: m, slow: d}) }

// Hang makes matching calls answer nothing until their context ends.
func (c *Cluster) Hang(m Match) { c.arm(&fault{Match: m, hang: true}) }

// LoseReply lets matching calls have their effect, and loses the answer.
func (c *Cluster) LoseReply(m Match) { c.arm(&fault{Match: m, lose: true}) }

// Ignore lets matching calls answer success without having an effect, as a BMC that lies or a write that is lost.
func (c *Cluster) Ignore(m Match) { c.arm(&fault{Match: m, ignore: true}) }

// Late lets matching calls answer success at once and have their effect after d.
func (c *Cluster) Late(m Match, d time.Duration) { c.arm(&fault{Match: m, late: d}) }

// Stale lets matching reads answer what was there before the last write.
func (c *Cluster) Stale(m Match) { c.arm(&fault{Match: m, stale: true}) }

// Crash takes the node's power away when a matching call has had its effect.
func (c *Cluster) Crash(m Match) { c.arm(&fault{Match: m, crash: true}) }

func (c *Cluster) arm(f *fault) {
	if f.Count == 0 {
		f.Count = 1
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = append(c.faults, f)
}

// Unfired returns the armed faults that no call has met.
func (c *Cluster) Unfired() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for _, f := range c.faults {
		if f.fired == 0 {
			names = append(names, f.String())
		}
	}
	return names
}

// Call is one call into the world, as hooks and records see it.
type Call struct {
	Op     Op
	Host   string
	Name   string              // of the command, for Exec
	By     lifecycle.Execution // the run and step on whose behalf, where the face can tell
	Detail string              // "off", a key, a patch
	Time   time.Time
	Writes bool

	ctx   context.Context
	fault fault
}

// hooks are what tests hang into every call.
type hooks struct {
	mu     sync.Mutex
	before func(Call) error
	after  func(Call) error
}

// OnCall has before and after called around every call into the world, without any lock held: a test kills or pauses a
// controller there. An error from before is the call's answer, and there is no effect; one from after is the answer of a
// call whose effect has happened. Either may be nil.
func (c *Cluster) OnCall(before, after func(Call) error) {
	c.hooks.mu.Lock()
	defer c.hooks.mu.Unlock()
	c.hooks.before, c.hooks.after = before, after
}

func (c *Cluster) hook() (before, after func(Call) error) {
	c.hooks.mu.Lock()
	defer c.hooks.mu.Unlock()
	return c.hooks.before, c.hooks.after
}

// do is the one way into the world: it lets hooks and faults act, applies the effect under the lock, and records it.
// The effect may fill in the call's Detail.
func (c *Cluster) do(ctx context.Context, call Call, effect func(*Call) error) error {
	call.By, _ = lifecycle.ExecutionFrom(ctx)
	return c.enter(ctx, call, func(call *Call) error { return c.apply(call, effect) })
}

// enter lets hooks and faults act around apply.
func (c *Cluster) enter(ctx context.Context, call Call, apply func(*Call) error) error {
	if err := ctx.Err(); err != nil {
		return lifecycle.Wrap(err, string(call.Op), call.Host)
	}
	call.ctx = ctx
	before, after := c.hook()
	if before != nil {
		if err := before(call); err != nil {
			return err
		}
	}
	call.fault = c.meet(call)
	if err := call.fault.delay(ctx, call); err != nil {
		return err
	}
	if call.fault.kind != "" {
		return lifecycle.Errorf(call.fault.kind, string(call.Op), call.Host, "injected fault")
	}

	err := apply(&call)

	if after != nil {
		if err := after(call); err != nil {
			return err
		}
	}
	if err == nil && call.fault.lose {
		return lifecycle.Errorf(lifecycle.Unknown, string(call.Op), call.Host, "the connection ended before the answer came (injected fault)")
	}
	return err
}

func (c *Cluster) apply(call *Call, effect func(*Call) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advance()
	call.Time = c.now()
	if call.Writes {
		c.judge(*call)
	}
	switch {
	case call.fault.ignore:
		return nil
	case call.fault.late > 0:
		later := *call
		c.schedule(call.fault.late, func() { _ = c.effect(&later, effect) })
		return nil
	}
	err := c.effect(call, effect)
	if m := c.machines[call.Host]; m != nil && call.fault.crash {
		m.losePower()
	}
	return err
}

func (c *Cluster) effect(call *Call, effect func(*Call) error) error {
	err := effect(call)
	if err == nil && call.Writes {
		c.record = append(c.record, *call)
	}
	return err
}

// meet returns the fault that the call meets, if any.
func (c *Cluster) meet(call Call) fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.faults {
		if f.Op != call.Op || f.Count <= 0 || f.Host != "" && f.Host != call.Host || f.Name != "" && f.Name != call.Name {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		f.Count--
		f.fired++
		return *f
	}
	return fault{}
}

func (f fault) delay(ctx context.Context, call Call) error {
	var timer <-chan time.Time
	switch {
	case f.hang:
	case f.slow > 0:
		timer = time.After(f.slow)
	default:
		return nil
	}
	select {
	case <-timer:
		return nil
	case <-ctx.Done():
		kind := lifecycle.Unavailable
		if call.Writes {
			kind = lifecycle.Unknown
		}
		return lifecycle.Errorf(kind, string(call.Op), call.Host, "no answer (injected fault): %w", ctx.Err())
	}
}
