package plugin

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
)

const (
	// shareOf is the part of a plugin's instances that one person may hold, so
	// that nobody can keep a plugin from everybody else.
	shareOf = 4
	// busyWait is how long a request waits for an instance.
	busyWait = 2 * time.Second
)

// shares counts the instances that each person holds.
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

// acquire returns an instance for the user and what gives it back, which may be
// called repeatedly.
func (g *Generation) acquire(ctx context.Context, user host.UserID) (*sandbox.Instance, func(), error) {
	if !g.shares.take(user) {
		return nil, nil, host.E(host.Limited, "", "you have %d calls and sessions of this plugin running, which is the limit", g.shares.limit)
	}
	waiting, cancel := context.WithTimeout(ctx, busyWait)
	defer cancel()
	i, err := g.module.Acquire(waiting, nil)
	if err != nil {
		g.shares.put(user)
		return nil, nil, acquireFault(ctx, waiting, err)
	}
	return i, sync.OnceFunc(func() {
		g.module.Release(i)
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
