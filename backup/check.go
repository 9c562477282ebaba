package backup

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/ncnkit/lifecycle"
)

const (
	blockSize = 512     // of tar
	maxPath   = 4096    // bytes; PATH_MAX of Linux
	maxNames  = 1 << 29 // bytes of memory that names may take
	maxHops   = 40      // links followed for one link; MAXSYMLINKS of Linux
)

// Check reads a plain tar (POSIX.1-2001 pax, ustar or GNU) to its very end, and returns what it holds. It refuses, as
// Precondition, whatever could do harm or be read in two ways when it is unpacked: absolute paths, "..", entries beneath
// a link or a file, duplicates, links that lead out of the archive (but see [LinksTo]), devices, FIFOs and sparse files,
// file capabilities, names that are not UTF-8, a missing end marker, anything behind it, and more than the [Limits].
//
// All functions of this package apply it: [Create], so that nothing is stored that could not be restored, and [Verify],
// [Restore] and [Extract] before they hand anything on.
func Check(ctx context.Context, r io.Reader, opts ...Option) ([]Entry, error) {
	if r == nil {
		return nil, lifecycle.Errorf(lifecycle.Invalid, "backup.Check", "", "no reader was given")
	}
	j := newJudge(newOptions(opts), io.Discard)
	if err := j.read(&source{ctx: ctx, r: r}); err != nil {
		return nil, lifecycle.Wrap(err, "backup.Check", "")
	}
	return j.entries, nil
}

// judge reads a plain tar and writes it anew from what it understood, so that whoever unpacks it cannot understand
// anything else. What it wrote lacks the end marker until seal is called.
type judge struct {
	options
	want  []Entry // what must be there, when compare is set
	comp  bool
	out   *tar.Writer
	sink  *tap // under out
	buf   []byte
	names int64 // bytes that names take, roughly

	entries []Entry
	index   map[string]int // path to entry; implied directories are -1
	files   int            // regular ones
	bytes   int64          // of the plain tar that was read
	sha256  string
}

// implied stands in judge.index for a directory that no entry names.
const implied = -1

func newJudge(o options, out io.Writer) *judge {
	sink := newTap(out)
	return &judge{options: o, sink: sink, out: tar.NewWriter(sink), buf: make([]byte, 64<<10), index: map[string]int{}}
}

// expect makes the judge refuse whatever differs from the manifest.
func (j *judge) expect(m Manifest) *judge {
	j.want, j.comp = m.Entries, true
	j.limits.Bytes = m.Bytes
	return j
}

func (j *judge) read(r io.Reader) error {
	in := newMeter(r, j.limits.Bytes)
	tr := tar.NewReader(in)
	var end int64 // where the entry before ends
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return j.blame(in, err)
		}
		e, err := j.admit(h)
		if err != nil {
			return err
		}
		end = in.n + (e.Size+blockSize-1)/blockSize*blockSize
		if err := j.take(h, e, tr); err != nil {
			return j.blame(in, err)
		}
	}
	if in.n < end+2*blockSize {
		return refuse("the tar stops after %d entries without its end marker: it was cut off", len(j.entries))
	}
	if err := j.rest(in); err != nil {
		return err
	}
	j.bytes, j.sha256 = in.n, sum(in.hash)
	return j.finish()
}

// blame finds out whose error it is: the reader's, the sink's or the tar's.
func (j *judge) blame(in *meter, err error) error {
	switch {
	case in.err != nil:
		return in.err
	case j.sink.err != nil:
		return j.sink.err
	case lifecycle.KindOf(err) == lifecycle.Precondition:
		return err
	}
	return refuse("the tar cannot be read after %d entries: %w", len(j.entries), err)
}

