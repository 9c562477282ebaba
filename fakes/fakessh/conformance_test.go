package fakessh_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes"
	"github.com/ncnkit/lifecycle/ncn"
	"github.com/stretchr/testify/require"
)

// answer is what a caller sees of a command.
type answer struct {
	Stdout, Stderr string
	Kind           lifecycle.Kind
	Status         int
}

// ask runs a command of ncn's over one face.
func ask(t *testing.T, r lifecycle.Runner, node lifecycle.Node, name string, stdin string, args ...string) answer {
	t.Helper()
	cmd := lifecycle.Command{Name: name, Script: ncn.Scripts()[name], Args: args}
	if stdin != "" {
		cmd.Stdin = strings.NewReader(stdin)
	}
	res, err := r.Run(deadline(t), node, cmd)
	a := answer{Stdout: string(res.Stdout), Stderr: string(res.Stderr), Kind: lifecycle.KindOf(err)}
	var exit *lifecycle.ExitError
	if errors.As(err, &exit) {
		a.Status = exit.Status
	}
	return a
}

// counted is a list as the scripts take it.
func counted(list ...string) []string { return append([]string{fmt.Sprint(len(list))}, list...) }

// TestReadersAgree runs what changes nothing on one world through both faces.
func TestReadersAgree(t *testing.T) {
	l := newLab(t, fakes.Layout{Masters: 1, Workers: 2, Storage: 1})
	m := l.world.Machine("ncn-w001")
	require.NoError(t, m.WriteFile("/root/.ssh/with space", fakes.File{Data: []byte("x"), Mode: 0o640, UID: 7, GID: 8}))
	require.NoError(t, m.WriteFile("/root/.ssh/$(reboot)", fakes.File{Data: []byte("y\n"), Mode: 0o600}))
	require.NoError(t, m.WriteFile("/root/.ssh/link", fakes.File{Mode: fs.ModeSymlink | 0o777, Link: "id_rsa"}))
	require.NoError(t, m.Mkdir("/root/empty", 0o711))
	m.Disks(func(disks []*fakes.Device) []*fakes.Device {
		return append(disks, &fakes.Device{Name: "/dev/nvme0n1", Type: "disk", Size: 1 << 40, Tran: "nvme", Model: "with <html> & \"quotes\"", ReadOnly: true})
	})
	tests := []struct {
		name string
		args []string
	}{
		{"ncn.inspect", nil},
		{"ncn.disks", nil},
		{"ncn.sums", counted("root/.ssh/id_rsa", "no/such/file", "root/.ssh/with space", "root/.ssh/$(reboot)", "root/.ssh/link", "root/.ssh")},
		{"ncn.sums", counted()},
		{"ncn.backup", counted("root/.ssh", "etc/absent", "etc/cray/xname", "root/empty")},
		{"ncn.backup", counted("root/.ssh/link", "root/.ssh/with space")},
		{"ncn.backup", counted("etc/absent; rm -rf /", "-rf", "--to-command=reboot")},
		{"ncn.wipe-look", []string{"run-1"}},
	}
	for _, tt := range tests {
		for _, node := range []string{"ncn-w001", "ncn-s001"} {
			t.Run(tt.name+" on "+node, func(t *testing.T) {
				native := ask(t, l.world.Exec(), l.node(t, node), tt.name, "", tt.args...)
				wire := ask(t, l.exec, l.node(t, node), tt.name, "", tt.args...)
				require.Empty(t, native.Kind)
				require.Empty(t, cmp.Diff(native, wire))
			})
		}
	}
}

