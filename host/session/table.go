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
	// PerUser is how many sessions a user may have open; 0 means 100.
	PerUser int
	// Lapsed, if set, says whether logouts may have happened that this replica
	// has not seen, nil if not. Sessions that ask for their authority then end
	// with that error, so that a process that was stopped does nothing more for
	// anybody when it goes on. It must answer from memory.
	Lapsed func() error
	// Decide is policy, for Hold and Redecide; nil never asks again. It is about
	// what runs already, so that a full decision log is no reason to deny.
	Decide func(context.Context, *host.Question) host.Decision
	// Longest and Idle bound every session for which Limit is called, beside
	// what the call says; 0 means no bound of the table's own.
	Longest, Idle time.Duration
	// Logger receives defects of OnEnd functions; nil discards them.
	Logger *slog.Logger
}

// Table holds the live sessions by user. It is safe for concurrent use; users
// do not wait for one another's sessions.
type Table struct {
	revoked func(*host.Principal) error
	lapsed  func() error
	perUser int
	decide  func(context.Context, *host.Question) host.Decision
	longest time.Duration
	idle    time.Duration
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
	closed error    // why nothing opens any more
	_      [32]byte // a cache line each
}

// owned is a user's sessions.
type owned struct {
	first *Session
	count int
}

// NewTable makes an empty table. revoked says whether a principal's login is no
// longer good, nil if it is good. It is called with a lock held and must answer
// from memory; from the moment at which a logout is committed it must say so.
func NewTable(revoked func(*host.Principal) error, opts Options) *Table {
	t := &Table{
		revoked: revoked, lapsed: opts.Lapsed, perUser: opts.PerUser, log: opts.Logger, seed: maphash.MakeSeed(),
		decide: opts.Decide, longest: opts.Longest, idle: opts.Idle,
	}
	if t.perUser == 0 {
		t.perUser = defaultPerUser
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	for i := range t.shards {
		t.shards[i].users = make(map[host.UserID]*owned)
	}
	return t
}

// Open makes a session of p. A request's call passes the request's context;
// what outlives its request, such as a socket, passes one that does not end
// with it (context.WithoutCancel).
//
// It fails with what revoked says when the login is no longer good, kind
// Limited when the user has too many sessions, and the cause of Shutdown after
// that.
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
	if err := s.shard.open(s, t.revoked, t.perUser); err != nil {
		s.cancel(err)
		return nil, err
	}
	return s, nil
}

type sessionKey struct{}

// asking is the session in which ctx was made, nil if there is none.
func asking(ctx context.Context) *Session {
	s, _ := ctx.Value(sessionKey{}).(*Session)
	return s
}

func (t *Table) shardOf(user host.UserID) *shard {
	return &t.shards[maphash.String(t.seed, string(user))%shards]
}

// open inserts first and asks second, under the lock that ending takes. A logout
// is committed before sessions end: if they end before this, revoked knows of the
// logout; if after, this session is found.
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
			Detail:  "close some; GET /auth/sessions lists them and DELETE /auth/sessions/ID ends one"}
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

// closeStream calls one OnEnd function. What it does wrong stays with it.
func (t *Table) closeStream(st *stream, cause error) {
	defer func() {
		if r := recover(); r != nil {
			t.log.Error("closing a session's stream panicked", "panic", fmt.Sprint(r))
		}
	}()
	st.close(cause)
}
