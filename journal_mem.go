package lifecycle

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// MemJournal is a [Journal] in memory, for tests and for runs that need not outlive the program. It implements
// [Requests] too. What comes back has been through the encoding of a [DirJournal]. Whoever reads a record must not change
// what it points to.
//
// It is one store that several controllers share, as several processes share an etcd; [MemJournal.Controller] returns
// them. Its own methods are those of one further controller.
//
// A MemJournal is safe for concurrent use. The zero MemJournal is ready for use.
type MemJournal struct {
	once sync.Once // makes self
	self MemController

	mu    sync.Mutex
	runs  map[string]*memRun
	locks map[string]memLock // by target
	hook  func(before bool, lease Lease, rec Record) error
}

type memRun struct {
	target   string
	owner    string // who drove it last
	epoch    int64
	rev      int64
	start    time.Time // of the first record
	records  []Record  // each decoded from the line that a DirJournal would write
	requests []byte    // lines
}

// memLock is who holds a target.
type memLock struct {
	by    *MemController
	lease Lease
}

// MemController is one process that uses a [MemJournal], and comes from [MemJournal.Controller]. It is safe for
// concurrent use.
type MemController struct {
	store *MemJournal
	owner string
	dead  bool // guarded by store.mu
}

var (
	_ Journal  = (*MemJournal)(nil)
	_ Requests = (*MemJournal)(nil)
	_ Journal  = (*MemController)(nil)
	_ Requests = (*MemController)(nil)
)

// NewMemJournal returns an empty journal.
func NewMemJournal() *MemJournal { return &MemJournal{} }

// Controller returns a new process that uses the journal. owner is the owner of its leases where Acquire names none.
func (m *MemJournal) Controller(owner string) *MemController {
	return &MemController{store: m, owner: owner}
}

// OnAppend makes every Append of every controller call f twice: before the record is written, when an error refuses the
// write; and after, when an error loses the reply: the record is there, and the caller gets the error, as [Unknown]. f
// may call methods of the journal and its controllers; when it kills the controller that appends, the process died at
// that point. nil takes f away.
func (m *MemJournal) OnAppend(f func(before bool, lease Lease, rec Record) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hook = f
}

// Kill ends the process: its locks are free at once, and every later call through c is [Unavailable].
func (c *MemController) Kill() {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	c.dead = true
	c.dropLocks()
}

// Expire lets c's leases lapse while c lives, as a pause longer than a lease does. c's next Append is a [Conflict].
func (c *MemController) Expire() {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	c.dropLocks()
}

func (c *MemController) dropLocks() {
	for target, lock := range c.store.locks {
		if lock.by == c {
			delete(c.store.locks, target)
		}
	}
}

// Acquire makes owner the driver of target, as [Journal] says.
func (c *MemController) Acquire(ctx context.Context, target, run, owner string) (Lease, error) {
	lease, err := c.acquire(ctx, target, run, cmp.Or(owner, c.owner))
	return lease, Wrap(err, "lifecycle.Journal.Acquire", targetHost(target))
}

func (c *MemController) acquire(ctx context.Context, target, run, owner string) (Lease, error) {
	if err := checkAcquire(ctx, target, run, owner); err != nil {
		return Lease{}, err
	}
	m, err := c.enter()
	if err != nil {
		return Lease{}, err
	}
	defer m.mu.Unlock()
	if lock, ok := m.locks[target]; ok {
		held := &Held{Resource: target, Run: lock.lease.Run, Owner: lock.lease.Owner}
		return Lease{}, Errorf(Conflict, "", "", "%w: wait for that process to end, or cancel its run", held)
	}
	if err := m.checkOthers(target, run); err != nil {
		return Lease{}, err
	}
	r := m.runs[run]
	if r == nil {
		r = &memRun{target: target}
		m.runs[run] = r
	}
	if r.target != target {
		return Lease{}, errOtherTarget(run, r.target, target)
	}
	r.epoch++
	r.owner = owner
	lease := Lease{Target: target, Run: run, Owner: owner, Epoch: r.epoch}
	m.locks[target] = memLock{c, lease}
	return lease, nil
}

