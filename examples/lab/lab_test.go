package lab_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/backup"
	"github.com/ncnkit/lifecycle/bss"
	"github.com/ncnkit/lifecycle/examples/lab"
	"github.com/ncnkit/lifecycle/examples/site"
	"github.com/ncnkit/lifecycle/fakes"
	"github.com/ncnkit/lifecycle/ncn"
	"github.com/ncnkit/lifecycle/power"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start starts a lab for a test, and loads its site file as a program would.
func start(t *testing.T, cfg lab.Config) (*lab.Lab, *site.Site) {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	l, err := lab.Start(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	s, err := site.Load(l.SiteFile())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return l, s
}

// call sends a request to the lab's control endpoint, and decodes the answer.
func call(t *testing.T, s *site.Site, method, path, body string, out any) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.File.Gateway+path, strings.NewReader(body))
	require.NoError(t, err)
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	if out != nil {
		require.NoError(t, json.Unmarshal(text, out), "%s", text)
	}
	return resp.StatusCode
}

func breaches(t *testing.T, s *site.Site) []string {
	t.Helper()
	var out struct {
		Breaches []struct{ Invariant, Detail string }
	}
	require.Equal(t, http.StatusOK, call(t, s, http.MethodGet, "/lab/check", "", &out))
	require.NotNil(t, out.Breaches)
	var found []string
	for _, b := range out.Breaches {
		found = append(found, b.Invariant+": "+b.Detail)
	}
	return found
}

func nodeOf(t *testing.T, s *site.Site, name string) lab.Node {
	t.Helper()
	var out struct{ Nodes []lab.Node }
	require.Equal(t, http.StatusOK, call(t, s, http.MethodGet, "/lab/nodes", "", &out))
	for _, n := range out.Nodes {
		if n.Name == name {
			return n
		}
	}
	require.Fail(t, "no such node", "%s in %v", name, out.Nodes)
	return lab.Node{}
}

func rebuild(ctx context.Context, s *site.Site, node string, opts ...lifecycle.Option) (*lifecycle.Plan, error) {
	p, err := ncn.Rebuild(ctx, s.NCN.Host(node), ncn.Worker)
	if err != nil {
		return nil, err
	}
	return p, lifecycle.Run(ctx, p, append([]lifecycle.Option{lifecycle.WithJournal(s.Journal)}, opts...)...)
}

// A worker is rebuilt over the real protocols, by a program that knows nothing but the site file; what was seen on the
// wire tells that it did.
func TestRebuildOverTheWire(t *testing.T) {
	t.Run("of a made-up site", func(t *testing.T) {
		testRebuild(t, lab.Config{Workers: 3, Speed: 1000}, 3)
	})
	t.Run("of a real site's dumps", func(t *testing.T) {
		shared := os.Getenv("LIFECYCLE_SHARED")
		if shared == "" {
			t.Skip("LIFECYCLE_SHARED is not set: set it to the directory with data/sls-management-ncns.json and " +
				"data/bss-bootparameters.json to rebuild a worker of a real site's dumps")
		}
		shared, err := filepath.Abs(shared)
		require.NoError(t, err)
		data := filepath.Join(shared, "data")
		testRebuild(t, lab.Config{
			SLS: filepath.Join(data, "sls-management-ncns.json"), BSS: filepath.Join(data, "bss-bootparameters.json"), Speed: 1000,
		}, 9)
	})
}

