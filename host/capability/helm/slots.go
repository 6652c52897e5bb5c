package helm

import (
	"context"
	"sync"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// slots bounds how many actions are under way, of one user and of all. An
// action holds its slot until helm is done, also when nobody waits for it any
// more. Safe for concurrent use.
type slots struct {
	all, each int
	wait      time.Duration // for a slot

	mu    sync.Mutex
	used  int
	by    map[host.UserID]int
	freed chan struct{} // closed and replaced whenever a slot becomes free
}

func newSlots(all, each int, wait time.Duration) *slots {
	return &slots{all: all, each: each, wait: wait, by: map[host.UserID]int{}, freed: make(chan struct{})}
}

// acquire waits for a slot of the user's; release it once. host.Limited when
// there is none in time, ctx's cause when that ends first.
func (s *slots) acquire(ctx context.Context, user host.UserID) error {
	timer := time.NewTimer(s.wait)
	defer timer.Stop()
	for {
		freed, full := s.take(user)
		if full == nil {
			return nil
		}
		select {
		case <-freed:
		case <-timer.C:
			return full
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// take takes a slot if there is one. Otherwise it says why there is none and
// when to try again.
func (s *slots) take(user host.UserID) (freed <-chan struct{}, full error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.by[user] >= s.each:
		return s.freed, host.E(host.Limited, name, "%d helm actions of yours are under way; no more run at a time", s.each)
	case s.used >= s.all:
		return s.freed, host.E(host.Limited, name, "%d helm actions are under way; no more run at a time", s.all)
	}
	s.used++
	s.by[user]++
	return nil, nil
}

func (s *slots) release(user host.UserID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used--
	if s.by[user]--; s.by[user] == 0 {
		delete(s.by, user)
	}
	close(s.freed)
	s.freed = make(chan struct{})
}
