package state

import (
	"context"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

const (
	// maxRecord bounds a sealed record; claims are selected before they come here.
	maxRecord = 16 << 10
	// maxName bounds a user id and a login id, which become part of a place.
	maxName = 256
	// maxLogins is how many logins a user may have at a time.
	maxLogins = 200

	sweepEvery = time.Minute
	sweepBatch = 100 // operations in one transaction; etcd allows 128
)

// LoginRecord is one sign-in. No row, no login: a token means nothing without
// its record.
type LoginRecord struct {
	ID      host.LoginID
	User    host.UserID
	Issuer  string
	Subject string
	Method  string         // the way in: "dev", "oidc:corp", …
	Name    string         // display name, may be empty
	Claims  map[string]any // what policy may see of the identity provider's words; never modified
	At      time.Time      // when the person signed in
	Until   time.Time      // absolute end
	Borne   bool           // by a credential that may be shown again: the end is remembered (see AdmitLogin)
}

func (r *LoginRecord) validate() error {
	switch {
	case r.ID == "" || r.User == "" || r.Issuer == "" || r.Subject == "":
		return host.E(host.Invalid, "state.login", "a login needs an id, a user, an issuer and a subject")
	case len(r.ID) > maxName || len(r.User) > maxName:
		return host.E(host.Invalid, "state.login", "user and login ids have at most %d bytes", maxName)
	case !r.Until.After(r.At):
		return host.E(host.Invalid, "state.login", "a login must end after it began")
	}
	return nil
}

// CreateLogin stores a sign-in and returns the record as stored: At is moved
// past the user's last logout mark if the clock has gone back since. The login
// is visible here before CreateLogin returns. When the user has more logins
// than allowed, the oldest end.
func (s *Store) CreateLogin(ctx context.Context, rec LoginRecord) (LoginRecord, error) {
	if err := rec.validate(); err != nil {
		return LoginRecord{}, err
	}
	rec.At, rec.Until = rec.At.Round(0), rec.Until.Round(0) // as they will be after a restart
	if mark := s.cache.mark(rec.User); !rec.At.After(mark) {
		rec.At = mark.Add(1)
	}
	place, sealed, err := s.sealLogin(rec)
	if err != nil {
		return LoginRecord{}, err
	}
	ops := []clientv3.Op{clientv3.OpPut(place, sealed)}
	surplus := s.cache.surplus(rec.User, maxLogins-1, time.Now())
	for _, k := range surplus {
		ops = append(ops, s.endOps(k)...)
	}
	rev, err := s.commit(ctx, "state.login", ops...)
	if err != nil {
		return LoginRecord{}, err
	}
	s.cache.putLogin(rec, rev)
	s.endLogins(surplus)
	return rec, nil
}

func (s *Store) sealLogin(rec LoginRecord) (place, sealed string, err error) {
	place = s.at.ofLogin(loginKey{rec.User, rec.ID})
	sealed, err = s.seal.seal(place, rec)
	if err != nil {
		return "", "", host.E(host.Invalid, "state.login", "claims cannot be stored: %w", err)
	}
	if len(sealed) > maxRecord {
		return "", "", host.E(host.TooLarge, "state.login", "login record of %d bytes, at most %d", len(sealed), maxRecord)
	}
	return place, sealed, nil
}

// Login returns the live login with this id. It answers from memory.
func (s *Store) Login(id host.LoginID) (LoginRecord, bool) {
	l, err := s.cache.find(id, time.Now())
	if err != nil {
		return LoginRecord{}, false
	}
	return l.rec, true
}

// Revoked returns nil while p's login is live and the store can be trusted to
// know. Otherwise it is host.ErrLoggedOut, host.ErrLoginExpired, or an error of
// kind Unavailable. It answers from memory, allocates nothing, and may be
// called with locks held.
func (s *Store) Revoked(p *host.Principal) error {
	if !p.Known() {
		return host.ErrLoggedOut
	}
	if s.beat.stale() {
		return errStale
	}
	l, err := s.cache.find(p.Login.ID, time.Now())
	if err == nil && l.rec.User != p.User {
		return host.ErrLoggedOut
	}
	return err
}

// EndLogin ends one login. When it returns nil the end is durable and visible
// here; ending what is not live does nothing. After an error the login may or
// may not have ended, and the call should be repeated.
func (s *Store) EndLogin(ctx context.Context, id host.LoginID) error {
	l, err := s.cache.find(id, time.Now())
	if err != nil {
		return nil
	}
	k := loginKey{l.rec.User, id}
	if _, err := s.commit(ctx, "state.logout", s.endOps(k)...); err != nil {
		return err
	}
	s.endLogins([]loginKey{k})
	return nil
}

// EndUserLogins ends every login of the user that began before now, including
// one that another replica is creating at this moment. It promises what
// EndLogin promises.
func (s *Store) EndUserLogins(ctx context.Context, user host.UserID) error {
	if user == "" || len(user) > maxName {
		return host.E(host.Invalid, "state.logout", "no such user")
	}
	at := time.Now().Round(0)
	if last := s.cache.mark(user); !at.After(last) {
		at = last.Add(1)
	}
	place := s.at.markOf(user)
	sealed, err := s.seal.seal(place, mark{at})
	if err != nil {
		return host.E(host.Internal, "state.logout", "logout mark: %w", err)
	}
	_, err = s.commit(ctx, "state.logout",
		clientv3.OpPut(place, sealed),
		clientv3.OpDelete(s.at.loginsOf(user), clientv3.WithPrefix()))
	if err != nil {
		return err
	}
	s.announceLogins(s.cache.putMark(user, at), host.ErrLoggedOut)
	return nil
}

// mark is the record of a user's "nothing from before this".
type mark struct{ NotBefore time.Time }

func (s *Store) endLogins(keys []loginKey) {
	gone := slices.DeleteFunc(keys, func(k loginKey) bool { return !s.cache.endLogin(k) })
	s.announceLogins(gone, host.ErrLoggedOut)
}

// keepSweeping removes logins whose time is up. Nobody depends on it: checks
// compare the time themselves.
func (s *Store) keepSweeping(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			s.sweep(ctx, now)
		}
	}
}

func (s *Store) sweep(ctx context.Context, now time.Time) {
	for keys := range slices.Chunk(s.cache.due(now), sweepBatch) {
		ops := make([]clientv3.Op, 0, len(keys))
		for _, k := range keys {
			ops = append(ops, clientv3.OpDelete(s.at.ofLogin(k)))
		}
		if _, err := s.commit(ctx, "state.sweep", ops...); err != nil {
			return
		}
		s.endLogins(slices.Clone(keys))
		s.cache.forget(keys)
	}
	s.forgetOnce(ctx, now)
}
