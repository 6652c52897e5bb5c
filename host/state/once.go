package state

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
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
func (p *keySpace) onceOf(name string, until time.Time) string {
	sum := sha256.Sum256([]byte(name))
	return p.onceBefore(until) + base64.RawURLEncoding.EncodeToString(sum[:])
}

func (p *keySpace) onceBefore(t time.Time) string { return p.once + fmt.Sprintf("%016x/", t.Unix()) }

// forgetOnce drops what no replica accepts any more.
func (s *Store) forgetOnce(ctx context.Context, now time.Time) {
	_, _ = s.commit(ctx, "state.sweep", clientv3.OpDelete(s.at.once, clientv3.WithRange(s.at.onceBefore(now))))
}