func testRebuild(t *testing.T, cfg lab.Config, nodes int) {
	const target = "ncn-w001"
	l, s := start(t, cfg)
	inventory, err := s.NCN.Inventory.Nodes(t.Context())
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(inventory), nodes)
	node, err := s.NCN.Inventory.Node(t.Context(), target)
	require.NoError(t, err)
	before := nodeOf(t, s, target)
	require.Equal(t, lab.Node{
		Name: target, Generation: 1, BootID: before.BootID, Image: before.Image, Power: "on", Up: true, Finished: true,
	}, before)

	plan, err := rebuild(t.Context(), s, target, lifecycle.WithObserver(func(e lifecycle.Event) {
		t.Log(e.Time.Format("15:04:05.000"), e.Type, e.Step, e.Outcome, e.State, e.Detail)
	}))
	require.NoError(t, err)

	require.Empty(t, breaches(t, s))
	after := nodeOf(t, s, target)
	require.NotEqual(t, before.BootID, after.BootID)
	require.Equal(t, lab.Node{
		Name: target, Generation: 2, BootID: after.BootID, Image: before.Image, Power: "on", Up: true, Finished: true,
	}, after, "installed once, disarmed")
	for _, other := range inventory {
		if other.Name != target {
			require.Equal(t, 1, nodeOf(t, s, other.Name).Generation, other.Name)
		}
	}
	keys, err := l.Cluster().Machine(target).ReadFile("/root/.ssh/authorized_keys")
	require.NoError(t, err)
	require.Contains(t, string(keys), "of-the-operators", "restored")

	require.NoError(t, s.Close())
	require.NoError(t, l.Close())
	events, err := lab.ReadWire(l.WireFile())
	require.NoError(t, err)
	w := wire{events, node}
	w.checkOrder(t)
	w.checkPower(t)
	w.checkBootDevice(t)
	w.checkBSS(t)
	w.checkWorld(t, before, after)
	out := w.checkExecs(t)
	checkBackup(t, s, plan, out)
	checkSecrets(t, l)
}

// wire is what was seen of the rebuild of one node.
type wire struct {
	events []lab.Event
	node   lifecycle.Node
}

func (w wire) checkOrder(t *testing.T) {
	require.True(t, slices.IsSortedFunc(w.events, func(a, b lab.Event) int { return a.Time.Compare(b.Time) }))
	for _, e := range w.events {
		if e.Node != w.node.Name && e.Face != lab.World {
			require.Equal(t, lab.HTTP, e.Face, "nobody else is touched: %+v", e)
		}
	}
}

// index returns the place of the first event from i on that matches.
func (w wire) index(t *testing.T, from int, match func(lab.Event) bool) int {
	t.Helper()
	i := slices.IndexFunc(w.events[from:], match)
	require.GreaterOrEqual(t, i, 0, "no such event from %d on", from)
	return from + i
}

func chassis(action string) func(lab.Event) bool {
	return func(e lab.Event) bool { return e.What == "chassis command" && e.IPMI.Action == action }
}

func (w wire) checkPower(t *testing.T) {
	var actions []string
	for _, e := range w.events {
		if e.What == "chassis command" {
			actions = append(actions, e.IPMI.Action)
			require.Equal(t, strings.TrimSuffix(w.node.XName, "n0"), e.IPMI.BMC)
			require.Zero(t, e.IPMI.Code)
		}
	}
	require.Equal(t, []string{"off", "on"}, actions, "no more than needed")
	opened := w.index(t, 0, func(e lab.Event) bool { return e.What == "session opened" })
	require.NotEmpty(t, w.events[opened].IPMI.User)
	require.NotZero(t, w.events[opened].IPMI.Suite)
	w.index(t, w.index(t, opened, chassis("off")), chassis("on"))
	// An obedient machine may be down before the BMC's answer is written down, but not up again before it was seen down.
	down := w.index(t, opened, func(e lab.Event) bool { return e.What == lab.Down && e.Node == w.node.Name })
	w.index(t, down, chassis("on"))
}

// PXE and UEFI, once, is written, and read back before the power is touched (IPMI v2.0, table 28-14, parameter 5).
func (w wire) checkBootDevice(t *testing.T) {
	const validEFI, pxe = 0xa0, 0x04
	wrote := w.index(t, 0, func(e lab.Event) bool { return e.What == "boot option written" && e.IPMI.Param == 5 })
	data, err := hex.DecodeString(w.events[wrote].IPMI.Data)
	require.NoError(t, err)
	require.Len(t, data, 5)
	require.Equal(t, []byte{validEFI, pxe}, data[:2])
	read := w.index(t, wrote, func(e lab.Event) bool { return e.What == "boot option read" && e.IPMI.Param == 5 })
	require.Equal(t, w.events[wrote].IPMI.Data, w.events[read].IPMI.Data)
	w.index(t, read, chassis("off"))
}

