package itest_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/backup"
	"github.com/ncnkit/lifecycle/backup/dirstore"
	"github.com/ncnkit/lifecycle/ncn"
	"github.com/ncnkit/lifecycle/ncn/sshrun"
)

// script is a command of package ncn's, as it is.
func script(t *testing.T, name string, args ...string) lifecycle.Command {
	t.Helper()
	text, ok := ncn.Scripts()[name]
	require.True(t, ok, "package ncn has no script %s", name)
	return lifecycle.Command{Name: name, Script: text, Args: args}
}

// counted prefixes paths with their number, as the scripts take them.
func counted(paths ...string) []string { return append([]string{strconv.Itoa(len(paths))}, paths...) }

func run(t *testing.T, r *sshrun.Runner, s *sshd, cmd lifecycle.Command) lifecycle.Result {
	t.Helper()
	out, err := r.Run(bounded(t), s.node(), cmd)
	require.NoError(t, err)
	return out
}

func bootID(t *testing.T) string {
	t.Helper()
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	require.NoError(t, err)
	return strings.TrimSpace(string(id))
}

// device is what lsblk says of a block device, as far as this test looks.
type device struct {
	Name     string   `json:"name"`
	Type     string   `json:"type"`
	Size     *int64   `json:"size"`
	Children []device `json:"children"`
}

// The listing on which a wipe is decided is lsblk's JSON and one probe of every device in it, and does not change while
// nothing changes.
func TestScriptDisks(t *testing.T) {
	s := startSSHD(t)
	r := s.runner(t)
	out := run(t, r, s, script(t, "ncn.disks")).Stdout
	t.Logf("\n%s", out)
	var list struct {
		Blockdevices []device `json:"blockdevices"`
	}
	dec := json.NewDecoder(bytes.NewReader(out))
	require.NoError(t, dec.Decode(&list))
	require.NotEmpty(t, list.Blockdevices)
	probed := map[string]bool{}
	for text := range strings.Lines(strings.TrimPrefix(string(out[dec.InputOffset():]), "\n")) {
		fields := strings.Fields(text)
		require.GreaterOrEqual(t, len(fields), 2, text)
		require.Equal(t, "signature", fields[0])
		require.False(t, probed[fields[1]], "%s is probed twice", fields[1])
		probed[fields[1]] = true
	}
	devices := list.Blockdevices
	for len(devices) > 0 {
		d := devices[0]
		devices = append(devices[1:], d.Children...)
		require.True(t, strings.HasPrefix(d.Name, "/dev/"), d.Name)
		require.NotEmpty(t, d.Type, d.Name)
		require.NotNil(t, d.Size, "the size of %s is a number of bytes", d.Name)
		require.True(t, probed[d.Name], "%s is not probed", d.Name)
	}
	require.Equal(t, string(out), string(run(t, r, s, script(t, "ncn.disks")).Stdout))
}

// A machine that has no xname says so, and nothing else in its place.
func TestScriptInspect(t *testing.T) {
	s := startSSHD(t)
	out := string(run(t, s.runner(t), s, script(t, "ncn.inspect")).Stdout)
	require.Contains(t, out, "xname \nuuid ")
	require.Contains(t, out, "\nboot "+bootID(t)+"\n")
	require.Contains(t, out, "\ncmdline ")
	require.Regexp(t, `\ncloud-init (finished|running)\n$`, out)
}

// tree is a directory of files whose like a backup must carry, somewhere beneath /.
type tree struct{ dir string }

