package state

import (
	"context"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// AdmitLogin is CreateLogin for a bearer-bound login. rec.ID is derived from the
// credential, such as an ID token; rec.At is when the credential was issued, and
// rec.Credential, which is required, is when it expires. The same credential always
// has the same login. After a logout of that login, or of all the user's logins after
// rec.At, AdmitLogin returns host.ErrLoggedOut: the store remembers the logout until
// rec.Credential, whatever rec.Until is.
//
// A user has at most 200 bearer-bound logins at a time, counted apart from other
// logins. One more sets the oldest aside: its sessions end, and its credential is
// admitted again when it is next presented.
func (s *Store) AdmitLogin(ctx context.Context, rec host.LoginRecord) (host.LoginRecord, error) {
	if err := validate(&rec); err != nil {
		return host.LoginRecord{}, err
	}
	if !rec.BearerBound() {
		return host.LoginRecord{}, host.E(host.Invalid, "state.login", "a bearer-bound login needs the time when its credential expires")
	}
	if !time.Now().Before(rec.Until) {
		return host.LoginRecord{}, host.ErrLoginExpired
	}
	rec.At, rec.Until, rec.Credential = rec.At.Round(0), rec.Until.Round(0), rec.Credential.Round(0)
	rec.Generation, rec.Renewed = 0, time.Time{}
	for range 3 {
		stored, settled, err := s.admitLogin(ctx, rec)
		if err != nil || settled {
			return stored, err
		}
	}
	return host.LoginRecord{}, host.ErrLoggedOut
}

// admitLogin returns settled false if it had to read a newer logout or epoch from
// the store first; the caller tries again.
func (s *Store) admitLogin(ctx context.Context, rec host.LoginRecord) (_ host.LoginRecord, settled bool, _ error) {
	if err := s.Ready(); err != nil {
		return host.LoginRecord{}, false, err
	}
	k := loginKey{rec.User, rec.ID}
	if s.cache.loggedOut(k) {
		return host.LoginRecord{}, false, host.ErrLoggedOut
	}
	switch l, err := s.cache.find(rec.ID, time.Now()); {
	case l == nil:
	case l.rec.User != rec.User:
		return host.LoginRecord{}, false, host.ErrLoggedOut
	case err == nil:
		return l.rec, true, nil
	}
	b := s.basis(rec.User)
	if rec.Epoch = b.epoch; !rec.At.After(b.notBefore) {
		return host.LoginRecord{}, false, host.ErrLoggedOut
	}
	key, sealed, err := s.sealLogin(rec)
	if err != nil {
		return host.LoginRecord{}, false, err
	}
	surplus := s.cache.surplus(rec.User, true, maxLogins-1, time.Now())
	logout := s.at.logoutOf(k)
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	resp, err := s.client.Txn(ctx).
		If(append(b.current, absent(logout), absent(key))...).
		Then(s.putOps(key, sealed, surplus)...).
		Else(append(b.read, clientv3.OpGet(key), clientv3.OpGet(logout))...).
		Commit()
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

// logoutRecord remembers the logout of a bearer-bound login until its credential
// expires. Its key contains only user and login, so that it is found whatever the
// configuration is by then.
type logoutRecord struct{ Until time.Time }

func (s *Store) outOp(k loginKey, until time.Time) (clientv3.Op, error) {
	key := s.at.logoutOf(k)
	sealed, err := s.seal.seal(key, logoutRecord{until})
	if err != nil {
		return clientv3.Op{}, host.E(host.Internal, "state.logout", "record of a logout: %w", err)
	}
	return clientv3.OpPut(key, sealed), nil
}

// putLogout treats a record that cannot be decrypted as a logout without end: the
// record may have been damaged to hide the logout.
func (s *Store) putLogout(key string, kv *mvccpb.KeyValue) error {
	user, id, ok := parseBelow(s.at.logout, key)
	if !ok {
		return nil
	}
	var rec logoutRecord
	err := s.seal.open(key, kv.Value, &rec)
	if err != nil {
		rec.Until = time.Time{}
	}
	if k := (loginKey{user, host.LoginID(id)}); s.cache.putLogout(k, rec.Until) {
		s.announceLogins([]loginKey{k}, host.ErrLoggedOut)
	}
	return err
}
