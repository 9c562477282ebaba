package fakes

import "github.com/ncnkit/lifecycle/ncn"

// Site returns the cluster as ncn's verbs want it, with every transport. Its journal is [Cluster.Journal].
func (c *Cluster) Site() *ncn.Site {
	return &ncn.Site{
		Inventory: c,
		Exec:      c.Exec(),
		Power:     c.Power(),
		BSS:       c.BSS(),
		Backups:   c.Backups(),
		Audit:     c.Journal(),
		Actor:     "test",
	}
}
