package helm

import (
	"context"
	"sync"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// slots bounds the number of actions in progress, per user and in total. An action keeps
// its slot until helm has finished, also if no request waits for it any longer. Safe for
// concurrent use.
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

// acquire waits for a slot for the user, which must be released once. The error is of
// kind Limited if no slot becomes free in time, and ctx's cause if ctx ends first.
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

// take takes a slot if one is free. Otherwise it returns why not, and a channel that is
// closed when a slot becomes free.
func (s *slots) take(user host.UserID) (freed <-chan struct{}, full error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.by[user] >= s.each:
		return s.freed, host.E(host.Limited, name, "%d helm actions of yours are in progress; no more run at a time", s.each)
	case s.used >= s.all:
		return s.freed, host.E(host.Limited, name, "%d helm actions are in progress; no more run at a time", s.all)
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
