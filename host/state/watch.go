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

// reload brings the cache to what the store holds now and returns that
// revision. What the cache knows and the store does not hold has ended. It
// fails if the store is not the one that the cache was filled from.
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
		if place := string(kv.Key); s.at.isBeat(place) {
			s.pulses.advance(strings.TrimPrefix(place, s.at.beat), kv.ModRevision, time.Now())
		} else if place != s.at.epoch {
			s.put(kv, known)
			if k, ok := s.at.parseLogin(place); ok {
				logins[k] = true
			}
			if name, ok := strings.CutPrefix(place, s.at.want); ok {
				wanted[name] = true
			}
			keys[place] = true
		}
	}
	s.announceLogins(s.cache.retain(logins, l.revision), host.ErrLoggedOut)
	s.cache.keys.retain(keys)
	s.wanted.retain(wanted, l.revision)
	s.cache.reached(l.revision)
	return l.revision, nil
}

// rolledBack is the error of a store that lost what it had taken.
type rolledBack struct{ why string }

func (e *rolledBack) Error() string { return "the state store was rolled back: " + e.why }

// watch follows the store from revision next on until ctx ends, and resumes by
// revision. When that revision is gone, everything is loaded anew.
func (s *Store) watch(ctx context.Context, next int64) {
	for ctx.Err() == nil {
		following, stop := context.WithCancel(ctx)
		s.unfollow.Store(&stop)
		select {
		case d := <-s.doubts: // was sent before unfollow was called
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

// restartWatch ends the watch under way; it resumes on another connection.
func (s *Store) restartWatch() {
	if stop := s.unfollow.Load(); stop != nil {
		(*stop)()
	}
}

// recover loads everything anew, trying until ctx ends.
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
		s.log.Warn("state cannot be loaded, retrying", "error", err)
		pause(ctx, retryEvery)
	}
	return 0
}

// follow returns when the watch ended, with the revision to resume from, or
// that it is lost.
func (s *Store) follow(ctx context.Context, next int64) (resume int64, lost bool) {
	// A watcher of its own has a stream of its own, so that one which hangs is
	// left behind.
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
			return next, true // reload says what that means
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

// put takes a record into the cache. One that does not open counts as absent:
// its login ends, and its user's other logins are not affected. Known is the revision up to which
// endings of sessions were announced before.
func (s *Store) put(kv *mvccpb.KeyValue, known int64) {
	place := string(kv.Key)
	var err error
	switch {
	case place == s.at.beatOf(s.published.replica):
		s.beat.seen(string(kv.Value))
	case s.at.isBeat(place):
		s.pulses.advance(strings.TrimPrefix(place, s.at.beat), kv.ModRevision, time.Now())
		s.compareClocks(place, kv)
	case strings.HasPrefix(place, s.at.want):
		err = s.putDesired(kv)
	case place == s.at.epoch:
		err = s.putEpoch(kv)
	case strings.HasPrefix(place, s.at.login):
		err = s.putLogin(place, kv)
	case strings.HasPrefix(place, s.at.mark):
		err = s.putMark(place, kv)
	case strings.HasPrefix(place, s.at.out):
		err = s.putOut(place, kv)
	case strings.HasPrefix(place, s.at.key):
		err = s.putKey(place, kv.Value)
	case strings.HasPrefix(place, s.at.cut), strings.HasPrefix(place, s.at.end):
		err = s.putEnding(place, kv, known)
	}
	if err != nil {
		s.log.Error("a record in the state store is not genuine", "place", place, "error", err)
	}
}

func (s *Store) putLogin(place string, kv *mvccpb.KeyValue) error {
	k, ok := s.at.parseLogin(place)
	var rec host.LoginRecord
	if err := s.seal.open(place, kv.Value, &rec); err != nil {
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

// putMark treats a not-before record that does not decrypt as one of this moment: it
// may be there to hide a logout.
func (s *Store) putMark(place string, kv *mvccpb.KeyValue) error {
	user, ok := parseUser(s.at.mark, place)
	if !ok {
		return nil
	}
	var m mark
	err := s.seal.open(place, kv.Value, &m)
	if err != nil {
		m.NotBefore = time.Now()
	}
	s.announceLogins(s.cache.putMark(user, m.NotBefore, kv.ModRevision), host.ErrLoggedOut)
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

// remove follows a deletion at revision rev. A deleted mark stays in force here,
// and so does the record of a logout.
func (s *Store) remove(place string, rev int64) {
	switch {
	case place == s.at.epoch:
		s.announceLogins(s.cache.enterEpoch(epoch{}), host.ErrLoggedOut)
	case strings.HasPrefix(place, s.at.login):
		if k, ok := s.at.parseLogin(place); ok {
			s.endLogins([]loginKey{k}, rev)
		}
	case strings.HasPrefix(place, s.at.key):
		s.cache.keys.drop(place)
	case strings.HasPrefix(place, s.at.want):
		s.wanted.remove(strings.TrimPrefix(place, s.at.want), rev, false)
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