// TestRestoreAgrees unpacks a backup of one world into another, over both faces.
func TestRestoreAgrees(t *testing.T) {
	l := newLab(t, fakes.Layout{Workers: 3})
	from := l.world.Machine("ncn-w001")
	require.NoError(t, from.WriteFile("/root/.ssh/big", fakes.File{Data: bytes.Repeat([]byte("0123456789abcdef"), 1<<14), Mode: 0o600, UID: 3}))
	require.NoError(t, from.WriteFile("/root/.ssh/link", fakes.File{Mode: fs.ModeSymlink | 0o777, Link: "id_rsa"}))
	require.NoError(t, from.Mkdir("/root/sub", 0o700))
	require.NoError(t, from.WriteFile("/root/sub/file", fakes.File{Data: []byte("f"), Mode: 0o644}))
	archive := ask(t, l.exec, l.node(t, "ncn-w001"), "ncn.backup", "", counted("root")...)
	require.Empty(t, archive.Kind)

	for _, tt := range []struct {
		name, tar string
	}{{"whole", archive.Stdout}, {"cut", archive.Stdout[:len(archive.Stdout)/2]}} {
		t.Run(tt.name, func(t *testing.T) {
			native := ask(t, l.world.Exec(), l.node(t, "ncn-w002"), "ncn.restore", tt.tar)
			wire := ask(t, l.exec, l.node(t, "ncn-w003"), "ncn.restore", tt.tar)
			require.Equal(t, native.Kind, wire.Kind)
			require.Equal(t, native.Status, wire.Status)
			require.Contains(t, wire.Stderr, strings.TrimSpace(native.Stderr))
			require.Empty(t, cmp.Diff(files(t, l.world.Machine("ncn-w002"), "/root"), files(t, l.world.Machine("ncn-w003"), "/root")))
		})
	}
	require.Contains(t, files(t, l.world.Machine("ncn-w003"), "/root"), "/root/sub/file")
}

func files(t *testing.T, m *fakes.Machine, dir string) map[string]fakes.File {
	t.Helper()
	all := map[string]fakes.File{}
	for _, name := range m.Files(dir) {
		f, err := m.Lstat(name)
		require.NoError(t, err)
		f.ModTime = time.Time{}
		all[name] = f
	}
	return all
}

// wipe is one world seen over one face.
type wipe struct {
	l    *lab
	exec lifecycle.Runner
	node lifecycle.Node
}

func (w wipe) machine() *fakes.Machine { return w.l.world.Machine("ncn-w001") }

// input is what the script wants to hear, before a test changes it.
func (w wipe) input(t *testing.T) map[string][]string {
	t.Helper()
	disks := ask(t, w.exec, w.node, "ncn.disks", "")
	uuid, err := w.machine().ReadFile("/sys/class/dmi/id/product_uuid")
	require.NoError(t, err)
	return map[string][]string{
		"xname": {w.machine().XName()}, "uuid": {strings.TrimSpace(string(uuid))}, "boot": {w.machine().BootID()},
		"digest":  {fmt.Sprintf("%x", sha256.Sum256([]byte(disks.Stdout)))},
		"service": {"kubelet.service"},
		"umount":  {"/run/containerd", "/var/lib/containerd", "/var/lib/kubelet"},
		"group":   {"metalvg0"},
		"disk":    {"/dev/sdc"},
	}
}

func lines(input map[string][]string) string {
	var b strings.Builder
	for _, tag := range []string{"xname", "uuid", "boot", "digest", "service", "umount", "group", "array", "disk"} {
		for _, value := range input[tag] {
			fmt.Fprintf(&b, "%s %s\n", tag, value)
		}
	}
	return b.String()
}

func (w wipe) start(t *testing.T, epoch string, input map[string][]string) string {
	t.Helper()
	a := ask(t, w.exec, w.node, "ncn.wipe-start", lines(input), "run-1", epoch)
	require.Empty(t, a.Kind, a.Stderr)
	return a.Stdout
}

// look waits until the wipe has told its end, and returns what is told then.
func (w wipe) look(t *testing.T) string {
	t.Helper()
	last := ""
	var wrong []string
	require.Eventually(t, func() bool {
		a := ask(t, w.exec, w.node, "ncn.wipe-look", "", "run-1")
		last = a.Stdout
		ended, alive := regexp.MustCompile(`(?m)^(refused|failed|done)`).MatchString(last), strings.Contains(last, "alive\n")
		if a.Kind != "" || strings.Contains(last, "pid ") && !ended && !alive {
			wrong = append(wrong, fmt.Sprintf("%+v", a))
		}
		return ended && !alive
	}, 20*time.Second, 5*time.Millisecond)
	require.Empty(t, wrong, "a wipe that is neither alive nor ended, or could not be looked at")
	return regexp.MustCompile(`pid \d+`).ReplaceAllString(last, "pid N")
}

