package plugin

import (
	"context"
	"slices"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// policy makes c's access and verification those of now.
func (r *Registry) policy(o Origin, c *Config) error {
	if r.options.Policy == nil {
		return nil
	}
	return r.options.Policy(o, c)
}

// Verify fetches what name serves again, also to the users of a canary, as the
// configuration says now, and fails if that does not pass. What is kept on disk is not
// fetched over the network. Nothing changes.
func (r *Registry) Verify(ctx context.Context, name string) error {
	s := r.slot(name)
	if s == nil {
		return nil
	}
	l := s.live.Load()
	if l == nil {
		return nil
	}
	r.mu.Lock()
	base := r.limits
	a := attempt{Registry: r, swap: Swap{Origin: s.origin}, report: &Report{Name: name}, base: &base}
	var list []Config
	for _, g := range []*Generation{l.serving, l.canary} {
		if g != nil {
			c := g.config
			c.Digest = g.digest
			list = append(list, c)
		}
	}
	r.mu.Unlock()
	for _, c := range list {
		a.swap.Config = c
		err := a.step(StepVerify, func() error {
			if err := r.policy(a.swap.Origin, &a.swap.Config); err != nil {
				return err
			}
			if err := a.fetch(ctx); err != nil {
				return err
			}
			return a.verify()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Suspend stops serving name: its sessions end with host.ErrSwapped, and its calls may
// finish. The name stays its origin's, with what can be rolled back to; the next swap
// serves again.
func (r *Registry) Suspend(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.slot(name)
	if s == nil {
		return
	}
	alive := slices.Clone(s.alive)
	r.show(s, nil)
	for _, g := range alive {
		g.force(host.ErrSwapped)
	}
	r.log.Warn("a plugin was stopped", "plugin", name)
}
