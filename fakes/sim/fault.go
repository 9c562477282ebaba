package sim

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes"
)

// Kind is a kind of fault.
type Kind string

// The kinds. What is said of a call holds for a call into the world unless the journal is named.
const (
	Crash       Kind = "crash"        // the controller dies before a call, or before a write to the journal
	CrashAfter  Kind = "crash-after"  // the controller dies when a call, or a write to the journal, has had its effect
	Pause       Kind = "pause"        // the controller stands still for longer than its lease lasts, and goes on
	Rival       Kind = "rival"        // a second controller is started
	JournalFull Kind = "journal-full" // the journal refuses the controller's writes for a while
	JournalLost Kind = "journal-lost" // a record is written, and the reply is lost
	ClockStep   Kind = "clock-step"   // the controller's wall clock jumps by an hour, forth or back

	Refuse     Kind = "refuse"       // a call fails, and has no effect
	LoseReply  Kind = "lose-reply"   // a call has its effect, and the answer is lost
	Hang       Kind = "hang"         // a call has no effect, and no answer until its caller stops waiting
	Slow       Kind = "slow"         // a call takes its time
	Late       Kind = "late"         // a write is answered, and has its effect later
	Ignore     Kind = "ignore"       // a write is answered, and has no effect
	Repeat     Kind = "repeat"       // a command is delivered twice
	Stale      Kind = "stale"        // a read answers what was there before the last write
	Lie        Kind = "lie"          // a BMC tells the wrong power state, once
	Torn       Kind = "torn"         // the store keeps something else than what it was given
	Partition  Kind = "partition"    // one host, or one service, is out of one controller's reach for a while, or only its answers
	NodeCrash  Kind = "node-crash"   // the node loses power when a call to it has had its effect
	AdminOff   Kind = "admin-off"    // an administrator turns a node off, and perhaps on again
	AdminBoot  Kind = "admin-boot"   // an administrator reboots a node
	AdminDisk  Kind = "admin-disk"   // an administrator puts a disk in
	AdminMount Kind = "admin-mount"  // an administrator mounts a disk
	AdminSafe  Kind = "admin-disarm" // an administrator disarms a node
	Cancel     Kind = "cancel"       // an administrator cancels the run of a node
	AdminParam Kind = "admin-param"  // an administrator adds a boot parameter
	Misroute   Kind = "misroute"     // another node answers at a node's address, with the same host key
)

// Kinds returns all kinds.
func Kinds() []Kind {
	return []Kind{
		Crash, CrashAfter, Pause, Rival, JournalFull, JournalLost, ClockStep, Refuse, LoseReply, Hang, Slow, Late, Ignore,
		Repeat, Stale, Lie, Torn, Partition, NodeCrash, AdminOff, AdminBoot, AdminDisk, AdminMount, AdminParam, AdminSafe, Cancel,
		Misroute,
	}
}

// likely returns the kinds that a run draws from when it names none: all but [Stale], because the boot script service keeps
// its state in one etcd, and gives back what was written. Its place is taken, so that seeds keep their meaning.
func likely() []Kind {
	all := Kinds()
	all[slices.Index(all, Stale)] = Slow
	return all
}

// Fault is one fault of a run.
type Fault struct {
	Number int // by which Config.Without names it
	Kind   Kind
	Step   int    // from which call on it is due
	Detail string // what became of it
	Fired  bool

	pick uint64 // for what the fault itself has to choose
	skip int    // how many calls that suit it go by

	writes  bool // it waits for a call that changes something
	begins  bool // it waits for an intent to be recorded
	inStep  bool // it waits for a step of a run to look at the world
	meddled bool // an administrator was at work while the controller was down
}

func (f Fault) String() string {
	return fmt.Sprintf("%d: %s at call %d: %s", f.Number, f.Kind, f.Step, f.Detail)
}

