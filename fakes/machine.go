package fakes

import (
	"crypto/ed25519"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/power"
)

// File is a file, directory or symbolic link of a machine.
type File struct {
	Mode     fs.FileMode // with fs.ModeDir or fs.ModeSymlink
	Data     []byte
	Link     string // of a symbolic link
	UID, GID int
	ModTime  time.Time
}

// Machine is the hardware of one node, and what runs on it. Its methods are safe for concurrent use.
type Machine struct {
	c    *Cluster
	node lifecycle.Node
	uuid string

	power      power.State
	boot       power.Boot
	up         bool          // the operating system answers
	down       chan struct{} // closed when this boot ends
	boots      int
	bootID     string
	generation int    // of the operating system: grows with each installation
	key        string // public half of its host key, in authorized_keys form; "" until somebody asked
	keyOf      int    // the generation that key is of
	image      string // metal.server of what was booted
	cmdline    string
	xname      string // what /etc/cray/xname says
	finished   bool   // cloud-init is through
	files      map[string]*File
	disks      []*Device
	keys       []string // host keys that this node's known_hosts has, as the SSH face keeps them
	pid        int
	printed    []byte // the last snapshot, and what it is of
	printedFor string
	wipes      map[string]*wipeProcess // those that a shell runs, by run and boot

	unseen    power.State         // what a power command asked for, until somebody saw it
	unseenBy  lifecycle.Execution // who asked
	ambiguous bool                // the answer to a cycle or reset was lost, and nobody has looked since
}

func (c *Cluster) addMachine(n lifecycle.Node) {
	m := &Machine{c: c, node: n, uuid: uuidOf("dmi", n.Name), power: power.On, xname: n.XName, pid: 1000}
	m.disks = workerDisks(n.Name, 0)
	m.image = firstImage
	m.generation = 1
	m.keys = []string{m.authorizedKey()}
	c.machines[n.Name], c.byXName[n.XName], c.byBMC[n.BMC] = m, m, m
	params := fmt.Sprintf("console=tty0 ip=mgmt0:dhcp ip=hsn0:auto6 rd.luks metal.server=%s metal.no-wipe=1 root=live:LABEL=SQFSRAID "+
		"rd.live.overlay=LABEL=ROOTRAID hostname=%s append nosplash quiet", firstImage, n.Name)
	c.bss.install(n, params)
	m.start(params)
	m.finish()
}

// firstImage is what every node runs in the beginning.
const firstImage = "http://rgw-vip.nmn/ncn-images/k8s/0.1.109"

// Name returns the node's name.
func (m *Machine) Name() string { return m.node.Name }

// Generation tells how many times an operating system was installed.
func (m *Machine) Generation() int {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	m.c.advance()
	return m.generation
}

// BootID returns the boot ID of the running system.
func (m *Machine) BootID() string {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	m.c.advance()
	return m.bootID
}

// HostKey returns the SSH host key of the running system.
func (m *Machine) HostKey() ed25519.PrivateKey {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	return hostKey(m.node.Name, m.generation)
}

// Up reports whether the operating system answers.
func (m *Machine) Up() bool {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	m.c.advance()
	return m.up
}

// Down returns a channel that is closed when the present boot ends.
func (m *Machine) Down() <-chan struct{} {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	return m.down
}

// SetXName makes the machine say that it sits elsewhere, as one in the wrong slot does.
func (m *Machine) SetXName(xname string) {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	m.xname = xname
	m.files["/etc/cray/xname"].Data = []byte(xname + "\n")
}

// losePower ends the boot at once.
func (m *Machine) losePower() {
	m.power = power.Off
	m.stop()
}

func (m *Machine) stop() {
	if m.up {
		m.up = false
		close(m.down)
	}
	m.boots++ // timers of the boot before must do nothing
}

// powerOn begins a boot: firmware, then the boot script or the disk.
func (m *Machine) powerOn() {
	m.power = power.On
	m.boots++
	boot := m.boots
	m.c.schedule(m.c.layout.POST, func() {
		if boot == m.boots {
			m.load(boot)
		}
	})
}