// plant makes the tree.
func plant(t *testing.T) tree {
	t.Helper()
	root(t)
	dir, err := os.MkdirTemp("/var/tmp", "lifecycle-itest-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	tr := tree{dir}
	for _, d := range []struct {
		path string
		mode uint32
		uid  int
	}{{"etc", 0o755, 0}, {"etc/secret", 0o700, 0}, {"var lib", 0o2775, 64045}, {"var lib/empty", 0o1777, 0}} {
		require.NoError(t, os.Mkdir(tr.at(d.path), 0o700))
		tr.own(t, d.path, d.uid, d.uid, d.mode)
	}
	big := make([]byte, 3<<20+7)
	_, _ = rand.Read(big)
	for _, f := range []struct {
		path    string
		content string
		mode    uint32
		uid     int
	}{
		{"etc/ceph.conf", "[global]\n", 0o644, 0},
		{"etc/secret/id_ed25519", "-----BEGIN\n", 0o600, 0},
		{"etc/empty", "", 0o640, 0},
		{"etc/no newline", "text", 0o444, 1234},
		{"etc/tool", "#!/bin/sh\n", 0o4755, 0},
		{"var lib/big", string(big), 0o600, 64045},
		{"var lib/keyring", "[mon.]\n", 0o000, 64045},
		{"-rf", "looks like an option", 0o600, 0},
		{`back\slash`, "sha256sum prints such a name in its own way", 0o600, 0},
		{"größer 中文 '\"$(id)`;", "odd name", 0o600, 0},
		{"etc/" + strings.Repeat("long", 60), "long name", 0o600, 3_000_000},
	} {
		require.NoError(t, os.WriteFile(tr.at(f.path), []byte(f.content), 0o600))
		tr.own(t, f.path, f.uid, f.uid+1, f.mode)
	}
	require.NoError(t, os.Symlink("../etc/ceph.conf", tr.at("var lib/conf")))
	require.NoError(t, os.Lchown(tr.at("var lib/conf"), 64045, 64045))
	require.NoError(t, os.Link(tr.at("etc/ceph.conf"), tr.at("etc/hard")))
	old := time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
	require.NoError(t, os.Chtimes(tr.at("etc/ceph.conf"), old, old))
	return tr
}

func (tr tree) at(path string) string { return filepath.Join(tr.dir, path) }

func (tr tree) own(t *testing.T, path string, uid, gid int, mode uint32) {
	t.Helper()
	require.NoError(t, os.Chown(tr.at(path), uid, gid))
	require.NoError(t, syscall.Chmod(tr.at(path), mode))
}

// relative is the path as the scripts take it.
func (tr tree) relative(path string) string { return strings.TrimPrefix(tr.at(path), "/") }

// what describes everything in the tree: type, mode, owner, links, content, and for files the time of change.
func (tr tree) what(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(tr.dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		stat, _ := info.Sys().(*syscall.Stat_t)
		text := fmt.Sprintf("%s %o %d:%d", info.Mode().Type(), stat.Mode&0o7777, stat.Uid, stat.Gid)
		switch {
		case info.Mode().IsRegular():
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %d links, %s, %x", stat.Nlink, info.ModTime().UTC().Format(time.DateTime), sha256.Sum256(content))
		case info.Mode().Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			text += " -> " + target
		}
		name, _ := filepath.Rel(tr.dir, path)
		all[name] = text
		return nil
	}))
	return all
}

// A node's files go through the real tar, over the real SSH server, into a store; they are changed, and come back as they
// were.
func TestScriptsBackupAndRestore(t *testing.T) {
	s := startSSHD(t)
	r := s.runner(t)
	tr := plant(t)
	before := tr.what(t)
	require.Len(t, before, 18)

	store := dirstore.New(dirstore.Config{Dir: t.TempDir()})
	now := time.Now()
	prefix := backup.Prefix("ncn-w001", now, "itest")
	ctx := bounded(t)
	made, err := backup.Create(ctx, store, prefix, backup.Info{Host: "ncn-w001", Run: "itest", Created: now},
		func(ctx context.Context, tar io.Writer) ([]string, error) {
			cmd := script(t, "ncn.backup", counted(tr.relative(""), "nonexistent/lifecycle itest")...)
			cmd.Stdout = tar
			out, err := r.Run(ctx, s.node(), cmd)
			require.Equal(t, "absent nonexistent/lifecycle itest\n", string(out.Stderr))
			return []string{"nonexistent/lifecycle itest"}, err
		})
	require.NoError(t, err)
	require.Len(t, made.Entries, len(before))
	verified, err := backup.Verify(ctx, store, prefix)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(made, verified))
	require.Equal(t, before, tr.what(t), "a backup changes nothing")
	requireSums(t, r, s, verified, nil)

	damage(t, tr)
	requireSums(t, r, s, verified, map[string]bool{
		tr.relative("etc/ceph.conf"): true, tr.relative("etc/secret/id_ed25519"): true, tr.relative("var lib/keyring"): true,
		tr.relative("var lib/big"): true, tr.relative("etc/empty"): true, tr.relative("etc/no newline"): true,
	})
	_, err = backup.Restore(ctx, store, prefix, func(ctx context.Context, tar io.Reader, _ backup.Manifest) error {
		cmd := script(t, "ncn.restore")
		cmd.Stdin = tar
		_, err := r.Run(ctx, s.node(), cmd)
		return err
	})
	require.NoError(t, err)
	requireSums(t, r, s, verified, nil)

	want := before
	want["."] = strings.Replace(want["."], "700", "711", 1) // directories that exist keep their mode
	want["new"] = tr.what(t)["new"]                         // and files that came later stay
	require.Contains(t, want["new"], "---------- 600")
	require.Empty(t, cmp.Diff(want, tr.what(t)))
}

