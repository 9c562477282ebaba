package lifecycle

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ncnkit/lifecycle/internal/mutant"
)

// A journal file is a sequence of lines. A line is the CRC-32C of its JSON in eight hex digits, a space, the JSON, and a
// newline. The last line may be torn by a crash while it was being written: it then was never acknowledged, and does not
// count. Anything else that does not fit is damage.

const lineSum = len("00000000 ")

// encodeLine returns v as a line, newline included.
func encodeLine(v any) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("00000000 ")
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // people read these files
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	line := b.Bytes()
	copy(line, lineChecksum(line[lineSum:len(line)-1]))
	return line, nil
}

func lineChecksum(payload []byte) string {
	return fmt.Sprintf("%08x ", crc32.Checksum(payload, crc32.MakeTable(crc32.Castagnoli)))
}

// openLine returns the JSON of a line without its newline, and whether the checksum fits.
func openLine(line []byte) ([]byte, bool) {
	if len(line) < lineSum {
		return nil, false
	}
	sum, payload := line[:lineSum], line[lineSum:]
	return payload, string(sum) == lineChecksum(payload)
}

// parseLines calls each with the JSON of every whole line, and returns how many bytes the whole lines take; what follows
// them is a torn tail.
func parseLines(file string, data []byte, each func(n int64, payload []byte) error) (size int64, err error) {
	for n := int64(1); size < int64(len(data)); n++ {
		rest := data[size:]
		line, _, ended := bytes.Cut(rest, []byte("\n"))
		payload, sound := openLine(line)
		switch last := len(line)+1 >= len(rest); {
		case ended && (sound || last && mutant.On("torn-tail-accepted")):
			if err := each(n, payload); err != nil {
				return size, atLine(file, n, size, err)
			}
		case last && !joinedLines(line):
			return size, nil
		default:
			return size, atLine(file, n, size, damaged("the checksum does not fit"))
		}
		size += int64(len(line)) + 1
	}
	return size, nil
}

// joinedLines reports whether line begins with a whole record and goes on: then it is no torn tail but two lines whose
// newline was lost, and dropping them would lose records that were acknowledged. One more byte is a torn newline.
func joinedLines(line []byte) bool {
	if len(line) < lineSum {
		return false
	}
	dec := json.NewDecoder(bytes.NewReader(line[lineSum:]))
	var payload json.RawMessage
	if dec.Decode(&payload) != nil {
		return false
	}
	end := lineSum + int(dec.InputOffset())
	_, sound := openLine(line[:end])
	return sound && len(line)-end > 1
}

// damaged says that a file is not as this library left it.
func damaged(format string, args ...any) error {
	return Errorf(Internal, "", "", "damaged: %s: restore the file from a backup, or look at the node yourself "+
		"and then move the file away, which gives the run up", fmt.Sprintf(format, args...))
}

func atLine(file string, n, offset int64, err error) error {
	return Errorf(KindOf(err), "", "", "%s, line %d, at byte %d: %w", file, n, offset, err)
}

// decodeLine reads JSON into v after it has looked at the version, and takes nothing that it does not know.
func decodeLine(payload []byte, v any) error {
	var head struct {
		Version int `json:"v"`
	}
	if err := json.Unmarshal(payload, &head); err != nil {
		return damaged("the JSON is malformed: %v", err)
	}
	if head.Version > JournalVersion {
		return Errorf(Precondition, "", "", "written by a newer version of this library (format %d, this one reads up to "+
			"%d): nothing was changed; go on with the newer program", head.Version, JournalVersion)
	}
	if head.Version < 1 {
		return damaged("format %d never existed", head.Version)
	}
	dec := json.NewDecoder(bytes.NewReader(payload))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return damaged("the JSON is malformed: %v", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return damaged("something follows the JSON")
	}
	return nil
}

// parseRecords returns the records of run in data, and how many bytes they take.
func parseRecords(file, run string, data []byte) ([]Record, int64, error) {
	var recs []Record
	epoch := int64(1)
	size, err := parseLines(file, data, func(n int64, payload []byte) error {
		var rec Record
		if err := decodeLine(payload, &rec); err != nil {
			return err
		}
		switch {
		case rec.Run != run:
			return damaged("the record is of run %q", rec.Run)
		case rec.Rev != n:
			return damaged("the record has rev %d", rec.Rev)
		case rec.Epoch < epoch:
			return damaged("the record has epoch %d after epoch %d: it had two drivers", rec.Epoch, epoch)
		}
		epoch = rec.Epoch
		recs = append(recs, rec)
		return nil
	})
	return recs, size, err
}

