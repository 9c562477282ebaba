package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"time"

	"github.com/ncnkit/lifecycle"
)

// ManifestVersion is the format of the manifests that this version writes. A higher one is refused by name.
const ManifestVersion = 1

// maxManifest bounds a manifest, in bytes.
const maxManifest = 512 << 20

// Manifest says what a backup must hold. It is a plain value.
type Manifest struct {
	Version       int       `json:"version"`
	Host          string    `json:"host"`
	XName         string    `json:"xname,omitempty"`
	Run           string    `json:"run"`
	Created       time.Time `json:"created"`
	Bytes         int64     `json:"bytes"`  // of the plain tar
	SHA256        string    `json:"sha256"` // of the plain tar, in hex
	ArchiveBytes  int64     `json:"archiveBytes"`
	ArchiveSHA256 string    `json:"archiveSHA256"`    // of the compressed archive, in hex
	Absent        []string  `json:"absent,omitempty"` // paths that were asked for and not there
	Entries       []Entry   `json:"entries,omitempty"`
	Sum           string    `json:"sum"` // SHA-256 of the manifest with an empty sum, in hex
}

// Type says what an [Entry] is.
type Type string

// The types. There are no others: devices, FIFOs and sparse files are refused.
const (
	File    Type = "file"
	Dir     Type = "dir"
	Symlink Type = "symlink"
	Link    Type = "link" // a hard link
)

// Mode is the permission, set-ID and sticky bits of an entry, as chmod(1) takes them. It is written in octal.
type Mode uint32

// String returns the mode in octal: "0644".
func (m Mode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

// MarshalText returns the mode in octal.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads a mode in octal.
func (m *Mode) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 8, 12)
	*m = Mode(n)
	return err
}

// Entry is one file, directory or link of an archive, in the archive's order.
type Entry struct {
	Path   string `json:"path"` // relative to the root of the archive, without "./" and trailing slash
	Type   Type   `json:"type"`
	Mode   Mode   `json:"mode"`
	UID    int    `json:"uid"`
	GID    int    `json:"gid"`
	Size   int64  `json:"size,omitempty"`   // bytes, of a file
	SHA256 string `json:"sha256,omitempty"` // of a file, in hex
	Link   string `json:"link,omitempty"`   // target of a link
}

// Load returns the manifest of the backup under prefix after checking that it is whole and of that host and run. It
// does not read the archive: only [Verify] tells whether a backup is good. Errors: NotFound when there is no complete
// backup, Precondition for a manifest that is damaged, of another host or written by a newer version, Invalid for a
// prefix that is none, and the store's own.
func Load(ctx context.Context, store Store, prefix string, opts ...Option) (Manifest, error) {
	at, err := locate(store, prefix)
	if err != nil {
		return Manifest{}, lifecycle.Wrap(err, "backup.Load", "")
	}
	m, err := load(ctx, store, prefix, at, newOptions(opts))
	return m, lifecycle.Wrap(err, "backup.Load", at.host)
}

func load(ctx context.Context, store Store, prefix string, at place, o options) (Manifest, error) {
	r, err := store.Get(ctx, prefix+manifestName)
	if err != nil {
		return Manifest{}, err
	}
	defer r.Close()
	src := &source{ctx: ctx, r: r}
	data, err := io.ReadAll(io.LimitReader(src, maxManifest+1))
	if err != nil {
		return Manifest{}, lost(prefix+manifestName, err)
	}
	m, err := decode(data, o.limits.Entries)
	if err != nil {
		return Manifest{}, refuse("the manifest %s cannot be used: %w; use another backup", prefix+manifestName, err)
	}
	if m.Host != at.host || m.Run != at.run {
		return Manifest{}, refuse("the manifest %s is of host %q and run %q, not of %q and %q: objects were moved; use another backup",
			prefix+manifestName, m.Host, m.Run, at.host, at.run)
	}
	return m, nil
}

// encode fills in the sum, and returns the manifest in the one form that decode accepts.
func encode(m *Manifest) ([]byte, error) {
	m.Sum = ""
	data, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	m.Sum = hex.EncodeToString(sum[:])
	data, err = json.Marshal(m)
	return append(data, '\n'), err
}

// decode accepts exactly the bytes that encode would write for what they say, so that no changed byte goes unseen, and
// stops at limit entries before they take memory.
func decode(data []byte, limit int) (Manifest, error) {
	type plain Manifest
	var outer struct {
		plain
		Entries json.RawMessage `json:"entries"`
	}
	if len(data) > maxManifest {
		return Manifest{}, fmt.Errorf("it is larger than %d bytes", maxManifest)
	}
	if err := json.Unmarshal(data, &outer); err != nil {
		return Manifest{}, fmt.Errorf("it is not JSON of a manifest: %w", err)
	}
	m := Manifest(outer.plain)
	if m.Version != ManifestVersion {
		return Manifest{}, fmt.Errorf("it has format version %d, this program reads version %d", m.Version, ManifestVersion)
	}
	var err error
	if m.Entries, err = decodeEntries(outer.Entries, limit); err != nil {
		return Manifest{}, err
	}
	canonical := m
	again, err := encode(&canonical)
	if err != nil {
		return Manifest{}, err
	}
	if !bytes.Equal(again, data) {
		return Manifest{}, errors.New("it was changed after it was written: its sum differs")
	}
	return m, nil
}

func decodeEntries(data []byte, limit int) ([]Entry, error) {
	if len(data) == 0 {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	var entries []Entry
	for d.More() {
		if len(entries) == limit {
			return nil, fmt.Errorf("it lists more than %d entries; backup.WithLimits allows more", limit)
		}
		var e Entry
		if err := d.Decode(&e); err != nil {
			return nil, fmt.Errorf("entry %d: %w", len(entries)+1, err)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// same reports whether two manifests say the same.
func same(a, b Manifest) bool { return a.Sum == b.Sum && reflect.DeepEqual(a, b) }
