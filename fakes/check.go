package fakes

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/backup"
	"github.com/ncnkit/lifecycle/power"
)

// Breach is a violated invariant of the design: something that must never happen, and did.
type Breach struct {
	Invariant string // "I3"
	Detail    string
}

func (b Breach) String() string { return b.Invariant + " broken: " + b.Detail }

func (c *Cluster) breach(invariant, format string, args ...any) {
	b := Breach{invariant, fmt.Sprintf(format, args...)}
	if !slices.Contains(c.breaches, b) {
		c.breaches = append(c.breaches, b)
	}
}

// Secret registers a value that must appear in no record (I13).
func (c *Cluster) Secret(value string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.secrets = append(c.secrets, value)
}

// Confine says which nodes were named: a change on any other breaks I10. None means that nothing may be changed.
func (c *Cluster) Confine(names ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.confined, c.only = true, names
}

// Check returns the invariants that were broken up to now. What is told of runs is known only for those in
// [Cluster.Journal], or in the journal that [Cluster.Watch] was given.
func (c *Cluster) Check() []Breach {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advance()
	runs := c.runs("")
	for _, m := range c.sorted() {
		params, _ := c.bss.params(m.node.XName)
		if noWipe(params) != "1" && !c.allowed[m.node.Name] && !owned(runs, m.node.Name) {
			c.breach("I7", "%s is armed (metal.no-wipe is not 1), and no run owns that", m.node.Name)
		}
	}
	for _, r := range runs {
		c.checkRecords(r)
	}
	return slices.Clone(c.breaches)
}

// Watch has the checks read a journal and a store of somebody else's, because the programs that act on the cluster do not
// use its own: over the wire they are other processes. On the wire no call tells the run that it is for, so that of I6,
// I9, I10 and I14 nothing is checked there; a wipe is known by its token.
func (c *Cluster) Watch(journal lifecycle.Journal, backups backup.Store) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watched, c.kept = journal, backups
}

// wipeUnderWay finds the wipe whose commands a shell runs on the machine, by its token and its state.
func (m *Machine) wipeUnderWay() *wipeProcess {
	for _, name := range m.filesUnder(strings.TrimSuffix(wipeDir, "/")) {
		run, isToken := strings.CutSuffix(strings.TrimPrefix(name, wipeDir), "/token")
		if !isToken {
			continue
		}
		state, _ := m.readFile(wipeDir + run + "/state")
		if l := "\n" + string(state); strings.Contains(l, "\ndone") || strings.Contains(l, "\nfailed") || strings.Contains(l, "\nrefused") {
			continue
		}
		key := run + " on " + m.bootID
		if m.wipes[key] == nil {
			if m.wipes == nil {
				m.wipes = map[string]*wipeProcess{}
			}
			m.wipes[key] = &wipeProcess{m: m, by: lifecycle.Execution{Run: run}}
		}
		return m.wipes[key]
	}
	return nil
}

// runs returns the records of all runs, or of those for one node.
func (c *Cluster) runs(node string) [][]lifecycle.Record {
	ids, _ := c.watched.Runs(context.Background())
	var all [][]lifecycle.Record
	for _, id := range ids {
		if target, ok := c.targets[id]; ok && node != "" && target != node {
			continue
		}
		records, err := c.watched.Records(context.Background(), id)
		if err != nil || records[0].Plan == nil {
			continue
		}
		c.targets[id] = records[0].Plan.Target
		if node == "" || c.targets[id] == node {
			all = append(all, records)
		}
	}
	return all
}

// owned reports whether an open run, one that called for a person, or a wipe by itself answers for the node's being armed.
func owned(runs [][]lifecycle.Record, node string) bool {
	for _, records := range runs {
		s := lifecycle.Summarize(records)
		wiped := s.Kind == "ncn.wipe" && s.State == lifecycle.Done // by contract it leaves the node armed
		if s.Target == node && (s.State == lifecycle.Open || s.State == lifecycle.NeedsHuman || wiped) {
			return true
		}
	}
	return false
}

