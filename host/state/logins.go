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
	// maxName bounds a user id and a login id, which become part of a key.
	maxName = 256
	// maxLogins is how many logins a user may have at a time, and how many
	// bearer-bound ones in addition.
	maxLogins = 200
)

func validate(r *host.LoginRecord) error {
	switch {
	case r.ID == "" || r.User == "" || r.Issuer == "" || r.Subject == "":
		return host.E(host.Invalid, "state.login", "a login needs an id, a user, an issuer and a subject")
	case r.User != host.CanonicalID(r.User):
		return host.E(host.Invalid, "state.login", "user %q is not in canonical form", r.User)
	case len(r.ID) > maxName || len(r.User) > maxName:
		return host.E(host.Invalid, "state.login", "user and login ids have at most %d bytes", maxName)
	case !r.Until.After(r.At):
		return host.E(host.Invalid, "state.login", "a login must end after it began")
	}
	return nil
}

// CreateLogin stores a login and returns the record as stored: At is moved past the
// user's not-before if the clock has gone back since. The login is visible on this
// replica before CreateLogin returns. If the user has more logins than allowed, the
// oldest end.
func (s *Store) CreateLogin(ctx context.Context, rec host.LoginRecord) (host.LoginRecord, error) {
	if err := validate(&rec); err != nil {
		return host.LoginRecord{}, err
	}
	rec.At, rec.Until = rec.At.Round(0), rec.Until.Round(0) // as they are after a restart
	rec.Credential, rec.Generation, rec.Renewed = time.Time{}, 0, time.Time{}
	for range 3 {
		stored, current, err := s.createLogin(ctx, rec)
		if err != nil || current {
			return stored, err
		}
	}
	return host.LoginRecord{}, host.E(host.Conflict, "state.login", "%s is being logged out repeatedly; try again", rec.User)
}

// createLogin stores the record, unless the user's not-before or the epoch has changed
// in the store. Then it reads them and returns current false.
func (s *Store) createLogin(ctx context.Context, rec host.LoginRecord) (_ host.LoginRecord, current bool, _ error) {
	if err := s.Ready(); err != nil {
		return host.LoginRecord{}, false, err
	}
	b := s.basis(rec.User)
	if rec.Epoch = b.epoch; !rec.At.After(b.notBefore) {
		rec.At = b.notBefore.Add(1)
	}
	key, sealed, err := s.sealLogin(rec)
	if err != nil {
		return host.LoginRecord{}, false, err
	}
	surplus := s.cache.surplus(rec.User, false, maxLogins-1, time.Now())
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	resp, err := s.client.Txn(ctx).If(b.current...).Then(s.putOps(key, sealed, surplus)...).Else(b.read...).Commit()
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

// basis is the state on which a new login of a user is based.
type basis struct {
	notBefore time.Time      // logins from before it are invalid
	epoch     string         // it belongs to
	current   []clientv3.Cmp // that the store has nothing newer
	read      []clientv3.Op  // what it has
}

func (s *Store) basis(user host.UserID) basis {
	notBefore, notBeforeRev, epoch := s.cache.basis(user)
	key := s.at.notBeforeOf(user)
	return basis{
		notBefore: notBefore, epoch: epoch.id,
		current: []clientv3.Cmp{
			clientv3.Compare(clientv3.ModRevision(key), "=", notBeforeRev),
			clientv3.Compare(clientv3.ModRevision(s.at.epoch), "=", epoch.rev),
		},
		read: []clientv3.Op{clientv3.OpGet(key), clientv3.OpGet(s.at.epoch)},
	}
}

// learn adds the records that a transaction read to the cache.
func (s *Store) learn(resp *clientv3.TxnResponse) {
	for _, r := range resp.Responses {
		for _, kv := range r.GetResponseRange().Kvs {
			s.put(kv, 0)
		}
	}
}

// putOps returns the operations that store a login and delete surplus ones.
func (s *Store) putOps(key, sealed string, surplus []loginKey) []clientv3.Op {
	ops := []clientv3.Op{clientv3.OpPut(key, sealed)}
	for _, k := range surplus {
		ops = append(ops, clientv3.OpDelete(s.at.ofLogin(k)))
	}
	return ops
}

func (s *Store) sealLogin(rec host.LoginRecord) (key, sealed string, err error) {
	key = s.at.ofLogin(loginKey{rec.User, rec.ID})
	sealed, err = s.seal.seal(key, rec)
	if err != nil {
		return "", "", host.E(host.Invalid, "state.login", "claims cannot be stored: %w", err)
	}
	if len(sealed) > maxRecord {
		return "", "", host.E(host.TooLarge, "state.login", "login record of %d bytes, at most %d", len(sealed), maxRecord)
	}
	return key, sealed, nil
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

// Revoked returns nil while p's login is live and this replica is fresh. Otherwise it
// returns host.ErrLoggedOut, host.ErrLoginExpired, or an error of kind Unavailable. It
// answers from memory, allocates nothing, and may be called with locks held.
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

// EndLogin ends one login. When it returns nil, the end is durable and visible on this
// replica. Ending a login that is not live has no effect. After an error the login may
// or may not have ended, and the call should be repeated.
func (s *Store) EndLogin(ctx context.Context, id host.LoginID) error {
	l, err := s.cache.find(id, time.Now())
	if err != nil {
		return nil
	}
	_, err = s.logOut(ctx, &l.rec)
	return err
}

// logOut ends a login permanently and carries out ops in the same transaction. The
// login comes first: replicas apply the changes of a transaction in order, and the
// login must have ended before the sessions that ops end could be opened again.
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
	if rec.BearerBound() && s.cache.putLogout(k, rec.Credential) {
		s.announceLogins([]loginKey{k}, host.ErrLoggedOut)
	}
	s.endLogins([]loginKey{k}, rev)
	return rev, nil
}

// EndUserLogins ends every login of the user that began before now, including one that
// another replica is creating at this moment. It gives the guarantees of EndLogin.
func (s *Store) EndUserLogins(ctx context.Context, user host.UserID) error {
	if user == "" || len(user) > maxName {
		return host.E(host.Invalid, "state.logout", "user: must not be empty and have at most %d bytes", maxName)
	}
	user = host.CanonicalID(user)
	at := time.Now().Round(0)
	if last := s.cache.notBefore(user); !at.After(last) {
		at = last.Add(1)
	}
	key := s.at.notBeforeOf(user)
	sealed, err := s.seal.seal(key, notBeforeRecord{at})
	if err != nil {
		return host.E(host.Internal, "state.logout", "not-before record: %w", err)
	}
	rev, err := s.insist(ctx, "state.logout",
		clientv3.OpPut(key, sealed),
		clientv3.OpDelete(s.at.loginsOf(user), clientv3.WithPrefix()))
	if err != nil {
		return err
	}
	s.announceLogins(s.cache.putNotBefore(user, at, rev), host.ErrLoggedOut)
	return nil
}

// notBeforeRecord is the time before which a user's logins are invalid.
type notBeforeRecord struct{ NotBefore time.Time }

// endLogins ends logins in the cache, except those that were written after revision
// rev.
func (s *Store) endLogins(keys []loginKey, rev int64) {
	gone := slices.DeleteFunc(keys, func(k loginKey) bool { return !s.cache.endLogin(k, rev) })
	s.announceLogins(gone, host.ErrLoggedOut)
}
