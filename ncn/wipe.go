package ncn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/backup"
	"github.com/ncnkit/lifecycle/bss"
	"github.com/ncnkit/lifecycle/internal/mutant"
)

// Wipe erases a node's disks and arms the node (metal.no-wipe=0), so that it erases itself at its next boot; nothing else
// is changed, and the node is left armed. The disks are chosen by WWN or serial number when Wipe begins, and compared when
// they are erased; those that carry the running system cannot be erased under it, and are left to the armed boot. A disk
// that is mounted, held, foreign or unknown refuses the whole wipe before anything is written. Nothing is ever forced.
//
// The erasing runs on the node as a process of its own: a connection that drops neither stops it nor hides its result. A
// second wipe of the same run on the same boot does nothing.
//
// Errors: Invalid, NotFound, Precondition (wrong role, wrong machine, a disk in the way; nothing changed), Denied,
// Unavailable, Unknown (looking did not tell how it ended).
func Wipe(ctx context.Context, h Host, role lifecycle.Role, opts ...Option) error {
	return do(ctx, "ncn.Wipe", "ncn.wipe", h, role, opts)
}

func (w *work) wipeOnly() (steps, finally []lifecycle.Step) {
	return []lifecycle.Step{w.identifyStep(), w.wipeStep(), w.armStep()}, nil
}

func (w *work) wipeStep() lifecycle.Step {
	var names []string
	for _, d := range w.facts.Victims {
		names = append(names, fmt.Sprintf("%s (%s, %s)", d.ID, d.Name, size(d.Size)))
	}
	return lifecycle.Step{
		ID: "wipe", Effect: lifecycle.OneShot, Timeout: wipeTimeout,
		Summary: "erase " + strings.Join(names, ", "),
		Done:    w.wiped,
		Before:  w.mayWipe,
		Do:      w.wipe,
	}
}

func size(bytes int64) string { return fmt.Sprintf("%.1f GB", float64(bytes)/1e9) }

// mayWipe is every check before the erasing: the backup, the machine, the disks.
func (w *work) mayWipe(ctx context.Context) error {
	if err := w.asPlanned(ctx); err != nil {
		return err
	}
	if _, err := w.sameDisks(ctx); err != nil {
		return err
	}
	if !w.kind.backs {
		return nil
	}
	if lifecycle.InDryRun(ctx) {
		return lifecycle.NotYet
	}
	_, err := backup.Verify(ctx, w.site.Backups, w.facts.Backup)
	return err
}

// sameDisks lists the disks, and refuses unless choosing among them gives what the plan has. It returns the digest of the
// listing that was judged.
func (w *work) sameDisks(ctx context.Context) (digest string, err error) {
	devices, digest, err := w.site.disks(ctx, w.facts.Node)
	if err != nil {
		return "", explainExec(err, w.facts.Node.Name)
	}
	now, err := choose(devices)
	if err != nil {
		return "", err
	}
	if err := w.facts.compare(now); err != nil {
		return "", err
	}
	for i, d := range now.Victims { // the kernel may have renamed them; their order is that of their IDs
		w.facts.Victims[i].Name = d.Name
	}
	return digest, nil
}

// wipe starts the erasing on the node, and waits for its end.
func (w *work) wipe(ctx context.Context) error {
	if err := lifecycle.StillDriving(ctx); err != nil {
		return err
	}
	if mutant.On("check-inside-loop") {
		return w.wipeOneByOne(ctx)
	}
	digest, err := w.sameDisks(ctx)
	if err != nil {
		return err
	}
	return w.start(ctx, w.token(ctx), w.input(digest, w.facts.Victims))
}

// token names this wipe on the target. It is the run's, so that whoever takes the run up finds it.
func (w *work) token(ctx context.Context) string {
	e, _ := lifecycle.ExecutionFrom(ctx)
	if mutant.On("token-in-journal-only") {
		return fmt.Sprintf("%s-%d", e.Run, e.Epoch)
	}
	return e.Run
}

func (w *work) start(ctx context.Context, token, input string) error {
	e, _ := lifecycle.ExecutionFrom(ctx)
	cmd := command("ncn.wipe-start", token, fmt.Sprint(e.Epoch))
	cmd.Stdin = strings.NewReader(input)
	out, err := w.site.Exec.Run(ctx, w.facts.Node, cmd)
	if err != nil {
		return explainExec(err, w.facts.Node.Name)
	}
	switch answer := strings.TrimSpace(string(out.Stdout)); answer {
	case "started", "already":
	case "stale":
		return lifecycle.Errorf(lifecycle.Conflict, "ncn.Wipe", w.facts.Node.Name, "a later driver of this run was on the node; this one stops")
	default:
		return lifecycle.Errorf(lifecycle.Unknown, "ncn.Wipe", w.facts.Node.Name, "the node answered %q", answer)
	}
	return w.ended(ctx, token)
}

