package plugin

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
)

const (
	// shareOf is the part of a plugin's instances that one user may hold, so that no
	// user can keep the others from a plugin.
	shareOf = 4
	// busyWait is how long a request waits for an instance.
	busyWait = 2 * time.Second
)

// shares counts the instances that each user holds.
type shares struct {
	limit int
	mu    sync.Mutex
	held  map[host.UserID]int
}

func newShares(instances int) *shares {
	return &shares{limit: max(1, instances/shareOf), held: map[host.UserID]int{}}
}

func (s *shares) take(user host.UserID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[user] >= s.limit {
		return false
	}
	s.held[user]++
	return true
}

func (s *shares) put(user host.UserID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[user]--; s.held[user] == 0 {
		delete(s.held, user)
	}
}

// people counts what each user holds of all plugins.
type people struct {
	mu     sync.Mutex
	limits UserLimits // resolved
	held   map[host.UserID]*holding
}

type holding struct {
	instances int
	memory    *sandbox.Budget
}

func newPeople(l UserLimits) *people {
	p := &people{held: map[host.UserID]*holding{}}
	p.set(l)
	return p
}

// set changes the limits. Memory of users who hold something keeps its limit.
func (p *people) set(l UserLimits) {
	l.Instances = cmp.Or(l.Instances, defaultUserInstances)
	l.MemoryMiB = cmp.Or(l.MemoryMiB, defaultUserMiB)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limits = l
}

func (p *people) resolved() UserLimits {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.limits
}

// take counts one more instance and returns what counts its memory, nil if that
// is one too many.
func (p *people) take(user host.UserID) *sandbox.Budget {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.held[user]
	if h == nil {
		h = &holding{memory: sandbox.NewBudget(uint64(p.limits.MemoryMiB) << 20)}
		p.held[user] = h
	}
	if h.instances >= p.limits.Instances {
		return nil
	}
	h.instances++
	return h.memory
}

func (p *people) put(user host.UserID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.held[user]
	h.instances--
	p.forget(user, h)
}

// settle is called when something was freed that outlived an instance.
func (p *people) settle(user host.UserID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h := p.held[user]; h != nil {
		p.forget(user, h)
	}
}

// forget drops who holds nothing. An answer that is still being written counts.
func (p *people) forget(user host.UserID, h *holding) {
	if h.instances == 0 && h.memory.Used() == 0 {
		delete(p.held, user)
	}
}

// acquire returns an instance for the user and what gives it back, which may be
// called repeatedly. It is the one place where instances are refused: for the
// user's share of the plugin, then for what they have of all plugins, then
// for the plugin's own limits.
func (g *Generation) acquire(ctx context.Context, user host.UserID) (*sandbox.Instance, func(), error) {
	if !g.shares.take(user) {
		return nil, nil, host.E(host.Limited, "", "you have %d calls and sessions of this plugin running, which is the limit", g.shares.limit)
	}
	memory := g.people.take(user)
	if memory == nil {
		g.shares.put(user)
		return nil, nil, host.E(host.Limited, "", "you have %d calls and sessions running, which is the limit", g.people.resolved().Instances)
	}
	i := g.module.TryAcquire(memory)
	if i == nil {
		waiting, cancel := context.WithTimeout(ctx, busyWait)
		defer cancel()
		var err error
		if i, err = g.module.Acquire(waiting, memory); err != nil {
			g.people.put(user)
			g.shares.put(user)
			return nil, nil, acquireFault(ctx, waiting, err)
		}
	}
	return i, sync.OnceFunc(func() {
		g.module.Release(i)
		g.people.put(user)
		g.shares.put(user)
	}), nil
}

func acquireFault(ctx, waiting context.Context, err error) error {
	switch cause, ok := errors.AsType[*host.Error](context.Cause(ctx)); {
	case errors.Is(err, sandbox.ErrClosed):
		return host.ErrSwapped
	case ok:
		return cause
	case errors.Is(ctx.Err(), context.Canceled):
		return host.ErrClientGone
	case waiting.Err() != nil:
		return host.E(host.Limited, "", "the plugin is busy")
	}
	return err
}
