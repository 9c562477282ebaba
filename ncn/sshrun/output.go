package sshrun

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
)

var errStopped = errors.New("the call has returned")

// sink passes output on until it is stopped, or keeps it when there is nobody to pass it to.
type sink struct {
	mu      sync.Mutex
	w       io.Writer // nil: keep
	kept    bytes.Buffer
	stopped bool
}

func newSink(w io.Writer) *sink { return &sink{w: w} }

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.stopped:
		return 0, errStopped
	case s.w != nil:
		return s.w.Write(p)
	case s.kept.Len()+len(p) > maxStdout:
		return 0, fmt.Errorf("more than %d MiB; set Command.Stdout to stream it", maxStdout>>20)
	}
	return s.kept.Write(p)
}

// stop lets nothing pass any more. It waits for a Write in progress.
func (s *sink) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
}

func (s *sink) bytes() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept.Len() == 0 {
		return nil
	}
	return bytes.Clone(s.kept.Bytes())
}

// tail keeps the last max bytes.
type tail struct {
	mu  sync.Mutex
	max int
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if len(t.buf) > 2*t.max {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-t.max:]...)
	}
	return len(p), nil
}

func (t *tail) bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.buf) == 0 {
		return nil
	}
	return bytes.Clone(t.buf[max(0, len(t.buf)-t.max):])
}