// TestWipesAgree plays the same story on two equal worlds, one per face.
func TestWipesAgree(t *testing.T) {
	tests := map[string]func(t *testing.T, w wipe) []string{
		"erases": func(t *testing.T, w wipe) []string {
			in := w.input(t)
			return []string{w.start(t, "1", in), w.look(t), w.start(t, "1", in), w.start(t, "2", in), w.start(t, "1", in), w.look(t)}
		},
		"wrong xname": func(t *testing.T, w wipe) []string {
			w.machine().SetXName("x9999c0s0b0n0")
			in := w.input(t)
			in["xname"] = []string{"x3000c0s1b0n0"}
			return []string{w.start(t, "1", in), w.look(t)}
		},
		"wrong uuid": func(t *testing.T, w wipe) []string {
			in := w.input(t)
			in["uuid"] = []string{"00000000-0000-0000-0000-000000000000"}
			return []string{w.start(t, "1", in), w.look(t)}
		},
		"no boot": func(t *testing.T, w wipe) []string {
			in := w.input(t)
			delete(in, "boot")
			return []string{w.start(t, "1", in), w.look(t)}
		},
		"wrong digest": func(t *testing.T, w wipe) []string {
			in := w.input(t)
			w.machine().Device("/dev/sdc").Signature = "xfs"
			return []string{w.start(t, "1", in), w.look(t)}
		},
		"no disk": func(t *testing.T, w wipe) []string {
			in := w.input(t)
			delete(in, "disk")
			return []string{w.start(t, "1", in), w.look(t)}
		},
		"not mounted": func(t *testing.T, w wipe) []string {
			in := w.input(t)
			in["umount"] = append(in["umount"], "/mnt/elsewhere")
			return []string{w.start(t, "1", in), w.look(t)}
		},
		"group in use": func(t *testing.T, w wipe) []string {
			in := w.input(t)
			in["umount"] = in["umount"][:1]
			return []string{w.start(t, "1", in), w.look(t)}
		},
		"mounted disk": func(t *testing.T, w wipe) []string {
			in := w.input(t)
			delete(in, "umount")
			delete(in, "group")
			return []string{w.start(t, "1", in), w.look(t)}
		},
		"held disk": func(t *testing.T, w wipe) []string {
			in := w.input(t)
			delete(in, "group")
			return []string{w.start(t, "1", in), w.look(t)}
		},
		"arrays": func(t *testing.T, w wipe) []string {
			in := w.input(t)
			in["umount"] = append(in["umount"], "/metal/recovery", "/run/initramfs/live", "/run/initramfs/overlayfs")
			in["array"] = []string{"/dev/md125", "/dev/md126", "/dev/md127"}
			in["disk"] = []string{"/dev/sda", "/dev/sdb", "/dev/sdc"}
			return []string{w.start(t, "1", in), w.look(t)}
		},
		"stale": func(t *testing.T, w wipe) []string {
			in := w.input(t)
			delete(in, "disk")
			return []string{w.start(t, "7", in), w.look(t), w.start(t, "6", in)}
		},
		"many drivers at once": func(t *testing.T, w wipe) []string {
			in := w.input(t)
			answers := make(chan answer)
			for range 5 {
				go func() { answers <- ask(t, w.exec, w.node, "ncn.wipe-start", lines(in), "run-1", "1") }()
			}
			for range 5 {
				require.Empty(t, (<-answers).Kind)
			}
			return []string{w.look(t)}
		},
	}
	for name, story := range tests {
		t.Run(name, func(t *testing.T) {
			layout := fakes.Layout{Workers: 1, Erase: time.Millisecond}
			n, w := newLab(t, layout), newLab(t, layout)
			native := story(t, wipe{l: n, exec: n.world.Exec(), node: n.node(t, "ncn-w001")})
			wire := story(t, wipe{l: w, exec: w.exec, node: w.node(t, "ncn-w001")})
			require.Empty(t, cmp.Diff(native, wire))
			// The world is in the same state, whoever did it.
			require.Empty(t, cmp.Diff(string(n.world.Machine("ncn-w001").LsblkJSON()), string(w.world.Machine("ncn-w001").LsblkJSON())))
			require.Equal(t, n.world.Machine("ncn-w001").Probe("/dev/sdc"), w.world.Machine("ncn-w001").Probe("/dev/sdc"))
		})
	}
}
