package sim

import (
	"context"
	"fmt"
	"strings"
	"testing/synctest"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/bss"
	"github.com/ncnkit/lifecycle/fakes"
	"github.com/ncnkit/lifecycle/power"
)

// startFaults lets begin what does not wait for a call that suits it. g is the call whose turn it is.
func (s *sim) startFaults(g *gate) {
	for _, f := range s.faults {
		if f.Step > s.step {
			return
		}
		if f.Fired {
			continue
		}
		switch f.Kind {
		case Pause:
			if !f.inStep || g.step != "" && g.world() && !g.writes {
				s.pause(f, g.p)
			}
		case Rival:
			s.fire(f, "")
			s.start(s.root)
			synctest.Wait()
		case ClockStep:
			s.stepClock(f, g.p)
		case Partition:
			s.cut(f, g)
		case AdminOff, AdminBoot, AdminDisk, AdminMount, AdminParam, AdminSafe, Cancel, Misroute:
			if f.begins && (g.op != "journal.append" || !strings.HasPrefix(g.name, string(lifecycle.RecordIntent))) {
				continue
			}
			if f.begins && f.skip > 0 {
				f.skip--
				continue
			}
			s.meddle(f.Kind, f, s.someHost(f, g))
		}
	}
}

// someHost is mostly the host of the call.
func (s *sim) someHost(f *Fault, g *gate) string {
	all := s.w.Machines()
	if s.w.Machine(g.host) != nil && f.below(4) > 0 {
		return g.host
	}
	return all[f.below(len(all))].Name()
}

// pause makes a process stand still until its lease is lost, and another one takes over.
func (s *sim) pause(f *Fault, p *Process) {
	if p.paused || p.dead || time.Now().Before(p.busy) {
		return
	}
	// What is on its way to a target gets there first: see the package documentation.
	for range 100 {
		g := s.writeOf(p)
		if g == nil {
			break
		}
		s.note(g, "")
		s.remove(g)
		g.open <- verdict{}
		synctest.Wait()
	}
	if s.writeOf(p) != nil || p.ended {
		return
	}
	d := f.within(30*time.Second, 2*time.Minute)
	if f.below(2) == 0 {
		d = f.within(2*time.Minute, 2*time.Hour)
	}
	s.fire(f, "%s for %v", p.Name, d.Round(time.Second))
	p.paused, p.lapsed = true, true
	p.mem.Expire()
	s.at(f.within(0, min(d, time.Minute)), func() { s.start(s.root) })
	s.at(d, func() { p.paused = false })
}

func (s *sim) writeOf(p *Process) *gate {
	for _, g := range s.waiting() {
		if g.p == p && g.writes {
			return g
		}
	}
	return nil
}

func (s *sim) stepClock(f *Fault, p *Process) {
	d := f.within(-time.Hour, time.Hour)
	s.fire(f, "%s by %v", p.Name, d.Round(time.Second))
	s.mu.Lock()
	defer s.mu.Unlock()
	p.offset += d
}

// cut begins a partition.
func (s *sim) cut(f *Fault, g *gate) {
	d := f.within(time.Second, 40*time.Minute)
	c := partition{p: g.p, until: time.Now().Add(d), oneWay: f.below(3) == 0}
	c.prefix = [...]string{"", "power.", "exec", "bss.", "store."}[f.below(5)]
	if c.prefix == "" || f.below(2) == 0 {
		c.host = s.someHost(f, g)
	}
	s.fire(f, "%s from %q of %q for %v, one way %v", g.p.Name, c.prefix, c.host, d.Round(time.Second), c.oneWay)
	s.divide(c, d)
}

// meddle is an administrator at work, or a cable in the wrong port.
func (s *sim) meddle(k Kind, f *Fault, host string) {
	m := s.w.Machine(host)
	if m == nil {
		m = s.w.Machines()[0]
	}
	said := ""
	switch k {
	case AdminOff:
		said = s.turnOff(m)
		if f.below(4) > 0 {
			d := f.within(time.Minute, 40*time.Minute)
			s.turnOn(m.Name(), d)
			said += fmt.Sprintf(", and on after %v", d.Round(time.Second))
		}
	case AdminBoot:
		said = s.turnOff(m)
		s.turnOn(m.Name(), 10*time.Second)
	case AdminDisk:
		s.addDisk(m, "")
	case AdminMount:
		s.w.Advance()
		said = mountLast(m)
	case AdminParam:
		s.addParam(m, f)
	case AdminSafe:
		if err := bss.Disarm(context.Background(), s.w.BSS(), m.XName()); err != nil {
			said = err.Error()
		}
	case Cancel:
		said = s.cancel(m)
	case Misroute:
		said = s.misroute(m, f)
	}
	if f.Kind == k {
		s.fire(f, "%s %s", m.Name(), said)
	} else {
		f.Detail += fmt.Sprintf("; meanwhile %s %s %s", k, m.Name(), said)
	}
	s.troubled(time.Minute)
}

