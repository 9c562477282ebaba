package lifecycletest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ncnkit/lifecycle"
)

// JournalStore is what a suite needs of a store of journals. Its functions are called by one goroutine at a time.
type JournalStore struct {
	// Open returns a journal on the store, as a process that has just started would have it. Two of them do not share
	// anything but the store.
	Open func() lifecycle.Journal
	// Crash ends the process that has j: without Release, and without a word. It returns when the store may have
	// noticed, for example when j's leases have run out.
	Crash func(j lifecycle.Journal)
	// Expire lets j's leases lapse while its process lives. nil where a store has no leases that could.
	Expire func(j lifecycle.Journal)
}

// Journal checks that an implementation does what [lifecycle.Journal] says; and [lifecycle.Requests], where its
// journals have that. For each part it calls run with the part's name, and start for a new empty store.
func Journal(run func(name string, f func(TB)), start func(TB) JournalStore) {
	parts := []struct {
		name string
		f    func(*journalSuite)
	}{
		{"empty", (*journalSuite).empty},
		{"append and read", (*journalSuite).appendAndRead},
		{"what is returned is the caller's", (*journalSuite).copies},
		{"large record", (*journalSuite).largeRecord},
		{"oldest run first", (*journalSuite).oldestFirst},
		{"names", (*journalSuite).names},
		{"held", (*journalSuite).held},
		{"unfinished run", (*journalSuite).unfinished},
		{"run taken up after its end", (*journalSuite).retried},
		{"one target per run", (*journalSuite).oneTarget},
		{"release raises the epoch", (*journalSuite).release},
		{"old lease", (*journalSuite).oldLease},
		{"foreign lease", (*journalSuite).foreignLease},
		{"crash", (*journalSuite).crash},
		{"expired lease", (*journalSuite).expire},
		{"reopen", (*journalSuite).reopen},
		{"canceled context", (*journalSuite).canceled},
		{"concurrent appends", (*journalSuite).concurrentAppends},
		{"concurrent acquires", (*journalSuite).concurrentAcquires},
		{"epochs are never shared", (*journalSuite).uniqueEpochs},
		{"requests", (*journalSuite).requests},
	}
	for _, part := range parts {
		run(part.name, func(tb TB) {
			tb.Helper()
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			defer cancel()
			part.f(&journalSuite{TB: tb, ctx: ctx, store: start(tb)})
		})
	}
}

// journalSuite is one part of the suite at work on a store of its own.
type journalSuite struct {
	TB
	ctx   context.Context
	store JournalStore
}

const (
	target = "ncn-w001"
	alice  = "alice@host-a pid 1"
	bob    = "bob@host-b pid 2"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)

func (s *journalSuite) empty() {
	j := s.store.Open()
	runs, err := j.Runs(s.ctx)
	s.ok(err)
	s.same("runs of an empty journal", runs, []string(nil))
	_, err = j.Records(s.ctx, "r1")
	s.kind(err, lifecycle.NotFound)

	lease := s.acquire(j, target, "r1", alice)
	s.same("first epoch", lease, lifecycle.Lease{Target: target, Run: "r1", Owner: alice, Epoch: 1})
	_, err = j.Records(s.ctx, "r1")
	s.kind(err, lifecycle.NotFound)
	runs, err = j.Runs(s.ctx)
	s.ok(err)
	s.same("runs before the first record", runs, []string(nil))
}

func (s *journalSuite) appendAndRead() {
	j := s.store.Open()
	lease := s.acquire(j, target, "r1", alice)
	want := fullRecords()
	for _, rec := range want {
		rec.Version, rec.Run, rec.Rev, rec.Epoch = 99, "another", 99, 99 // the journal's business
		s.ok(j.Append(s.ctx, lease, rec))
	}
	for i := range want {
		want[i].Version, want[i].Run, want[i].Rev, want[i].Epoch = lifecycle.JournalVersion, "r1", int64(i+1), 1
	}
	for name, j := range map[string]lifecycle.Journal{"writer": j, "another process": s.store.Open()} {
		s.same("records for the "+name, s.records(j, "r1"), want)
		runs, err := j.Runs(s.ctx)
		s.ok(err)
		s.same("runs for the "+name, runs, []string{"r1"})
	}
}

