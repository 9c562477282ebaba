package lifecycle

import (
	"context"
	"errors"
	"time"
)

// Wait polls until cond holds, every so often, and at most for timeout. What it waits for is told to the run's observers
// while it waits, with cond's reason why it does not hold yet, and named in the [Timeout] error when it expires.
//
// An error of kind [Unavailable] or [Timeout] from cond is a reason to look again; any other ends the wait.
func Wait(ctx context.Context, what string, every, timeout time.Duration, cond func(context.Context) (ok bool, why string, err error)) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	last := ""
	for {
		ok, why, err := cond(ctx)
		switch {
		case err != nil && ctx.Err() == nil && !passing(err):
			return err
		case err != nil && ctx.Err() == nil:
			why = err.Error()
		case err == nil && ok:
			return nil
		}
		if why != "" && why != last {
			last = why
			Notify(ctx, what, why)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return waitEnded(ctx, what, last, timeout)
		}
	}
}

func passing(err error) bool {
	k := KindOf(err)
	return k == Unavailable || k == Timeout
}

func waitEnded(ctx context.Context, what, last string, timeout time.Duration) error {
	if last == "" {
		last = "no answer yet"
	}
	op, host := "lifecycle.Wait", ""
	if e, ok := ExecutionFrom(ctx); ok {
		host = e.Target
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return Errorf(Timeout, op, host, "waited up to %v for %s; last seen: %s", timeout, what, last)
	}
	return Errorf(Canceled, op, host, "stopped while waiting for %s: %w", what, ctx.Err())
}
