package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"

	"github.com/ncnkit/lifecycle"
)

// Info says whose files are backed up, and for which run. Host and Run must be those of the prefix.
type Info struct {
	Host    string
	XName   string // optional
	Run     string
	Created time.Time // the zero time means the time in the prefix
}

// Create makes the backup under prefix from the plain tar that write streams (POSIX.1-2001 pax, ustar or GNU, names
// relative to the root directory). write returns the paths that it was asked for and did not find; they are listed in
// the manifest. Its context ends when the archive cannot be stored or would not be accepted by [Check].
//
// The archive is judged, hashed and compressed on its way into the store, in bounded memory and without a temporary
// file; the manifest follows when the archive is stored. A complete backup of the same host and run is returned as it is
// and write is not called, so that a resumed run may call Create again; what a run left without a manifest is made anew.
//
// Errors: Precondition when nothing was there to back up (but see [AllowEmpty]) or the archive is refused, Conflict when
// something else is kept under prefix, Invalid for bad arguments, and those of write and of the store. After an error
// there is no backup.
func Create(ctx context.Context, store Store, prefix string, info Info,
	write func(ctx context.Context, w io.Writer) (absent []string, err error), opts ...Option,
) (Manifest, error) {
	m, err := create(ctx, store, prefix, info, write, newOptions(opts))
	return m, lifecycle.Wrap(err, "backup.Create", info.Host)
}

func create(ctx context.Context, store Store, prefix string, info Info,
	write func(context.Context, io.Writer) ([]string, error), o options,
) (Manifest, error) {
	at, err := locate(store, prefix)
	if err != nil {
		return Manifest{}, err
	}
	if write == nil || at.host != info.Host || at.run != info.Run || !utf8.ValidString(info.XName) {
		return Manifest{}, lifecycle.Errorf(lifecycle.Invalid, "", "",
			"want a function that writes, and the host and run of the prefix %s", prefix)
	}
	if m, found, err := resume(ctx, store, prefix, at, info, o); err != nil || found {
		return m, err
	}
	m, err := archive(ctx, store, prefix+archiveName, write, o)
	if err != nil {
		return Manifest{}, err
	}
	m.Version, m.Host, m.XName, m.Run, m.Created = ManifestVersion, info.Host, info.XName, info.Run, info.Created.UTC()
	if info.Created.IsZero() {
		m.Created = at.time
	}
	return record(ctx, store, prefix, at, m, o)
}

// resume finds what an earlier attempt of the run left: a complete backup, or the parts of none, which it removes.
func resume(ctx context.Context, store Store, prefix string, at place, info Info, o options) (Manifest, bool, error) {
	m, err := load(ctx, store, prefix, at, o)
	switch {
	case errors.Is(err, lifecycle.NotFound):
		return Manifest{}, false, store.Delete(ctx, prefix+archiveName)
	case lifecycle.KindOf(err) == lifecycle.Precondition:
		return Manifest{}, false, lifecycle.Errorf(lifecycle.Conflict, "", "",
			"%s already holds something else: %w; or look at it, and remove it with backup.Remove", prefix, err)
	case err != nil:
		return Manifest{}, false, err
	case m.XName != info.XName:
		return Manifest{}, false, lifecycle.Errorf(lifecycle.Conflict, "", "",
			"%s already holds a backup of machine %q, not of %q: find out which one %s is", prefix, m.XName, info.XName, info.Host)
	}
	whole, err := has(ctx, store, prefix+archiveName)
	if err != nil || whole {
		return m, whole, err
	}
	return Manifest{}, false, store.Delete(ctx, prefix+manifestName) // a manifest without its archive is of no use
}

func has(ctx context.Context, store Store, key string) (bool, error) {
	objects, err := store.List(ctx, key)
	for _, o := range objects {
		if o.Key == key {
			return true, err
		}
	}
	return false, err
}

// failure is the first of the errors of parties that make one another fail.
type failure struct {
	once sync.Once
	err  error
	stop func()
}

func (f *failure) set(err error) error {
	if err != nil {
		f.once.Do(func() { f.err = err; f.stop() })
	}
	return err
}

// archive stores the archive. Three parties are connected by pipes: write, which runs here; the judge, who packs what he
// accepts; and the store. Whoever fails says so first and breaks his pipes then, which makes the others end.
func archive(ctx context.Context, store Store, key string,
	write func(context.Context, io.Writer) ([]string, error), o options,
) (Manifest, error) {
	wctx, stop := context.WithCancel(ctx)
	defer stop()
	first := failure{stop: stop}
	plainR, plainW := io.Pipe()
	packedR, packedW := io.Pipe()
	defer plainW.CloseWithError(errStopped) // should write panic

	j, packed := newJudge(o, io.Discard), newTap(packedW)
	var wg sync.WaitGroup
	wg.Go(func() {
		err := first.set(pack(&source{ctx: ctx, r: plainR}, j, packed))
		plainR.CloseWithError(err)
		packedW.CloseWithError(err)
	})
	wg.Go(func() {
		err := first.set(store.Put(ctx, key, packedR))
		if err == nil {
			err = errStopped
		}
		packedR.CloseWithError(err)
	})
	absent, err := write(wctx, plainW)
	plainW.CloseWithError(first.set(err))
	wg.Wait()

	absent = validUTF8(absent)
	if errors.Is(first.err, errNothing) && len(absent) > 0 {
		return Manifest{}, fmt.Errorf("%w; not there: %s", first.err, strings.Join(absent, ", "))
	}
	return Manifest{
		Bytes: j.bytes, SHA256: j.sha256, ArchiveBytes: packed.n, ArchiveSHA256: sum(packed.hash),
		Absent: absent, Entries: j.entries,
	}, first.err
}

var errNothing = errors.New("nothing was backed up: the archive holds no file")

// pack judges a plain tar and compresses it as it comes. It returns before the last byte of the archive can be taken for
// its end, so that what it refuses is never stored.
func pack(plain io.Reader, j *judge, packed *tap) error {
	enc, err := zstd.NewWriter(packed, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	if err := j.read(io.TeeReader(plain, enc)); lifecycle.KindOf(err) == lifecycle.Precondition {
		return refuse("nothing was stored, because it could not be restored: %w", err)
	} else if err != nil {
		return err
	}
	if err := j.seal(); err != nil {
		return err
	}
	if j.files == 0 && !j.allowEmpty {
		return refuse("%w", errNothing)
	}
	if err := enc.Close(); err != nil {
		return err
	}
	if tooDense(j.bytes, packed.n, j.limits.Ratio) {
		return dense(j.limits.Ratio)
	}
	return nil
}

// record writes the manifest. When the store does not say that it did, looking decides.
func record(ctx context.Context, store Store, prefix string, at place, m Manifest, o options) (Manifest, error) {
	data, err := encode(&m)
	if err != nil {
		return Manifest{}, err
	}
	if m, err = decode(data, o.limits.Entries); err != nil {
		return Manifest{}, refuse("the manifest could not be read again: %w", err)
	}
	if err := store.Put(ctx, prefix+manifestName, bytes.NewReader(data)); err != nil {
		if there, look := load(ctx, store, prefix, at, o); look != nil || !same(there, m) {
			return Manifest{}, err
		}
	}
	return m, nil
}

func validUTF8(names []string) []string {
	var out []string
	for _, name := range names {
		out = append(out, strings.ToValidUTF8(name, "\uFFFD"))
	}
	return out
}