// fullRecords returns records with every field set, and text that needs care.
func fullRecords() []lifecycle.Record {
	awkward := "line\nbreak, \"quotes\", <&> ü \u2028 \x00"
	step := lifecycle.StepRecord{ID: "wipe", Summary: "erase the disks", Effect: lifecycle.OneShot}
	return []lifecycle.Record{
		{
			Time: noon, Type: lifecycle.RecordPlan, Actor: "admin", Request: "req-1",
			Plan: &lifecycle.PlanRecord{
				Kind: "ncn.rebuild", Target: target, Args: json.RawMessage(`{"a":"<b>"}`), Facts: json.RawMessage(`[1,2.50,null]`),
				Steps: []lifecycle.StepRecord{step}, Finally: []lifecycle.StepRecord{step},
			},
		},
		{Time: noon.Add(time.Second), Type: lifecycle.RecordIntent, Step: "wipe"},
		{
			Time: noon.Add(time.Minute), Type: lifecycle.RecordResult, Step: "wipe", Outcome: lifecycle.OutcomeFailed,
			Kind: lifecycle.Unavailable, Message: awkward,
		},
		{Type: lifecycle.RecordResume, Actor: "admin"},
		{Time: noon.Add(time.Hour), Type: lifecycle.RecordEnd, State: lifecycle.NeedsHuman, Message: awkward},
	}
}

func (s *journalSuite) copies() {
	j := s.store.Open()
	s.append(j, s.acquire(j, target, "r1", alice), plan(target))
	before := s.records(j, "r1")
	got := s.records(j, "r1")
	got[0].Message = "changed"
	got[0].Plan.Args[2] = 'X'
	s.same("records after the caller changed its own", s.records(j, "r1"), before)
}

func (s *journalSuite) largeRecord() {
	j := s.store.Open()
	rec := plan(target)
	rec.Plan.Facts = json.RawMessage(`"` + strings.Repeat("disk ", 50_000) + `"`)
	s.append(j, s.acquire(j, target, "r1", alice), rec)
	s.same("facts", s.records(s.store.Open(), "r1")[0].Plan.Facts, rec.Plan.Facts)
}

func (s *journalSuite) oldestFirst() {
	j := s.store.Open()
	for i, run := range []string{"c", "b2", "b1", "a"} {
		rec := plan(target)
		rec.Time = noon.Add(time.Duration(i+1) / 2 * time.Hour) // b2 and b1 at the same time
		s.finished(j, fmt.Sprintf("node-%d", i), run, rec)
	}
	runs, err := s.store.Open().Runs(s.ctx)
	s.ok(err)
	s.same("runs by time and then name", runs, []string{"c", "b1", "b2", "a"})
}

func (s *journalSuite) names() {
	j := s.store.Open()
	for _, bad := range []string{"", ".", "..", "...", "a/b", "../a", "a\x00", "a\nb"} {
		_, err := j.Acquire(s.ctx, bad, "r1", alice)
		s.kind(err, lifecycle.Invalid)
		_, err = j.Acquire(s.ctx, target, bad, alice)
		s.kind(err, lifecycle.Invalid)
		_, err = j.Records(s.ctx, bad)
		s.kind(err, lifecycle.Invalid)
	}
	_, err := j.Acquire(s.ctx, target, "with space", alice)
	s.kind(err, lifecycle.Invalid)
	for _, good := range []string{"a", "0", "R.1_x-9", ".a", "a..b"} {
		lease := s.acquire(j, "t:"+good, good, alice)
		s.append(j, lease, plan("t:"+good))
		s.same("records of "+good, len(s.records(j, good)), 1)
		s.ok(j.Release(s.ctx, lease))
	}
}

