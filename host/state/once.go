package state

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Once records that something which may happen once has happened, and reports
// whether this was the first time. For a name, one caller in all replicas is
// told so, across restarts, as long as until has not passed; who asks later
// must refuse by itself. After an error it may or may not be recorded.
func (s *Store) Once(ctx context.Context, name string, until time.Time) (first bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	place := s.at.onceOf(name, until)
	resp, err := s.client.Txn(ctx).If(absent(place)).Then(clientv3.OpPut(place, "")).Commit()
	if err != nil {
		return false, unavailable("state.once", err)
	}
	return resp.Succeeded, nil
}

func absent(place string) clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(place), "=", 0)
}

// onceOf sorts by when it may be forgotten, so that one range is all that may.
func (p *places) onceOf(name string, until time.Time) string {
	sum := sha256.Sum256([]byte(name))
	return p.onceBefore(until) + base64.RawURLEncoding.EncodeToString(sum[:])
}

func (p *places) onceBefore(t time.Time) string { return p.once + fmt.Sprintf("%016x/", t.Unix()) }

// forgetOnce drops what nobody may ask about any more.
func (s *Store) forgetOnce(ctx context.Context, now time.Time) {
	_, _ = s.commit(ctx, "state.sweep", clientv3.OpDelete(s.at.once, clientv3.WithRange(s.at.onceBefore(now))))
}

// AdmitLogin is CreateLogin for a login that is borne by a credential, such as
// an ID token: the id follows from the credential, and rec.At is when it was
// issued. Whoever presents it again gets the login that there is. Once that has
// ended, or if the user logged out everywhere after rec.At, it is
// host.ErrLoggedOut for good: the end is remembered until rec.Until.
func (s *Store) AdmitLogin(ctx context.Context, rec LoginRecord) (LoginRecord, error) {
	if err := rec.validate(); err != nil {
		return LoginRecord{}, err
	}
	rec.At, rec.Until, rec.Borne = rec.At.Round(0), rec.Until.Round(0), true
	for range 3 {
		stored, settled, err := s.admitLogin(ctx, rec)
		if err != nil || settled {
			return stored, err
		}
	}
	return LoginRecord{}, host.ErrLoggedOut
}

// admitLogin is not settled when it had to learn of a logout or an epoch first.
func (s *Store) admitLogin(ctx context.Context, rec LoginRecord) (_ LoginRecord, settled bool, _ error) {
	if err := s.Ready(); err != nil {
		return LoginRecord{}, false, err
	}
	if l, err := s.cache.find(rec.ID, time.Now()); l != nil {
		if err == nil && l.rec.User != rec.User {
			err = host.ErrLoggedOut
		}
		return l.rec, true, err
	}
	b := s.basis(rec.User)
	if rec.Epoch = b.epoch; !rec.At.After(b.mark) {
		return LoginRecord{}, false, host.ErrLoggedOut
	}
	place, sealed, err := s.sealLogin(rec)
	if err != nil {
		return LoginRecord{}, false, err
	}
	surplus := s.cache.surplus(rec.User, maxLogins-1, time.Now())
	ended := s.at.onceOf(endName(rec.ID), rec.Until)
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	resp, err := s.client.Txn(ctx).
		If(append(b.current, absent(ended), absent(place))...).
		Then(s.putOps(place, sealed, surplus)...).
		Else(append(b.read, clientv3.OpGet(place), clientv3.OpGet(ended))...).
		Commit()
	if err != nil {
		return LoginRecord{}, false, unavailable("state.login", err)
	}
	if resp.Succeeded {
		s.cache.putOwn(rec, resp.Header.Revision)
		s.endLogins(surplus)
		return rec, true, nil
	}
	if last := len(resp.Responses) - 1; resp.Responses[last].GetResponseRange().Count > 0 {
		return LoginRecord{}, false, host.ErrLoggedOut
	}
	s.learn(resp)
	return LoginRecord{}, false, nil
}

func endName(id host.LoginID) string { return "login/" + string(id) }

// endOps are the writes that end a login: a borne one must not be admitted again.
func (s *Store) endOps(k loginKey) []clientv3.Op {
	ops := []clientv3.Op{clientv3.OpDelete(s.at.ofLogin(k))}
	if l, _ := s.cache.find(k.id, time.Now()); l != nil && l.rec.Borne {
		ops = append(ops, clientv3.OpPut(s.at.onceOf(endName(k.id), l.rec.Until), ""))
	}
	return ops
}
