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

// Session is one live call, stream or socket of a user, and its authority. It is safe for
// concurrent use. Its opener must call Close when the work is done, however it ended.
type Session struct {
	table     *Table
	shard     *shard
	principal *host.Principal
	info      host.SessionInfo // without the fields that change
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
	longest time.Duration // bounds in force, 0 means none; Redecide never lengthens them
	unused  time.Duration
	limit   *time.Timer // absolute end: the login's or the session's own
	idle    *time.Timer
	limited bool // Limit was called
	closed  bool // it has left the table

	standing  []*StandingDecision
	published Publisher     // where it is shown
	done      chan struct{} // made when a caller waits for Close
}

// end is the end of authority and its cause.
type end struct {
	cause error
	at    time.Time
}

type stream struct{ close func(error) }

var _ host.Authority = (*Session)(nil)

// Principal returns the session's principal.
func (s *Session) Principal() *host.Principal { return s.principal }

// Kind returns the session's kind.
func (s *Session) Kind() host.SessionKind { return s.info.Kind }

// Info returns the session's present description.
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

// Context returns a context that ends with the session and has its cause. It also ends
// with the context that was given to Open.
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

// Cause returns why the session lost its authority, nil while it has it.
func (s *Session) Cause() error {
	if e := s.end.Load(); e != nil {
		return e.cause
	}
	return nil
}

// ID returns the session's id for its owner and administrators. It is random, so one id
// reveals nothing about another.
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

// named reports whether this is the session's id. A session has no id before ID is first
// called.
func (s *Session) named(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return id != "" && s.id == id
}

// OnEnd registers f, which closes a stream when the session ends, with the cause. If the
// session has already ended, f is called before OnEnd returns. If the stream closes by
// itself, call remove; f is then not called later. remove does not wait for a call in
// progress. f runs concurrently with those of other sessions and must not wait for this
// session's Close.
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

// End takes the session's authority, closes its streams and ends its context, once; the
// first cause counts. When it returns, the authority is gone; it does not wait for the
// streams and the context.
func (s *Session) End(cause error) {
	if s.drop(cause) {
		s.teardown()
	}
}

// drop takes the authority and reports whether this call did so. The caller must then
// call teardown.
func (s *Session) drop(cause error) bool {
	if cause == nil {
		cause = host.ErrDone
	}
	return s.end.CompareAndSwap(nil, &end{cause, time.Now()})
}

// teardown closes the streams and ends the context.
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

// Close reports that the work is done: the session leaves the table, and callers that wait
// for this continue. A session that has not ended before ends with host.ErrDone. OnEnd
// functions that are not running yet are no longer called. Closing again has no effect.
func (s *Session) Close() {
	// This comes first, so that it applies to a second Close as well.
	s.drop(host.ErrDone)
	s.cancel(s.Cause())
	if !s.closing.CompareAndSwap(false, true) {
		return
	}
	if closed := s.table.closed; closed != nil {
		e := s.end.Load()
		closed(s.info.Kind, e.cause, time.Since(e.at))
	}
	if ended := s.table.ended; ended != nil {
		ended(s, s.Cause())
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

// over returns a channel that Close closes.
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