// checkOthers refuses a target that another run left unfinished. Of several it names the first by name.
func (m *MemJournal) checkOthers(target, run string) error {
	var found error
	var first string
	for name, r := range m.runs {
		if name == run || r.target != target || found != nil && name > first {
			continue
		}
		if !runFinished(r.records) {
			first, found = name, errUnfinished(target, name, r.owner, r.records)
		}
	}
	return found
}

// enter locks the store for a call of c.
func (c *MemController) enter() (*MemJournal, error) {
	m := c.store
	if m == nil {
		return nil, Errorf(Invalid, "", "", "the controller has no journal: MemJournal.Controller returns one that has")
	}
	m.mu.Lock()
	if c.dead {
		m.mu.Unlock()
		return nil, Errorf(Unavailable, "", "", "this process was killed: use another controller")
	}
	if m.runs == nil {
		m.runs, m.locks = make(map[string]*memRun), make(map[string]memLock)
	}
	return m, nil
}

// Append writes rec behind the run's last record, as [Journal] says.
func (c *MemController) Append(ctx context.Context, lease Lease, rec Record) error {
	return Wrap(c.append(ctx, lease, rec), "lifecycle.Journal.Append", targetHost(lease.Target))
}

func (c *MemController) append(ctx context.Context, lease Lease, rec Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.callHook(true, lease, rec); err != nil {
		return err
	}
	rec, err := c.write(lease, rec)
	if err != nil {
		return err
	}
	if err := c.callHook(false, lease, rec); err != nil {
		return Errorf(Unknown, "", "", "the %s record was written, and the reply was lost: %w", rec.Type, err)
	}
	return nil
}

// callHook calls the hook without the store's lock, so that it can use the journal. Before the write it checks the lease
// and shows the record as it will be.
func (c *MemController) callHook(before bool, lease Lease, rec Record) error {
	m, err := c.enter()
	if err != nil {
		return err
	}
	hook := m.hook
	if before && hook != nil {
		rec, _, err = c.encode(lease, rec)
	}
	m.mu.Unlock()
	if err != nil || hook == nil {
		return err
	}
	if err := hook(before, lease, rec); err != nil {
		return err
	}
	if m, err = c.enter(); err == nil { // the hook may have killed c
		m.mu.Unlock()
	}
	return err
}

func (c *MemController) write(lease Lease, rec Record) (Record, error) {
	m, err := c.enter()
	if err != nil {
		return rec, err
	}
	defer m.mu.Unlock()
	rec, line, err := c.encode(lease, rec)
	if err != nil {
		return rec, err
	}
	var kept Record
	if err := decodeLine(line[lineSum:len(line)-1], &kept); err != nil {
		return rec, err
	}
	r := m.runs[lease.Run]
	r.rev = rec.Rev
	r.records = append(r.records, kept)
	if r.rev == 1 {
		r.start = rec.Time
	}
	return rec, nil
}

// encode checks the lease and returns rec as it goes into the run's file. The store is locked.
func (c *MemController) encode(lease Lease, rec Record) (Record, []byte, error) {
	if lock, ok := c.store.locks[lease.Target]; !ok || lock != (memLock{c, lease}) {
		return rec, nil, errLeaseLost(lease)
	}
	return encodeRecord(lease, c.store.runs[lease.Run].rev+1, rec)
}

// Release gives the target up. It does not look at ctx.
func (c *MemController) Release(_ context.Context, lease Lease) error {
	m, err := c.enter()
	if err != nil {
		return Wrap(err, "lifecycle.Journal.Release", targetHost(lease.Target))
	}
	defer m.mu.Unlock()
	if m.locks[lease.Target] == (memLock{c, lease}) {
		delete(m.locks, lease.Target)
	}
	return nil
}

// Records returns the records of run, as [Journal] says.
func (c *MemController) Records(ctx context.Context, run string) ([]Record, error) {
	recs, err := c.records(ctx, run)
	return recs, Wrap(err, "lifecycle.Journal.Records", "")
}

