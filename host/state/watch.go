package state

import (
	"context"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

const retryEvery = 200 * time.Millisecond

// reload brings the cache to what the store holds now and returns that
// revision. What the cache knows and the store does not hold has ended.
func (s *Store) reload(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	resp, err := s.client.Get(ctx, s.at.facts, clientv3.WithPrefix())
	if err != nil {
		return 0, unavailable("state.load", err)
	}
	logins, keys := make(map[loginKey]bool), make(map[string]bool)
	known := s.cache.revision()
	for _, kv := range resp.Kvs {
		s.put(kv, known)
		if k, ok := s.at.parseLogin(string(kv.Key)); ok {
			logins[k] = true
		}
		keys[string(kv.Key)] = true
	}
	s.announceLogins(s.cache.retain(logins, resp.Header.Revision), host.ErrLoggedOut)
	s.cache.keys.retain(keys)
	s.cache.reached(resp.Header.Revision)
	return resp.Header.Revision, nil
}

// watch follows the store from revision next on until ctx ends. The client
// resumes by revision after a broken connection; when that revision is gone,
// or the watch ends otherwise, everything is loaded anew.
func (s *Store) watch(ctx context.Context, next int64) {
	for ctx.Err() == nil {
		s.follow(ctx, next)
		for ctx.Err() == nil {
			rev, err := s.reload(ctx)
			if err == nil {
				next = rev + 1
				break
			}
			s.log.Warn("state cannot be loaded, retrying", "error", err)
			pause(ctx, retryEvery)
		}
	}
}

// follow returns when the watch ended.
func (s *Store) follow(ctx context.Context, next int64) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changes := s.client.Watch(clientv3.WithRequireLeader(ctx), s.at.facts, clientv3.WithPrefix(), clientv3.WithRev(next))
	for resp := range changes {
		if err := resp.Err(); err != nil {
			if ctx.Err() == nil {
				s.log.Warn("state watch ended, loading anew", "error", err)
			}
			return
		}
		for _, e := range resp.Events {
			if e.Type == mvccpb.DELETE {
				s.remove(string(e.Kv.Key))
			} else {
				s.put(e.Kv, 0)
			}
		}
		s.cache.reached(resp.Header.Revision)
	}
}

// put takes a record into the cache. One that does not open counts as absent:
// its login ends, and its user's other logins are not affected. Known is the revision up to which
// wishes to end sessions were obeyed before.
func (s *Store) put(kv *mvccpb.KeyValue, known int64) {
	place := string(kv.Key)
	var err error
	switch {
	case place == s.at.beat:
		s.beat.seen(string(kv.Value))
	case strings.HasPrefix(place, s.at.login):
		err = s.putLogin(place, kv)
	case strings.HasPrefix(place, s.at.mark):
		err = s.putMark(place, kv.Value)
	case strings.HasPrefix(place, s.at.key):
		err = s.putKey(place, kv.Value)
	case strings.HasPrefix(place, s.at.cut), strings.HasPrefix(place, s.at.end):
		err = s.obeyEnding(place, kv, known)
	}
	if err != nil {
		s.log.Error("a record in the state store is not genuine", "place", place, "error", err)
	}
}

func (s *Store) putLogin(place string, kv *mvccpb.KeyValue) error {
	k, ok := s.at.parseLogin(place)
	var rec LoginRecord
	if err := s.seal.open(place, kv.Value, &rec); err != nil {
		if ok {
			s.endLogins([]loginKey{k})
		}
		return err
	}
	if ok && rec.User == k.user && rec.ID == k.id {
		s.cache.putLogin(rec, kv.ModRevision)
	}
	return nil
}

// putMark treats a mark that does not open as one of this moment: somebody
// wanted this user's logins to end, or wants to hide it.
func (s *Store) putMark(place string, sealed []byte) error {
	user, ok := parseUser(s.at.mark, place)
	if !ok {
		return nil
	}
	var m mark
	err := s.seal.open(place, sealed, &m)
	if err != nil {
		m.NotBefore = time.Now()
	}
	s.announceLogins(s.cache.putMark(user, m.NotBefore), host.ErrLoggedOut)
	return err
}

func (s *Store) putKey(place string, sealed []byte) error {
	var rec keyRecord
	if err := s.seal.open(place, sealed, &rec); err != nil {
		s.cache.keys.drop(place)
		return err
	}
	if k, ok := rec.key(); ok {
		s.cache.keys.put(place, k)
	}
	return nil
}

// remove follows a deletion. A deleted mark stays in force here.
func (s *Store) remove(place string) {
	switch {
	case strings.HasPrefix(place, s.at.login):
		if k, ok := s.at.parseLogin(place); ok {
			s.endLogins([]loginKey{k})
		}
	case strings.HasPrefix(place, s.at.key):
		s.cache.keys.drop(place)
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
