package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/backup"
)

// backupsCmd is what is done with backups, whatever became of their nodes.
type backupsCmd struct {
	List     backupsListCmd     `cmd:"" help:"List the backups of a node, newest first."`
	Verify   backupsVerifyCmd   `cmd:"" help:"Read backups of a node back to the last byte, and judge them."`
	Rehearse backupsRehearseCmd `cmd:"" help:"Unpack a backup into an empty directory."`
}

type backupsListCmd struct {
	Host string `arg:"" help:"Node, by name."`
}

// Run lists the backups.
func (c *backupsListCmd) Run(ctx context.Context, a *app) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.Close()
	list, err := backup.List(ctx, s.NCN.Backups, c.Host)
	if err != nil {
		return failed("list the backups of "+c.Host, err)
	}
	if a.Output == "json" {
		type entry struct {
			Prefix string `json:"prefix"`
			Run    string `json:"run"`
			Time   string `json:"time"`
			Bytes  int64  `json:"bytes"` // of the archive
		}
		all := []entry{}
		for _, b := range list {
			all = append(all, entry{b.Prefix, b.Run, b.Time.UTC().Format("2006-01-02T15:04:05Z"), b.ArchiveBytes})
		}
		return a.json(map[string]any{"node": c.Host, "backups": all})
	}
	if len(list) == 0 {
		a.say("%s has no backup", clean(c.Host))
		return nil
	}
	rows := [][]string{{"TIME", "RUN", "SIZE", "BACKUP"}}
	for _, b := range list {
		rows = append(rows, []string{stamp(b.Time), b.Run, bytesText(b.ArchiveBytes), b.Prefix})
	}
	table(a.stdout, rows, nil)
	return nil
}

// pick is a backup of a node.
type pick struct {
	Host string `arg:"" help:"Node, by name."`
	From string `help:"Backup, by its prefix in the store. Default: the latest." placeholder:"PREFIX"`
}

func (p pick) prefix(ctx context.Context, store backup.Store) (string, error) {
	if p.From != "" {
		return p.From, nil
	}
	latest, err := backup.Latest(ctx, store, p.Host)
	return latest.Prefix, err
}

type backupsVerifyCmd struct {
	pick
	All bool `help:"Verify all backups of the node."`
}

// judged is a backup that was read back.
type judged struct {
	Backup  string `json:"backup"`
	Verdict string `json:"verdict"`
	Entries int    `json:"entries"`
	Bytes   int64  `json:"bytes"` // of the plain tar
	Why     string `json:"why,omitempty"`
}

// Run verifies backups. One that is damaged makes it fail, after all were looked at.
func (c *backupsVerifyCmd) Run(ctx context.Context, a *app) error {
	what := "verify the backups of " + c.Host
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.Close()
	prefixes, err := c.prefixes(ctx, s.NCN.Backups)
	if err != nil {
		return failed(what, err)
	}
	all := []judged{}
	damaged := 0
	for _, prefix := range prefixes {
		m, err := backup.Verify(ctx, s.NCN.Backups, prefix)
		j := judged{Backup: prefix, Verdict: "good", Entries: len(m.Entries), Bytes: m.Bytes}
		switch {
		case errors.Is(err, lifecycle.Precondition):
			j.Verdict, j.Why = "damaged", reason(err)
			damaged++
		case err != nil:
			return failed(what, err)
		}
		all = append(all, j)
	}
	if err := a.showJudged(c.Host, all); err != nil || damaged == 0 {
		return err
	}
	err = lifecycle.Errorf(lifecycle.Internal, "", "", "%d cannot be used, of %d looked at", damaged, len(all))
	return failed(what, err, a.command("backup", c.Host)+"   (makes a new one)")
}

func (c *backupsVerifyCmd) prefixes(ctx context.Context, store backup.Store) ([]string, error) {
	if !c.All {
		prefix, err := c.prefix(ctx, store)
		return []string{prefix}, err
	}
	list, err := backup.List(ctx, store, c.Host)
	var prefixes []string
	for _, b := range list {
		prefixes = append(prefixes, b.Prefix)
	}
	if err == nil && len(list) == 0 {
		err = lifecycle.Errorf(lifecycle.NotFound, "", c.Host, "there is no backup of %s", c.Host)
	}
	return prefixes, err
}

func (a *app) showJudged(host string, all []judged) error {
	if a.Output == "json" {
		return a.json(map[string]any{"node": host, "backups": all})
	}
	rows := [][]string{{"BACKUP", "VERDICT", "ENTRIES", "SIZE", "WHY"}}
	for _, j := range all {
		why := j.Why
		if why == "" {
			why = "-"
		}
		rows = append(rows, []string{j.Backup, j.Verdict, fmt.Sprint(j.Entries), bytesText(j.Bytes), why})
	}
	table(a.stdout, rows, a.states)
	return nil
}

type backupsRehearseCmd struct {
	pick
	Dir string `arg:"" help:"Directory to unpack into; empty, or not there yet." type:"path"`
}

// Run unpacks a backup.
func (c *backupsRehearseCmd) Run(ctx context.Context, a *app) error {
	what := "rehearse a restore of " + c.Host
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.Close()
	prefix, err := c.prefix(ctx, s.NCN.Backups)
	if err != nil {
		return failed(what, err)
	}
	written, err := backup.Extract(ctx, s.NCN.Backups, prefix, c.Dir)
	if err != nil {
		return failed(what, err)
	}
	if a.Output == "json" {
		return a.json(map[string]any{"node": c.Host, "backup": prefix, "dir": c.Dir, "entries": written})
	}
	rows := [][]string{{"MODE", "SIZE", "PATH"}}
	for _, e := range written {
		rows = append(rows, []string{e.Mode.String(), bytesText(e.Size), e.Path})
	}
	table(a.stdout, rows, nil)
	a.say("%s unpacked into %s; the node was not touched", prefix, clean(c.Dir))
	return nil
}
