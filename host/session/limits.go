package session

import (
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Limit bounds the session: longest from its start, idle since the last Touch.
// Zero means no such bound but the table's own, if it has one; the shorter
// counts. The end of the login bounds it in any case. A later call replaces the
// bounds of an earlier one.
func (s *Session) Limit(longest, idle time.Duration) {
	longest, idle = shorter(longest, s.table.longest), shorter(idle, s.table.idle)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Touch()
	s.arm(longest, idle)
}

// tighten applies those of the bounds that are shorter than what is armed, counted
// from where that is: the start and the last Touch.
func (s *Session) tighten(longest, idle time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
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

// unusedFor is how much is left of idle since the last Touch.
func (s *Session) unusedFor(idle time.Duration) time.Duration {
	return time.Duration(s.touched.Load()) + idle - time.Since(s.info.Started)
}

// shorter compares bounds of which 0 means none.
func shorter(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// Touch says that the session is in use. It costs one clock reading.
func (s *Session) Touch() { s.touched.Store(int64(time.Since(s.info.Started))) }

// armLimit sets the timer for the login's end or the session's, whichever is
// first. It needs s.mu, since the timer may fire before it is assigned.
func (s *Session) armLimit(longest time.Duration) {
	cause, at := error(host.ErrLoginExpired), s.principal.Login.Until
	if own := s.info.Started.Add(longest); longest > 0 && (at.IsZero() || own.Before(at)) {
		cause, at = host.ErrTooLong, own
	}
	if !at.IsZero() {
		s.limit = time.AfterFunc(time.Until(at), func() { s.End(cause) })
	}
}

// checkIdle ends the session if it was idle all the time, else comes back when
// it may have been.
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