func (c *Cluster) checkRecords(records []lifecycle.Record) {
	s := lifecycle.Summarize(records)
	for _, step := range s.Steps {
		if step.Begun && s.State != lifecycle.Open {
			c.breach("I14", "run %s ended %s, and its step %s has an intent without a result", s.Run, s.State, step.ID)
		}
	}
	if m := c.machines[s.Target]; m != nil && s.State == lifecycle.Done && m.unseen != "" && m.unseenBy.Run == s.Run {
		c.breach("I9", "run %s is done, and nobody saw %s go %s", s.Run, s.Target, m.unseen)
	}
	before, acted := c.before[s.Run]
	if m := c.machines[s.Target]; m != nil && s.State == lifecycle.Done && s.Kind == "ncn.rebuild" && acted && m.generation == before {
		c.breach("I12", "the rebuild of %s is done, and the node was not installed anew", s.Target)
	}
	if len(c.secrets) == 0 {
		return
	}
	text, _ := json.Marshal(records)
	for _, secret := range c.secrets {
		if bytes.Contains(text, []byte(secret)) {
			c.breach("I13", "the journal of run %s contains a secret", s.Run)
		}
	}
}

// judge looks at a call that is about to change something.
func (c *Cluster) judge(call Call) {
	m := c.machines[call.Host]
	if m != nil && call.Op == PowerSet {
		c.judgePower(m, call)
	}
	if m != nil && c.confined && !slices.Contains(c.only, call.Host) {
		c.breach("I10", "%s on %s, which nobody named", strings.TrimSpace(string(call.Op)+" "+call.Name), call.Host)
	}
	if m != nil && (call.Op == BSSPatch || call.Op == BSSPut) && call.Detail != "" && value(call.Detail, "metal.no-wipe") == "" {
		c.breach("I7", "the boot parameters of %s were written without metal.no-wipe, which arms it", call.Host)
	}
	if call.By.Run == "" {
		return
	}
	if _, seen := c.before[call.By.Run]; m != nil && !seen {
		c.before[call.By.Run] = m.generation
	}
	if m != nil && call.By.Target != call.Host {
		c.breach("I2", "a step of the run for %s acts on %s: %s %s", call.By.Target, call.Host, call.Op, call.Name)
	}
	if call.Name == "ncn.wipe-start" {
		return // the target itself refuses an old driver, and a second wipe; what it erases is judged in erasing
	}
	records, err := c.watched.Records(context.Background(), call.By.Run)
	if err != nil || len(records) == 0 {
		return
	}
	if last := records[len(records)-1]; last.Epoch > call.By.Epoch {
		c.breach("I6", "a driver of epoch %d acts on %s (%s %s) when epoch %d has taken over", call.By.Epoch, call.Host, call.Op, call.Name, last.Epoch)
	}
	begun := false
	for _, r := range records {
		if r.Step == call.By.Step {
			begun = r.Type == lifecycle.RecordIntent
		}
	}
	if m != nil && m.unseen != "" && m.unseenBy.Run == call.By.Run {
		c.recordedUnseen(m, records)
	}
	if !begun {
		c.breach("I14", "%s %s on %s in step %s, which has no open intent in the journal", call.Op, call.Name, call.Host, call.By.Step)
	}
}

// recordedUnseen finds a power command whose step was recorded as done before anybody saw the machine obey.
func (c *Cluster) recordedUnseen(m *Machine, records []lifecycle.Record) {
	for _, r := range records {
		if r.Step == m.unseenBy.Step && r.Epoch == m.unseenBy.Epoch && r.Outcome == lifecycle.OutcomeDone {
			c.breach("I9", "step %s of the run for %s was recorded as done before anybody saw the node go %s", r.Step, m.node.Name, m.unseen)
		}
	}
}

func (c *Cluster) judgePower(m *Machine, call Call) {
	switch call.Detail {
	case "on", "off":
		m.unseen, m.unseenBy = power.State(call.Detail), call.By
		return
	}
	if m.ambiguous {
		c.breach("I9", "%s was sent again to %s after its answer was lost, without looking", call.Detail, m.node.Name)
	}
	m.ambiguous = call.fault.lose
}

// looked is somebody reading the power state of a machine.
func (c *Cluster) looked(m *Machine) {
	m.ambiguous = false
	if m.unseen == "" || m.power != m.unseen {
		return
	}
	records, _ := c.watched.Records(context.Background(), m.unseenBy.Run)
	c.recordedUnseen(m, records)
	m.unseen = ""
}

// planFacts is what the checks need of a run's facts; every plan that erases has these fields.
type planFacts struct {
	Victims []struct {
		ID string `json:"id"`
	} `json:"victims"`
	Backup string `json:"backup"`
}

