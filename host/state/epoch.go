package state

import (
	"context"
	"crypto/rand"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// oldBeat is by how much a store may be older than its last known heartbeat.
const oldBeat = time.Minute

// An epoch is a time in which the store has kept what it took. Each login
// belongs to one, and none is good in another. When the store was rolled back,
// logouts may be missing from it, so a new epoch begins and all users sign in
// again.
type epochRecord struct {
	ID string
	At time.Time
}

// loaded is what the store held at one revision.
type loaded struct {
	kvs      []*mvccpb.KeyValue
	revision int64
	cluster  uint64
	epoch    *mvccpb.KeyValue // nil if there is none
	lastBeat time.Time        // of any replica
	ownBeat  int64            // number of this replica's, 0 if there is none
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
		place := string(kv.Key)
		if place == s.at.epoch {
			l.epoch = kv
		}
		if rec, ok := s.openBeat(kv); ok {
			if rec.At.After(l.lastBeat) {
				l.lastBeat = rec.At
			}
			if place == own {
				l.ownBeat = rec.N
			}
		}
	}
	return l, nil
}

func (s *Store) openBeat(kv *mvccpb.KeyValue) (rec beatRecord, ok bool) {
	place := string(kv.Key)
	return rec, s.at.isBeat(place) && s.seal.open(place, kv.Value, &rec) == nil
}

// doubtAtStart says why what the store holds at the start of this process may
// not be all that it once held. There is no doubt if some replica wrote to it a
// moment ago, or if it is as new as this process left it.
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

// quietStore is a doubt that a heartbeat disproves: the clocks of replicas may
// differ.
const quietStore = "no replica has written to it lately, and this one did not write last"

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

// doubt is the beating goroutine's word to the watching one, which owns what is
// known, that the store is not what it was.
type doubt struct {
	renewals int64         // how many there had been
	done     chan struct{} // closed when a new epoch has begun
}

// raise has the watching goroutine renew, and waits for it.
func (s *Store) raise(ctx context.Context, why string) {
	d := doubt{s.renewals.Load(), make(chan struct{})}
	s.distrust(why)
	s.doubts <- d // has room: only this goroutine sends, one at a time
	s.restartWatch()
	select {
	case <-d.done:
	case <-ctx.Done():
	}
}

// distrust ends every session and admits no request until a new epoch has begun.
func (s *Store) distrust(why string) {
	s.beat.halt()
	s.log.Error("the state store lost records it had kept; all users have to sign in again", "because", why)
	s.lapseOnce()
}

// renew starts over with the store as it is now, in a new epoch, and returns
// the revision up to which it is known. It tries until ctx ends.
func (s *Store) renew(ctx context.Context) (rev int64) {
	for ctx.Err() == nil {
		err := s.renewOnce(ctx)
		if err == nil {
			if rev, err = s.reload(ctx); err == nil {
				// Freshness is proven as at any time: by a heartbeat that comes back.
				s.beat.resume()
				return rev
			}
		}
		s.log.Warn("no new epoch can begin, retrying", "error", err)
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
	// An epoch that does not open is nobody's: no login belongs to it.
	s.announceLogins(s.cache.enterEpoch(epoch{rec.ID, rec.At, kv.ModRevision}), host.ErrLoggedOut)
	return err
}