// below returns one of n numbers of the fault's own.
func (f *Fault) below(n int) int {
	f.pick = f.pick*6364136223846793005 + 1442695040888963407
	return int(f.pick >> 33 % uint64(n))
}

// within returns a duration of the fault's own.
func (f *Fault) within(low, high time.Duration) time.Duration {
	return low + time.Duration(f.below(1<<20))*(high-low)/(1<<20)
}

// planFaults draws the faults of the seed.
func (s *sim) planFaults() []*Fault {
	if s.MaxFaults <= 0 || len(s.Faults) == 0 {
		return nil
	}
	rng := s.rand("faults")
	var all []*Fault
	for i := range rng.IntN(s.MaxFaults + 1) {
		f := &Fault{Number: i, Kind: s.Faults[rng.IntN(len(s.Faults))], Step: 1 + rng.IntN(s.Horizon), pick: rng.Uint64() | 1}
		f.skip = f.below(4)
		f.writes = f.Kind == LoseReply && f.below(2) == 0
		f.begins = f.Kind == AdminMount && f.below(2) == 0
		f.inStep = f.Kind == Pause && f.below(4) > 0
		if !slices.Contains(s.Without, i) {
			all = append(all, f)
		}
	}
	slices.SortStableFunc(all, func(a, b *Fault) int { return cmp.Compare(a.Step, b.Step) })
	return all
}

func (s *sim) fire(f *Fault, format string, args ...any) {
	f.Fired, f.Step = true, s.step
	f.Detail = fmt.Sprintf(format, args...)
	s.troubled(0)
}

// gentle reports whether nothing happened that a run could not survive, and whether no two controllers were at it.
func (s *sim) gentle() (gentle, alone bool) {
	alone = true
	for _, f := range s.faults {
		if !f.Fired {
			continue
		}
		switch f.Kind {
		case Pause, Rival:
			alone = false
		case Crash, CrashAfter, JournalFull, JournalLost, ClockStep:
			if f.meddled {
				return false, false
			}
		default:
			return false, false
		}
	}
	return true, alone
}

// verdict decides about a call: what a partition or a fault makes of it.
func (s *sim) verdict(g *gate) (verdict, string) {
	if v, why := s.divided(g); why != "" {
		return v, why
	}
	for _, f := range s.faults {
		if f.Step > s.step {
			break
		}
		if f.Fired || !suits(f.Kind, g) || f.writes && !g.writes {
			continue
		}
		if f.skip > 0 {
			f.skip--
			continue
		}
		v := s.inflict(f, g)
		return v, string(f.Kind) + " " + f.Detail
	}
	return verdict{}, ""
}

// suits reports whether the fault can befall the call.
func suits(k Kind, g *gate) bool {
	op := fakes.Op(g.op)
	switch k {
	case Crash, CrashAfter:
		return g.world() || g.op == "journal.append"
	case JournalFull, JournalLost:
		return g.op == "journal.append"
	case Refuse, LoseReply, Hang, Slow:
		return g.world()
	case Late:
		return op == fakes.PowerSet || op == fakes.BSSPatch
	case Ignore:
		return op == fakes.PowerSet || op == fakes.PowerSetBoot || op == fakes.BSSPatch || op == fakes.StorePut
	case Repeat:
		return op == fakes.PowerSet || op == fakes.Exec && g.writes
	case Stale:
		return op == fakes.BSSGet
	case Lie:
		return op == fakes.PowerState
	case Torn:
		return op == fakes.StorePut
	case NodeCrash:
		return g.world() && op != fakes.InventoryRead && g.host != ""
	}
	return false
}

