package fakes

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/ncnkit/lifecycle"
)

const (
	wipeDir   = "/run/lifecycle/wipe/"
	wipedMark = "/var/lib/lifecycle/wiped"
)

// wipeStart is wipe-start.sh: it leaves a process behind that outlives the connection.
func (m *Machine) wipeStart(call *Call, args []string, stdin io.Reader, stdout io.Writer) error {
	run, epoch := args[0], args[1]
	dir := wipeDir + run
	m.dir(dir, 0o700)
	mine, _ := strconv.Atoi(epoch)
	if b, err := m.readFile(dir + "/epoch"); err == nil {
		if theirs, _ := strconv.Atoi(strings.TrimSpace(string(b))); theirs > mine {
			fmt.Fprintln(stdout, "stale")
			return nil
		}
	}
	m.write(dir+"/epoch", epoch+"\n", 0o600)
	if _, err := m.stat(dir + "/token"); err == nil {
		fmt.Fprintln(stdout, "already")
		return nil
	}
	input := map[string][]string{}
	for lines := bufio.NewScanner(stdin); lines.Scan(); {
		tag, v, _ := strings.Cut(lines.Text(), " ")
		input[tag] = append(input[tag], v)
	}
	boot := m.boots
	by := call.By
	m.c.schedule(0, func() {
		if boot == m.boots {
			(&wipeProcess{m: m, dir: dir, run: run, by: by, input: input, boot: boot}).start()
		}
	})
	fmt.Fprintln(stdout, "started")
	return nil
}

// wipeProcess is the detached body of wipe-start.sh.
type wipeProcess struct {
	m     *Machine
	dir   string
	run   string
	by    lifecycle.Execution
	input map[string][]string
	boot  int

	erasing bool // the first write has happened
}

func (p *wipeProcess) say(format string, args ...any) {
	old, _ := p.m.readFile(p.dir + "/state")
	p.m.write(p.dir+"/state", string(old)+fmt.Sprintf(format, args...)+"\n", 0o600)
}

func (p *wipeProcess) start() {
	m := p.m
	if m.mkdir(p.dir+"/token", 0o700) != nil {
		return
	}
	m.pid++
	p.say("pid %d", m.pid)
	m.write(p.dir+"/alive", "", 0o600) // stands for the process in the table
	if why := p.refuse(); why != "" {
		p.end("refused " + why)
		return
	}
	if why := p.standDown(); why != "" {
		p.end("failed " + why)
		return
	}
	for _, disk := range p.input["disk"] {
		for _, d := range m.list(disk) {
			switch {
			case d.Mount != "":
				p.end("failed " + disk + " is mounted")
				return
			case d.Type != "disk" && d.Type != "part":
				p.end("failed " + disk + " is held")
				return
			}
		}
	}
	m.dir("/var/lib/lifecycle", 0o700)
	m.write(wipedMark, p.run+"\n", 0o600)
	p.say("erasing")
	p.erase(p.input["disk"])
}

func (p *wipeProcess) refuse() string {
	m := p.m
	for _, id := range [][2]string{{"xname", "/etc/cray/xname"}, {"uuid", "/sys/class/dmi/id/product_uuid"}, {"boot", "/proc/sys/kernel/random/boot_id"}} {
		tag := id[0]
		got, _ := m.readFile(id[1])
		want := strings.Join(p.input[tag], "\n")
		if strings.TrimSpace(string(got)) != want || want == "" {
			return fmt.Sprintf("this machine's %s is %s, the plan's is %s", tag, strings.TrimSpace(string(got)), want)
		}
	}
	if fmt.Sprintf("%x", sha256.Sum256(m.snapshot())) != strings.Join(p.input["digest"], "\n") {
		return "the disks are not as they were when they were judged"
	}
	if len(p.input["disk"]) == 0 {
		return "no disk is named"
	}
	return ""
}

func (p *wipeProcess) standDown() string {
	for _, at := range p.input["umount"] {
		if p.m.unmount(at) != nil {
			return at + " does not unmount"
		}
	}
	for _, group := range p.input["group"] {
		if p.m.deactivate(group) != nil {
			return "volume group " + group + " is in use"
		}
	}
	for _, array := range p.input["array"] {
		if p.m.stopArray(array) != nil {
			return "array " + array + " is in use"
		}
	}
	return ""
}

// erase erases one disk after the other, each in its time.
func (p *wipeProcess) erase(disks []string) {
	if len(disks) == 0 {
		p.end("done")
		return
	}
	p.m.c.schedule(p.m.c.layout.Erase, func() {
		if p.boot != p.m.boots {
			return
		}
		p.m.c.wiping = p
		defer func() { p.m.c.wiping = nil }()
		devices := p.m.list(disks[0])
		slices.Reverse(devices)
		for _, d := range devices {
			if p.m.wipefs(d.Name) != nil {
				p.end("failed " + d.Name + " is not erased")
				return
			}
		}
		if p.m.zapAll(disks[0]) != nil {
			p.end("failed the partition table of " + disks[0] + " is not erased")
			return
		}
		p.say("erased %s", disks[0])
		p.erase(disks[1:])
	})
}

func (p *wipeProcess) end(state string) {
	p.say("%s", state)
	delete(p.m.files, p.dir+"/alive")
}

// wipeLook is wipe-look.sh.
func (m *Machine) wipeLook(run string, stdout io.Writer) {
	dir := wipeDir + run
	xname, _ := m.readFile("/etc/cray/xname")
	fmt.Fprintf(stdout, "xname %suuid %s\nboot %s\n", xname, m.uuid, m.bootID)
	if _, err := m.stat(dir + "/token"); err != nil {
		fmt.Fprintln(stdout, "absent")
		return
	}
	state, _ := m.readFile(dir + "/state")
	_, _ = stdout.Write(state)
	if _, err := m.stat(dir + "/alive"); err == nil {
		fmt.Fprintln(stdout, "alive")
	}
	fmt.Fprintln(stdout, "end")
}
