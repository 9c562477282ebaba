package ncn

import (
	"context"
	"errors"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/backup"
	"github.com/ncnkit/lifecycle/bss"
)

// Facts is what planning reads of a node and a run never reads again: afterwards it could not be asked, or would be
// answered differently. It is kept in the journal as JSON.
type Facts struct {
	Node    lifecycle.Node `json:"node"`
	Planned time.Time      `json:"planned"`
	Plan    string         `json:"plan"` // the ID that the plan was made with; a rollout gives its run another

	UUID string `json:"uuid,omitempty"` // DMI, of the machine that answered
	Boot string `json:"boot,omitempty"` // the boot that answered

	selection // of disks

	Backup string `json:"backup,omitempty"` // prefix in the store: written by a backup, read by a restore

	Fetched  int64  `json:"fetched,omitempty"`  // when the node last fetched its boot script, in Unix seconds
	Previous *Boots `json:"previous,omitempty"` // what it booted until now, to go back to by hand
}

// Boots is what a node is set to boot.
type Boots struct {
	Params string `json:"params"`
	Kernel string `json:"kernel"`
	Initrd string `json:"initrd"`
}

// Args is what a caller asked for. It is kept in the journal as JSON.
type Args struct {
	Role       lifecycle.Role `json:"role,omitempty"`
	Image      *bss.Image     `json:"image,omitempty"`      // nil: the one that the node is set to boot
	GlobalData map[string]any `json:"globalData,omitempty"` // by dotted key, under Global's meta-data
	Paths      []string       `json:"paths,omitempty"`      // further paths to back up, relative to /
	Backup     string         `json:"backup,omitempty"`     // which backup to restore; empty: the latest
}

// backupPaths are what is kept of a node of each role (docs of the lifecycle API, "backup").
var backupPaths = map[lifecycle.Role][]string{
	Worker: {"root/.ssh"},
}

func (w *work) paths() []string {
	return append(append([]string{}, backupPaths[w.args.Role]...), w.args.Paths...)
}

// gather reads what the kind of plan needs to know. It writes nothing.
func (w *work) gather(ctx context.Context, run string) error {
	w.facts.Planned, w.facts.Plan = w.site.now(), run
	if w.kind.machine || w.kind.disks {
		id, err := w.site.inspect(ctx, w.facts.Node, nil)
		if err != nil {
			return explainExec(err, w.facts.Node.Name)
		}
		if err := checkIdentity(&w.facts, id); err != nil {
			return err
		}
		w.facts.UUID, w.facts.Boot = id.UUID, id.Boot
	}
	if w.kind.disks {
		devices, _, err := w.site.disks(ctx, w.facts.Node)
		if err != nil {
			return explainExec(err, w.facts.Node.Name)
		}
		if w.facts.selection, err = choose(devices); err != nil {
			return err
		}
	}
	if w.kind.boots {
		if err := w.gatherBoot(ctx); err != nil {
			return err
		}
	}
	switch {
	case w.kind.restores:
		return w.gatherBackup(ctx)
	case w.kind.backs:
		w.facts.Backup = backup.Prefix(w.facts.Node.Name, w.facts.Planned, run)
	}
	return nil
}

func (w *work) gatherBoot(ctx context.Context) error {
	xname := w.facts.Node.XName
	entry, err := w.site.BSS.Get(ctx, xname)
	if err != nil {
		return err
	}
	w.facts.Previous = &Boots{Params: entry.Params, Kernel: entry.Kernel, Initrd: entry.Initrd}
	if w.facts.Fetched, err = w.site.BSS.LastFetch(ctx, xname, "bootscript"); err != nil {
		return err
	}
	if w.kind.machine {
		return nil
	}
	// A node that cannot answer, because it is off, say, can be rebooted all the same.
	id, err := w.site.inspect(ctx, w.facts.Node, nil)
	if err != nil && !errors.Is(err, lifecycle.Unavailable) {
		return explainExec(err, w.facts.Node.Name)
	}
	if err == nil {
		if err := checkIdentity(&w.facts, id); err != nil {
			return err
		}
		w.facts.UUID, w.facts.Boot = id.UUID, id.Boot
	}
	return nil
}

// gatherBackup fixes which backup is restored.
func (w *work) gatherBackup(ctx context.Context) error {
	w.facts.Backup = w.args.Backup
	if w.facts.Backup == "" {
		latest, err := backup.Latest(ctx, w.site.Backups, w.facts.Node.Name)
		if err != nil {
			return err
		}
		w.facts.Backup = latest.Prefix
	}
	return nil
}