func (w wire) checkBSS(t *testing.T) {
	var armed []bool
	for i, e := range w.events {
		if e.Face != lab.HTTP || !strings.HasPrefix(e.HTTP.Path, "/apis/bss/boot/v1/bootparameters") || e.HTTP.Method == http.MethodGet {
			continue
		}
		require.Equal(t, http.MethodPatch, e.HTTP.Method)
		require.Equal(t, http.StatusOK, e.HTTP.Status)
		require.Equal(t, w.node.Name, e.Node)
		var p bss.Entry
		require.NoError(t, json.Unmarshal(e.HTTP.Body, &p))
		require.Equal(t, []string{w.node.XName}, p.Hosts)
		armed = append(armed, bss.Armed(p))
		next := w.index(t, i+1, func(e lab.Event) bool { return e.Face == lab.HTTP && e.Node == w.node.Name })
		require.Equal(t, http.MethodGet, w.events[next].HTTP.Method, "each write is read back")
		require.Equal(t, http.StatusOK, w.events[next].HTTP.Status)
		u, err := url.Parse(w.events[next].HTTP.Path)
		require.NoError(t, err)
		require.Equal(t, "/apis/bss/boot/v1/bootparameters", u.Path)
		require.Equal(t, w.node.XName, u.Query().Get("name"))
	}
	require.Equal(t, []bool{true, false}, armed, "armed, and disarmed")
}

func (w wire) checkWorld(t *testing.T, before, after lab.Node) {
	type sight struct {
		what, boot string
		generation int
	}
	var seen []sight
	for _, e := range w.events {
		if e.Face == lab.World && e.Node == w.node.Name {
			seen = append(seen, sight{e.What, e.World.BootID, e.World.Generation})
		}
	}
	require.Equal(t, []sight{
		{lab.Booted, before.BootID, 1}, {lab.Down, before.BootID, 1}, {lab.Installed, before.BootID, 2}, {lab.Booted, after.BootID, 2},
	}, seen)
}

// checkExecs returns how many bytes of archive the node sent.
func (w wire) checkExecs(t *testing.T) int64 {
	known := map[string]string{}
	for name, script := range ncn.Scripts() {
		sum := sha256.Sum256([]byte(script))
		known[hex.EncodeToString(sum[:])] = name
	}
	begun, ended := map[string]int{}, map[string]int{}
	var archive int64
	for _, e := range w.events {
		if e.Face != lab.SSH || e.SSH.SHA256 == "" {
			continue
		}
		require.Contains(t, known, e.SSH.SHA256, "texts are constants; this one begins with %q", e.SSH.FirstLine)
		require.Equal(t, known[e.SSH.SHA256], e.SSH.Command)
		require.True(t, strings.HasPrefix(ncn.Scripts()[e.SSH.Command], e.SSH.FirstLine+"\n"))
		if e.SSH.Exit == nil {
			begun[e.SSH.Command]++
			continue
		}
		ended[e.SSH.Command]++
		require.Zero(t, e.SSH.Exit.Status, e.SSH.Command)
		if e.SSH.Command == "ncn.backup" {
			archive = e.SSH.Exit.Out
			require.NotZero(t, e.SSH.Exit.In, "its arguments")
		}
	}
	require.Equal(t, begun, ended)
	require.Equal(t, 1, begun["ncn.wipe-start"])
	require.Equal(t, 1, begun["ncn.backup"])
	require.Equal(t, 1, begun["ncn.restore"])
	for name := range ncn.Scripts() {
		require.NotZero(t, begun[name], name)
	}
	return archive
}

