package ncn

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/backup"
)

// Backup copies a node's irreplaceable files into the site's store, and reads them back: the archive is hashed and parsed
// to its end before Backup returns nil. What is kept of a node of each role is in the decisions; [Paths] adds to it.
//
// Errors: Invalid, NotFound (no such node), Precondition (another machine answers; the store does not give back what it was
// given), Denied, Unavailable.
func Backup(ctx context.Context, h Host, opts ...Option) error {
	return do(ctx, "ncn.Backup", "ncn.backup", h, "", opts)
}

func (w *work) backupOnly() (steps, finally []lifecycle.Step) {
	return []lifecycle.Step{w.identifyStep(), w.backupStep()}, nil
}

func (w *work) identifyStep() lifecycle.Step {
	return lifecycle.Step{
		ID: "identify", Effect: lifecycle.Read,
		Summary: "see that the machine that answers is " + w.facts.Node.XName + ", as it was when the plan was made",
		Do: func(ctx context.Context) error {
			if err := w.asPlanned(ctx); err != nil || !w.kind.disks {
				return err
			}
			_, err := w.sameDisks(ctx)
			return err
		},
	}
}

// asPlanned is identify for what comes before the plan's own reboot: the node must be on the boot that the plan saw.
func (w *work) asPlanned(ctx context.Context) error {
	id, err := w.site.inspect(ctx, w.facts.Node, nil)
	if err != nil {
		return explainExec(err, w.facts.Node.Name)
	}
	if err := checkIdentity(&w.facts, id); err != nil {
		return err
	}
	if id.Boot != w.facts.Boot {
		return lifecycle.Errorf(lifecycle.Precondition, "ncn.identify", w.facts.Node.Name, "the node was rebooted since the plan was made; make a new plan")
	}
	return nil
}

// identify compares the machine that answers with the plan's.
func (w *work) identify(ctx context.Context) error {
	id, err := w.site.inspect(ctx, w.facts.Node, nil)
	if err != nil {
		return explainExec(err, w.facts.Node.Name)
	}
	return checkIdentity(&w.facts, id)
}

func (w *work) backupStep() lifecycle.Step {
	return lifecycle.Step{
		ID: "backup", Effect: lifecycle.Idempotent, Timeout: backupTimeout,
		Summary: "copy " + strings.Join(w.paths(), ", ") + " to " + w.facts.Backup + ", and read it back",
		Done: func(ctx context.Context) (bool, error) {
			_, err := backup.Verify(ctx, w.site.Backups, w.facts.Backup)
			if errors.Is(err, lifecycle.NotFound) || errors.Is(err, lifecycle.Precondition) {
				return false, nil
			}
			return err == nil, err
		},
		Before: func(ctx context.Context) error {
			if len(w.paths()) == 0 {
				return lifecycle.Errorf(lifecycle.Invalid, "ncn.Backup", w.facts.Node.Name, "no path is named for a %s; name some with Paths", w.args.Role)
			}
			return w.asPlanned(ctx)
		},
		Do: func(ctx context.Context) error {
			info := backup.Info{Host: w.facts.Node.Name, XName: w.facts.Node.XName, Run: w.facts.Plan, Created: w.facts.Planned}
			_, err := backup.Create(ctx, w.site.Backups, w.facts.Backup, info, func(ctx context.Context, tar io.Writer) ([]string, error) {
				out, err := w.site.Exec.Run(ctx, w.facts.Node, backupCommand(w.paths(), tar))
				return absent(out.Stderr), explainExec(err, w.facts.Node.Name)
			})
			if err != nil {
				return err
			}
			_, err = backup.Verify(ctx, w.site.Backups, w.facts.Backup)
			return err
		},
	}
}

// absent returns the paths that backup.sh did not find.
func absent(stderr []byte) []string {
	var paths []string
	for line := range strings.Lines(string(stderr)) {
		if p, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "absent "); ok {
			paths = append(paths, p)
		}
	}
	return paths
}
