package state

import (
	"context"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// endingLife is how long a wish to end sessions stays in the store. A replica
// that has not heard of it by then ended everything it had long ago.
const endingLife = time.Minute

// OnEnding sets the function that is told which sessions have to end: because
// their login ended, here, by another replica, or because its time was up; or
// because somebody wants the sessions themselves to end. It is called after
// reads show the end, without locks held, possibly more than once, and must
// return quickly.
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

// EndLoginAndSessions ends one login and, on every replica, all sessions that
// the user has, whichever login they hang on. The user's other logins stay.
// It promises what EndLogin promises; the sessions of this process are told of
// through OnEnding before it returns.
func (s *Store) EndLoginAndSessions(ctx context.Context, id host.LoginID) error {
	rec, ok := s.Login(id)
	if !ok {
		return nil
	}
	cut, err := s.putCut(rec.User, host.ErrLoggedOut)
	if err != nil {
		return err
	}
	if err := s.logOut(ctx, &rec, cut); err != nil {
		return err
	}
	s.announce(host.Ending{User: rec.User, Cause: host.ErrLoggedOut})
	return nil
}

// EndSessions ends all sessions that the user has now, on every replica, with
// one of host's causes. It promises what EndLoginAndSessions promises. Logins
// stay, so that the user may open new sessions at once.
func (s *Store) EndSessions(ctx context.Context, user host.UserID, cause error) error {
	if user == "" || len(user) > maxName {
		return host.E(host.Invalid, "state.end", "no such user")
	}
	user = host.CanonicalID(user)
	cut, err := s.putCut(user, cause)
	if err != nil {
		return err
	}
	if _, err := s.insist(ctx, "state.end", cut); err != nil {
		return err
	}
	s.announce(host.Ending{User: user, Cause: cause})
	return nil
}

// EndSession ends the user's session with this id on the replica that has it,
// with one of host's causes. When it returns nil the wish is durable; the
// session is gone when its replica has heard of it, which it does within 5 s or
// ends everything. Naming a session that there is not does nothing.
func (s *Store) EndSession(ctx context.Context, user host.UserID, id string, cause error) error {
	if user == "" || len(user) > maxName || id == "" || len(id) > maxSessionID || strings.Contains(id, "/") {
		return host.E(host.Invalid, "state.end", "no such session")
	}
	place := s.at.endOf(user, id)
	sealed, err := s.seal.seal(place, ending{time.Now(), causeName(cause)})
	if err != nil {
		return host.E(host.Internal, "state.end", "ending: %w", err)
	}
	if _, err := s.insist(ctx, "state.end", clientv3.OpPut(place, sealed)); err != nil {
		return err
	}
	s.announce(host.Ending{User: user, Session: id, Cause: cause})
	return nil
}

// ending is the record of a wish that sessions end.
type ending struct {
	At    time.Time
	Cause string
}

func (s *Store) putCut(user host.UserID, cause error) (clientv3.Op, error) {
	place := s.at.cutOf(user)
	sealed, err := s.seal.seal(place, ending{time.Now(), causeName(cause)})
	if err != nil {
		return clientv3.Op{}, host.E(host.Internal, "state.end", "ending: %w", err)
	}
	return clientv3.OpPut(place, sealed), nil
}

// obeyEnding tells of a wish once: not again when a reload shows what the watch
// has brought before. One that does not open is obeyed, for whoever wants to
// hide it.
func (s *Store) obeyEnding(place string, kv *mvccpb.KeyValue, known int64) error {
	if kv.ModRevision <= known {
		return nil
	}
	var rec ending
	err := s.seal.open(place, kv.Value, &rec)
	if user, ok := parseUser(s.at.cut, place); ok {
		s.announce(host.Ending{User: user, Cause: namedCause(rec.Cause)})
	} else if user, id, ok := parseBelow(s.at.end, place); ok {
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
