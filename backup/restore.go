package backup

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/ncnkit/lifecycle"
)

// Restore verifies the backup under prefix as [Verify] does, and then hands its files to sink as a plain tar (pax).
//
// The tar is written anew from what the judge understood, so that the program that unpacks it cannot read it another
// way. It is compared with the manifest a second time on its way: an entry that is not in the manifest is never handed
// on, and the end marker follows only when the whole archive was found to be the same; until then the reader gives an
// error, and no io.EOF. A sink that returns nil before it has seen all of the archive is an error.
//
// Errors before sink is called are those of Verify: nothing was changed. Afterwards: Conflict when the archive changed
// in between, and those of sink and of the store; then the node has a part of its files, and Restore is to be called
// again.
func Restore(ctx context.Context, store Store, prefix string,
	sink func(ctx context.Context, tar io.Reader, m Manifest) error, opts ...Option,
) (Manifest, error) {
	at, err := locate(store, prefix)
	if err == nil && sink == nil {
		err = lifecycle.Errorf(lifecycle.Invalid, "", "", "no sink was given")
	}
	if err != nil {
		return Manifest{}, lifecycle.Wrap(err, "backup.Restore", at.host)
	}
	m, err := restore(ctx, store, prefix, at, sink, newOptions(opts))
	return m, lifecycle.Wrap(err, "backup.Restore", at.host)
}

func restore(ctx context.Context, store Store, prefix string, at place,
	sink func(context.Context, io.Reader, Manifest) error, o options,
) (Manifest, error) {
	m, err := verify(ctx, store, prefix, at, o)
	if err != nil {
		return Manifest{}, err
	}
	r, w := io.Pipe()
	var sent error
	var wg sync.WaitGroup
	wg.Go(func() {
		var j *judge
		if j, sent = readBack(ctx, store, prefix, m, o, w); sent == nil {
			_ = j.seal() // all files are through; a sink may do without the end marker
		}
		w.CloseWithError(sent)
	})
	stop := sync.OnceFunc(func() { r.CloseWithError(errStopped); wg.Wait() })
	defer stop() // should sink panic
	sinkErr := sink(ctx, r, m)
	stop()
	if err := outcome(sent, sinkErr); err != nil {
		return Manifest{}, err
	}
	return m, nil
}

// outcome tells which of two errors is the cause: that of sending the files, or the sink's.
func outcome(sent, sink error) error {
	switch {
	case sent == nil:
		return sink
	case errors.Is(sent, errStopped) && sink != nil:
		return sink
	case errors.Is(sent, errStopped):
		return lifecycle.Errorf(lifecycle.Internal, "", "",
			"the restore ended before all files were handed over: restore again")
	case lifecycle.KindOf(sent) == lifecycle.Precondition:
		return lifecycle.Errorf(lifecycle.Conflict, "", "", "the archive changed while it was restored: %w; "+
			"what was restored is incomplete, restore again", sent)
	}
	return sent
}