func (c *MemController) records(ctx context.Context, run string) ([]Record, error) {
	r, err := c.find(ctx, run)
	if err != nil {
		return nil, err
	}
	return slices.Clone(r.records), nil
}

// find returns a copy of a run that has records.
func (c *MemController) find(ctx context.Context, run string) (memRun, error) {
	if err := cmp.Or(checkRunName(run), ctx.Err()); err != nil {
		return memRun{}, err
	}
	m, err := c.enter()
	if err != nil {
		return memRun{}, err
	}
	defer m.mu.Unlock()
	r := m.runs[run]
	if r == nil || r.rev == 0 {
		return memRun{}, errNoRun(run)
	}
	return *r, nil
}

// Runs returns all runs by the time in their first record and then by name.
func (c *MemController) Runs(ctx context.Context) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, Wrap(err, "lifecycle.Journal.Runs", "")
	}
	m, err := c.enter()
	if err != nil {
		return nil, Wrap(err, "lifecycle.Journal.Runs", "")
	}
	defer m.mu.Unlock()
	var starts []runStart
	for name, r := range m.runs {
		if r.rev > 0 {
			starts = append(starts, runStart{name, r.start})
		}
	}
	return oldestFirst(starts), nil
}

// Ask records a request about run, as [Requests] says. An unknown run is [NotFound].
func (c *MemController) Ask(ctx context.Context, run string, req Request) error {
	return Wrap(c.ask(ctx, run, req), "lifecycle.Journal.Ask", "")
}

func (c *MemController) ask(ctx context.Context, run string, req Request) error {
	line, err := encodeRequest(run, req)
	if err != nil {
		return err
	}
	if _, err := c.find(ctx, run); err != nil {
		return err
	}
	m, err := c.enter()
	if err != nil {
		return err
	}
	defer m.mu.Unlock()
	r := m.runs[run]
	r.requests = append(r.requests, line...)
	return nil
}

// Asked returns the requests about run, oldest first; none for a run that nobody asked anything of.
func (c *MemController) Asked(ctx context.Context, run string) ([]Request, error) {
	reqs, err := c.asked(ctx, run)
	return reqs, Wrap(err, "lifecycle.Journal.Asked", "")
}

func (c *MemController) asked(ctx context.Context, run string) ([]Request, error) {
	r, err := c.find(ctx, run)
	if KindOf(err) == NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	reqs, _, err := parseRequests("memory", run, r.requests)
	return reqs, err
}

// own returns the journal's own controller.
func (m *MemJournal) own() *MemController {
	m.once.Do(func() { m.self.store, m.self.owner = m, "this program" })
	return &m.self
}

// Acquire is [MemController.Acquire] of the journal's own controller.
func (m *MemJournal) Acquire(ctx context.Context, target, run, owner string) (Lease, error) {
	return m.own().Acquire(ctx, target, run, owner)
}

// Append is [MemController.Append] of the journal's own controller.
func (m *MemJournal) Append(ctx context.Context, lease Lease, rec Record) error {
	return m.own().Append(ctx, lease, rec)
}

// Release is [MemController.Release] of the journal's own controller.
func (m *MemJournal) Release(ctx context.Context, lease Lease) error {
	return m.own().Release(ctx, lease)
}

// Records is [MemController.Records] of the journal's own controller.
func (m *MemJournal) Records(ctx context.Context, run string) ([]Record, error) {
	return m.own().Records(ctx, run)
}

// Runs is [MemController.Runs] of the journal's own controller.
func (m *MemJournal) Runs(ctx context.Context) ([]string, error) { return m.own().Runs(ctx) }

// Ask is [MemController.Ask] of the journal's own controller.
func (m *MemJournal) Ask(ctx context.Context, run string, req Request) error {
	return m.own().Ask(ctx, run, req)
}

// Asked is [MemController.Asked] of the journal's own controller.
func (m *MemJournal) Asked(ctx context.Context, run string) ([]Request, error) {
	return m.own().Asked(ctx, run)
}
