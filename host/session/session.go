package session

import (
	"context"
	"crypto/rand"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// closerGrace is how long a session's streams may take to close before its
// context ends regardless.
const closerGrace = 500 * time.Millisecond

// Session is one live thing of a user, and its authority. It is safe for
// concurrent use. Its opener must call Close when the work is over, however it
// ended.
type Session struct {
	table     *Table
	shard     *shard
	principal *host.Principal
	info      host.SessionInfo // without what changes
	ctx       context.Context
	cancel    context.CancelCauseFunc
	end       atomic.Pointer[end]
	closing   atomic.Bool
	touched   atomic.Int64 // nanoseconds since info.Started
	changes   uint64       // Table.changes at Open

	prev, next *Session // in the user's list, guarded by shard.mu

	mu      sync.Mutex
	id      string
	streams []*stream
	longest time.Duration // bounds that are armed, 0 means none; they never grow by Redecide
	unused  time.Duration
	limit   *time.Timer // absolute end: the login's or the session's own
	idle    *time.Timer
	closed  bool // it has left the table

	standing  []*StandingDecision
	published Publisher     // where it is shown
	done      chan struct{} // made when that is waited for
}

// end is why and that authority is gone.
type end struct{ cause error }

type stream struct{ close func(error) }

var _ host.Authority = (*Session)(nil)

// Principal is whose session it is.
func (s *Session) Principal() *host.Principal { return s.principal }

// Info describes the session as it is now.
func (s *Session) Info() host.SessionInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.describe()
}

// describe needs s.mu.
func (s *Session) describe() host.SessionInfo {
	info := s.info
	info.ID, info.Cause = s.idLocked(), s.Cause()
	info.LastUsed = info.Started.Add(time.Duration(s.touched.Load()))
	return info
}

// Context ends with the session; its cause is the session's. It also ends with
// the context that Open was given.
func (s *Session) Context() context.Context { return s.ctx }

// Alive reports whether the session may still have effects.
func (s *Session) Alive() bool {
	if s.end.Load() != nil {
		return false
	}
	if s.table.lapsed == nil {
		return true
	}
	err := s.table.lapsed()
	if err != nil && s.drop(err) {
		go s.teardown() // s.mu may be held
	}
	return err == nil
}

// Cause is why authority was lost, nil while there is authority.
func (s *Session) Cause() error {
	if e := s.end.Load(); e != nil {
		return e.cause
	}
	return nil
}

// ID names the session to its owner and to administrators. It is random, so
// that knowing one says nothing about another.
func (s *Session) ID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.idLocked()
}

func (s *Session) idLocked() string {
	if s.id == "" {
		s.id = rand.Text()
	}
	return s.id
}

// named reports whether this is the session's id. One that was not asked for
// yet has none.
func (s *Session) named(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return id != "" && s.id == id
}

// OnEnd has f close a stream when the session ends, with the cause. If it has
// ended already, f is called before OnEnd returns. Calling remove, when the
// stream closed by itself, keeps f from being called later; it does not wait
// for a call in progress. f runs beside the streams of other sessions and must
// not wait for this session's Close.
func (s *Session) OnEnd(f func(cause error)) (remove func()) {
	st := &stream{f}
	s.mu.Lock()
	cause := s.Cause()
	if cause == nil {
		s.streams = append(s.streams, st)
	}
	s.mu.Unlock()
	if cause != nil {
		s.table.closeStream(st, cause)
		return func() {}
	}
	return func() { s.forget(st) }
}

func (s *Session) forget(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.streams {
		if s.streams[i] == st {
			last := len(s.streams) - 1
			s.streams[i], s.streams[last] = s.streams[last], nil
			s.streams = s.streams[:last]
			return
		}
	}
}

// End takes the session's authority, closes its streams and ends its context,
// once; the first cause wins. It does not wait: authority is gone when it
// returns, the rest follows.
func (s *Session) End(cause error) {
	if s.drop(cause) {
		s.teardown()
	}
}

// drop is the first clock. It reports whether this call took the authority.
// The caller must then call teardown.
func (s *Session) drop(cause error) bool {
	if cause == nil {
		cause = host.ErrDone
	}
	return s.end.CompareAndSwap(nil, &end{cause})
}

// teardown is the second clock and the third.
func (s *Session) teardown() {
	cause := s.Cause()
	s.mu.Lock()
	streams := s.streams
	s.streams = nil
	s.stopTimers()
	s.mu.Unlock()
	if len(streams) == 0 {
		s.cancel(cause)
		return
	}
	go func() {
		late := time.AfterFunc(closerGrace, func() { s.cancel(cause) })
		defer late.Stop()
		for _, st := range streams {
			s.table.closeStream(st, cause)
		}
		s.cancel(cause)
	}()
}

// Close says that the work is over: the session leaves the table, and who
// waits for that is woken. A session that was not ended before ends with
// host.ErrDone. OnEnd functions that are not running yet are not called any
// more. Closing again does nothing.
func (s *Session) Close() {
	// Before anything else, so that it holds for a second Close, too.
	s.drop(host.ErrDone)
	s.cancel(s.Cause())
	if !s.closing.CompareAndSwap(false, true) {
		return
	}
	s.shard.remove(s)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.streams, s.standing = nil, nil
	if s.published != nil {
		s.published.WithdrawSession(s.principal.User, s.id)
	}
	s.stopTimers()
	if s.done != nil {
		close(s.done)
	}
}

// over is closed by Close.
func (s *Session) over() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done == nil {
		s.done = make(chan struct{})
		if s.closed {
			close(s.done)
		}
	}
	return s.done
}
