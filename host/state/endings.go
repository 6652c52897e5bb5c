package state

import (
	"context"
	"maps"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// endingLife is how long the store keeps the record of an ending of sessions. A
// replica that has not seen it by then is fenced and has ended all its sessions.
const endingLife = time.Minute

// OnEnding sets the function that is called with the sessions that have to end:
// because their login ended, on whichever replica, or because an ending of the
// sessions themselves was committed. It is called after reads show the end, without
// locks held, possibly more than once, and must return quickly.
func (s *Store) OnEnding(f func(host.Ending)) { s.ended.Store(&f) }

func (s *Store) announce(e host.Ending) {
	if f := s.ended.Load(); f != nil {
		(*f)(e)
	}
}

func (s *Store) announceLogins(gone []loginKey, cause error) {
	for _, k := range gone {
		s.announce(host.Ending{User: k.user, Login: k.id, Cause: cause})
	}
}

// announceOwn announces an ending that this process committed at revision rev, and
// keeps the watch from announcing it again: sessions that the user opens from now
// on are not meant.
func (s *Store) announceOwn(rev int64, e host.Ending) {
	s.own.add(rev, s.cache.revision())
	s.announce(e)
}

// ownEndings are the revisions of endings that this process committed and that the
// watch has yet to bring. The zero value is ready.
type ownEndings struct {
	mu        sync.Mutex
	revisions map[int64]bool
}

// add takes note of a revision, and forgets those that the watch has passed.
func (o *ownEndings) add(rev, seen int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	maps.DeleteFunc(o.revisions, func(r int64, _ bool) bool { return r <= seen })
	if o.revisions == nil {
		o.revisions = make(map[int64]bool)
	}
	o.revisions[rev] = true
}

// has reports whether the revision is one of them.
func (o *ownEndings) has(rev int64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.revisions[rev]
}

// EndLoginAndSessions ends one login and, on every replica, all sessions that
// the user has, whichever login they were opened under. The user's other logins
// stay. It promises what EndLogin promises; OnEnding's function has been called for
// the sessions of this process before it returns.
func (s *Store) EndLoginAndSessions(ctx context.Context, id host.LoginID) error {
	rec, ok := s.Login(id)
	if !ok {
		return nil
	}
	put, err := s.endingOp(s.at.cutOf(rec.User), host.ErrLoggedOut)
	if err != nil {
		return err
	}
	rev, err := s.logOut(ctx, &rec, put)
	if err != nil {
		return err
	}
	s.announceOwn(rev, host.Ending{User: rec.User, Cause: host.ErrLoggedOut})
	return nil
}

// EndSessions ends all sessions that the user has now, on every replica, with
// one of host's causes. It promises what EndLoginAndSessions promises. Logins
// stay, so that the user may open new sessions at once.
func (s *Store) EndSessions(ctx context.Context, user host.UserID, cause error) error {
	if user == "" || len(user) > maxName {
		return host.E(host.Invalid, "state.end", "user: is empty or over %d bytes", maxName)
	}
	user = host.CanonicalID(user)
	return s.endSessions(ctx, s.at.cutOf(user), host.Ending{User: user, Cause: cause})
}

// EndSession ends the user's session with this id on the replica that has it,
// with one of host's causes. When it returns nil the ending is durable; the session
// ends when its replica has seen it, which it does within 5 s or ends every
// session. An id that names no session does nothing.
func (s *Store) EndSession(ctx context.Context, user host.UserID, id string, cause error) error {
	if user == "" || len(user) > maxName || id == "" || len(id) > maxSessionID || strings.Contains(id, "/") {
		return host.E(host.Invalid, "state.end", "session %q of user %q: not a valid session", id, user)
	}
	return s.endSessions(ctx, s.at.endOf(user, id), host.Ending{User: user, Session: id, Cause: cause})
}

func (s *Store) endSessions(ctx context.Context, key string, e host.Ending) error {
	put, err := s.endingOp(key, e.Cause)
	if err != nil {
		return err
	}
	rev, err := s.insist(ctx, "state.end", put)
	if err != nil {
		return err
	}
	s.announceOwn(rev, e)
	return nil
}

// ending is the record that sessions have to end.
type ending struct {
	At    time.Time
	Cause string
}

func (s *Store) endingOp(key string, cause error) (clientv3.Op, error) {
	sealed, err := s.seal.seal(key, ending{time.Now(), causeName(cause)})
	if err != nil {
		return clientv3.Op{}, host.E(host.Internal, "state.end", "ending: %w", err)
	}
	return clientv3.OpPut(key, sealed), nil
}

// putEnding announces an ending once: not again when a reload shows what the watch
// has brought before. A record that does not decrypt counts, because it may be there
// to hide one.
func (s *Store) putEnding(key string, kv *mvccpb.KeyValue, known int64) error {
	if kv.ModRevision <= known || s.own.has(kv.ModRevision) {
		return nil
	}
	var rec ending
	err := s.seal.open(key, kv.Value, &rec)
	if user, ok := parseUser(s.at.cut, key); ok {
		s.announce(host.Ending{User: user, Cause: namedCause(rec.Cause)})
	} else if user, id, ok := parseBelow(s.at.end, key); ok {
		s.announce(host.Ending{User: user, Session: id, Cause: namedCause(rec.Cause)})
	}
	return err
}

// causeName is how the store writes a cause.
func causeName(cause error) string {
	if c := host.EndCauseOf(cause); c != nil {
		return c.Name
	}
	return ""
}

// namedCause is the cause of this name. What an unknown cause ends counts as
// revoked.
func namedCause(name string) error {
	if c := host.EndCauseNamed(name); c != nil {
		return c.Err
	}
	return host.ErrRevoked
}