// load is what firmware and initramfs do.
func (m *Machine) load(boot int) {
	device := m.boot.Device
	if !m.boot.Persistent {
		m.boot = power.Boot{Device: power.DeviceNone}
	}
	if device != power.PXE && m.hasSystem() {
		m.start(m.cmdline)
		m.finish()
		return
	}
	m.c.bss.fetched(m.node.XName, "bootscript")
	params, _ := m.c.bss.params(m.node.XName)
	armed := noWipe(params) != "1"
	if armed {
		m.c.wipedAtBoot(m)
		for _, d := range m.disks {
			if d.Tran != "usb" {
				d.Children, d.Signature = nil, ""
			}
		}
	}
	if armed || !m.hasSystem() {
		m.install(params)
	}
	m.c.schedule(m.c.layout.Boot/2, func() {
		if boot != m.boots {
			return
		}
		m.start(params)
		m.c.bss.fetched(m.node.XName, "user-data")
		m.c.schedule(m.c.layout.Boot-m.c.layout.Boot/2, func() {
			if boot == m.boots {
				m.finish()
			}
		})
	})
}

// hasSystem reports whether the mirrors of an installed system are there.
func (m *Machine) hasSystem() bool {
	mirrors := 0
	for _, d := range m.disks {
		for _, part := range d.Children {
			if part.Signature == "linux_raid_member" {
				mirrors++
			}
		}
	}
	return mirrors >= 3
}

// install is what dracut-metal-mdsquash does on empty disks.
func (m *Machine) install(params string) {
	m.generation++
	m.image = value(params, "metal.server")
	m.files = nil
	if len(m.disks) >= 2 && len(m.disks[0].Children) == 0 && len(m.disks[1].Children) == 0 {
		installSystem(m.disks[0], m.disks[1])
	}
	if len(m.disks) >= 3 && m.disks[2].Tran != "usb" && len(m.disks[2].Children) == 0 {
		installData(m.disks[2])
	}
}

// start is the operating system coming up.
func (m *Machine) start(cmdline string) {
	m.up = true
	m.finished = false
	m.down = make(chan struct{})
	m.cmdline = cmdline
	m.bootID = uuidOf("boot", m.node.Name, m.generation, m.boots)
	if m.files == nil {
		m.files = map[string]*File{}
		m.write("/etc/cray/xname", m.xname+"\n", 0o644)
		m.write("/etc/hostname", m.node.Name+"\n", 0o644)
		m.write("/root/.ssh/authorized_keys", fmt.Sprintf("ssh-ed25519 AAAA-of-generation-%d root\n", m.generation), 0o600)
		if m.generation == 1 {
			m.write("/root/.ssh/id_rsa", "private key of "+m.node.Name+"\n", 0o600)
			m.write("/root/.ssh/id_rsa.pub", "ssh-rsa AAAA root@"+m.node.Name+"\n", 0o644)
			m.write("/root/.ssh/authorized_keys", "ssh-ed25519 AAAA-of-the-operators ops\n", 0o600)
		}
	}
	for name := range m.files { // what lives in memory is gone
		if under("/run", name) {
			delete(m.files, name)
		}
	}
	m.dir("/run", 0o755)
	m.dir("/tmp", 0o777|fs.ModeSticky)
	m.write("/var/log/cloud-init-output.log", "Cloud-init v. 23.1 running 'init'\n", 0o640)
}

// finish is cloud-init's last stage.
func (m *Machine) finish() {
	m.finished = true
	m.write("/var/log/cloud-init-output.log", "Cloud-init v. 23.1 running 'init'\nThe system is finally up, after 183.52 seconds\n", 0o640)
	m.c.bss.phoneHome(m.node.XName, m.node.Name, m.authorizedKey())
}

func (m *Machine) dir(name string, mode fs.FileMode) {
	for d := name; d != "/" && d != "."; d = path.Dir(d) {
		if _, ok := m.files[d]; !ok {
			m.files[d] = &File{Mode: fs.ModeDir | mode.Perm() | mode&fs.ModeSticky, ModTime: m.c.now()}
		}
	}
}

func (m *Machine) write(name, data string, mode fs.FileMode) {
	m.dir(path.Dir(name), 0o755)
	m.files[name] = &File{Mode: mode, Data: []byte(data), ModTime: m.c.now()}
}

// ReadFile returns a file of the machine, those of /proc and /sys included, following symbolic links.
func (m *Machine) ReadFile(name string) ([]byte, error) {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	return m.readFile(name)
}

func (m *Machine) readFile(name string) ([]byte, error) {
	switch name {
	case "/proc/cmdline":
		return []byte(m.cmdline + "\n"), nil
	case "/proc/sys/kernel/random/boot_id":
		return []byte(m.bootID + "\n"), nil
	case "/sys/class/dmi/id/product_uuid":
		return []byte(m.uuid + "\n"), nil
	}
	f, err := m.stat(name)
	if err != nil {
		return nil, err
	}
	if f.Mode.IsDir() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("is a directory")}
	}
	return slices.Clone(f.Data), nil
}

