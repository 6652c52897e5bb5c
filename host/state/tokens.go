package state

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Activity is the state of a login that changes while it lives.
type Activity struct {
	// Generation is the generation of its newest tokens, 0 until they are first
	// renewed, and Renewed is when it began.
	Generation uint64
	Renewed    time.Time
	// Used is when the login was last used on this replica, in whole seconds: the
	// last time passed to Use, or else when the replica learned of the login.
	Used time.Time
}

// Activity returns the activity of a login, live or not; ok is false if the login is
// unknown. It answers from memory and allocates nothing.
func (s *Store) Activity(id host.LoginID) (a Activity, ok bool) {
	l, _ := s.cache.find(id, time.Time{})
	if l == nil {
		return Activity{}, false
	}
	return Activity{l.rec.Generation, l.rec.Renewed, time.Unix(l.used.Load(), 0)}, true
}

// Use records that the login was used at the given time, in the memory of this replica
// alone.
func (s *Store) Use(id host.LoginID, at time.Time) {
	if l, _ := s.cache.find(id, time.Time{}); l != nil {
		l.used.Store(max(l.used.Load(), at.Unix()))
	}
}

// RenewTokens begins the next generation of the login's tokens on every replica, and
// returns it. If a generation after from has already begun, it returns that one, so
// that concurrent renewals of one token get the same generation. The errors are
// host.ErrLoggedOut, host.ErrLoginExpired and those of kind Unavailable.
func (s *Store) RenewTokens(ctx context.Context, id host.LoginID, from uint64) (uint64, error) {
	for range 3 {
		generation, settled, err := s.renewTokens(ctx, id, from)
		if err != nil || settled {
			return generation, err
		}
	}
	return 0, unavailable("state.tokens", nil)
}

// renewTokens returns settled false if it first had to read what another replica wrote;
// the caller tries again.
func (s *Store) renewTokens(ctx context.Context, id host.LoginID, from uint64) (_ uint64, settled bool, _ error) {
	if err := s.Ready(); err != nil {
		return 0, false, err
	}
	l, err := s.cache.find(id, time.Now())
	if err != nil {
		return 0, false, err
	}
	if l.rec.Generation > from {
		return l.rec.Generation, true, nil
	}
	rec := l.rec
	rec.Generation, rec.Renewed = rec.Generation+1, time.Now().Round(0)
	key, sealed, err := s.sealLogin(rec)
	if err != nil {
		return 0, false, err
	}
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	// The record must be unchanged, so that a login that a logout deleted is not
	// written again.
	resp, err := s.client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(key), "=", l.rev)).
		Then(clientv3.OpPut(key, sealed)).
		Else(clientv3.OpGet(key)).
		Commit()
	switch {
	case err != nil:
		return 0, false, unavailable("state.tokens", err)
	case resp.Succeeded:
		s.cache.putOwn(rec, resp.Header.Revision)
		return rec.Generation, true, nil
	case resp.Responses[0].GetResponseRange().Count == 0:
		s.endLogins([]loginKey{{rec.User, id}}, resp.Header.Revision)
		return 0, false, host.ErrLoggedOut
	}
	s.learn(resp)
	return 0, false, nil
}
