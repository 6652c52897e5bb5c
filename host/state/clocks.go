package state

import (
	"context"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Replicas' clocks differ. Decisions that one replica's clock makes for all replicas
// must allow for that: whether a store is old, and when a record is removed.
const (
	// maxSkew is the difference of clocks above which the operator is warned. It is
	// longer than a heartbeat of a fresh replica takes.
	maxSkew = 5 * time.Second
	// skewEvery is the shortest time between two warnings about the same replica.
	skewEvery = time.Hour
	// sweepLag is how long records are kept after they expire, for replicas whose
	// clocks are behind.
	sweepLag = 5 * time.Minute
	// beatQuiet is how long this process must have seen a replica's heartbeat not
	// advance before it removes the heartbeat.
	beatQuiet = time.Hour
)

// compareClocks warns of a replica whose clock differs from this one's. It compares
// only while this replica is fresh, since otherwise heartbeats arrive late. Only the
// watching goroutine calls it.
func (s *Store) compareClocks(key string, kv *mvccpb.KeyValue) {
	rec, ok := s.openBeat(kv)
	if !ok || s.Ready() != nil {
		return
	}
	now := time.Now()
	skew := now.Sub(rec.At).Round(time.Second)
	if skew.Abs() <= maxSkew || now.Sub(s.skewed[key]) < skewEvery {
		return
	}
	s.warnOfSkew(skew)
	if s.skewed == nil || len(s.skewed) >= maxSkewed {
		s.skewed = map[string]time.Time{}
	}
	s.skewed[key] = now
}

// maxSkewed bounds the number of replicas whose last warning is remembered.
const maxSkewed = 1000

func (s *Store) warnOfSkew(skew time.Duration) {
	s.log.Warn("this machine's clock and another replica's differ; synchronise both, for example by NTP", "this_one_is_ahead_by", skew)
}

// beatsAdvance reports whether some replica is writing heartbeats to the store now,
// which proves that the store is in use, whatever the clocks say. It waits as long as
// a replica without a heartbeat may still admit requests. skew is how far this clock is
// ahead of that replica's.
func (s *Store) beatsAdvance(ctx context.Context, l *loaded) (skew time.Duration, yes bool) {
	if !s.beat.shared {
		return 0, false // no other process can write
	}
	ctx, cancel := context.WithTimeout(ctx, s.beat.admit)
	defer cancel()
	for ctx.Err() == nil {
		resp, err := s.client.Get(ctx, s.at.beat, clientv3.WithPrefix(), clientv3.WithMinModRev(l.revision+1))
		if err != nil {
			return 0, false
		}
		for _, kv := range resp.Kvs {
			if rec, ok := s.openBeat(kv); ok {
				return time.Since(rec.At).Round(time.Second), true
			}
		}
		pause(ctx, s.beat.timing.beat/2)
	}
	return 0, false
}

// maxSightings is far above the number of replicas that start between two sweeps.
const maxSightings = 10_000

// sighting is when this process first saw a heartbeat at its present revision.
type sighting struct {
	rev   int64
	since time.Time
}

// beatIsOver reports whether a heartbeat belongs to a replica that is gone: its own
// time is old, and this process has not seen it advance. Only the sweeping goroutine
// calls it.
func (s *Store) beatIsOver(kv *mvccpb.KeyValue, now time.Time) bool {
	key := string(kv.Key)
	seen, ok := s.sightings[key]
	if !ok || seen.rev != kv.ModRevision {
		if s.sightings == nil || len(s.sightings) >= maxSightings {
			s.sightings = map[string]sighting{}
		}
		s.sightings[key] = sighting{kv.ModRevision, now}
		return false
	}
	rec, genuine := s.openBeat(kv)
	if now.Sub(seen.since) < beatQuiet || genuine && now.Sub(rec.At) <= beatLife {
		return false
	}
	delete(s.sightings, key)
	return true
}