func (s *journalSuite) held() {
	j := s.store.Open()
	lease := s.acquire(j, target, "r1", alice)
	want := lifecycle.Held{Resource: target, Run: "r1", Owner: alice}
	for _, other := range []lifecycle.Journal{s.store.Open(), j} {
		for _, run := range []string{"r1", "r2"} {
			_, err := other.Acquire(s.ctx, target, run, bob)
			s.heldBy(err, want)
		}
	}
	s.append(j, lease, plan(target))                 // the refused ones took nothing
	s.acquire(s.store.Open(), "ncn-w002", "r3", bob) // another target is free
}

func (s *journalSuite) unfinished() {
	j, other := s.store.Open(), s.store.Open()
	s.ok(j.Release(s.ctx, s.acquire(j, target, "r0", alice))) // never begun: nothing to resume
	lease := s.acquire(j, target, "r1", alice)
	s.append(j, lease, plan(target))
	s.ok(j.Release(s.ctx, lease))

	_, err := other.Acquire(s.ctx, target, "r2", bob)
	s.heldBy(err, lifecycle.Held{Resource: target, Run: "r1", Owner: alice})
	if err != nil && !strings.Contains(err.Error(), "resume or cancel") {
		s.Errorf("the error does not say what to do: %v", err)
	}
	s.ok(other.Release(s.ctx, s.acquire(other, "ncn-w002", "r3", bob))) // another target is free

	lease = s.acquire(other, target, "r1", bob)
	s.append(other, lease, end(lifecycle.Failed))
	s.ok(other.Release(s.ctx, lease))
	s.append(j, s.acquire(j, target, "r2", alice), plan(target))
}

// retried: what counts is the last record, and an end that leaves the run open is none.
func (s *journalSuite) retried() {
	j := s.store.Open()
	lease := s.acquire(j, target, "r1", alice)
	s.append(j, lease, plan(target))
	for _, last := range []lifecycle.Record{{Type: lifecycle.RecordResume}, end(lifecycle.Open)} {
		s.append(j, lease, end(lifecycle.Failed))
		s.append(j, lease, last)
		s.ok(j.Release(s.ctx, lease))
		_, err := j.Acquire(s.ctx, target, "r2", bob)
		s.heldBy(err, lifecycle.Held{Resource: target, Run: "r1", Owner: alice})
		lease = s.acquire(j, target, "r1", alice)
	}
}

func (s *journalSuite) oneTarget() {
	j := s.store.Open()
	lease := s.acquire(j, target, "r1", alice)
	s.append(j, lease, plan(target))
	if _, err := s.store.Open().Acquire(s.ctx, "ncn-w002", "r1", bob); err == nil {
		s.Errorf("run r1 got two drivers, by two targets")
	}
	s.ok(j.Release(s.ctx, lease))
	_, err := j.Acquire(s.ctx, "ncn-w002", "r1", bob)
	s.kind(err, lifecycle.Invalid)
	s.same("epoch", s.acquire(j, target, "r1", alice).Epoch, int64(2))
}

func (s *journalSuite) release() {
	j, other := s.store.Open(), s.store.Open()
	for epoch := int64(1); epoch <= 4; epoch++ { // also without a record in between
		at := j
		if epoch%2 == 0 {
			at = other
		}
		lease := s.acquire(at, target, "r1", alice)
		s.same("epoch", lease.Epoch, epoch)
		if epoch == 3 {
			s.append(at, lease, plan(target))
		}
		s.ok(at.Release(s.ctx, lease))
		s.ok(at.Release(s.ctx, lease))
	}
	s.same("epoch of the record", s.records(j, "r1")[0].Epoch, int64(3))
	s.ok(j.Release(s.ctx, lifecycle.Lease{}))
}

func (s *journalSuite) oldLease() {
	j := s.store.Open()
	old := s.acquire(j, target, "r1", alice)
	s.append(j, old, plan(target))
	s.ok(j.Release(s.ctx, old))
	s.append(j, old, end(lifecycle.Done), lifecycle.Conflict)
	lease := s.acquire(j, target, "r1", alice)
	s.append(j, old, end(lifecycle.Done), lifecycle.Conflict)
	s.same("records after two refused appends", len(s.records(j, "r1")), 1)

	s.ok(j.Release(s.ctx, old)) // superseded: must not take the new lease away
	_, err := s.store.Open().Acquire(s.ctx, target, "r1", bob)
	s.heldBy(err, lifecycle.Held{Resource: target, Run: "r1", Owner: alice})
	s.append(j, lease, end(lifecycle.Done))
}

