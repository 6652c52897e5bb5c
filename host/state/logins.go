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
	// maxLogins is how many logins a user may have at a time, and how many more
	// that credentials bear.
	maxLogins = 200
)

func validate(r *host.LoginRecord) error {
	switch {
	case r.ID == "" || r.User == "" || r.Issuer == "" || r.Subject == "":
		return host.E(host.Invalid, "state.login", "a login needs an id, a user, an issuer and a subject")
	case r.User != host.CanonicalID(r.User):
		return host.E(host.Invalid, "state.login", "user %q is not in the form in which ids are compared", r.User)
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
func (s *Store) CreateLogin(ctx context.Context, rec host.LoginRecord) (host.LoginRecord, error) {
	if err := validate(&rec); err != nil {
		return host.LoginRecord{}, err
	}
	rec.At, rec.Until = rec.At.Round(0), rec.Until.Round(0) // as they will be after a restart
	rec.Credential, rec.Generation, rec.Renewed = time.Time{}, 0, time.Time{}
	for range 3 {
		stored, current, err := s.createLogin(ctx, rec)
		if err != nil || current {
			return stored, err
		}
	}
	return host.LoginRecord{}, host.E(host.Conflict, "state.login", "%s is being logged out again and again", rec.User)
}

// createLogin stores the record, unless the user's logout mark or the epoch is
// not what this process knows. Then it learns them and current is false.
func (s *Store) createLogin(ctx context.Context, rec host.LoginRecord) (_ host.LoginRecord, current bool, _ error) {
	if err := s.Ready(); err != nil {
		return host.LoginRecord{}, false, err
	}
	b := s.basis(rec.User)
	if rec.Epoch = b.epoch; !rec.At.After(b.mark) {
		rec.At = b.mark.Add(1)
	}
	place, sealed, err := s.sealLogin(rec)
	if err != nil {
		return host.LoginRecord{}, false, err
	}
	surplus := s.cache.surplus(rec.User, false, maxLogins-1, time.Now())
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	resp, err := s.client.Txn(ctx).If(b.current...).Then(s.putOps(place, sealed, surplus)...).Else(b.read...).Commit()
	if err != nil {
		return host.LoginRecord{}, false, unavailable("state.login", err)
	}
	if !resp.Succeeded {
		s.learn(resp)
		return host.LoginRecord{}, false, nil
	}
	s.cache.putOwn(rec, resp.Header.Revision)
	s.endLogins(surplus, resp.Header.Revision)
	return rec, true, nil
}

// basis is what a new login of a user is built upon.
type basis struct {
	mark    time.Time      // logins from before are not good
	epoch   string         // it belongs to
	current []clientv3.Cmp // that the store has nothing newer
	read    []clientv3.Op  // what it has
}

func (s *Store) basis(user host.UserID) basis {
	mark, markRev, epoch := s.cache.basis(user)
	place := s.at.markOf(user)
	return basis{
		mark: mark, epoch: epoch.id,
		current: []clientv3.Cmp{
			clientv3.Compare(clientv3.ModRevision(place), "=", markRev),
			clientv3.Compare(clientv3.ModRevision(s.at.epoch), "=", epoch.rev),
		},
		read: []clientv3.Op{clientv3.OpGet(place), clientv3.OpGet(s.at.epoch)},
	}
}

// learn takes what a transaction read into the cache.
func (s *Store) learn(resp *clientv3.TxnResponse) {
	for _, r := range resp.Responses {
		for _, kv := range r.GetResponseRange().Kvs {
			s.put(kv, 0)
		}
	}
}

// putOps store a login in the place of surplus ones.
func (s *Store) putOps(place, sealed string, surplus []loginKey) []clientv3.Op {
	ops := []clientv3.Op{clientv3.OpPut(place, sealed)}
	for _, k := range surplus {
		ops = append(ops, clientv3.OpDelete(s.at.ofLogin(k)))
	}
	return ops
}

func (s *Store) sealLogin(rec host.LoginRecord) (place, sealed string, err error) {
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
func (s *Store) Login(id host.LoginID) (host.LoginRecord, bool) {
	l, err := s.cache.find(id, time.Now())
	if err != nil {
		return host.LoginRecord{}, false
	}
	return l.rec, true
}

// Logins returns the user's live logins, oldest first. It answers from memory.
func (s *Store) Logins(user host.UserID) []host.LoginRecord { return s.cache.live(user, time.Now()) }

// Revoked returns nil while p's login is live and the store can be trusted to
// know. Otherwise it is host.ErrLoggedOut, host.ErrLoginExpired, or an error of
// kind Unavailable. It answers from memory, allocates nothing, and may be
// called with locks held.
func (s *Store) Revoked(p *host.Principal) error {
	if !p.Known() {
		return host.ErrLoggedOut
	}
	if err := s.Ready(); err != nil {
		return err
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
	_, err = s.logOut(ctx, &l.rec)
	return err
}

// logOut ends a login for good, and does what else ops say, in one step. The login
// comes first: replicas take a step's changes in order, and sessions that ops end
// must find it ended when they would open again.
func (s *Store) logOut(ctx context.Context, rec *host.LoginRecord, ops ...clientv3.Op) (rev int64, err error) {
	k := loginKey{rec.User, rec.ID}
	var login []clientv3.Op
	if rec.BearerBound() {
		op, err := s.outOp(k, rec.Credential)
		if err != nil {
			return 0, err
		}
		login = append(login, op)
	}
	login = append(login, clientv3.OpDelete(s.at.ofLogin(k)))
	rev, err = s.insist(ctx, "state.logout", append(login, ops...)...)
	if err != nil {
		return 0, err
	}
	if rec.BearerBound() && s.cache.putOut(k, rec.Credential) {
		s.announceLogins([]loginKey{k}, host.ErrLoggedOut)
	}
	s.endLogins([]loginKey{k}, rev)
	return rev, nil
}

// EndUserLogins ends every login of the user that began before now, including
// one that another replica is creating at this moment. It promises what
// EndLogin promises.
func (s *Store) EndUserLogins(ctx context.Context, user host.UserID) error {
	if user == "" || len(user) > maxName {
		return host.E(host.Invalid, "state.logout", "no such user")
	}
	user = host.CanonicalID(user)
	at := time.Now().Round(0)
	if last := s.cache.mark(user); !at.After(last) {
		at = last.Add(1)
	}
	place := s.at.markOf(user)
	sealed, err := s.seal.seal(place, mark{at})
	if err != nil {
		return host.E(host.Internal, "state.logout", "logout mark: %w", err)
	}
	rev, err := s.insist(ctx, "state.logout",
		clientv3.OpPut(place, sealed),
		clientv3.OpDelete(s.at.loginsOf(user), clientv3.WithPrefix()))
	if err != nil {
		return err
	}
	s.announceLogins(s.cache.putMark(user, at, rev), host.ErrLoggedOut)
	return nil
}

// mark is the record of a user's "nothing from before this".
type mark struct{ NotBefore time.Time }

// endLogins ends logins here, as they were up to revision rev.
func (s *Store) endLogins(keys []loginKey, rev int64) {
	gone := slices.DeleteFunc(keys, func(k loginKey) bool { return !s.cache.endLogin(k, rev) })
	s.announceLogins(gone, host.ErrLoggedOut)
}