func bmcOf(m *fakes.Machine) power.BMC { return power.BMC{Name: m.BMC(), Host: m.BMC()} }

func (s *sim) turnOff(m *fakes.Machine) string {
	_ = s.w.Power().Do(context.Background(), bmcOf(m), power.ActionOff)
	return "off"
}

func (s *sim) turnOn(host string, d time.Duration) {
	m := s.w.Machine(host)
	s.at(d, func() {
		if m != nil {
			_ = s.w.Power().Do(context.Background(), bmcOf(m), power.ActionOn)
		}
	})
}

// addDisk puts a disk in, which carries what signature says.
func (s *sim) addDisk(m *fakes.Machine, signature string) { AddDisk(m, signature) }

// AddDisk puts a further disk into the machine. signature is what a probe finds on it, "" for nothing.
func AddDisk(m *fakes.Machine, signature string) {
	m.Disks(func(disks []*fakes.Device) []*fakes.Device {
		n := len(disks)
		return append(disks, &fakes.Device{
			Name: fmt.Sprintf("/dev/sd%c", 'a'+n), Type: "disk", Size: 1 << 40, Tran: "sas",
			WWN: fmt.Sprintf("0x9000c500a1b2%s%02d", m.Name()[len(m.Name())-3:], n), Signature: signature,
		})
	})
}

// mountLast mounts the last disk, unless something stands on it.
func mountLast(m *fakes.Machine) string {
	for _, name := range m.Files("/run/lifecycle/wipe") {
		if strings.HasSuffix(name, "/alive") {
			return "is being erased" // between the node's last check and its first write: nobody can close that window
		}
	}
	said := "has nothing to mount"
	m.Disks(func(disks []*fakes.Device) []*fakes.Device {
		if last := disks[len(disks)-1]; len(last.Children) == 0 && last.Mount == "" {
			last.Mount, last.Signature = "/srv", "xfs"
			said = last.Name
		}
		return disks
	})
	return said
}

// cancel asks for the end of the open run of a node.
func (s *sim) cancel(m *fakes.Machine) string {
	ctx := context.Background()
	runs, _ := s.w.Journal().Runs(ctx)
	for _, id := range runs {
		status, err := lifecycle.StatusOf(ctx, s.w.Journal(), id)
		if err != nil || status.Target != m.Name() || status.State != lifecycle.Open {
			continue
		}
		req := lifecycle.Request{Action: lifecycle.ActionCancel, Actor: "administrator", Because: "in a hurry", Time: time.Now()}
		if err := s.w.Journal().Ask(ctx, id, req); err != nil {
			return err.Error()
		}
		return "run " + id
	}
	return "has no open run"
}

// addParam changes boot parameters between two calls of everybody else.
func (s *sim) addParam(m *fakes.Machine, f *Fault) {
	ctx, api := context.Background(), s.w.BSS()
	e, err := api.Get(ctx, m.XName())
	if err != nil {
		return
	}
	p := bss.ParseParams(e.Params)
	if p.Set("crashkernel", fmt.Sprintf("%dM", 128<<f.below(4))) == nil {
		_ = api.Patch(ctx, bss.Patch{Host: m.XName(), Params: p.String()})
	}
}

// misroute makes another machine answer at the node's address. Its image has the host keys of the node's.
func (s *sim) misroute(m *fakes.Machine, f *Fault) string {
	all := s.w.Machines()
	other := all[f.below(len(all))]
	if other == m {
		return "is in its place"
	}
	keeper, ok := s.w.Exec().(lifecycle.HostKeyKeeper)
	if !ok {
		return ""
	}
	node, err := s.w.Node(context.Background(), m.Name())
	if err != nil {
		return ""
	}
	_ = keeper.KeepHostKeys(context.Background(), node, []string{m.AuthorizedKey(), other.AuthorizedKey()})
	s.w.Route(m.Name(), other.Name())
	if f.below(2) == 0 {
		s.at(f.within(time.Second, time.Hour), func() { s.w.Route(m.Name(), m.Name()) })
	}
	return "is answered for by " + other.Name()
}
