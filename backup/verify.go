package backup

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/internal/mutant"
)

// maxWindow bounds the memory that an archive may ask for when it is unpacked, in bytes (RFC 8878 section 3.1.1.1.2).
const maxWindow = 32 << 20

// Verify reads the backup under prefix back from the store: the archive to its last byte, compared with the manifest by
// size and hash, entry by entry, and judged as [Check] does. Nothing may be erased before it has succeeded (I4).
//
// Errors: Precondition when the backup is missing, incomplete, damaged, not of that host and run, or not safe to restore;
// Invalid for bad arguments; Unavailable when reading breaks off; and the store's own. Each says what differs.
func Verify(ctx context.Context, store Store, prefix string, opts ...Option) (Manifest, error) {
	at, err := locate(store, prefix)
	if err != nil {
		return Manifest{}, lifecycle.Wrap(err, "backup.Verify", "")
	}
	m, err := verify(ctx, store, prefix, at, newOptions(opts))
	return m, lifecycle.Wrap(err, "backup.Verify", at.host)
}

func verify(ctx context.Context, store Store, prefix string, at place, o options) (Manifest, error) {
	m, err := load(ctx, store, prefix, at, o)
	if errors.Is(err, lifecycle.NotFound) {
		return Manifest{}, refuse("there is no complete backup under %s: %w; make one, or name another", prefix, err)
	}
	if err != nil {
		return Manifest{}, err
	}
	if mutant.On("no-backup-readback") {
		return m, nil
	}
	if _, err := readBack(ctx, store, prefix, m, o, io.Discard); err != nil {
		return Manifest{}, err
	}
	return m, nil
}

// readBack reads an archive once, and refuses what is not as the manifest says. The tar that it writes to dst lacks the
// end marker until the judge that is returned seals it.
func readBack(ctx context.Context, store Store, prefix string, m Manifest, o options, dst io.Writer) (*judge, error) {
	key := prefix + archiveName
	if m.Bytes > o.limits.Bytes {
		return nil, refuse("the manifest speaks of %d bytes, at most %d are accepted; backup.WithLimits allows more",
			m.Bytes, o.limits.Bytes)
	}
	body, err := store.Get(ctx, key)
	if errors.Is(err, lifecycle.NotFound) {
		return nil, refuse("the archive %s is gone: %w; use another backup", key, err)
	}
	if err != nil {
		return nil, err
	}
	defer body.Close()
	src := &source{ctx: ctx, r: body, hash: sha256.New()}
	j := newJudge(o, dst).expect(m)
	err = unpack(src, j)
	switch {
	case src.err != nil:
		return nil, lost(key, src.err)
	case j.sink.err != nil:
		return nil, j.sink.err
	case err != nil:
		return nil, refuse("the archive %s cannot be trusted: %w; use another backup", key, err)
	}
	return j, agree(m, key, src, j)
}

func unpack(src *source, j *judge) error {
	dec, err := zstd.NewReader(src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return err
	}
	defer dec.Close()
	return j.read(&diluted{r: dec, packed: src, ratio: j.limits.Ratio})
}

// agree compares what was read with the manifest's figures. The entries were compared as they came.
func agree(m Manifest, key string, src *source, j *judge) error {
	_, err := io.Copy(io.Discard, src) // the decoder has seen the end already; this only makes sure
	switch {
	case err != nil:
		return lost(key, err)
	case src.n != m.ArchiveBytes:
		return refuse("the archive %s has %d bytes, the manifest says %d; use another backup", key, src.n, m.ArchiveBytes)
	case sum(src.hash) != m.ArchiveSHA256:
		return refuse("the archive %s has SHA-256 %s, the manifest says %s; use another backup",
			key, sum(src.hash), m.ArchiveSHA256)
	case j.bytes != m.Bytes || j.sha256 != m.SHA256:
		return refuse("the tar in %s has %d bytes and SHA-256 %s, the manifest says %d and %s; use another backup",
			key, j.bytes, j.sha256, m.Bytes, m.SHA256)
	}
	return nil
}