// input is what wipe-start.sh takes.
func (w *work) input(digest string, victims []Disk) string {
	var b strings.Builder
	line := func(tag, value string) { fmt.Fprintf(&b, "%s %s\n", tag, value) }
	line("xname", w.facts.Node.XName)
	line("uuid", w.facts.UUID)
	line("boot", w.facts.Boot)
	line("digest", digest)
	for _, unit := range ourServices {
		line("service", unit)
	}
	for _, v := range w.facts.Umounts {
		line("umount", v)
	}
	for _, v := range w.facts.Groups {
		line("group", v)
	}
	for _, v := range w.facts.Arrays {
		line("array", v)
	}
	for _, d := range victims {
		line("disk", d.Name)
	}
	return b.String()
}

// ended waits until the erasing has come to an end, and tells which.
func (w *work) ended(ctx context.Context, token string) error {
	dead := false
	return lifecycle.Wait(ctx, "the erasing on "+w.facts.Node.Name, or(w.site.Poll, time.Second), wipeTimeout, func(ctx context.Context) (bool, string, error) {
		look, err := w.look(ctx, token)
		if err != nil {
			return false, "", err
		}
		switch {
		case look.state == "done":
			return true, "", nil
		case look.state == "refused":
			return false, "", lifecycle.Errorf(lifecycle.Precondition, "ncn.Wipe", w.facts.Node.Name, "the node refused, and erased nothing: %s", look.detail)
		case look.state == "failed":
			return false, "", lifecycle.Errorf(lifecycle.Internal, "ncn.Wipe", w.facts.Node.Name, "the erasing stopped: %s; look at %s on the node", look.detail, "/run/lifecycle/wipe/"+token)
		case look.state == "absent" && look.boot != w.facts.Boot:
			return false, "", lifecycle.Errorf(lifecycle.Unknown, "ncn.Wipe", w.facts.Node.Name, "the node was rebooted while it was being erased")
		case look.state != "absent" && !look.alive && dead:
			return false, "", lifecycle.Errorf(lifecycle.Unknown, "ncn.Wipe", w.facts.Node.Name, "the erasing died: %s; look at %s on the node", look.detail, "/run/lifecycle/wipe/"+token)
		}
		dead = !look.alive // a process that has only just begun may not show yet
		return false, look.detail, nil
	})
}

// wiped looks whether the wipe of this run has happened.
func (w *work) wiped(ctx context.Context) (bool, error) {
	if lifecycle.InDryRun(ctx) {
		return false, nil
	}
	token := w.token(ctx)
	look, err := w.sureLook(ctx, token)
	switch {
	case err != nil:
		return false, err
	case look.state == "absent" && look.boot == w.facts.Boot:
		return false, nil
	case look.state == "absent":
		return w.blank(ctx)
	}
	if err := w.ended(ctx, token); err != nil {
		return false, err
	}
	return true, nil
}

// sureLook looks until the node answers: an erasing that may have begun goes on behind a connection that is cut. That there
// is no token counts only when it is seen twice, with time between for a start that was still on its way.
func (w *work) sureLook(ctx context.Context, token string) (l look, err error) {
	e, _ := lifecycle.ExecutionFrom(ctx)
	absent := 0
	err = lifecycle.Wait(ctx, w.facts.Node.Name+" to tell how far its erasing has come", or(w.site.Poll, 5*time.Second), wipeTimeout, func(ctx context.Context) (bool, string, error) {
		if l, err = w.look(ctx, token); err != nil {
			return false, "", err
		}
		if l.state == "absent" {
			absent++
		}
		return l.state != "absent" || absent == 2 || !e.Begun, "no erasing is seen", nil
	})
	return l, err
}

// blank decides about a node that was rebooted since the plan was made, so that no token is left: the wipe happened if
// none of the victims has anything on it.
func (w *work) blank(ctx context.Context) (bool, error) {
	devices, _, err := w.site.disks(ctx, w.facts.Node)
	if err != nil {
		return false, explainExec(err, w.facts.Node.Name)
	}
	blank := map[string]bool{}
	for i := range devices {
		if d, err := devices[i].disk(); err == nil {
			blank[d.ID] = devices[i].signature == "" && len(devices[i].Children) == 0
		}
	}
	for _, v := range w.facts.Victims {
		if !blank[v.ID] {
			return false, lifecycle.Errorf(lifecycle.Precondition, "ncn.Wipe", w.facts.Node.Name,
				"the node was rebooted since the plan was made, and %s is not erased; make a new plan", v.ID)
		}
	}
	return true, nil
}