// Stat returns a copy of the file, following symbolic links; Lstat does not follow the last.
func (m *Machine) Stat(name string) (File, error) {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	switch name {
	case "/proc/cmdline", "/proc/sys/kernel/random/boot_id", "/sys/class/dmi/id/product_uuid":
		return File{Mode: 0o444}, nil
	case "/":
		return File{Mode: fs.ModeDir | 0o755}, nil
	}
	if m.device(name) != nil {
		return File{Mode: fs.ModeDevice | 0o660}, nil
	}
	f, err := m.stat(name)
	if err != nil {
		return File{}, err
	}
	return *f, nil
}

// Lstat is [Machine.Stat] without following a symbolic link at the end of the path.
func (m *Machine) Lstat(name string) (File, error) {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	f, ok := m.files[path.Clean(name)]
	if !ok {
		return File{}, &fs.PathError{Op: "lstat", Path: name, Err: fs.ErrNotExist}
	}
	return *f, nil
}

func (m *Machine) stat(name string) (*File, error) {
	name = path.Clean(name)
	for range 8 {
		f, ok := m.files[name]
		if !ok {
			break
		}
		if f.Mode&fs.ModeSymlink == 0 {
			return f, nil
		}
		if path.IsAbs(f.Link) {
			name = path.Clean(f.Link)
		} else {
			name = path.Join(path.Dir(name), f.Link)
		}
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// WriteFile creates or replaces a file whose directory exists.
func (m *Machine) WriteFile(name string, f File) error {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	name = path.Clean(name)
	if dir, err := m.stat(path.Dir(name)); path.Dir(name) != "/" && (err != nil || !dir.Mode.IsDir()) {
		return &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	f.Data = slices.Clone(f.Data)
	f.ModTime = m.c.now()
	m.files[name] = &f
	return nil
}

// Mkdir creates a directory, as mkdir(2) does: the parent must exist, and the name must not.
func (m *Machine) Mkdir(name string, mode fs.FileMode) error {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	return m.mkdir(name, mode)
}

func (m *Machine) mkdir(name string, mode fs.FileMode) error {
	name = path.Clean(name)
	if _, ok := m.files[name]; ok {
		return &fs.PathError{Op: "mkdir", Path: name, Err: fs.ErrExist}
	}
	if _, ok := m.files[path.Dir(name)]; !ok && path.Dir(name) != "/" {
		return &fs.PathError{Op: "mkdir", Path: name, Err: fs.ErrNotExist}
	}
	m.files[name] = &File{Mode: fs.ModeDir | mode.Perm(), ModTime: m.c.now()}
	return nil
}

// Remove removes a file or an empty directory.
func (m *Machine) Remove(name string) error {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	name = path.Clean(name)
	if _, ok := m.files[name]; !ok {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	for other := range m.files {
		if other != name && under(name, other) {
			return &fs.PathError{Op: "remove", Path: name, Err: fmt.Errorf("directory not empty")}
		}
	}
	delete(m.files, name)
	return nil
}

// Files returns the paths at and under dir, sorted.
func (m *Machine) Files(dir string) []string {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	return m.filesUnder(dir)
}

func (m *Machine) filesUnder(dir string) []string {
	var names []string
	for name := range m.files {
		if under(dir, name) {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names
}

// value returns the last value of a kernel parameter.
func value(params, key string) string {
	last := ""
	for _, word := range strings.Fields(params) {
		if v, ok := strings.CutPrefix(word, key+"="); ok {
			last = v
		}
	}
	return last
}

// noWipe returns what dracut sees of metal.no-wipe: "0" when it is absent, and when it stands there twice with different
// values, because which one counts is not defined.
func noWipe(params string) string {
	seen := ""
	for _, word := range strings.Fields(params) {
		if v, ok := strings.CutPrefix(word, "metal.no-wipe="); ok {
			if seen != "" && seen != v {
				return "0"
			}
			seen = v
		}
	}
	if seen == "" {
		return "0"
	}
	return seen
}

// XName returns where the inventory says that the machine sits.
func (m *Machine) XName() string { return m.node.XName }

// BMC returns the name and address of the machine's BMC.
func (m *Machine) BMC() string { return m.node.BMC }

// AuthorizedKey returns the running system's host key in authorized_keys form.
func (m *Machine) AuthorizedKey() string {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	return m.authorizedKey()
}

// authorizedKey remembers the key, because to make one takes as long as all else that a call does.
func (m *Machine) authorizedKey() string {
	if m.keyOf != m.generation {
		m.key, m.keyOf = authorizedKey(hostKey(m.node.Name, m.generation)), m.generation
	}
	return m.key
}
