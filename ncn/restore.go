package ncn

import (
	"bytes"
	"context"
	"io"
	"strings"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/backup"
)

// Restore puts a node's files back from a backup: the latest, or the one that [FromBackup] names. The whole archive is read
// back and judged before the first byte goes to the node, and the files' sums are compared on the node afterwards.
func Restore(ctx context.Context, h Host, opts ...Option) error {
	return do(ctx, "ncn.Restore", "ncn.restore", h, "", opts)
}

func (w *work) restoreOnly() (steps, finally []lifecycle.Step) {
	return []lifecycle.Step{w.identifyStep(), w.restoreStep()}, nil
}

func (w *work) restoreStep() lifecycle.Step {
	return lifecycle.Step{
		ID: "restore", Effect: lifecycle.Idempotent, Timeout: backupTimeout,
		Summary: "put the files of " + w.facts.Backup + " back",
		Done: func(ctx context.Context) (bool, error) {
			if lifecycle.InDryRun(ctx) && w.kind.backs {
				return false, lifecycle.NotYet
			}
			m, err := backup.Verify(ctx, w.site.Backups, w.facts.Backup)
			if err != nil {
				return false, err
			}
			why, err := w.differs(ctx, m)
			return why == "", err
		},
		Before: w.identify,
		Do: func(ctx context.Context) error {
			m, err := backup.Restore(ctx, w.site.Backups, w.facts.Backup, func(ctx context.Context, tar io.Reader, _ backup.Manifest) error {
				if err := lifecycle.StillDriving(ctx); err != nil {
					return err
				}
				_, err := w.site.Exec.Run(ctx, w.facts.Node, restoreCommand(&fencedReader{ctx: ctx, r: tar}))
				return explainExec(err, w.facts.Node.Name)
			})
			if err != nil {
				return err
			}
			why, err := w.differs(ctx, m)
			if err == nil && why != "" {
				err = lifecycle.Errorf(lifecycle.Internal, "ncn.Restore", w.facts.Node.Name, "after the restore, %s; look at the node's file system", why)
			}
			return err
		},
	}
}

// differs says which file of the manifest is not on the node as it should be; "" is none.
func (w *work) differs(ctx context.Context, m backup.Manifest) (string, error) {
	var paths []string
	want := map[string]string{}
	for _, e := range m.Entries {
		if e.SHA256 != "" {
			paths = append(paths, e.Path)
			want[e.Path] = e.SHA256
		}
	}
	out, err := w.site.Exec.Run(ctx, w.facts.Node, command("ncn.sums", counted(paths)...))
	if err != nil {
		return "", explainExec(err, w.facts.Node.Name)
	}
	for line := range bytes.Lines(out.Stdout) {
		sum, path, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), " ")
		if want[path] != sum {
			return path + " is not as in the backup", nil
		}
		delete(want, path)
	}
	for path := range want {
		return path + " was not looked at", nil
	}
	return "", nil
}
