package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/ncnkit/lifecycle/examples/lab"
)

type labCmd struct {
	Dir       string  `help:"Directory for the lab's files." required:"" type:"path" placeholder:"DIR"`
	BSS       string  `name:"bss" help:"Dump of a site's boot parameters; needs --sls." type:"existingfile" placeholder:"FILE"`
	SLS       string  `name:"sls" help:"Dump of a site's management nodes." type:"existingfile" placeholder:"FILE"`
	Masters   int     `help:"How many masters. None of any role: three of each." placeholder:"N"`
	Workers   int     `help:"How many workers." placeholder:"N"`
	Storage   int     `help:"How many storage nodes." placeholder:"N"`
	Speed     float64 `help:"How many times faster than real machines." default:"100"`
	ReadyFile string  `help:"File to write the site file's path to when the lab is up." type:"path" placeholder:"FILE"`
	Verbose   bool    `help:"Tell what happens to the machines." short:"v"`
}

// Run serves the lab until it is interrupted.
func (c *labCmd) Run(ctx context.Context, a *app) (err error) {
	level := slog.LevelWarn
	if c.Verbose {
		level = slog.LevelInfo
	}
	l, err := lab.Start(ctx, lab.Config{
		Dir: c.Dir, BSS: c.BSS, SLS: c.SLS, Masters: c.Masters, Workers: c.Workers, Storage: c.Storage, Speed: c.Speed,
		Log: slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: level})),
	})
	if err != nil {
		return failed("lab", err, "ncnctl lab --help")
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	a.Site = here(l.SiteFile())
	fmt.Fprintf(a.stdout, "The lab is up. Its site file: %s\nIn another terminal:\n", a.Site)
	for _, args := range [][]string{{"plan", "ncn-w001"}, {"rebuild", "ncn-w001"}, {"status"}, {"check"}} {
		fmt.Fprintf(a.stdout, "  %s\n", a.command(args...))
	}
	fmt.Fprintln(a.stdout, "Ctrl-C ends it.")
	if c.ReadyFile != "" {
		if err := writeWhole(c.ReadyFile, l.SiteFile()+"\n"); err != nil {
			return failed("write the ready file", err)
		}
	}
	<-ctx.Done()
	if errors.Is(ctx.Err(), context.DeadlineExceeded) || a.stopped() {
		return nil
	}
	return ctx.Err()
}

// here shortens a path when it lies below the working directory.
func here(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(wd, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}

// writeWhole writes a file so that nobody reads half of it.
func writeWhole(path, text string) error {
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
