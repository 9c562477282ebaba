package backup

import (
	"context"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/ncnkit/lifecycle"
)

// Store keeps objects under slash-separated keys. A key that [CheckKey] refuses is an Invalid error of Put, Get and
// Delete. Implementations are safe for concurrent use, and pass backuptest.Run.
type Store interface {
	// Put stores what r yields under key, all or nothing: a reader that fails leaves no object. An existing key is a
	// Conflict error, and its object stays as it was.
	Put(ctx context.Context, key string, r io.Reader) error
	// Get opens an object, or returns a NotFound error.
	Get(ctx context.Context, key string) (io.ReadCloser, error)
	// List returns the objects whose keys start with prefix, in key order.
	List(ctx context.Context, prefix string) ([]Object, error)
	// Delete removes an object; one that is not there is no error.
	Delete(ctx context.Context, key string) error
}

// Object is an entry of a listing.
type Object struct {
	Key      string
	Size     int64     // bytes
	Modified time.Time // as the store tells it
}

const maxKey = 1024 // bytes; the limit of S3

var keyPart = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}$`)

// CheckKey refuses, as Invalid, a key that not every store can hold: the parts between slashes are 1 to 200 letters,
// digits, ".", "_" and "-", none begins with a dot, and the whole is at most 1024 bytes.
func CheckKey(key string) error {
	bad := len(key) > maxKey
	for part := range strings.SplitSeq(key, "/") {
		bad = bad || !keyPart.MatchString(part)
	}
	if bad {
		return lifecycle.Errorf(lifecycle.Invalid, "backup.CheckKey", "",
			"%.100q is not a key: want parts of letters, digits, '.', '_', '-' between slashes, none beginning with a dot", key)
	}
	return nil
}
