package lab

import (
	"bytes"
	"context"
	"log/slog"
	"math"
	"os"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes"
)

func (c *Config) check() error {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Speed == 0 {
		c.Speed = 100
	}
	invalid := func(format string, args ...any) error {
		return lifecycle.Errorf(lifecycle.Invalid, "", "", format, args...)
	}
	counted := c.Masters != 0 || c.Workers != 0 || c.Storage != 0
	switch {
	case c.Dir == "":
		return invalid("Config.Dir is empty: name a directory for the site file and what belongs to it")
	case c.Speed < 0 || math.IsNaN(c.Speed) || math.IsInf(c.Speed, 0):
		return invalid("the speed is %v: want how many times faster than real machines, 100 say", c.Speed)
	case c.Masters < 0 || c.Workers < 0 || c.Storage < 0:
		return invalid("there cannot be fewer than no nodes of a role")
	case c.BSS != "" && c.SLS == "":
		return invalid("boot parameters are kept by xname: give the SLS dump that they belong to as well")
	case c.SLS != "" && counted:
		return invalid("the SLS dump says which nodes there are: give no counts")
	}
	if c.SLS == "" && !counted {
		c.Masters, c.Workers, c.Storage = 3, 3, 3
	}
	return nil
}

// scaled returns what a machine's d takes here. It is never 0, which would mean a default elsewhere.
func (c *Config) scaled(d time.Duration) time.Duration {
	return max(time.Duration(float64(d)/c.Speed), time.Millisecond)
}

// makeWorld makes the cluster, and returns what SLS is to answer; nil is the cluster's own nodes.
func (l *Lab) makeWorld() (sls []byte, err error) {
	layout := fakes.Layout{
		POST: l.cfg.scaled(90 * time.Second), Boot: l.cfg.scaled(4 * time.Minute),
		Erase: l.cfg.scaled(2 * time.Second), PowerDelay: l.cfg.scaled(3 * time.Second),
		Masters: l.cfg.Masters, Workers: l.cfg.Workers, Storage: l.cfg.Storage,
	}
	if l.cfg.SLS != "" {
		if sls, err = readDump(l.cfg.SLS); err != nil {
			return nil, err
		}
		if layout.Nodes, err = fakes.NodesFromSLS(bytes.NewReader(sls)); err != nil {
			return nil, lifecycle.Errorf(lifecycle.KindOf(err), "", "", "%s: %w", l.cfg.SLS, err)
		}
	}
	l.world = fakes.New(layout)
	if l.cfg.BSS != "" {
		dump, err := readDump(l.cfg.BSS)
		if err != nil {
			return nil, err
		}
		if err := l.world.LoadBSS(bytes.NewReader(dump)); err != nil {
			return nil, lifecycle.Errorf(lifecycle.KindOf(err), "", "", "%s: %w", l.cfg.BSS, err)
		}
	}
	if l.nodes, err = l.world.Nodes(context.Background()); err != nil {
		return nil, err
	}
	for _, n := range l.nodes { // of a dump, which may have been taken while a node was armed
		if l.look(n).Armed {
			l.cfg.Log.Warn("the dump has this node armed, so that this is no breach here", "node", n.Name)
			l.world.AllowArmed(n.Name)
		}
	}
	return sls, nil
}

func readDump(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, lifecycle.Errorf(lifecycle.Invalid, "", "", "the dump cannot be read: %w", err)
	}
	return text, nil
}