// checkBackup compares the backup on disk with its manifest and with what came over the wire.
func checkBackup(t *testing.T, s *site.Site, plan *lifecycle.Plan, sent int64) {
	var facts ncn.Facts
	require.NoError(t, json.Unmarshal(plan.Facts, &facts))
	m, err := backup.Verify(t.Context(), s.NCN.Backups, facts.Backup)
	require.NoError(t, err)
	archive, err := os.ReadFile(filepath.Join(s.File.Backups, filepath.FromSlash(facts.Backup), "archive.tar.zst"))
	require.NoError(t, err)
	sum := sha256.Sum256(archive)
	require.Equal(t, m.ArchiveSHA256, hex.EncodeToString(sum[:]))
	require.Equal(t, m.ArchiveBytes, int64(len(archive)))
	require.Equal(t, m.Bytes, sent)
	require.Equal(t, plan.ID, m.Run)
	require.True(t, slices.ContainsFunc(m.Entries, func(e backup.Entry) bool { return e.Path == "root/.ssh/id_rsa" }))
}

// checkSecrets looks for secrets in what the lab and the run wrote down (I13).
func checkSecrets(t *testing.T, l *lab.Lab) {
	dir := filepath.Dir(l.SiteFile())
	text, err := os.ReadFile(filepath.Join(dir, "credentials.json"))
	require.NoError(t, err)
	var logins map[string]struct{ Username, Password string }
	require.NoError(t, json.Unmarshal(text, &logins))
	require.Contains(t, logins, "token")
	require.GreaterOrEqual(t, len(logins), 4)
	records, err := filepath.Glob(filepath.Join(dir, "journal", "runs", "*.jsonl"))
	require.NoError(t, err)
	require.NotEmpty(t, records)
	for _, path := range append(records, l.WireFile(), l.SiteFile()) {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		for name, cred := range logins {
			require.NotEmpty(t, cred.Password)
			require.False(t, bytes.Contains(text, []byte(cred.Password)), "%s has the password of %s", path, name)
		}
	}
	for _, name := range []string{"credentials.json", "id_ed25519", "known_hosts", "wire.jsonl", "site.yaml"} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode(), name)
	}
}

// Faults that are armed from outside are met, and got over.
func TestFaultsFromOutside(t *testing.T) {
	const target = "ncn-w002"
	_, s := start(t, lab.Config{Workers: 2, Speed: 1000})
	for _, fault := range []string{
		`{"op":"power.set","host":"ncn-w002","kind":"late","duration":"100ms"}`,
		`{"op":"bss.patch","host":"ncn-w002","kind":"lose"}`,
		`{"op":"exec","name":"ncn.wipe-look","after":1,"kind":"fail","error":"unavailable"}`,
		`{"op":"exec","name":"ncn.restore","kind":"lose"}`,
		`{"op":"bss.history","kind":"slow","duration":"30ms"}`,
	} {
		require.Equal(t, http.StatusNoContent, call(t, s, http.MethodPost, "/lab/fault", fault, nil), fault)
	}
	var armed struct{ Unfired []string }
	require.Equal(t, http.StatusOK, call(t, s, http.MethodGet, "/lab/fault", "", &armed))
	require.Len(t, armed.Unfired, 5)

	_, err := rebuild(t.Context(), s, target, lifecycle.WithObserver(func(e lifecycle.Event) {
		t.Log(e.Time.Format("15:04:05.000"), e.Type, e.Step, e.Outcome, e.State, e.Detail)
	}))
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, call(t, s, http.MethodGet, "/lab/fault", "", &armed))
	require.Empty(t, armed.Unfired)
	require.Empty(t, breaches(t, s))
	require.Equal(t, 2, nodeOf(t, s, target).Generation)
}

