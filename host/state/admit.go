package state

import (
	"context"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// AdmitLogin is CreateLogin for a login that a credential bears, such as an ID
// token: the id follows from the credential, rec.At is when it was issued, and
// rec.Credential, which must be set, is when it expires by itself. Presented
// again it has the same login. Once that was logged out, or if the user logged
// out everywhere after rec.At, it is host.ErrLoggedOut for good: the end is
// remembered until rec.Credential, whatever rec.Until was.
//
// A user has at most 200 such logins at a time, which do not count among the
// others. The oldest is set aside when there is one more: what runs under it
// ends, and its credential is admitted anew when it comes again.
func (s *Store) AdmitLogin(ctx context.Context, rec host.LoginRecord) (host.LoginRecord, error) {
	if err := validate(&rec); err != nil {
		return host.LoginRecord{}, err
	}
	if !rec.BearerBound() {
		return host.LoginRecord{}, host.E(host.Invalid, "state.login", "the credential that bears a login needs an end")
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

// admitLogin is not settled when it had to learn of a logout or an epoch first.
func (s *Store) admitLogin(ctx context.Context, rec host.LoginRecord) (_ host.LoginRecord, settled bool, _ error) {
	if err := s.Ready(); err != nil {
		return host.LoginRecord{}, false, err
	}
	k := loginKey{rec.User, rec.ID}
	if s.cache.out(k) {
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
	if rec.Epoch = b.epoch; !rec.At.After(b.mark) {
		return host.LoginRecord{}, false, host.ErrLoggedOut
	}
	place, sealed, err := s.sealLogin(rec)
	if err != nil {
		return host.LoginRecord{}, false, err
	}
	surplus := s.cache.surplus(rec.User, true, maxLogins-1, time.Now())
	out := s.at.outOf(k)
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	resp, err := s.client.Txn(ctx).
		If(append(b.current, absent(out), absent(place))...).
		Then(s.putOps(place, sealed, surplus)...).
		Else(append(b.read, clientv3.OpGet(place), clientv3.OpGet(out))...).
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

// outRecord remembers that a login was logged out, for as long as its credential
// could be shown again. It names the login alone, so that no setting which
// changes can hide it.
type outRecord struct{ Until time.Time }

func (s *Store) outOp(k loginKey, until time.Time) (clientv3.Op, error) {
	place := s.at.outOf(k)
	sealed, err := s.seal.seal(place, outRecord{until})
	if err != nil {
		return clientv3.Op{}, host.E(host.Internal, "state.logout", "record of a logout: %w", err)
	}
	return clientv3.OpPut(place, sealed), nil
}

// putOut treats a record that does not open as one without end: the login was
// logged out, or this is to hide when.
func (s *Store) putOut(place string, kv *mvccpb.KeyValue) error {
	user, id, ok := parseBelow(s.at.out, place)
	if !ok {
		return nil
	}
	var rec outRecord
	err := s.seal.open(place, kv.Value, &rec)
	if err != nil {
		rec.Until = time.Time{}
	}
	if k := (loginKey{user, host.LoginID(id)}); s.cache.putOut(k, rec.Until) {
		s.announceLogins([]loginKey{k}, host.ErrLoggedOut)
	}
	return err
}
