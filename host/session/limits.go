package session

import (
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Limit bounds the session: longest is the time from its start, idle the time since the
// last Touch. Zero means the table's bound, or no bound if the table has none; the shorter
// of the two applies. A session always ends with its login. A later call replaces the
// bounds of an earlier one.
func (s *Session) Limit(longest, idle time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limited = true // first, so that SetBounds finds it
	bounds := s.table.bounds.Load()
	longest, idle = shorter(longest, bounds.Longest), shorter(idle, bounds.Idle)
	s.Touch()
	s.arm(longest, idle)
}

// tighten applies the bounds that are shorter than the present ones, counted from the
// start and the last Touch.
func (s *Session) tighten(longest, idle time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tightenLocked(longest, idle)
}

// tightenLimited is tighten for sessions for which Limit was called.
func (s *Session) tightenLimited(longest, idle time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.limited {
		s.tightenLocked(longest, idle)
	}
}

func (s *Session) tightenLocked(longest, idle time.Duration) {
	longest, idle = shorter(longest, s.longest), shorter(idle, s.unused)
	if longest != s.longest || idle != s.unused {
		s.arm(longest, idle)
	}
}

// arm needs s.mu.
func (s *Session) arm(longest, idle time.Duration) {
	s.stopTimers()
	if !s.Alive() {
		return
	}
	s.longest, s.unused = longest, idle
	s.armLimit(longest)
	if idle > 0 {
		s.idle = time.AfterFunc(s.unusedFor(idle), func() { s.checkIdle(idle) })
	}
}

// unusedFor returns how much of idle remains since the last Touch.
func (s *Session) unusedFor(idle time.Duration) time.Duration {
	return time.Duration(s.touched.Load()) + idle - time.Since(s.info.Started)
}

// shorter returns the shorter of two bounds; 0 means no bound.
func shorter(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// Touch records that the session is in use. It costs one reading of the clock.
func (s *Session) Touch() { s.touched.Store(int64(time.Since(s.info.Started))) }

// armLimit sets the timer for the login's end or the session's, whichever is
// first. It needs s.mu, since the timer may fire before it is assigned.
func (s *Session) armLimit(longest time.Duration) {
	if at, cause := s.until(longest); !at.IsZero() {
		s.limit = time.AfterFunc(time.Until(at), func() { s.End(cause) })
	}
}

// until returns when the session ends at the latest, and why; zero: never.
func (s *Session) until(longest time.Duration) (at time.Time, cause error) {
	at, cause = s.principal.Login.Until, host.ErrLoginExpired
	if own := s.info.Started.Add(longest); longest > 0 && (at.IsZero() || own.Before(at)) {
		return own, host.ErrTooLong
	}
	return at, cause
}

// Bounds returns when the session ends at the latest and why, and after how long without
// a Touch it ends. Zero: never.
func (s *Session) Bounds() (until time.Time, cause error, idle time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	until, cause = s.until(s.longest)
	return until, cause, s.unused
}

// checkIdle ends the session if it was idle for the whole time, and otherwise runs again
// at the earliest time at which it can have been.
func (s *Session) checkIdle(idle time.Duration) {
	s.mu.Lock()
	if s.unused != idle { // another bound was armed meanwhile
		s.mu.Unlock()
		return
	}
	left := s.unusedFor(idle)
	if left > 0 && s.Alive() && s.idle != nil {
		s.idle.Reset(left)
	}
	s.mu.Unlock()
	if left <= 0 {
		s.End(host.ErrIdle)
	}
}

// stopTimers needs s.mu.
func (s *Session) stopTimers() {
	if s.limit != nil {
		s.limit.Stop()
	}
	if s.idle != nil {
		s.idle.Stop()
	}
	s.limit, s.idle = nil, nil
}