// Nobody gets in without what the site file leads to.
func TestStrangersAreRefused(t *testing.T) {
	l, s := start(t, lab.Config{Workers: 1, Speed: 1000})
	dir := filepath.Dir(l.SiteFile())
	require.Equal(t, http.StatusUnauthorized, call(t, s, http.MethodGet, "/apis/bss/boot/v1/bootparameters", "", nil))
	node, err := s.NCN.Inventory.Node(t.Context(), "ncn-w001")
	require.NoError(t, err)

	_, key, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(key, "")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "id_ed25519"), pem.EncodeToMemory(block), 0o600))
	_, err = s.NCN.Exec.Run(t.Context(), node, lifecycle.Command{Name: "test", Script: "true"})
	require.ErrorIs(t, err, lifecycle.Unauthenticated)

	bmc := power.BMC{Name: strings.TrimSuffix(node.XName, "n0"), Host: node.BMC}
	wrong := fmt.Sprintf(`{"bmc/%s":{"username":"root","password":"initial0"}}`, bmc.Name)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "credentials.json"), []byte(wrong), 0o600))
	_, err = s.NCN.Power.State(t.Context(), bmc)
	require.ErrorIs(t, err, lifecycle.Unauthenticated)
}

func TestFaultsRefused(t *testing.T) {
	l, s := start(t, lab.Config{Workers: 1, Speed: 1000})
	for fault, says := range map[string]string{
		`{`: "want a fault",
		`{"op":"power.set","kind":"fail","often":1}`:               "often",
		`{"op":"store.put","kind":"fail"}`:                         "store.put",
		`{"op":"hostkeys.keep","kind":"fail"}`:                     "hostkeys.keep",
		`{"op":"power.set","kind":"explode"}`:                      "explode",
		`{"op":"power.set","host":"ncn-w009","kind":"fail"}`:       "ncn-w009",
		`{"op":"power.set","name":"ncn.wipe-start","kind":"fail"}`: "only exec",
		`{"op":"power.set","count":-1,"kind":"fail"}`:              "negative",
		`{"op":"power.set","kind":"slow"}`:                         "duration",
		`{"op":"power.set","kind":"slow","duration":"soon"}`:       "duration",
		`{"op":"power.set","kind":"ignore","duration":"1s"}`:       "duration",
		`{"op":"power.set","kind":"fail","error":"bad luck"}`:      "error is",
		`{"op":"power.set","kind":"lose","error":"unavailable"}`:   "error is",
		`{"op":"exec","kind":"late","duration":"1s"}`:              "cannot be late",
		`{"op":"bss.patch","kind":"stale"}`:                        "only bss.get",
	} {
		var out struct{ Error string }
		require.Equal(t, http.StatusBadRequest, call(t, s, http.MethodPost, "/lab/fault", fault, &out), fault)
		require.Contains(t, out.Error, says, fault)
	}
	require.Empty(t, l.Cluster().Unfired())
	require.Equal(t, http.StatusMethodNotAllowed, call(t, s, http.MethodPut, "/lab/fault", "{}", nil))
	require.Equal(t, http.StatusMethodNotAllowed, call(t, s, http.MethodPost, "/lab/check", "", nil))
}

// A node may be armed while a run in the directory's journal owns that, and at no other time.
func TestVerdictKnowsTheJournal(t *testing.T) {
	const target = "ncn-w001"
	l, s := start(t, lab.Config{Workers: 2, Speed: 1000})
	stop := make(chan struct{})
	plan, err := rebuild(t.Context(), s, target, lifecycle.WithStop(stop), lifecycle.WithObserver(func(e lifecycle.Event) {
		if e.Type == lifecycle.EventResult && e.Step == "arm" {
			close(stop)
		}
	}))
	require.Equal(t, lifecycle.Open, lifecycle.StateOf(err), "%v", err)
	require.True(t, nodeOf(t, s, target).Armed)
	require.Empty(t, breaches(t, s))

	require.NoError(t, lifecycle.Cancel(t.Context(), plan.ID, ncn.Planner(s.NCN), "a test", lifecycle.WithJournal(s.Journal)))
	require.False(t, nodeOf(t, s, target).Armed)
	require.Empty(t, breaches(t, s))

	other, err := s.NCN.Inventory.Node(t.Context(), "ncn-w002")
	require.NoError(t, err)
	require.NoError(t, bss.Arm(t.Context(), s.NCN.BSS, other.XName))
	require.True(t, nodeOf(t, s, other.Name).Armed)
	want := fakes.Breach{Invariant: "I7", Detail: "ncn-w002 is armed (metal.no-wipe is not 1), and no run owns that"}
	require.Equal(t, []fakes.Breach{want}, l.Verdict())
	require.Equal(t, []string{want.Invariant + ": " + want.Detail}, breaches(t, s))
}