// rest reads what is behind the end marker: tar fills its last record with zeros.
func (j *judge) rest(in *meter) error {
	for {
		n, err := in.Read(j.buf)
		for _, b := range j.buf[:n] {
			if b != 0 {
				return refuse("there is something behind the end of the tar")
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// take copies an admitted entry to the output, and remembers it.
func (j *judge) take(h *tar.Header, e Entry, content io.Reader) error {
	if err := j.out.WriteHeader(header(h, e)); err != nil {
		return err
	}
	if e.Type == File {
		digest, err := j.content(content, e)
		if err != nil {
			return err
		}
		e.SHA256 = digest
		j.files++
	}
	if j.comp {
		if want := j.want[len(j.entries)]; e.SHA256 != want.SHA256 {
			return refuse("%q has other content than the manifest says", e.Path)
		}
	}
	j.entries = append(j.entries, e)
	return nil
}

func (j *judge) content(r io.Reader, e Entry) (string, error) {
	var digest hash.Hash = sha256.New()
	n, err := io.CopyBuffer(io.MultiWriter(digest, j.out), r, j.buf)
	if err != nil {
		return "", err
	}
	if n != e.Size {
		return "", refuse("%q has %d bytes, its header says %d", e.Path, n, e.Size)
	}
	return sum(digest), nil
}

// header is what is written anew for an entry: what the manifest says, the names of the owners, the time, and the
// extended attributes. Everything else that a tar can carry is dropped.
func header(h *tar.Header, e Entry) *tar.Header {
	out := &tar.Header{
		Typeflag: h.Typeflag, Name: e.Path, Linkname: e.Link, Size: e.Size, Mode: int64(e.Mode),
		Uid: e.UID, Gid: e.GID, Uname: h.Uname, Gname: h.Gname, ModTime: h.ModTime,
	}
	if e.Type == Dir {
		out.Name += "/"
	}
	for key, value := range h.PAXRecords {
		switch {
		case key == "mtime":
			out.Format = tar.FormatPAX // keeps the fraction of the second
		case strings.HasPrefix(key, "SCHILY.xattr.") || strings.HasPrefix(key, "SCHILY.acl.") || key == "RHT.security.selinux":
			if out.PAXRecords == nil {
				out.PAXRecords = map[string]string{}
			}
			out.PAXRecords[key] = value
		}
	}
	return out
}

// seal writes the end marker.
func (j *judge) seal() error { return j.out.Close() }

// admit refuses an entry, or says what it is, before anything of it is written.
func (j *judge) admit(h *tar.Header) (Entry, error) {
	e, err := j.entry(h)
	if err != nil {
		return Entry{}, err
	}
	if len(j.entries) == j.limits.Entries {
		return Entry{}, refuse("there are more than %d entries; backup.WithLimits allows more", j.limits.Entries)
	}
	if err := j.place(e); err != nil {
		return Entry{}, err
	}
	if j.comp {
		return e, j.compare(e)
	}
	return e, nil
}

func (j *judge) entry(h *tar.Header) (Entry, error) {
	name, err := cleanName(h.Name)
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Path: name, Mode: Mode(h.Mode & 0o7777), UID: h.Uid, GID: h.Gid, Size: h.Size, Link: h.Linkname}
	switch h.Typeflag {
	case tar.TypeReg:
		e.Type, e.Link = File, ""
	case tar.TypeDir:
		e.Type, e.Link = Dir, ""
	case tar.TypeSymlink:
		e.Type = Symlink
	case tar.TypeLink:
		e.Type = Link
		if e.Link, err = cleanName(h.Linkname); err != nil {
			return Entry{}, err
		}
	default:
		return Entry{}, refuse("%q is %s: a backup holds files, directories and links only; leave it out",
			name, typeName(h.Typeflag))
	}
	return e, plausible(h, e)
}

// plausible refuses what no honest tar holds, and what only looks like a plain file.
func plausible(h *tar.Header, e Entry) error {
	switch {
	case e.Type != File && e.Size != 0:
		return refuse("%q is a %s with content", e.Path, e.Type)
	case e.Type != Dir && strings.HasSuffix(h.Name, "/"):
		return refuse("%q is a %s with the name of a directory", e.Path, e.Type)
	case e.Type != Dir && e.Path == ".":
		return refuse("the root of the archive is a %s", e.Type)
	case e.Size < 0 || e.UID < 0 || e.GID < 0:
		return refuse("%q has a negative size or owner", e.Path)
	case e.Type == Symlink && (e.Link == "" || len(e.Link) > maxPath || !utf8.ValidString(e.Link)):
		return refuse("%q is a symbolic link to nowhere: %.100q", e.Path, e.Link)
	}
	for key := range h.PAXRecords {
		switch {
		case strings.HasPrefix(key, "GNU.sparse."):
			return refuse("%q is a sparse file: make the archive without --sparse", e.Path)
		case key == "SCHILY.xattr.security.capability":
			return refuse("%q has file capabilities: make the archive without them", e.Path)
		}
	}
	return nil
}

func typeName(flag byte) string {
	switch flag {
	case tar.TypeChar, tar.TypeBlock:
		return "a device node"
	case tar.TypeFifo:
		return "a FIFO"
	case tar.TypeGNUSparse:
		return "a sparse file"
	case tar.TypeXGlobalHeader:
		return "a global header"
	}
	return fmt.Sprintf("of type %q", flag)
}

// cleanName returns a name as the manifest has it, or refuses it.
func cleanName(name string) (string, error) {
	switch {
	case name == "" || len(name) > maxPath:
		return "", refuse("%.100q is empty or longer than %d bytes", name, maxPath)
	case !utf8.ValidString(name) || strings.ContainsRune(name, 0):
		return "", refuse("the name %.100q is not UTF-8: rename the file, or leave it out", name)
	case name[0] == '/':
		return "", refuse("%.100q is an absolute path: archive relative to the root directory (tar -C / …)", name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", refuse("%.100q leads out of the archive", name)
		}
	}
	return path.Clean(name), nil
}

// place puts an entry into the tree, and refuses it where something else is.
func (j *judge) place(e Entry) error {
	if at, ok := j.index[e.Path]; ok && (at != implied || e.Type != Dir) {
		return refuse("%q is there twice, or is also a directory", e.Path)
	}
	if e.Type == Link {
		at, ok := j.index[e.Link]
		if !ok || at == implied || j.entries[at].Type != File {
			return refuse("%q is a hard link to %.100q, which is no file earlier in the archive", e.Path, e.Link)
		}
	}
	for dir := path.Dir(e.Path); dir != "."; dir = path.Dir(dir) {
		at, ok := j.index[dir]
		if ok && at != implied && j.entries[at].Type != Dir {
			return refuse("%q lies beneath %q, which is a %s", e.Path, dir, j.entries[at].Type)
		}
		if ok {
			break
		}
		j.index[dir] = implied
		j.names += 64 + int64(len(dir))
	}
	j.index[e.Path] = len(j.entries)
	j.names += 64 + int64(len(e.Path)+len(e.Link))
	if j.names > maxNames {
		return refuse("the names of the entries take more than %d bytes", maxNames)
	}
	return nil
}

// compare refuses an entry that is not the next one of the manifest.
func (j *judge) compare(got Entry) error {
	n := len(j.entries)
	if n == len(j.want) {
		return refuse("the archive holds %q, the manifest ends after %d entries", got.Path, n)
	}
	want := j.want[n]
	got.SHA256 = want.SHA256 // known only when the content was read
	if got != want {
		return refuse("entry %d is %s, the manifest says %s", n+1, describe(got), describe(want))
	}
	return nil
}

func describe(e Entry) string {
	s := fmt.Sprintf("%s %.200q mode %s owner %d:%d", e.Type, e.Path, e.Mode, e.UID, e.GID)
	if e.Link != "" {
		s += fmt.Sprintf(" to %.200q", e.Link)
	}
	if e.Type == File {
		s += fmt.Sprintf(" of %d bytes", e.Size)
	}
	return s
}

// finish judges what can be judged only when all entries are known.
func (j *judge) finish() error {
	if j.comp && len(j.entries) < len(j.want) {
		return refuse("the archive ends after %d entries, the manifest lists %d: %q is missing",
			len(j.entries), len(j.want), j.want[len(j.entries)].Path)
	}
	for _, e := range j.entries {
		if e.Type != Symlink {
			continue
		}
		inside, err := j.inside(e)
		if err != nil {
			return err
		}
		if !inside && !j.allowed(e) {
			return refuse("%q is a symbolic link to %.200q, which is not in the archive; "+
				"if it is meant to be so, allow it with backup.LinksTo", e.Path, e.Link)
		}
	}
	return nil
}

// inside walks along a symbolic link as a kernel would whose root directory is that of the archive, and reports whether
// it leads to something that the archive holds.
func (j *judge) inside(e Entry) (bool, error) {
	if path.IsAbs(e.Link) {
		return false, nil
	}
	at, todo := path.Dir(e.Path), strings.Split(e.Link, "/")
	for hops := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		if part == ".." && at == "." {
			return false, refuse("%q is a symbolic link out of the archive: %.200q", e.Path, e.Link)
		}
		at = path.Join(at, part)
		if at == "." {
			continue
		}
		i, ok := j.index[at]
		if !ok {
			return false, nil
		}
		if i == implied || j.entries[i].Type == Dir || len(todo) == 0 {
			continue
		}
		hops++
		if j.entries[i].Type != Symlink || path.IsAbs(j.entries[i].Link) || hops > maxHops {
			return false, nil
		}
		at, todo = path.Dir(at), append(strings.Split(j.entries[i].Link, "/"), todo...)
	}
	return true, nil
}

// allowed reports whether LinksTo names where the link leads. Only the words count here: beyond the archive nothing is
// known, so that a link with ".." behind another name is not allowed.
func (j *judge) allowed(e Entry) bool {
	target := e.Link
	if !path.IsAbs(target) {
		target = "/" + path.Join(path.Dir(e.Path), target)
	}
	down := strings.TrimLeft(e.Link, "./")
	for part := range strings.SplitSeq(down, "/") {
		if part == ".." {
			return false
		}
	}
	target = path.Clean(target)
	for _, dir := range j.linksTo {
		if target == dir || strings.HasPrefix(target, strings.TrimSuffix(dir, "/")+"/") {
			return true
		}
	}
	return false
}