func (s *journalSuite) foreignLease() {
	j, other := s.store.Open(), s.store.Open()
	lease := s.acquire(j, target, "r1", alice)
	s.append(j, lease, plan(target))
	s.append(other, lease, end(lifecycle.Done), lifecycle.Conflict)
	forged := lease
	forged.Epoch++
	s.append(j, forged, end(lifecycle.Done), lifecycle.Conflict)
	forged = lease
	forged.Target = "ncn-w002"
	s.append(j, forged, end(lifecycle.Done), lifecycle.Conflict)
	s.append(j, lifecycle.Lease{}, end(lifecycle.Done), lifecycle.Conflict)
	s.ok(other.Release(s.ctx, lease)) // not its own: no error, and no effect
	s.append(j, lease, end(lifecycle.Done))
	s.same("records", len(s.records(other, "r1")), 2)
}

func (s *journalSuite) crash() {
	j, other := s.store.Open(), s.store.Open()
	lease := s.acquire(j, target, "r1", alice)
	s.append(j, lease, plan(target))
	s.store.Crash(j)

	_, err := other.Acquire(s.ctx, target, "r2", bob)
	s.heldBy(err, lifecycle.Held{Resource: target, Run: "r1", Owner: alice})
	taken := s.acquire(other, target, "r1", bob)
	s.same("lease of the successor", taken, lifecycle.Lease{Target: target, Run: "r1", Owner: bob, Epoch: 2})
	s.append(other, lease, end(lifecycle.Failed), lifecycle.Conflict)
	s.append(other, taken, end(lifecycle.Done))
	var got [][2]int64
	for _, rec := range s.records(s.store.Open(), "r1") {
		got = append(got, [2]int64{rec.Rev, rec.Epoch})
	}
	s.same("rev and epoch of the records", got, [][2]int64{{1, 1}, {2, 2}})
}

func (s *journalSuite) expire() {
	if s.store.Expire == nil {
		return
	}
	j, other := s.store.Open(), s.store.Open()
	old := s.acquire(j, target, "r1", alice)
	s.append(j, old, plan(target))
	s.store.Expire(j)
	taken := s.acquire(other, target, "r1", bob)
	s.same("epoch of the successor", taken.Epoch, int64(2))
	s.append(j, old, end(lifecycle.Failed), lifecycle.Conflict)
	s.ok(j.Release(s.ctx, old))
	_, err := j.Acquire(s.ctx, target, "r1", alice)
	s.heldBy(err, lifecycle.Held{Resource: target, Run: "r1", Owner: bob})
	s.append(other, taken, end(lifecycle.Done))
	s.same("records", len(s.records(j, "r1")), 2)
}

func (s *journalSuite) reopen() {
	j := s.store.Open()
	lease := s.acquire(j, target, "r1", alice)
	for _, rec := range fullRecords() {
		s.append(j, lease, rec)
	}
	want := s.records(j, "r1")
	s.ok(j.Release(s.ctx, lease))
	s.store.Crash(j)
	j = s.store.Open()
	s.same("records after a reopen", s.records(j, "r1"), want)
	lease = s.acquire(j, target, "r1", alice)
	s.same("epoch after a reopen", lease.Epoch, int64(2))
	s.append(j, lease, lifecycle.Record{Type: lifecycle.RecordResume})
	s.same("rev after a reopen", s.records(j, "r1")[len(want)].Rev, int64(len(want)+1))
}