// Who erases without a backup is found out, though it is another program that acts, and the plan and the store are files.
func TestVerdictOnErasingWithoutABackup(t *testing.T) {
	const target = "ncn-w001"
	_, s := start(t, lab.Config{Workers: 1, Speed: 1000})
	stop := make(chan struct{})
	close(stop)
	plan, err := rebuild(t.Context(), s, target, lifecycle.WithStop(stop))
	require.Equal(t, lifecycle.Open, lifecycle.StateOf(err), "%v", err)
	var facts struct {
		Node                    lifecycle.Node
		UUID, Boot              string
		Victims                 []ncn.Disk
		Umounts, Groups, Arrays []string
	}
	require.NoError(t, json.Unmarshal(plan.Facts, &facts))

	run := func(name string, stdin string, args ...string) string {
		cmd := lifecycle.Command{Name: name, Script: ncn.Scripts()[name], Args: args, Stdin: strings.NewReader(stdin)}
		out, err := s.NCN.Exec.Run(t.Context(), facts.Node, cmd)
		require.NoError(t, err)
		return string(out.Stdout)
	}
	digest := sha256.Sum256([]byte(run("ncn.disks", "")))
	lines := []string{"xname " + facts.Node.XName, "uuid " + facts.UUID, "boot " + facts.Boot, "digest " + hex.EncodeToString(digest[:])}
	for _, at := range facts.Umounts {
		lines = append(lines, "umount "+at)
	}
	for _, group := range facts.Groups {
		lines = append(lines, "group "+group)
	}
	for _, array := range facts.Arrays {
		lines = append(lines, "array "+array)
	}
	for _, disk := range facts.Victims {
		lines = append(lines, "disk "+disk.Name)
	}
	require.Equal(t, "started\n", run("ncn.wipe-start", strings.Join(lines, "\n")+"\n", plan.ID, "1"))
	require.Eventually(t, func() bool { return strings.Contains(run("ncn.wipe-look", "", plan.ID), "\ndone\n") }, time.Minute, 10*time.Millisecond)

	found := breaches(t, s)
	require.Len(t, found, 1)
	require.Contains(t, found[0], "I4: erasing began on ncn-w001 without a backup")
}

// A damaged journal cannot acquit anybody.
func TestVerdictOnADamagedJournal(t *testing.T) {
	l, s := start(t, lab.Config{Workers: 1, Speed: 1000})
	require.Empty(t, l.Verdict())
	runs := filepath.Join(s.File.Journal, "runs")
	require.NoError(t, os.MkdirAll(runs, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(runs, "r1.jsonl"), []byte("no record\nno record\n"), 0o600))
	found := l.Verdict()
	require.Len(t, found, 1)
	require.Equal(t, "I14", found[0].Invariant)
	require.Contains(t, found[0].Detail, "r1.jsonl")
}

// A second lab in the same directory is a new cluster; what programs keep there stays.
func TestStartAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lab")
	first, s := start(t, lab.Config{Dir: dir, Workers: 1, Speed: 1000})
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	_, err = rebuild(t.Context(), s, "ncn-w001")
	require.NoError(t, err)
	_, err = lab.Start(t.Context(), lab.Config{Dir: dir, Workers: 1})
	require.ErrorIs(t, err, lifecycle.Conflict)
	require.ErrorContains(t, err, dir)
	require.NoError(t, s.Close())
	require.NoError(t, first.Close())
	require.NoError(t, first.Close(), "twice")
	kept := contents(t, dir)

	second, s := start(t, lab.Config{Dir: dir, Workers: 2, Speed: 1000})
	require.Empty(t, second.Verdict(), "what ended is about another cluster")
	now := contents(t, dir)
	for name, text := range kept {
		switch {
		case name == "id_ed25519", strings.HasPrefix(name, "journal/"), strings.HasPrefix(name, "backups/"):
			require.Equal(t, text, now[name], name)
		case name == "known_hosts.lock":
		default:
			require.NotEqual(t, text, now[name], name)
		}
	}
	require.Equal(t, 1, nodeOf(t, s, "ncn-w001").Generation, "a new machine")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "id_ed25519"), []byte("no key"), 0o600))
	require.NoError(t, s.Close())
	require.NoError(t, second.Close())

	_, s = start(t, lab.Config{Dir: dir, Workers: 2, Speed: 1000})
	require.NoError(t, ncn.Backup(t.Context(), s.NCN.Host("ncn-w002")), "with a new key")
}

