package backuptest

import (
	"context"
	"fmt"

	"github.com/ncnkit/lifecycle/backup"
)

// TB is the part of testing.TB that the suite needs.
type TB interface {
	Helper()
	Errorf(format string, args ...any)
}

// Config says how much the suite does. The zero Config is good.
type Config struct {
	Prefix  string // of all keys, without a slash at the end; empty means "backuptest"
	Large   int64  // bytes of the large object; 0 means 32 MiB
	Objects int    // how many are listed at once; 0 means 40; more than a page of the store's listing finds more
}

// suite is one run.
type suite struct {
	Config
	store backup.Store
}

// Run checks store, and reports through tb whatever it does wrong, each with the name of the case. The store may hold
// other objects, but none under cfg.Prefix; the suite leaves none behind.
func Run(ctx context.Context, tb TB, store backup.Store, cfg Config) {
	tb.Helper()
	if cfg.Prefix == "" {
		cfg.Prefix = "backuptest"
	}
	if cfg.Large == 0 {
		cfg.Large = 32 << 20
	}
	if cfg.Objects == 0 {
		cfg.Objects = 40
	}
	s := suite{cfg, store}
	if err := s.empty(ctx); err != nil {
		tb.Errorf("before the first case: %v", err)
		return
	}
	for _, c := range cases {
		if err := c.run(s, ctx); err != nil {
			tb.Errorf("%s: %v", c.name, err)
		}
		if err := s.clean(ctx); err != nil {
			tb.Errorf("after %s: %v", c.name, err)
		}
	}
}

// key returns a key of the suite.
func (s suite) key(rest string) string { return s.Prefix + "/" + rest }

func (s suite) empty(ctx context.Context) error {
	objects, err := s.store.List(ctx, s.key(""))
	if err != nil {
		return fmt.Errorf("List: %w", err)
	}
	if len(objects) > 0 {
		return fmt.Errorf("there are %d objects under %s", len(objects), s.key(""))
	}
	return nil
}

func (s suite) clean(ctx context.Context) error {
	objects, err := s.store.List(ctx, s.key(""))
	if err != nil {
		return fmt.Errorf("List: %w", err)
	}
	for _, o := range objects {
		if err := s.store.Delete(ctx, o.Key); err != nil {
			return fmt.Errorf("Delete %s: %w", o.Key, err)
		}
	}
	return s.empty(ctx)
}