// damage does to the tree what a rebuild and an unlucky hand do.
func damage(t *testing.T, tr tree) {
	t.Helper()
	require.NoError(t, os.Remove(tr.at("etc/ceph.conf")))
	require.NoError(t, os.WriteFile(tr.at("etc/ceph.conf"), []byte("other"), 0o600)) // is no link to "hard" any more
	require.NoError(t, os.RemoveAll(tr.at("etc/secret")))
	require.NoError(t, os.RemoveAll(tr.at("var lib")))
	require.NoError(t, os.WriteFile(tr.at("etc/empty"), []byte("not any more"), 0o600))
	tr.own(t, "etc/tool", 7, 7, 0o777)
	require.NoError(t, os.Remove(tr.at("etc/no newline")))
	require.NoError(t, os.Symlink("ceph.conf", tr.at("etc/no newline")))
	require.NoError(t, os.WriteFile(tr.at("new"), []byte("came later"), 0o600))
	require.NoError(t, os.Chmod(tr.dir, 0o711))
}

// requireSums compares the files of a manifest with what ncn.sums says of them; those named may, and must, differ.
func requireSums(t *testing.T, r *sshrun.Runner, s *sshd, m backup.Manifest, differ map[string]bool) {
	t.Helper()
	var paths, want []string
	for _, e := range m.Entries {
		if e.Type == backup.File {
			paths, want = append(paths, e.Path), append(want, e.SHA256+" "+e.Path)
		}
	}
	got := strings.Split(strings.TrimSuffix(string(run(t, r, s, script(t, "ncn.sums", counted(paths...)...)).Stdout), "\n"), "\n")
	require.Len(t, got, len(want))
	for i, path := range paths {
		if differ[path] {
			require.NotEqual(t, want[i], got[i])
			require.True(t, strings.HasSuffix(got[i], " "+path), got[i])
			continue
		}
		require.Equal(t, want[i], got[i])
	}
}

// A restore whose input breaks off says so: tar does not take half an archive for a whole one.
func TestScriptRestoreRefusesATornArchive(t *testing.T) {
	s := startSSHD(t)
	r := s.runner(t)
	tr := plant(t)
	var tar bytes.Buffer
	cmd := script(t, "ncn.backup", counted(tr.relative("var lib"))...)
	cmd.Stdout = &tar
	run(t, r, s, cmd)
	require.NoError(t, os.RemoveAll(tr.at("var lib")))

	cmd = script(t, "ncn.restore")
	cmd.Stdin = bytes.NewReader(tar.Bytes()[:1<<20])
	_, err := r.Run(bounded(t), s.node(), cmd)
	var exit *lifecycle.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 2, exit.Status)
}

// wipe is what a driver says to a node, here to this machine. No disk is ever named, and the machine's identity, which is
// compared first, cannot be the one that is given: nothing would be erased even if the script were wrong.
type wipe struct {
	s   *sshd
	r   *sshrun.Runner
	run string
	dir string // of its token, on the node
}

const notThisMachine = "xname x0c0s0b0n0-itest\nuuid none\nboot none\ndigest none\n"

func newWipe(t *testing.T, lines ...string) *wipe {
	t.Helper()
	w := &wipe{s: startSSHD(t, lines...)} // goes no further where there is an /etc/cray/xname
	w.r = w.s.runner(t)
	random := make([]byte, 8)
	_, _ = rand.Read(random)
	w.run = fmt.Sprintf("itest-%x", random)
	w.dir = "/run/lifecycle/wipe/" + w.run
	t.Cleanup(func() {
		require.NoError(t, os.RemoveAll(w.dir))
		_ = os.Remove("/run/lifecycle/wipe") // unless somebody else's is in it
		_ = os.Remove("/run/lifecycle")
	})
	return w
}