func contents(t *testing.T, dir string) map[string]string {
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		all[filepath.ToSlash(name)] = string(text)
		return err
	}))
	return all
}

func TestConfigRefused(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.json")
	require.NoError(t, os.WriteFile(bad, []byte("[{}]"), 0o600))
	for name, cfg := range map[string]lab.Config{
		"no directory":           {},
		"a negative speed":       {Dir: t.TempDir(), Speed: -1},
		"a negative count":       {Dir: t.TempDir(), Workers: -1},
		"BSS without SLS":        {Dir: t.TempDir(), BSS: bad},
		"SLS and counts":         {Dir: t.TempDir(), SLS: bad, Workers: 1},
		"an SLS that is not one": {Dir: t.TempDir(), SLS: bad},
		"an SLS that is missing": {Dir: t.TempDir(), SLS: filepath.Join(t.TempDir(), "missing")},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := lab.Start(t.Context(), cfg)
			require.Equal(t, lifecycle.Invalid, lifecycle.KindOf(err), "%v", err)
		})
	}
	_, err := lab.Start(t.Context(), lab.Config{Dir: filepath.Join(bad, "under-a-file")})
	require.Equal(t, lifecycle.Unavailable, lifecycle.KindOf(err), "%v", err)
}

// Close ends what hangs on every face, and does not wait for it to answer.
func TestCloseWhileCallsHang(t *testing.T) {
	l, s := start(t, lab.Config{Workers: 1, Speed: 1000})
	node, err := s.NCN.Inventory.Node(t.Context(), "ncn-w001")
	require.NoError(t, err)
	for _, op := range []fakes.Op{fakes.BSSGet, fakes.Exec, fakes.PowerState} {
		require.NoError(t, l.Arm(lab.Fault{Op: op, Kind: lab.Hang}))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ended := make(chan error, 3)
	go func() {
		_, err := s.NCN.BSS.Get(ctx, node.XName)
		ended <- err
	}()
	go func() {
		_, err := s.NCN.Exec.Run(ctx, node, lifecycle.Command{Name: "test", Script: "true"})
		ended <- err
	}()
	go func() {
		_, err := s.NCN.Power.State(ctx, power.BMC{Name: strings.TrimSuffix(node.XName, "n0"), Host: node.BMC})
		ended <- err
	}()
	for len(l.Cluster().Unfired()) > 0 {
		time.Sleep(time.Millisecond)
	}
	began := time.Now()
	require.NoError(t, l.Close())
	require.Less(t, time.Since(began), 5*time.Second)
	require.NoError(t, s.Close())
	cancel()
	for range cap(ended) {
		require.Error(t, <-ended)
	}
}

func FuzzReadWire(f *testing.F) {
	f.Add([]byte(`{"time":"2026-11-20T12:00:00Z","face":"ssh","node":"ncn-w001","what":"exit","ssh":{"remote":"","exit":{"status":0}}}` + "\n"))
	f.Add([]byte("{\n{}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "wire.jsonl")
		require.NoError(t, os.WriteFile(path, text, 0o600))
		events, err := lab.ReadWire(path)
		if err != nil {
			require.ErrorIs(t, err, lifecycle.Invalid)
			require.Nil(t, events)
			return
		}
		require.Len(t, events, bytes.Count(text, []byte("\n")))
	})
}
