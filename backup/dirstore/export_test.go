package dirstore

import (
	"io"
	"os"
)

// WriteThrough makes objects of s be written through what wrap returns.
func WriteThrough(s *Store, wrap func(io.Writer) io.Writer) {
	s.file = func(f *os.File) io.Writer { return wrap(f) }
}