// encodeRecord fills in what the journal knows of rec, and returns its line.
func encodeRecord(lease Lease, rev int64, rec Record) (Record, []byte, error) {
	rec.Version, rec.Run, rec.Rev, rec.Epoch = JournalVersion, lease.Run, rev, lease.Epoch
	line, err := encodeLine(rec)
	if err != nil {
		return rec, nil, Errorf(Invalid, "", "", "the %s record of run %s cannot be written as JSON: %w", rec.Type, rec.Run, err)
	}
	return rec, line, nil
}

// requestLine is a Request as a journal keeps it.
type requestLine struct {
	Version int    `json:"v"`
	Run     string `json:"run"`
	Request
}

func encodeRequest(run string, req Request) ([]byte, error) {
	line, err := encodeLine(requestLine{JournalVersion, run, req})
	if err != nil {
		return nil, Errorf(Invalid, "", "", "the request about run %s cannot be written as JSON: %w", run, err)
	}
	return line, nil
}

func parseRequests(file, run string, data []byte) ([]Request, int64, error) {
	var reqs []Request
	size, err := parseLines(file, data, func(_ int64, payload []byte) error {
		var line requestLine
		if err := decodeLine(payload, &line); err != nil {
			return err
		}
		if line.Run != run {
			return damaged("the request is about run %q", line.Run)
		}
		reqs = append(reqs, line.Request)
		return nil
	})
	return reqs, size, err
}

// runFinished reports whether nothing is left to be driven. A run that was taken up again after its end is not finished.
func runFinished(recs []Record) bool {
	if len(recs) == 0 {
		return true // acquired, and never begun
	}
	last := recs[len(recs)-1]
	return last.Type == RecordEnd && last.State != Open
}

// errUnfinished refuses a target whose other run, last driven by owner, must be seen to first.
func errUnfinished(target, run, owner string, recs []Record) error {
	if owner == "" {
		owner = recs[len(recs)-1].Actor
	}
	held := &Held{Resource: target, Run: run, Owner: cmp.Or(owner, "an unknown driver")}
	return Errorf(Conflict, "", "", "%w, which is unfinished: resume or cancel that run first", held)
}

func errLeaseLost(lease Lease) error {
	return Errorf(Conflict, "", "", "epoch %d of run %s is over: the lease was released or superseded, or another journal "+
		"handed it out; nothing was written: stop, and resume the run to drive it again", lease.Epoch, lease.Run)
}

func errOtherTarget(run, has, asked string) error {
	return Errorf(Invalid, "", "", "run %s is of target %s, not %s: give this run a name of its own", run, has, asked)
}

func errNoRun(run string) error {
	return Errorf(NotFound, "", "", "no run %s: list the runs for those there are", run)
}

var runName = regexp.MustCompile(`^[0-9A-Za-z._-]{1,200}$`)

// checkRunName refuses what cannot be the name of a file.
func checkRunName(run string) error {
	if runName.MatchString(run) && strings.Trim(run, ".") != "" {
		return nil
	}
	return Errorf(Invalid, "", "", "%q is not the name of a run: want 1 to 200 of 0-9 A-Z a-z . _ -, and not only dots", run)
}

func checkTargetName(target string) error {
	bad := func(r rune) bool { return r == '/' || r == '\\' || r == utf8.RuneError || unicode.IsControl(r) }
	if strings.Trim(target, ".") != "" && len(target) <= 200 && !strings.ContainsFunc(target, bad) {
		return nil
	}
	return Errorf(Invalid, "", "", "%q is not the name of a target: want 1 to 200 bytes without slashes and control "+
		"characters, and not only dots", target)
}

// targetHost is the Host of an error about target; none when that is something that would garble the message.
func targetHost(target string) string {
	if checkTargetName(target) != nil {
		return ""
	}
	return target
}

func checkAcquire(ctx context.Context, target, run, owner string) error {
	if err := checkTargetName(target); err != nil {
		return err
	}
	if err := checkRunName(run); err != nil {
		return err
	}
	if owner == "" {
		return Errorf(Invalid, "", "", "a lease needs an owner: DefaultOwner gives one")
	}
	return ctx.Err()
}

// runStart is a run and the time of its first record.
type runStart struct {
	run  string
	time time.Time
}

// oldestFirst returns the names in the order that [Journal.Runs] promises.
func oldestFirst(starts []runStart) []string {
	slices.SortFunc(starts, func(a, b runStart) int {
		if c := a.time.Compare(b.time); c != 0 {
			return c
		}
		return strings.Compare(a.run, b.run)
	})
	runs := make([]string, len(starts))
	for i, s := range starts {
		runs[i] = s.run
	}
	return runs
}
