package backuptest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/backup"
)

var cases = []struct {
	name string
	run  func(suite, context.Context) error
}{
	{"an object comes back as it was put", suite.roundTrip},
	{"an existing key is a conflict and stays", suite.conflict},
	{"a reader that fails leaves nothing", suite.failingReader},
	{"a context that ended leaves nothing", suite.endedContext},
	{"of many puts of one key one wins", suite.race},
	{"what is not there is not found", suite.absent},
	{"a deleted key can be put again", suite.again},
	{"odd keys are refused", suite.oddKeys},
	{"a listing holds what starts with the prefix, in key order", suite.listing},
	{"a long listing is complete", suite.longListing},
	{"a large object streams", suite.large},
}

// want says what is wrong with an error that should be of kind.
func want(kind lifecycle.Kind, what string, err error) error {
	if errors.Is(err, kind) && lifecycle.KindOf(err) == kind {
		return nil
	}
	return fmt.Errorf("%s: want an error of kind %q, got %v", what, string(kind), err)
}

func (s suite) put(ctx context.Context, rest, content string) error {
	if err := s.store.Put(ctx, s.key(rest), strings.NewReader(content)); err != nil {
		return fmt.Errorf("Put %s: %w", s.key(rest), err)
	}
	return nil
}

// holds says what is wrong with an object that should have that content.
func (s suite) holds(ctx context.Context, rest, content string) error {
	r, err := s.store.Get(ctx, s.key(rest))
	if err != nil {
		return fmt.Errorf("Get %s: %w", s.key(rest), err)
	}
	got, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return fmt.Errorf("reading %s: %w", s.key(rest), err)
	}
	if string(got) != content {
		return fmt.Errorf("%s holds %.100q, want %.100q", s.key(rest), got, content)
	}
	return nil
}

// nothing says what is wrong with a key that should not exist.
func (s suite) nothing(ctx context.Context, rest string) error {
	r, err := s.store.Get(ctx, s.key(rest))
	if err == nil {
		_ = r.Close()
	}
	if err := want(lifecycle.NotFound, "Get "+s.key(rest), err); err != nil {
		return err
	}
	objects, err := s.store.List(ctx, s.key(rest))
	if err != nil || len(objects) != 0 {
		return fmt.Errorf("List %s: want nothing, got %v, %v", s.key(rest), objects, err)
	}
	return nil
}

func (s suite) roundTrip(ctx context.Context) error {
	for name, content := range map[string]string{"empty": "", "a/b/c.txt": "hello\n", "binary": "\x00\xff\r\n\x00"} {
		if err := s.put(ctx, name, content); err != nil {
			return err
		}
		if err := s.holds(ctx, name, content); err != nil {
			return err
		}
	}
	r, err := s.store.Get(ctx, s.key("a/b/c.txt"))
	if err != nil {
		return err
	}
	return r.Close() // without reading
}

func (s suite) conflict(ctx context.Context) error {
	if err := s.put(ctx, "k", "first"); err != nil {
		return err
	}
	err := s.store.Put(ctx, s.key("k"), strings.NewReader("second"))
	if err := want(lifecycle.Conflict, "the second Put", err); err != nil {
		return err
	}
	return s.holds(ctx, "k", "first")
}

// broken yields n bytes and fails then.
type broken struct {
	n   int
	err error
}

func (b *broken) Read(p []byte) (int, error) {
	if b.n == 0 {
		return 0, b.err
	}
	n := min(b.n, len(p))
	clear(p[:n])
	b.n -= n
	return n, nil
}

func (s suite) failingReader(ctx context.Context) error {
	for _, n := range []int{0, 1, 100, 1 << 20} {
		name := fmt.Sprintf("broken-%d", n)
		if err := s.store.Put(ctx, s.key(name), &broken{n, errors.New("broken on purpose")}); err == nil {
			return fmt.Errorf("Put of a reader that failed after %d bytes succeeded", n)
		}
		if err := s.nothing(ctx, name); err != nil {
			return fmt.Errorf("after %d bytes: %w", n, err)
		}
	}
	if err := s.put(ctx, "broken-0", "whole"); err != nil {
		return fmt.Errorf("after a failure: %w", err)
	}
	return s.holds(ctx, "broken-0", "whole")
}

func (s suite) endedContext(ctx context.Context) error {
	ended, end := context.WithCancel(ctx)
	end()
	err := s.store.Put(ended, s.key("late"), strings.NewReader("late"))
	if err := want(lifecycle.Canceled, "Put", err); err != nil {
		return err
	}
	return s.nothing(ctx, "late")
}

func (s suite) race(ctx context.Context) error {
	const racers = 8
	errs := make([]error, racers)
	var wg sync.WaitGroup
	for i := range racers {
		wg.Go(func() {
			errs[i] = s.store.Put(ctx, s.key("prize"), strings.NewReader(strings.Repeat(fmt.Sprint(i), 10_000)))
		})
	}
	wg.Wait()
	winner := -1
	for i, err := range errs {
		switch {
		case err == nil && winner >= 0:
			return fmt.Errorf("racers %d and %d both won", winner, i)
		case err == nil:
			winner = i
		default:
			if err := want(lifecycle.Conflict, "a racer that lost", err); err != nil {
				return err
			}
		}
	}
	if winner < 0 {
		return errors.New("nobody won")
	}
	return s.holds(ctx, "prize", strings.Repeat(fmt.Sprint(winner), 10_000))
}

func (s suite) absent(ctx context.Context) error {
	if err := s.nothing(ctx, "absent"); err != nil {
		return err
	}
	if err := s.store.Delete(ctx, s.key("absent")); err != nil {
		return fmt.Errorf("Delete of what is not there: %w", err)
	}
	if err := s.put(ctx, "dir/x", "x"); err != nil {
		return err
	}
	_, err := s.store.Get(ctx, s.key("dir"))
	return want(lifecycle.NotFound, "Get of what is only the beginning of a key", err)
}