func (s *journalSuite) canceled() {
	j := s.store.Open()
	lease := s.acquire(j, target, "r1", alice)
	s.append(j, lease, plan(target))
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	s.kind(j.Append(ctx, lease, end(lifecycle.Done)), lifecycle.Canceled)
	_, err := j.Acquire(ctx, "ncn-w002", "r2", alice)
	s.kind(err, lifecycle.Canceled)
	_, err = j.Records(ctx, "r1")
	s.kind(err, lifecycle.Canceled)
	_, err = j.Runs(ctx)
	s.kind(err, lifecycle.Canceled)
	s.same("records after a canceled append", len(s.records(j, "r1")), 1)
	s.same("epoch after a canceled acquire", s.acquire(j, "ncn-w002", "r2", alice).Epoch, int64(1))
}

func (s *journalSuite) concurrentAppends() {
	const runs, writers, each = 4, 2, 10
	j, reader := s.store.Open(), s.store.Open()
	var wg sync.WaitGroup
	for r := range runs {
		run, node := fmt.Sprintf("r%d", r), fmt.Sprintf("node-%d", r)
		lease := s.acquire(j, node, run, alice)
		s.append(j, lease, plan(node))
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					rec := lifecycle.Record{Type: lifecycle.RecordIntent, Step: fmt.Sprintf("%d-%d", w, i)}
					if err := j.Append(s.ctx, lease, rec); err != nil {
						s.Errorf("append to %s: %v", run, err)
					}
					if _, err := reader.Records(s.ctx, run); err != nil {
						s.Errorf("records of %s while it is written: %v", run, err)
					}
				}
			})
		}
	}
	wg.Wait()
	for r := range runs {
		recs := s.records(reader, fmt.Sprintf("r%d", r))
		seen := map[string]bool{}
		for i, rec := range recs {
			s.same("rev", rec.Rev, int64(i+1))
			seen[rec.Step] = true
		}
		s.same("records", len(recs), 1+writers*each)
		s.same("different records", len(seen), 1+writers*each)
	}
}

