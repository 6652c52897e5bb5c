package state

import (
	"context"
	"crypto/rand"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// oldBeat is how much older a store may be than its last known heartbeat.
const oldBeat = time.Minute

// An epoch is a period in which the store lost no write. A login is valid in its own
// epoch only. A store that was rolled back may lack logouts, so a new epoch begins and
// all users sign in again.
type epochRecord struct {
	ID string
	At time.Time
}

// loaded is the content of the store at one revision.
type loaded struct {
	kvs      []*mvccpb.KeyValue
	revision int64
	cluster  uint64
	epoch    *mvccpb.KeyValue // nil if absent
	lastBeat time.Time        // of any replica
	ownBeat  int64            // number of this replica's last heartbeat, 0 if absent
}

func (s *Store) load(ctx context.Context) (*loaded, error) {
	ctx, cancel := context.WithTimeout(ctx, firstAnswer)
	defer cancel()
	resp, err := s.client.Get(ctx, s.at.facts, clientv3.WithPrefix())
	if err != nil {
		return nil, unavailable("state.load", err)
	}
	l := &loaded{kvs: resp.Kvs, revision: resp.Header.Revision, cluster: resp.Header.ClusterId}
	own := s.at.beatOf(s.published.replica)
	for _, kv := range resp.Kvs {
		key := string(kv.Key)
		if key == s.at.epoch {
			l.epoch = kv
		}
		if rec, ok := s.openBeat(kv); ok {
			if rec.At.After(l.lastBeat) {
				l.lastBeat = rec.At
			}
			if key == own {
				l.ownBeat = rec.N
			}
		}
	}
	return l, nil
}

func (s *Store) openBeat(kv *mvccpb.KeyValue) (rec beatRecord, ok bool) {
	key := string(kv.Key)
	return rec, s.at.isBeat(key) && s.seal.open(key, kv.Value, &rec) == nil
}

// doubtAtStart returns why the store may have lost records before this process
// started, and "" if it has not: a replica wrote to it a moment ago, or it is as new
// as this process left it.
func (s *Store) doubtAtStart(l *loaded, now time.Time) string {
	if l.epoch == nil {
		return "it is new"
	}
	n, noted := readNote(s.notePath)
	var epoch epochRecord
	if s.seal.open(s.at.epoch, l.epoch.Value, &epoch) != nil {
		return "its epoch is not genuine"
	}
	if noted = noted && n.Cluster == l.cluster && !epoch.At.After(n.At); noted {
		switch {
		case n.Revision > l.revision:
			return "its revision went back"
		case n.At.Sub(l.lastBeat) > oldBeat:
			return "it is older than its last heartbeat"
		}
	}
	if now.Sub(l.lastBeat).Abs() <= oldBeat || noted && l.lastBeat.Sub(n.At) <= oldBeat {
		return ""
	}
	return quietStore
}

// quietStore is a doubt that a heartbeat disproves, since the clocks of replicas may
// differ.
const quietStore = "no replica has written to it recently, and the last writer was not this replica"

// beginEpoch ends all logins in the store, unless another replica has begun an
// epoch since l was loaded.
func (s *Store) beginEpoch(ctx context.Context, l *loaded) error {
	sealed, err := s.seal.seal(s.at.epoch, epochRecord{rand.Text(), time.Now()})
	if err != nil {
		return host.E(host.Internal, "state.epoch", "epoch: %w", err)
	}
	var modified int64
	if l.epoch != nil {
		modified = l.epoch.ModRevision
	}
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	_, err = s.client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(s.at.epoch), "=", modified)).
		Then(clientv3.OpPut(s.at.epoch, sealed), clientv3.OpDelete(s.at.login, clientv3.WithPrefix())).
		Commit()
	if err != nil {
		return unavailable("state.epoch", err)
	}
	return nil
}

// doubt is the message of the beating goroutine to the watching goroutine, which owns
// the cache, that the store lost records.
type doubt struct {
	renewals int64         // number of renewals so far
	done     chan struct{} // closed when a new epoch has begun
}

// raise makes the watching goroutine begin a new epoch, and waits for it.
func (s *Store) raise(ctx context.Context, why string) {
	d := doubt{s.renewals.Load(), make(chan struct{})}
	s.distrust(why)
	s.doubts <- d // does not block: only this goroutine sends, one at a time
	s.restartWatch()
	select {
	case <-d.done:
	case <-ctx.Done():
	}
}

// distrust ends every session and admits no request until a new epoch has begun.
func (s *Store) distrust(why string) {
	s.beat.halt()
	s.log.Error("the state store lost records; all users must sign in again", "because", why)
	s.lapseOnce()
}

// renew reloads the store and begins a new epoch. It returns the revision of the
// loaded state, and tries until ctx ends.
func (s *Store) renew(ctx context.Context) (rev int64) {
	for ctx.Err() == nil {
		err := s.renewOnce(ctx)
		if err == nil {
			if rev, err = s.reload(ctx); err == nil {
				// A heartbeat that comes back proves freshness, as always.
				s.beat.resume()
				return rev
			}
		}
		s.log.Warn("a new epoch cannot begin, retrying", "error", err)
		pause(ctx, retryEvery)
	}
	return 0
}

func (s *Store) renewOnce(ctx context.Context) error {
	l, err := s.load(ctx)
	if err != nil {
		return err
	}
	if err := s.beginEpoch(ctx, l); err != nil {
		return err
	}
	if err := s.ensureKey(ctx, l); err != nil {
		return err
	}
	s.renewals.Add(1)
	s.beat.forget()
	s.cluster.Store(l.cluster)
	s.announceLogins(s.cache.rewind(), host.ErrLoggedOut)
	s.wanted.rewind()
	return nil
}

func (s *Store) putEpoch(kv *mvccpb.KeyValue) error {
	var rec epochRecord
	err := s.seal.open(s.at.epoch, kv.Value, &rec)
	// No login belongs to an epoch that cannot be decrypted.
	s.announceLogins(s.cache.enterEpoch(epoch{rec.ID, rec.At, kv.ModRevision}), host.ErrLoggedOut)
	return err
}
