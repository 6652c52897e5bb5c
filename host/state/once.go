package state

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Once records a name and reports whether this was the first time. For each name,
// exactly one call among all replicas returns true, across restarts, until the given
// time; callers must refuse the name after that by themselves. After an error the name
// may or may not be recorded.
func (s *Store) Once(ctx context.Context, name string, until time.Time) (first bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	key := s.at.onceOf(name, until)
	resp, err := s.client.Txn(ctx).If(absent(key)).Then(clientv3.OpPut(key, "")).Commit()
	if err != nil {
		return false, unavailable("state.once", err)
	}
	return resp.Succeeded, nil
}

func absent(key string) clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(key), "=", 0)
}

// onceOf returns keys that sort by their end, so that one range contains all names
// that have expired.
func (p *keySpace) onceOf(name string, until time.Time) string {
	sum := sha256.Sum256([]byte(name))
	return p.onceBefore(until) + base64.RawURLEncoding.EncodeToString(sum[:])
}

func (p *keySpace) onceBefore(t time.Time) string { return p.once + fmt.Sprintf("%016x/", t.Unix()) }

// forgetOnce removes the names that have expired.
func (s *Store) forgetOnce(ctx context.Context, now time.Time) {
	_, _ = s.commit(ctx, "state.sweep", clientv3.OpDelete(s.at.once, clientv3.WithRange(s.at.onceBefore(now))))
}