func (s suite) again(ctx context.Context) error {
	for _, content := range []string{"one", "two"} {
		if err := s.put(ctx, "d/k", content); err != nil {
			return err
		}
		if err := s.holds(ctx, "d/k", content); err != nil {
			return err
		}
		if err := s.store.Delete(ctx, s.key("d/k")); err != nil {
			return fmt.Errorf("Delete: %w", err)
		}
		if err := s.nothing(ctx, "d/k"); err != nil {
			return err
		}
	}
	return nil
}

func (s suite) oddKeys(ctx context.Context) error {
	odd := []string{
		"", "/", ".", "..", "/etc/passwd", "../x", s.key("../x"), s.key("a/../../x"), s.key("a//b"), s.key("a/"),
		s.key("./a"), s.key(".hidden"), s.key("a\x00b"), s.key("a\nb"), s.key(`a\b`), s.key("a b"), s.key("ä"),
		s.key("\xff"), s.key(strings.Repeat("x", 201)), s.key(strings.Repeat("x/", 600) + "x"),
	}
	for _, key := range odd {
		err := s.store.Put(ctx, key, strings.NewReader("odd"))
		if err := want(lifecycle.Invalid, fmt.Sprintf("Put %.60q", key), err); err != nil {
			return err
		}
		_, err = s.store.Get(ctx, key)
		if err := want(lifecycle.Invalid, fmt.Sprintf("Get %.60q", key), err); err != nil {
			return err
		}
		if err := want(lifecycle.Invalid, fmt.Sprintf("Delete %.60q", key), s.store.Delete(ctx, key)); err != nil {
			return err
		}
	}
	objects, err := s.store.List(ctx, s.Prefix+"/../")
	if len(objects) > 0 {
		return fmt.Errorf("List of a prefix that no key has: %v, %v", objects, err)
	}
	return s.empty(ctx)
}

func (s suite) listing(ctx context.Context) error {
	names := []string{"n-w1/b", "n-w1/a/2", "n-w1/a/1", "n-w1/a-b", "n-w1/a.b", "n-w10/a", "n-w1/B"}
	for i, name := range names {
		if err := s.put(ctx, name, strings.Repeat("x", i)); err != nil {
			return err
		}
	}
	for prefix, keys := range map[string][]string{
		"n-w1/":   {"n-w1/B", "n-w1/a-b", "n-w1/a.b", "n-w1/a/1", "n-w1/a/2", "n-w1/b"},
		"n-w1":    {"n-w1/B", "n-w1/a-b", "n-w1/a.b", "n-w1/a/1", "n-w1/a/2", "n-w1/b", "n-w10/a"},
		"n-w1/a":  {"n-w1/a-b", "n-w1/a.b", "n-w1/a/1", "n-w1/a/2"},
		"n-w1/a/": {"n-w1/a/1", "n-w1/a/2"},
		"n-w2/":   nil,
	} {
		objects, err := s.store.List(ctx, s.key(prefix))
		if err != nil {
			return fmt.Errorf("List %s: %w", prefix, err)
		}
		if err := s.lists(objects, keys, names); err != nil {
			return fmt.Errorf("List %s: %w", prefix, err)
		}
	}
	return nil
}

// lists says what is wrong with a listing. The size of an object is its place among names.
func (s suite) lists(objects []backup.Object, keys, names []string) error {
	var got []string
	for _, o := range objects {
		rest := strings.TrimPrefix(o.Key, s.key(""))
		got = append(got, rest)
		if o.Modified.IsZero() {
			return fmt.Errorf("%s has no time", o.Key)
		}
		if size := slices.Index(names, rest); int64(size) != o.Size {
			return fmt.Errorf("%s has size %d, want %d", o.Key, o.Size, size)
		}
	}
	if !slices.Equal(got, keys) {
		return fmt.Errorf("got %q, want %q", got, keys)
	}
	return nil
}

func (s suite) longListing(ctx context.Context) error {
	var keys []string
	for i := range s.Objects {
		keys = append(keys, fmt.Sprintf("many/%06d", i))
		if err := s.put(ctx, keys[i], ""); err != nil {
			return err
		}
	}
	objects, err := s.store.List(ctx, s.key("many/"))
	if err != nil {
		return fmt.Errorf("List: %w", err)
	}
	if len(objects) != len(keys) {
		return fmt.Errorf("List returned %d of %d objects", len(objects), len(keys))
	}
	for i, o := range objects {
		if o.Key != s.key(keys[i]) {
			return fmt.Errorf("object %d of the listing is %s, want %s", i, o.Key, s.key(keys[i]))
		}
	}
	return nil
}

func (s suite) large(ctx context.Context) error {
	stream := func() io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{1}), s.Large) }
	if err := s.store.Put(ctx, s.key("large"), stream()); err != nil {
		return fmt.Errorf("Put: %w", err)
	}
	r, err := s.store.Get(ctx, s.key("large"))
	if err != nil {
		return fmt.Errorf("Get: %w", err)
	}
	defer r.Close()
	got, expected := sha256.New(), sha256.New()
	n, err := io.Copy(got, r)
	if err != nil || n != s.Large {
		return fmt.Errorf("read %d of %d bytes: %v", n, s.Large, err)
	}
	if _, err := io.Copy(expected, stream()); err != nil {
		return err
	}
	if !bytes.Equal(got.Sum(nil), expected.Sum(nil)) {
		return errors.New("the content differs")
	}
	return nil
}
