package state

import (
	"context"
	"errors"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

const retryEvery = 200 * time.Millisecond

// reload updates the cache to the present content of the store and returns its
// revision. Logins that the store no longer contains end. It fails if the store is not
// the one that the cache was filled from.
func (s *Store) reload(ctx context.Context) (int64, error) {
	known, beat := s.cache.revision(), s.beat.ackedBeat()
	l, err := s.load(ctx)
	if err != nil {
		return 0, err
	}
	why := doubtful(&pb.ResponseHeader{ClusterId: l.cluster, Revision: l.revision}, known, s.cluster.Load())
	if why == "" && l.ownBeat < beat {
		why = lostBeat
	}
	if why != "" {
		return 0, &rolledBack{why}
	}
	if l.epoch != nil {
		s.put(l.epoch, known)
	} else {
		s.announceLogins(s.cache.enterEpoch(epoch{}), host.ErrLoggedOut)
	}
	logins, keys, wanted := make(map[loginKey]bool), make(map[string]bool), make(map[string]bool)
	for _, kv := range l.kvs {
		if key := string(kv.Key); s.at.isBeat(key) {
			s.pulses.advance(strings.TrimPrefix(key, s.at.beat), kv.ModRevision, time.Now())
		} else if key != s.at.epoch {
			s.put(kv, known)
			if k, ok := s.at.parseLogin(key); ok {
				logins[k] = true
			}
			if name, ok := strings.CutPrefix(key, s.at.want); ok {
				wanted[name] = true
			}
			keys[key] = true
		}
	}
	s.announceLogins(s.cache.retain(logins, l.revision), host.ErrLoggedOut)
	s.cache.keys.retain(keys)
	s.wanted.retain(wanted, l.revision)
	s.cache.reached(l.revision)
	return l.revision, nil
}

// rolledBack is the error of a store that lost committed records.
type rolledBack struct{ why string }

func (e *rolledBack) Error() string { return "the state store was rolled back: " + e.why }

// watch follows the store from revision next until ctx ends, and resumes by revision.
// If that revision has been compacted, it reloads everything.
func (s *Store) watch(ctx context.Context, next int64) {
	for ctx.Err() == nil {
		following, stop := context.WithCancel(ctx)
		s.unfollow.Store(&stop)
		select {
		case d := <-s.doubts: // sent before unfollow was called
			if d.renewals == s.renewals.Load() {
				next = s.renew(ctx) + 1
			}
			close(d.done)
		default:
			var lost bool
			next, lost = s.follow(following, next)
			if lost {
				next = s.recover(ctx) + 1
			} else if following.Err() == nil {
				pause(ctx, retryEvery)
			}
		}
		stop()
	}
}

// restartWatch ends the current watch, which resumes on another connection.
func (s *Store) restartWatch() {
	if stop := s.unfollow.Load(); stop != nil {
		(*stop)()
	}
}

// recover reloads everything, trying until ctx ends.
func (s *Store) recover(ctx context.Context) (rev int64) {
	for ctx.Err() == nil {
		rev, err := s.reload(ctx)
		if err == nil {
			return rev
		}
		if gone, ok := errors.AsType[*rolledBack](err); ok {
			s.distrust(gone.why)
			return s.renew(ctx)
		}
		s.log.Warn("the state cannot be loaded, retrying", "error", err)
		pause(ctx, retryEvery)
	}
	return 0
}

// follow returns when the watch ends, with the revision to resume from; lost reports
// that it cannot be resumed.
func (s *Store) follow(ctx context.Context, next int64) (resume int64, lost bool) {
	// A new watcher has its own stream, so a stream that hangs is abandoned.
	watcher := clientv3.NewWatcher(s.client)
	defer watcher.Close()
	changes := watcher.Watch(clientv3.WithRequireLeader(ctx), s.at.facts, clientv3.WithPrefix(), clientv3.WithRev(next))
	for resp := range changes {
		if err := resp.Err(); err != nil {
			if ctx.Err() == nil {
				s.log.Warn("state watch ended", "error", err)
			}
			return next, resp.CompactRevision != 0
		}
		if c := s.cluster.Load(); resp.Header.ClusterId != c {
			return next, true // reload finds out why
		}
		for _, e := range resp.Events {
			if e.Type == mvccpb.DELETE {
				s.remove(string(e.Kv.Key), e.Kv.ModRevision)
			} else {
				s.put(e.Kv, 0)
			}
			next = e.Kv.ModRevision + 1
		}
		// The header's revision may be ahead of the events while they catch up.
		s.cache.reached(next - 1)
	}
	return next, false
}

// put adds a record to the cache. A record that cannot be decrypted counts as absent:
// its login ends, and the user's other logins are not affected. Endings of sessions up
// to revision known were announced before.
func (s *Store) put(kv *mvccpb.KeyValue, known int64) {
	key := string(kv.Key)
	var err error
	switch {
	case key == s.at.beatOf(s.published.replica):
		s.beat.seen(string(kv.Value))
	case s.at.isBeat(key):
		s.pulses.advance(strings.TrimPrefix(key, s.at.beat), kv.ModRevision, time.Now())
		s.compareClocks(key, kv)
	case strings.HasPrefix(key, s.at.want):
		err = s.putDesired(kv)
	case key == s.at.epoch:
		err = s.putEpoch(kv)
	case strings.HasPrefix(key, s.at.login):
		err = s.putLogin(key, kv)
	case strings.HasPrefix(key, s.at.notBefore):
		err = s.putNotBefore(key, kv)
	case strings.HasPrefix(key, s.at.logout):
		err = s.putLogout(key, kv)
	case strings.HasPrefix(key, s.at.key):
		err = s.putKey(key, kv.Value)
	case strings.HasPrefix(key, s.at.userEnding), strings.HasPrefix(key, s.at.sessionEnding):
		err = s.putEnding(key, kv, known)
	}
	if err != nil {
		s.log.Error("a record in the state store is not genuine", "key", key, "error", err)
	}
}

func (s *Store) putLogin(key string, kv *mvccpb.KeyValue) error {
	k, ok := s.at.parseLogin(key)
	var rec host.LoginRecord
	if err := s.seal.open(key, kv.Value, &rec); err != nil {
		if ok {
			s.endLogins([]loginKey{k}, kv.ModRevision)
		}
		return err
	}
	if ok && rec.User == k.user && rec.ID == k.id {
		s.cache.putLogin(rec, kv.ModRevision)
	}
	return nil
}

// putNotBefore treats a not-before record that cannot be decrypted as one of the present
// time: it may have been damaged to hide a logout.
func (s *Store) putNotBefore(key string, kv *mvccpb.KeyValue) error {
	user, ok := parseUser(s.at.notBefore, key)
	if !ok {
		return nil
	}
	var m notBeforeRecord
	err := s.seal.open(key, kv.Value, &m)
	if err != nil {
		m.NotBefore = time.Now()
	}
	s.announceLogins(s.cache.putNotBefore(user, m.NotBefore, kv.ModRevision), host.ErrLoggedOut)
	return err
}

func (s *Store) putKey(key string, sealed []byte) error {
	var rec keyRecord
	if err := s.seal.open(key, sealed, &rec); err != nil {
		s.cache.keys.drop(key)
		return err
	}
	if k, ok := rec.key(); ok {
		s.cache.keys.put(key, k)
	}
	return nil
}

// remove applies a deletion at revision rev. A deleted not-before record stays in force
// on this replica, and so does a deleted record of a logout.
func (s *Store) remove(key string, rev int64) {
	switch {
	case key == s.at.epoch:
		s.announceLogins(s.cache.enterEpoch(epoch{}), host.ErrLoggedOut)
	case strings.HasPrefix(key, s.at.login):
		if k, ok := s.at.parseLogin(key); ok {
			s.endLogins([]loginKey{k}, rev)
		}
	case strings.HasPrefix(key, s.at.key):
		s.cache.keys.drop(key)
	case strings.HasPrefix(key, s.at.want):
		s.wanted.remove(strings.TrimPrefix(key, s.at.want), rev, false)
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
