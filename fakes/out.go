package fakes

import (
	"context"
	"slices"
	"strings"

	"github.com/ncnkit/lifecycle"
)

// TakeOut makes somebody take nodes out of service, as an administrator cordons them. They stay as they are otherwise.
func (c *Cluster) TakeOut(by, why string, names ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		c.out[name] = lifecycle.Outage{Host: name, By: by, Why: why}
	}
}

// Return puts nodes back into service that [Cluster.TakeOut] took out.
func (c *Cluster) Return(names ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		delete(c.out, name)
	}
}

// Out tells who is out of service, for [lifecycle.Rollout]: who was taken out, and whose operating system does not answer.
func (c *Cluster) Out(ctx context.Context) ([]lifecycle.Outage, error) {
	var all []lifecycle.Outage
	err := c.do(ctx, Call{Op: OutRead}, func(*Call) error {
		for _, o := range c.out {
			all = append(all, o)
		}
		for _, m := range c.sorted() {
			if _, taken := c.out[m.node.Name]; !m.up && !taken {
				all = append(all, lifecycle.Outage{Host: m.node.Name, Why: "it does not answer"})
			}
		}
		return nil
	})
	slices.SortFunc(all, func(a, b lifecycle.Outage) int { return strings.Compare(a.Host, b.Host) })
	return all, err
}
