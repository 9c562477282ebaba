package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"

	"github.com/ncnkit/lifecycle"
)

// source reads from a store. It keeps the error of the store apart from what the layers above make of it, and gives up
// when the context does.
type source struct {
	ctx  context.Context
	r    io.Reader
	hash hash.Hash // nil: not hashed
	n    int64     // bytes read
	err  error     // the first error but io.EOF
}

func (s *source) Read(p []byte) (int, error) {
	if s.err == nil {
		s.err = s.ctx.Err()
	}
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(p)
	s.n += int64(n)
	if s.hash != nil {
		s.hash.Write(p[:n])
	}
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// lost says that the store failed while it was read. Most stores have no kind for a connection that broke.
func lost(key string, err error) error {
	kind := lifecycle.KindOf(err)
	if kind == lifecycle.Internal {
		kind = lifecycle.Unavailable
	}
	return lifecycle.Errorf(kind, "", "", "reading %s from the store: %w; try again", key, err)
}

// meter counts and hashes what is read through it, and ends at a limit. Its err is the first error but io.EOF.
type meter struct {
	r     io.Reader
	limit int64
	hash  hash.Hash
	n     int64
	err   error
}

func newMeter(r io.Reader, limit int64) *meter {
	return &meter{r: r, limit: limit, hash: sha256.New()}
}

func (m *meter) Read(p []byte) (int, error) {
	if m.err != nil {
		return 0, m.err
	}
	n, err := m.r.Read(p)
	m.n += int64(n)
	m.hash.Write(p[:n])
	if m.n > m.limit {
		err = refuse("the tar is longer than the %d bytes it may have", m.limit)
	}
	if err != nil && err != io.EOF {
		m.err = err
	}
	return n, err
}

// tap counts and hashes what is written through it. Its err is the first error.
type tap struct {
	w    io.Writer
	hash hash.Hash
	n    int64
	err  error
}

func newTap(w io.Writer) *tap { return &tap{w: w, hash: sha256.New()} }

func (t *tap) Write(p []byte) (int, error) {
	n, err := t.w.Write(p)
	t.n += int64(n)
	t.hash.Write(p[:n])
	if t.err == nil {
		t.err = err
	}
	return n, err
}

// diluted reads a plain tar, and refuses one that was compressed beyond belief.
type diluted struct {
	r      io.Reader
	packed *source
	ratio  int64
	n      int64
}

func (d *diluted) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	d.n += int64(n)
	if tooDense(d.n, d.packed.n, d.ratio) {
		return n, dense(d.ratio)
	}
	return n, err
}

func tooDense(plain, packed, ratio int64) bool {
	return plain > ratioFloor && plain/ratio > packed
}

func dense(ratio int64) error {
	return refuse("the archive is compressed more than %d to 1, which files of a node are not; if it is right, "+
		"allow it with backup.WithLimits", ratio)
}

func sum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// errStopped is what a pipe's writer sees when its reader ended early.
var errStopped = errors.New("the reader stopped before the end")