// inflict makes the fault befall the call.
func (s *sim) inflict(f *Fault, g *gate) verdict {
	w, m := s.w, fakes.Match{Op: fakes.Op(g.op), Host: g.host, Name: g.name}
	s.fire(f, "")
	switch f.Kind {
	case Crash, CrashAfter:
		return s.crash(f, g)
	case JournalFull:
		d := f.within(0, 20*time.Minute)
		f.Detail = fmt.Sprintf("for %v", d.Round(time.Second))
		s.divide(partition{p: g.p, journal: true, until: time.Now().Add(d)}, d)
		v, _ := s.divided(g)
		return v
	case JournalLost:
		return verdict{lost: lifecycle.Errorf(lifecycle.Unknown, "lifecycle.Journal.Append", g.host, "the record was written, and the reply was lost (injected fault)")}
	case Refuse:
		kind := [...]lifecycle.Kind{lifecycle.Unavailable, lifecycle.Unavailable, lifecycle.Internal, lifecycle.Timeout}[f.below(4)]
		f.Detail = string(kind)
		w.Fail(m, kind)
	case LoseReply:
		w.LoseReply(m)
	case Hang:
		w.Hang(m)
	case Slow:
		d := f.within(time.Second, 20*time.Second)
		f.Detail = d.Round(time.Second).String()
		g.p.busy = time.Now().Add(d)
		w.Slow(m, d)
	case Late:
		d := f.within(20*time.Millisecond, 45*time.Millisecond)
		if m.Op == fakes.PowerSet {
			d = f.within(3*time.Second, 5*time.Minute)
		}
		f.Detail = d.Round(time.Millisecond).String()
		s.troubled(d)
		w.Late(m, d)
	case Ignore:
		w.Ignore(m)
	case Stale:
		w.Stale(m)
	case Lie:
		w.Lie(m)
	case Repeat:
		return verdict{repeat: true}
	case Torn:
		return verdict{after: func() { w.Corrupt(g.detail) }}
	case NodeCrash:
		w.Crash(m)
		if f.below(2) == 0 {
			s.turnOn(g.host, f.within(time.Minute, 30*time.Minute))
		}
	}
	return verdict{}
}

// crash kills the process at the call, and starts another one later.
func (s *sim) crash(f *Fault, g *gate) verdict {
	d := f.within(0, 15*time.Minute)
	f.Detail = fmt.Sprintf("%s, restarted after %v", g.p.Name, d.Round(time.Second))
	s.at(d, func() { s.start(s.root) })
	if f.below(4) == 0 {
		f.meddled = true
		s.at(d/2, func() { s.meddle([...]Kind{AdminDisk, AdminMount, AdminBoot, AdminOff}[f.below(4)], f, g.host) })
	}
	if f.Kind == Crash {
		g.p.kill()
		return verdict{err: errKilled}
	}
	return verdict{after: g.p.kill, lost: errKilled}
}

// partition is a cut between one controller and a host, a service or the journal.
type partition struct {
	p       *Process
	journal bool
	prefix  string // of the operations, "" with a host
	host    string
	oneWay  bool // what is sent arrives, answers do not
	until   time.Time
}

func (s *sim) divide(c partition, d time.Duration) {
	s.partitions = append(s.partitions, c)
	s.troubled(d)
}

// divided decides about a call across a cut.
func (s *sim) divided(g *gate) (verdict, string) {
	for _, c := range s.partitions {
		switch {
		case c.p != g.p || !time.Now().Before(c.until) || c.journal && g.op != "journal.append" || !c.journal && !g.world():
			continue
		case c.journal:
			return verdict{err: lifecycle.Errorf(lifecycle.Unavailable, "lifecycle.Journal.Append", g.host, "no space left on device (injected fault)")}, "journal full"
		case !strings.HasPrefix(g.op, c.prefix) || c.host != "" && c.host != g.host:
			continue
		}
		m := fakes.Match{Op: fakes.Op(g.op), Host: g.host, Name: g.name}
		if c.oneWay {
			s.w.LoseReply(m)
			return verdict{}, "cut off: no answer"
		}
		s.w.Fail(m, lifecycle.Unavailable)
		return verdict{}, "cut off"
	}
	return verdict{}, ""
}
