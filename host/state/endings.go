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

// endingLife is how long the store keeps the record that sessions must end. A replica
// that has not seen it by then is fenced and has ended all its sessions.
const endingLife = time.Minute

// OnEnding sets the function that is called with sessions that must end, because their
// login ended on any replica, or because an ending of the sessions was committed. It
// is called after reads show the end, without locks held, possibly more than once, and
// must return quickly.
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
// prevents the watch from announcing it again, which would end sessions that the user
// opens from now on.
func (s *Store) announceOwn(rev int64, e host.Ending) {
	s.own.add(rev, s.cache.revision())
	s.announce(e)
}

// ownEndings are the revisions of endings that this process committed and the watch
// has not brought yet. The zero value is ready for use.
type ownEndings struct {
	mu        sync.Mutex
	revisions map[int64]bool
}

// add records a revision, and removes those that the watch has passed.
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

// EndLoginAndSessions ends one login and all the user's sessions on every replica,
// whichever login they belong to. The user's other logins stay. It gives the
// guarantees of EndLogin; the function of OnEnding has been called for the sessions of
// this process before it returns.
func (s *Store) EndLoginAndSessions(ctx context.Context, id host.LoginID) error {
	rec, ok := s.Login(id)
	if !ok {
		return nil
	}
	put, err := s.endingOp(s.at.userEndingOf(rec.User), host.ErrLoggedOut)
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

// EndSessions ends all the user's present sessions on every replica, with one of
// host's causes. It gives the guarantees of EndLoginAndSessions. Logins stay, so the
// user may open new sessions at once.
func (s *Store) EndSessions(ctx context.Context, user host.UserID, cause error) error {
	if user == "" || len(user) > maxName {
		return host.E(host.Invalid, "state.end", "user: must not be empty and have at most %d bytes", maxName)
	}
	user = host.CanonicalID(user)
	return s.endSessions(ctx, s.at.userEndingOf(user), host.Ending{User: user, Cause: cause})
}

// EndSession ends the user's session with this id on the replica that has it, with one
// of host's causes. When it returns nil the ending is durable. The session ends when
// its replica sees the ending; a replica that does not see it within 5 s is fenced and
// ends every session. An unknown id has no effect.
func (s *Store) EndSession(ctx context.Context, user host.UserID, id string, cause error) error {
	if user == "" || len(user) > maxName || id == "" || len(id) > maxSessionID || strings.Contains(id, "/") {
		return host.E(host.Invalid, "state.end", "session %q of user %q: not a valid session", id, user)
	}
	return s.endSessions(ctx, s.at.sessionEndingOf(user, id), host.Ending{User: user, Session: id, Cause: cause})
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

// ending is the record that sessions must end.
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

// putEnding announces an ending once, and not again when a reload shows what the watch
// has brought before. A record that cannot be decrypted counts as an ending, because
// it may have been damaged to hide one.
func (s *Store) putEnding(key string, kv *mvccpb.KeyValue, known int64) error {
	if kv.ModRevision <= known || s.own.has(kv.ModRevision) {
		return nil
	}
	var rec ending
	err := s.seal.open(key, kv.Value, &rec)
	if user, ok := parseUser(s.at.userEnding, key); ok {
		s.announce(host.Ending{User: user, Cause: namedCause(rec.Cause)})
	} else if user, id, ok := parseBelow(s.at.sessionEnding, key); ok {
		s.announce(host.Ending{User: user, Session: id, Cause: namedCause(rec.Cause)})
	}
	return err
}

// causeName returns the name of a cause in the store.
func causeName(cause error) string {
	if c := host.EndCauseOf(cause); c != nil {
		return c.Name
	}
	return ""
}

// namedCause returns the cause of this name, and host.ErrRevoked for an unknown one.
func namedCause(name string) error {
	if c := host.EndCauseNamed(name); c != nil {
		return c.Err
	}
	return host.ErrRevoked
}