func (s *journalSuite) concurrentAcquires() {
	const processes = 6
	var wg sync.WaitGroup
	var mu sync.Mutex
	var won []string
	for i := range processes {
		j, run := s.store.Open(), fmt.Sprintf("r%d", i)
		wg.Go(func() {
			_, err := j.Acquire(s.ctx, target, run, alice)
			if err != nil {
				s.kind(err, lifecycle.Conflict)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			won = append(won, run)
		})
	}
	wg.Wait()
	if len(won) != 1 {
		s.Errorf("%d of %d processes drive %s: %v", len(won), processes, target, won)
	}
}

func (s *journalSuite) uniqueEpochs() {
	const processes, tries = 4, 25
	var wg sync.WaitGroup
	var mu sync.Mutex
	var epochs []int64
	for range processes {
		j := s.store.Open()
		wg.Go(func() {
			for range tries {
				lease, err := j.Acquire(s.ctx, target, "r1", alice)
				if err != nil {
					s.kind(err, lifecycle.Conflict)
					continue
				}
				mu.Lock()
				epochs = append(epochs, lease.Epoch)
				mu.Unlock()
				if err := j.Release(s.ctx, lease); err != nil {
					s.Errorf("release: %v", err)
				}
			}
		})
	}
	wg.Wait()
	slices.Sort(epochs)
	if len(epochs) == 0 || len(slices.Compact(slices.Clone(epochs))) != len(epochs) {
		s.Errorf("epochs are missing or shared: %v", epochs)
	}
}

func (s *journalSuite) requests() {
	j, other := s.store.Open(), s.store.Open()
	driver, ok := j.(lifecycle.Requests)
	if !ok {
		return
	}
	asker := other.(lifecycle.Requests)
	s.kind(asker.Ask(s.ctx, "r1", lifecycle.Request{Action: "cancel"}), lifecycle.NotFound)
	s.kind(asker.Ask(s.ctx, "../r1", lifecycle.Request{Action: "cancel"}), lifecycle.Invalid)
	s.append(j, s.acquire(j, target, "r1", alice), plan(target))
	s.asked(driver, "r1", nil)
	want := []lifecycle.Request{
		{Action: "cancel", Actor: "bob", Because: "lunch\n<&>", Time: noon},
		{Action: "cancel", Actor: "carol", Time: noon.Add(-time.Hour)},
	}
	for _, req := range want {
		s.ok(asker.Ask(s.ctx, "r1", req))
	}
	s.asked(driver, "r1", want)
	s.asked(s.store.Open().(lifecycle.Requests), "r1", want)

	var wg sync.WaitGroup
	for range 4 {
		asker := s.store.Open().(lifecycle.Requests)
		wg.Go(func() {
			if err := asker.Ask(s.ctx, "r1", want[0]); err != nil {
				s.Errorf("ask: %v", err)
			}
		})
	}
	wg.Wait()
	s.asked(driver, "r1", append(want, want[0], want[0], want[0], want[0]))
}

func (s *journalSuite) asked(r lifecycle.Requests, run string, want []lifecycle.Request) {
	s.Helper()
	got, err := r.Asked(s.ctx, run)
	s.ok(err)
	s.same("requests", got, want)
}

func plan(target string) lifecycle.Record {
	return lifecycle.Record{
		Type: lifecycle.RecordPlan, Time: noon,
		Plan: &lifecycle.PlanRecord{Kind: "test", Target: target, Args: json.RawMessage(`{"a":1}`)},
	}
}

func end(state lifecycle.State) lifecycle.Record {
	return lifecycle.Record{Type: lifecycle.RecordEnd, Time: noon, State: state}
}

// finished writes a whole run that begins with first.
func (s *journalSuite) finished(j lifecycle.Journal, target, run string, first lifecycle.Record) {
	s.Helper()
	lease := s.acquire(j, target, run, alice)
	s.append(j, lease, first)
	s.append(j, lease, end(lifecycle.Done))
	s.ok(j.Release(s.ctx, lease))
}

func (s *journalSuite) acquire(j lifecycle.Journal, target, run, owner string) lifecycle.Lease {
	s.Helper()
	lease, err := j.Acquire(s.ctx, target, run, owner)
	s.ok(err)
	return lease
}

// append appends rec, and expects the error's kind where one is given.
func (s *journalSuite) append(j lifecycle.Journal, lease lifecycle.Lease, rec lifecycle.Record, want ...lifecycle.Kind) {
	s.Helper()
	err := j.Append(s.ctx, lease, rec)
	if len(want) > 0 {
		s.kind(err, want[0])
		return
	}
	s.ok(err)
}

func (s *journalSuite) records(j lifecycle.Journal, run string) []lifecycle.Record {
	s.Helper()
	recs, err := j.Records(s.ctx, run)
	s.ok(err)
	return recs
}

func (s *journalSuite) ok(err error) {
	s.Helper()
	if err != nil {
		s.Fatalf("unexpected error: %v", err)
	}
}

// kind expects an error of that kind that is one line and an *Error.
func (s *journalSuite) kind(err error, want lifecycle.Kind) {
	s.Helper()
	var e *lifecycle.Error
	switch {
	case err == nil:
		s.Errorf("no error, want %q", want)
	case lifecycle.KindOf(err) != want:
		s.Errorf("error of kind %q, want %q: %v", lifecycle.KindOf(err), want, err)
	case !errors.As(err, &e) || e.Op == "" || strings.Contains(err.Error(), "\n"):
		s.Errorf("not an *Error of one line that names the operation: %q", err.Error())
	}
}

func (s *journalSuite) heldBy(err error, want lifecycle.Held) {
	s.Helper()
	s.kind(err, lifecycle.Conflict)
	var held *lifecycle.Held
	if !errors.As(err, &held) {
		s.Fatalf("no *Held in %v", err)
	}
	s.same("holder", *held, want)
}

// same compares as JSON, which is what a journal keeps.
func (s *journalSuite) same(what string, got, want any) {
	s.Helper()
	g, err := json.Marshal(got)
	s.ok(err)
	w, err := json.Marshal(want)
	s.ok(err)
	if (string(g) == "null" || string(g) == "[]") && (string(w) == "null" || string(w) == "[]") {
		return
	}
	if !bytes.Equal(g, w) {
		s.Errorf("%s: got %s, want %s", what, g, w)
	}
}
