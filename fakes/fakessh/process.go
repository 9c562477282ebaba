package fakessh

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/ncnkit/lifecycle/fakes"
)

// processes is the process table of all machines.
type processes struct {
	mu   sync.Mutex
	live map[*fakes.Machine]map[int]bool
}

func newProcesses() *processes { return &processes{live: map[*fakes.Machine]map[int]bool{}} }

func (p *processes) add(m *fakes.Machine) int {
	pid := m.NextPID()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live[m] == nil {
		p.live[m] = map[int]bool{}
	}
	p.live[m][pid] = true
	return pid
}

func (p *processes) remove(m *fakes.Machine, pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.live[m], pid)
}

func (p *processes) alive(m *fakes.Machine, pid int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.live[m][pid]
}

// shell is a process that runs an interpreter.
type shell struct {
	s     *Server
	m     *fakes.Machine
	boot  context.Context
	pid   int
	umask atomic.Uint32
}

func (s *Server) newShell(boot context.Context, m *fakes.Machine) *shell {
	sh := &shell{s: s, m: m, boot: boot, pid: s.procs.add(m)}
	sh.umask.Store(0o022)
	return sh
}

// end takes the process out of the table.
func (sh *shell) end() { sh.s.procs.remove(sh.m, sh.pid) }

// child returns a new process that inherits what processes inherit.
func (sh *shell) child() *shell {
	child := sh.s.newShell(sh.boot, sh.m)
	child.umask.Store(sh.umask.Load())
	return child
}
