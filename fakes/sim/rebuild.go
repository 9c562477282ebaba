package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes"
	"github.com/ncnkit/lifecycle/ncn"
)

// Rebuilds returns a [Work] that rebuilds every worker of the layout, width at a time. Like ncnctl it takes up the runs
// that it finds open. A node whose run failed is now and then tried once more, as an operator would.
func Rebuilds(width int, opts ...ncn.Option) Work {
	return Plans(width, func(ctx context.Context, p *Process, host string) (*lifecycle.Plan, error) {
		return ncn.Rebuild(ctx, p.Site.Host(host), ncn.Worker, opts...)
	}, func(p *Process) lifecycle.Planner { return ncn.Planner(p.Site, opts...) })
}

// Plans returns a [Work] that makes a plan for every worker of the layout and runs it, width at a time; planner makes the
// steps of runs that it finds open.
func Plans(width int, plan func(ctx context.Context, p *Process, host string) (*lifecycle.Plan, error), planner func(*Process) lifecycle.Planner) Work {
	return func(ctx context.Context, p *Process) error {
		return p.Each(ctx, workers(p.Cluster), width, func(ctx context.Context, host string) error {
			t := &task{p: p, host: host, plan: plan, planner: planner(p)}
			return t.drive(ctx)
		})
	}
}

// workers returns the names of the cluster's workers.
func workers(w *fakes.Cluster) []string {
	var hosts []string
	nodes, _ := w.Nodes(context.Background()) // nothing befalls a call of ours
	for _, n := range nodes {
		if n.Role == lifecycle.Worker {
			hosts = append(hosts, n.Name)
		}
	}
	return hosts
}

// task brings one host to an end.
type task struct {
	p       *Process
	host    string
	plan    func(context.Context, *Process, string) (*lifecycle.Plan, error)
	planner lifecycle.Planner
}

const (
	tries    = 5                // of planning
	wait     = time.Minute      // until the next look
	patience = 10 * time.Minute // with planning
	rounds   = 4 * 24 * 60      // more than the bound
)

func (t *task) drive(ctx context.Context) error {
	refusals := 0
	var last error
	for range rounds {
		id, state, ended, err := t.latest(ctx)
		switch {
		case err != nil:
			last = err
		case id != "" && state == lifecycle.Open:
			last = lifecycle.Resume(ctx, id, t.planner, t.p.Options()...)
			if lifecycle.StateOf(last) == "" && !passing(last) {
				return last // it is not a matter of time
			}
		case id != "" && (state == lifecycle.Done || ended > 1 || t.p.Rand("again "+t.host).IntN(4) > 0):
			return nil
		default:
			if last = t.begin(ctx); lifecycle.StateOf(last) == lifecycle.Refused {
				refusals++
			}
		}
		if ctx.Err() != nil || last == nil {
			return ctx.Err()
		}
		if refusals == tries {
			return fmt.Errorf("%s was refused %d times: %w", t.host, tries, last)
		}
		if err := pauseFor(ctx, wait); err != nil {
			return err
		}
	}
	return last
}

// passing reports whether another look may find it otherwise.
func passing(err error) bool {
	var held *lifecycle.Held
	switch lifecycle.KindOf(err) {
	case lifecycle.Unavailable, lifecycle.Unknown, lifecycle.Timeout, lifecycle.Precondition: // the last: it has ended meanwhile
		return true
	}
	return err == nil || errors.As(err, &held)
}

func (t *task) begin(ctx context.Context) error {
	planning, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	plan, err := t.plan(planning, t.p, t.host)
	if err != nil {
		return err
	}
	return lifecycle.Run(ctx, plan, t.p.Options()...)
}

// latest returns the latest run of the host, and how many of its runs have ended.
func (t *task) latest(ctx context.Context) (id string, state lifecycle.State, ended int, err error) {
	runs, err := t.p.Journal.Runs(ctx)
	if err != nil {
		return "", "", 0, err
	}
	for _, run := range runs {
		status, err := lifecycle.StatusOf(ctx, t.p.Journal, run)
		if err != nil {
			return "", "", 0, err
		}
		if status.Target != t.host {
			continue
		}
		if state != lifecycle.Open {
			id, state = run, status.State
		}
		if status.State != lifecycle.Open {
			ended++
		}
	}
	return id, state, ended, nil
}

func pauseFor(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