// look is how far the erasing has come.
type look struct {
	xname  string
	uuid   string
	boot   string
	state  string // absent, running, refused, failed, done
	detail string
	alive  bool
}

// lookAgain makes the error of a question that changes nothing one after which it is asked again: a connection that was
// cut, or a command that failed, tells nothing of how far the erasing has come.
func lookAgain(err error) error {
	if errors.Is(err, lifecycle.Denied) {
		return err
	}
	return lifecycle.Errorf(lifecycle.Unavailable, "ncn.look", "", "%w", err)
}

func (w *work) look(ctx context.Context, token string) (look, error) {
	out, err := w.site.Exec.Run(ctx, w.facts.Node, command("ncn.wipe-look", token))
	if err != nil {
		return look{}, lookAgain(explainExec(err, w.facts.Node.Name))
	}
	l := parseLook(out.Stdout)
	if l.xname != w.facts.Node.XName || l.uuid != w.facts.UUID {
		return look{}, lifecycle.Errorf(lifecycle.Unavailable, "ncn.Wipe", w.facts.Node.Name, "another machine answers: %s, UUID %s", l.xname, l.uuid)
	}
	return l, nil
}

func parseLook(out []byte) look {
	l := look{state: "running", detail: "beginning"}
	for line := range bytes.Lines(out) {
		tag, value, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), " ")
		switch tag {
		case "xname":
			l.xname = value
		case "uuid":
			l.uuid = value
		case "boot":
			l.boot = value
		case "alive":
			l.alive = true
		case "absent", "done", "refused", "failed":
			l.state, l.detail = tag, value
		case "erasing", "erased":
			l.detail = strings.TrimSpace(tag + " " + value)
		}
	}
	return l
}

// wipeOneByOne is a known bug: each disk is checked only when its turn comes, and the ones before are gone by then.
func (w *work) wipeOneByOne(ctx context.Context) error {
	for i := range w.facts.Victims {
		devices, digest, err := w.site.disks(ctx, w.facts.Node)
		if err != nil {
			return err
		}
		mine := devices[:0:0]
		for _, d := range devices {
			if disk, err := d.disk(); err == nil && disk.ID == w.facts.Victims[i].ID {
				mine = append(mine, d)
			}
		}
		one, err := choose(mine)
		if err != nil {
			return err
		}
		all := w.facts.selection
		w.facts.selection = one
		err = w.start(ctx, fmt.Sprintf("%s-%d", w.token(ctx), i), w.input(digest, one.Victims))
		w.facts.selection = all
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *work) armStep() lifecycle.Step {
	node := w.facts.Node
	return lifecycle.Step{
		ID: "arm", Effect: lifecycle.Idempotent,
		Summary: "set metal.no-wipe=0: " + node.Name + " erases itself at its next boot",
		Done: func(ctx context.Context) (bool, error) {
			e, err := w.site.BSS.Get(ctx, node.XName)
			if err != nil {
				return false, err
			}
			p := bss.ParseParams(e.Params)
			values := p.All("metal.no-wipe")
			return len(values) == 1 && values[0] == "0", nil
		},
		Do: func(ctx context.Context) error {
			return bss.Arm(ctx, w.site.BSS, node.XName)
		},
	}
}

func (w *work) disarmStep(id string) lifecycle.Step {
	node := w.facts.Node
	return lifecycle.Step{
		ID: id, Effect: lifecycle.Idempotent,
		Summary: "set metal.no-wipe=1: " + node.Name + " keeps its disks at its next boot",
		Done: func(ctx context.Context) (bool, error) {
			e, err := w.site.BSS.Get(ctx, node.XName)
			return err == nil && !bss.Armed(e), err
		},
		Do: func(ctx context.Context) error {
			return bss.Disarm(ctx, w.site.BSS, node.XName)
		},
	}
}

// Disarm sets metal.no-wipe=1, so that the node keeps its disks at its next boot.
func Disarm(ctx context.Context, h Host, opts ...Option) error {
	return do(ctx, "ncn.Disarm", "ncn.disarm", h, "", opts)
}

func (w *work) disarmOnly() (steps, finally []lifecycle.Step) {
	return []lifecycle.Step{w.disarmStep("disarm")}, nil
}