// start asks for the wipe as the driver of that epoch, and returns the answer.
func (w *wipe) start(t *testing.T, epoch string) string {
	t.Helper()
	cmd := script(t, "ncn.wipe-start", w.run, epoch)
	cmd.Stdin = strings.NewReader(notThisMachine)
	return strings.TrimSpace(string(run(t, w.r, w.s, cmd).Stdout))
}

func (w *wipe) look(t *testing.T) string {
	t.Helper()
	return string(run(t, w.r, w.s, script(t, "ncn.wipe-look", w.run)).Stdout)
}

// refused waits until the process on the node has ended, and requires that it refused this machine's xname.
func (w *wipe) refused(t *testing.T) string {
	t.Helper()
	var seen string
	soon(t, "the process on the node has ended", func() bool {
		seen = w.look(t)
		return strings.Contains(seen, "\nrefused ") && !strings.Contains(seen, "\nalive\n")
	})
	t.Logf("\n%s", seen)
	require.Regexp(t, "^xname \nuuid .*\nboot "+bootID(t)+"\npid [0-9]+\nrefused this machine's xname is , the plan's is x0c0s0b0n0-itest\nend\n$", seen)
	return seen
}

// A wipe of another machine than this refuses before it looks at a disk; it leaves a token, so that a second one does
// nothing; and a driver that was overtaken is told so.
func TestScriptWipeRefuses(t *testing.T) {
	w := newWipe(t)
	require.Regexp(t, "^xname \nuuid .*\nboot "+bootID(t)+"\nabsent\n$", w.look(t))
	require.Equal(t, "started", w.start(t, "7"))
	seen := w.refused(t)
	require.DirExists(t, w.dir+"/token")

	for _, step := range []struct{ epoch, answer string }{{"7", "already"}, {"8", "already"}, {"7", "stale"}, {"10", "already"}, {"9", "stale"}} {
		require.Equal(t, step.answer, w.start(t, step.epoch), "epoch %s", step.epoch)
		require.Equal(t, seen, w.look(t), "epoch %s", step.epoch)
	}
	info, err := os.Stat(w.dir)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o700), info.Mode().Perm())
}

// Whoever asks at the same time, one process takes the token (I5), and reads the list that came with it: not that of a
// driver who is still sending his own (I3). A mkdir that waits holds the first process where it has not taken the token.
func TestScriptWipeTogether(t *testing.T) {
	bin := t.TempDir()
	require.NoError(t, os.WriteFile(bin+"/mkdir", []byte(`#!/bin/sh
case $1 in
*/token)
  tries=0
  until [ -e '`+bin+`/go' ] || [ $tries -gt 1000 ]; do
    tries=$((tries + 1))
    sleep 0.02
  done
  ;;
esac
exec /bin/mkdir "$@"
`), 0o755))
	w := newWipe(t, "SetEnv HOME="+bin+" PATH="+bin+":/usr/sbin:/usr/bin:/sbin:/bin")
	require.Equal(t, "started", w.start(t, "7"))

	sending, held := io.Pipe()
	defer held.Close()
	ctx, second := bounded(t), script(t, "ncn.wipe-start", w.run, "7")
	second.Stdin = sending
	answered := make(chan string, 1)
	go func() {
		out, err := w.r.Run(ctx, w.s.node(), second)
		answered <- fmt.Sprintf("%s%v", out.Stdout, err)
	}()
	_, err := io.WriteString(held, "xname x9")
	require.NoError(t, err)
	soon(t, "the second driver's command runs", func() bool { return w.s.began(t) == 2 })
	time.Sleep(100 * time.Millisecond) // for the worst to happen: there is nothing that the script would show
	require.NoError(t, os.WriteFile(bin+"/go", nil, 0o600))
	seen := w.refused(t)
	require.NoError(t, held.Close())
	require.Equal(t, "started\n<nil>", <-answered)
	require.Equal(t, seen, w.look(t))
}