// erasing is something on a disk being destroyed by a command.
func (c *Cluster) erasing(m *Machine, d *Device) {
	p := c.wiping
	if p == nil {
		p = m.wipeUnderWay()
	}
	if p == nil {
		return
	}
	records, err := c.watched.Records(context.Background(), p.by.Run)
	if err != nil || len(records) == 0 || records[0].Plan == nil {
		return
	}
	if last := records[len(records)-1]; last.Type == lifecycle.RecordEnd {
		c.breach("I14", "%s of %s is erased after the run that asked for it has ended", d.Name, m.node.Name)
	}
	plan := records[0].Plan
	if plan.Target != m.node.Name {
		c.breach("I2", "the run for %s erases %s of %s", plan.Target, d.Name, m.node.Name)
	}
	var facts planFacts
	if json.Unmarshal(plan.Facts, &facts) != nil {
		return
	}
	victims := map[string]bool{}
	for _, v := range facts.Victims {
		victims[v.ID] = true
	}
	if disk := m.diskOf(d.Name); disk != nil && !victims[diskID(disk)] {
		c.breach("I3", "%s of %s is erased, and the plan does not name it", disk.Name, m.node.Name)
	}
	if p.erasing {
		return
	}
	p.erasing = true
	c.judgeErase(m, p, plan, victims, facts.Backup)
}

// judgeErase looks at the first write of a wipe.
func (c *Cluster) judgeErase(m *Machine, p *wipeProcess, plan *lifecycle.PlanRecord, victims map[string]bool, prefix string) {
	for _, disk := range m.disks {
		if !victims[diskID(disk)] {
			continue
		}
		if inUse(disk) {
			c.breach("I3", "erasing began on %s while %s was in use", m.node.Name, disk.Name)
		}
		disk.walk(func(d *Device) {
			if !knownSignature(d.Signature) {
				c.breach("I3", "erasing began on %s while %s carried the unknown signature %s", m.node.Name, d.Name, d.Signature)
			}
		})
	}
	hasBackup := slices.ContainsFunc(plan.Steps, func(s lifecycle.StepRecord) bool { return s.ID == "backup" })
	if hasBackup {
		if err := c.readBack(prefix); err != nil {
			c.breach("I4", "erasing began on %s without a backup that can be read back: %v", m.node.Name, err)
		}
	}
	key := p.by.Run + " on " + m.bootID
	c.erased[key]++
	if c.erased[key] > 1 {
		c.breach("I5", "the wipe of run %s erased %s twice on one boot", p.by.Run, m.node.Name)
	}
}

// wipedAtBoot is the node's own erasing of itself, because it booted while armed.
func (c *Cluster) wipedAtBoot(m *Machine) {
	if !c.allowed[m.node.Name] && !owned(c.runs(m.node.Name), m.node.Name) {
		c.breach("I7", "%s booted while armed, erased itself, and no run owns that", m.node.Name)
	}
}

func diskID(d *Device) string {
	if d.WWN != "" {
		return "wwn-" + d.WWN
	}
	return "serial-" + d.Serial
}

func knownSignature(s string) bool {
	switch s {
	case "", "gpt", "dos", "LVM2_member", "linux_raid_member", "xfs", "ext4", "vfat", "squashfs", "swap":
		return true
	}
	return false
}

// readBack hashes a stored archive and compares it with its manifest, by means of its own.
func (c *Cluster) readBack(prefix string) error {
	var m backup.Manifest
	if err := json.Unmarshal(c.object(prefix+"/manifest.json"), &m); err != nil {
		return fmt.Errorf("the manifest: %w", err)
	}
	if sum := fmt.Sprintf("%x", sha256.Sum256(c.object(prefix+"/archive.tar.zst"))); sum != m.ArchiveSHA256 {
		return fmt.Errorf("the archive's sum is %s, the manifest has %s", sum, m.ArchiveSHA256)
	}
	return nil
}

// object reads what is stored under key; nil is nothing.
func (c *Cluster) object(key string) []byte {
	if c.kept == nil {
		return c.objects[key].data
	}
	r, err := c.kept.Get(context.Background(), key)
	if err != nil {
		return nil
	}
	defer r.Close()
	data, _ := io.ReadAll(r)
	return data
}
