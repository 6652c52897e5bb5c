package session

import (
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

const (
	shards         = 64
	defaultPerUser = 100
)

// Options adjust a table. The zero value is usable.
type Options struct {
	Bounds // at first; see SetBounds
	// Lapsed, if set, returns nil until this replica is fenced. Once it returns an
	// error, sessions that check their authority end with it, so that a process that
	// was suspended has no further effect when it resumes. It must answer from memory.
	Lapsed func() error
	// Decide asks policy, for Hold and Redecide; if it is nil, policy is not asked
	// again. It decides about running sessions, so it must not deny because the
	// decision log is full.
	Decide func(context.Context, *host.Question) host.Decision
	// Opened, if set, is told each session that opens, and Ended each that has closed, with
	// why it ended. They must not block.
	Opened func(*Session)
	Ended  func(*Session, error)
	// Closed, if set, is told the kind of each session that has closed, why it ended, and
	// the time from then until its work had ended. It must not block.
	Closed func(kind host.SessionKind, cause error, took time.Duration)
	// Logger logs panics of OnEnd functions; nil discards them.
	Logger *slog.Logger
}

// Bounds limit sessions. The zero value is usable.
type Bounds struct {
	// PerUser is how many sessions a user may have open; 0 means 100.
	PerUser int
	// Longest and Idle bound every session for which Limit is called, in addition to
	// the bounds of that call; 0 means no bound.
	Longest, Idle time.Duration
}

// Table holds the live sessions by user. It is safe for concurrent use; users
// do not wait for one another's sessions.
type Table struct {
	revoked func(*host.Principal) error
	lapsed  func() error
	bounds  atomic.Pointer[Bounds]
	decide  func(context.Context, *host.Question) host.Decision
	closed  func(host.SessionKind, error, time.Duration)
	opened  func(*Session)
	ended   func(*Session, error)
	log     *slog.Logger
	changes atomic.Uint64 // counts calls of Redecide
	seed    maphash.Seed
	shards  [shards]shard
}

// shard holds the sessions of some users. All of one user's are in one shard,
// so that opening one and ending all exclude each other.
type shard struct {
	mu     sync.Mutex
	users  map[host.UserID]*owned
	closed error    // why no session can open any longer
	_      [32]byte // fills a cache line
}

// owned is a user's sessions.
type owned struct {
	first *Session
	count int
}

// NewTable makes an empty table. revoked returns nil while a principal's login is valid,
// and otherwise why not. It is called with a lock held and must answer from memory; it
// must return an error from the moment at which a logout is committed.
func NewTable(revoked func(*host.Principal) error, opts Options) *Table {
	t := &Table{
		revoked: revoked, lapsed: opts.Lapsed, log: opts.Logger, seed: maphash.MakeSeed(),
		decide: opts.Decide, closed: opts.Closed, opened: opts.Opened, ended: opts.Ended,
	}
	t.setBounds(opts.Bounds)
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	for i := range t.shards {
		t.shards[i].users = make(map[host.UserID]*owned)
	}
	return t
}

// SetBounds replaces the table's bounds. Sessions that are open get those in time that
// are shorter than what they have, counted from their start and their last use; a user
// who has too many keeps them and opens no more.
func (t *Table) SetBounds(b Bounds) {
	before := t.setBounds(b)
	longest, idle := shortened(before.Longest, b.Longest), shortened(before.Idle, b.Idle)
	if longest == 0 && idle == 0 {
		return
	}
	for i := range t.shards {
		for _, s := range t.shards[i].snapshot("") {
			s.tightenLimited(longest, idle)
		}
	}
}

func (t *Table) setBounds(b Bounds) (before Bounds) {
	if b.PerUser == 0 {
		b.PerUser = defaultPerUser
	}
	if old := t.bounds.Swap(&b); old != nil {
		before = *old
	}
	return before
}

// Open makes a session of p. For a call, ctx is the request's context; a session that
// outlives its request, such as a socket, needs one that does not end with the request
// (context.WithoutCancel).
//
// It fails with the error of revoked, with kind Limited if the user has too many sessions,
// and with the cause of Shutdown after that.
func (t *Table) Open(ctx context.Context, p *host.Principal, info host.SessionInfo) (*Session, error) {
	if !p.Known() {
		return nil, host.E(host.Unauthenticated, "session.open", "not signed in")
	}
	if info.Started.IsZero() {
		info.Started = time.Now()
	}
	info.User, info.Login = p.User, p.Login.ID
	s := &Session{table: t, shard: t.shardOf(p.User), principal: p, info: info, changes: t.changes.Load()}
	s.ctx, s.cancel = context.WithCancelCause(context.WithValue(ctx, sessionKey{}, s))
	if err := s.shard.open(s, t.revoked, t.bounds.Load().PerUser); err != nil {
		s.cancel(err)
		return nil, err
	}
	if t.opened != nil {
		t.opened(s)
	}
	return s, nil
}

type sessionKey struct{}

// asking returns the session to which ctx belongs, or nil.
func asking(ctx context.Context) *Session {
	s, _ := ctx.Value(sessionKey{}).(*Session)
	return s
}

func (t *Table) shardOf(user host.UserID) *shard {
	return &t.shards[maphash.String(t.seed, string(user))%shards]
}

// open inserts the session first and then calls revoked, under the lock that ending
// takes. A logout is committed before sessions end: if they end before this call, revoked
// knows the logout; if after, they include this session.
func (sh *shard) open(s *Session, revoked func(*host.Principal) error, limit int) error {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.closed != nil {
		return sh.closed
	}
	u := sh.users[s.principal.User]
	if u == nil {
		u = &owned{}
		sh.users[s.principal.User] = u
	}
	if u.count >= limit {
		return &host.Error{Kind: host.Limited, Op: "session.open",
			Message: fmt.Sprintf("you have %d sessions open on this host, which is the limit", u.count),
			Detail:  "close some of them; GET /auth/sessions lists them and DELETE /auth/sessions/ID ends one"}
	}
	u.insert(s)
	if err := revoked(s.principal); err != nil {
		s.drop(err)
		sh.removeLocked(s)
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armLimit(0)
	return nil
}

func (u *owned) insert(s *Session) {
	s.next = u.first
	if u.first != nil {
		u.first.prev = s
	}
	u.first = s
	u.count++
}

func (sh *shard) remove(s *Session) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.removeLocked(s)
}

func (sh *shard) removeLocked(s *Session) {
	u := sh.users[s.principal.User]
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		u.first = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	}
	s.prev, s.next = nil, nil
	if u.count--; u.count == 0 {
		delete(sh.users, s.principal.User)
	}
}

// closeStream calls one OnEnd function and recovers its panic.
func (t *Table) closeStream(st *stream, cause error) {
	defer func() {
		if r := recover(); r != nil {
			t.log.Error("closing a session's stream panicked", "panic", fmt.Sprint(r))
		}
	}()
	st.close(cause)
}
