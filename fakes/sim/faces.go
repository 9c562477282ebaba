package sim

import (
	"bytes"
	"context"
	"io"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/bss"
	"github.com/ncnkit/lifecycle/power"
)

// runner is the nodes as a process reaches them.
type runner struct {
	lifecycle.Runner
	lifecycle.HostKeyKeeper
	s *sim
}

// Run delivers a command twice when it is told to.
func (r runner) Run(ctx context.Context, node lifecycle.Node, cmd lifecycle.Command) (lifecycle.Result, error) {
	var stdin []byte
	if cmd.Stdin != nil {
		var err error
		if stdin, err = io.ReadAll(cmd.Stdin); err != nil {
			return lifecycle.Result{}, lifecycle.Errorf(lifecycle.Unknown, "sim.Run", node.Name, "standard input: %w", err)
		}
		cmd.Stdin = bytes.NewReader(stdin)
	}
	result, err := r.Runner.Run(ctx, node, cmd)
	if r.s.mark(ctx).repeat {
		if stdin != nil {
			cmd.Stdin = bytes.NewReader(stdin)
		}
		_, _ = r.Runner.Run(context.WithValue(ctx, passes{}, true), node, cmd)
	}
	return result, err
}

// bmcs are the BMCs as a process reaches them.
type bmcs struct {
	power.Controller
	s *sim
}

// Do delivers a command twice when it is told to.
func (b bmcs) Do(ctx context.Context, bmc power.BMC, a power.Action) error {
	err := b.Controller.Do(ctx, bmc, a)
	if b.s.mark(ctx).repeat {
		_ = b.Controller.Do(context.WithValue(ctx, passes{}, true), bmc, a)
	}
	return err
}

// bootScripts is the boot script service as a process reaches it.
type bootScripts struct {
	bss.API
	locks bss.Locker
	s     *sim
	turns map[turn]*attempts // guarded by s.mu
}

type turn struct {
	ctx  context.Context
	host string
}

type attempts struct {
	made int
	last time.Time // the end of the last
}

func newBootScripts(api bss.API, s *sim) *bootScripts {
	locks, ok := api.(bss.Locker)
	if !ok {
		locks = &bss.HostLocks{}
	}
	return &bootScripts{api, locks, s, map[turn]*attempts{}}
}

// Lock takes away what chance has in the pauses of bss.Update, which has none for its caller to set: the next attempt
// begins when the longest pause that it could have chosen is over.
func (b *bootScripts) Lock(ctx context.Context, host string) (func(), error) {
	b.s.mu.Lock()
	a := b.turns[turn{ctx, host}]
	if a == nil {
		a = &attempts{}
		b.turns[turn{ctx, host}] = a
	}
	var pause time.Duration
	if a.made > 0 {
		pause = time.Until(a.last.Add(min(100*time.Millisecond<<min(a.made-1, 16), 5*time.Second)))
	}
	a.made++
	b.s.mu.Unlock()
	if pause > 0 {
		time.Sleep(pause)
	}
	unlock, err := b.locks.Lock(ctx, host)
	if err != nil {
		return nil, err
	}
	return func() {
		b.s.mu.Lock()
		a.last = time.Now()
		b.s.mu.Unlock()
		unlock()
	}, nil
}

// journal is the journal as a process reaches it: each call waits at a gate.
type journal struct{ p *Process }

// call lets one call to the journal pass.
func (j journal) call(ctx context.Context, name, target, run, what, step string, f func() error) error {
	g := &gate{p: j.p, op: journalOps + name, host: target, name: what, run: run, step: step}
	v, err := j.p.s.pass(ctx, g)
	if err == nil {
		err = v.err
	}
	if err != nil {
		return err
	}
	err = f()
	if v.after != nil {
		v.after()
	}
	if v.lost != nil {
		return v.lost
	}
	return err
}

func (j journal) Acquire(ctx context.Context, target, run, owner string) (lease lifecycle.Lease, err error) {
	err = j.call(ctx, "acquire", target, run, "", "", func() error {
		lease, err = j.p.mem.Acquire(ctx, target, run, owner)
		return err
	})
	return lease, err
}

func (j journal) Append(ctx context.Context, lease lifecycle.Lease, rec lifecycle.Record) error {
	what := string(rec.Type) + " " + string(rec.Outcome) + string(rec.State) + " " + string(rec.Kind)
	return j.call(ctx, "append", lease.Target, lease.Run, what, rec.Step, func() error { return j.p.mem.Append(ctx, lease, rec) })
}

func (j journal) Release(ctx context.Context, lease lifecycle.Lease) error {
	return j.call(ctx, "release", lease.Target, lease.Run, "", "", func() error { return j.p.mem.Release(ctx, lease) })
}

func (j journal) Records(ctx context.Context, run string) (records []lifecycle.Record, err error) {
	err = j.call(ctx, "records", "", run, "", "", func() error {
		records, err = j.p.mem.Records(ctx, run)
		return err
	})
	return records, err
}

func (j journal) Runs(ctx context.Context) (runs []string, err error) {
	err = j.call(ctx, "runs", "", "", "", "", func() error {
		runs, err = j.p.mem.Runs(ctx)
		return err
	})
	return runs, err
}

// Ask implements [lifecycle.Requests].
func (j journal) Ask(ctx context.Context, run string, req lifecycle.Request) error {
	return j.call(ctx, "ask", "", run, req.Action, "", func() error { return j.p.mem.Ask(ctx, run, req) })
}

// Asked implements [lifecycle.Requests].
func (j journal) Asked(ctx context.Context, run string) (asked []lifecycle.Request, err error) {
	err = j.call(ctx, "asked", "", run, "", "", func() error {
		asked, err = j.p.mem.Asked(ctx, run)
		return err
	})
	return asked, err
}
