package state

import (
	"context"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Replicas' clocks differ. What one replica's clock decides for all must survive
// that: whether a store is old, and when something is forgotten.
const (
	// maxSkew is by how much clocks may differ before an operator is warned. It is
	// more than a heartbeat of a fresh replica takes.
	maxSkew = 5 * time.Second
	// skewEvery is how often the same replica is warned of.
	skewEvery = time.Hour
	// sweepLag is how long everything is kept beyond its time, for replicas whose
	// clocks are behind.
	sweepLag = 5 * time.Minute
	// beatQuiet is for how long a replica's heartbeat must not have advanced, by
	// this process's own watching, before it may be removed.
	beatQuiet = time.Hour
)

// compareClocks warns of a replica whose clock differs from this one's. Only a
// fresh replica knows: to others, old heartbeats come late. Only the goroutine
// that watches calls it.
func (s *Store) compareClocks(place string, kv *mvccpb.KeyValue) {
	rec, ok := s.openBeat(kv)
	if !ok || s.Ready() != nil {
		return
	}
	now := time.Now()
	skew := now.Sub(rec.At).Round(time.Second)
	if skew.Abs() <= maxSkew || now.Sub(s.skewed[place]) < skewEvery {
		return
	}
	s.warnOfSkew(skew)
	if s.skewed == nil || len(s.skewed) >= maxSkewed {
		s.skewed = map[string]time.Time{}
	}
	s.skewed[place] = now
}

// maxSkewed bounds how many replicas are remembered as warned of.
const maxSkewed = 1000

func (s *Store) warnOfSkew(skew time.Duration) {
	s.log.Warn("this machine's clock and another replica's differ; synchronise both, for example by NTP", "this_one_is_ahead_by", skew)
}

// beatsAdvance reports whether some replica writes heartbeats to the store at
// this moment, which proves that it is in use whatever the clocks say. It waits
// for as long as a replica may be admitted without one. The skew is by how much
// this clock is ahead of that replica's.
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

// maxSightings is far more than replicas start between two sweeps.
const maxSightings = 10_000

// sighting is since when, by this process's own watching, a heartbeat is what it
// is.
type sighting struct {
	rev   int64
	since time.Time
}

// beatIsOver reports whether a heartbeat is that of a replica which is gone: old
// by what it says, and not advancing by what was seen. Only the sweeping
// goroutine calls it.
func (s *Store) beatIsOver(kv *mvccpb.KeyValue, now time.Time) bool {
	place := string(kv.Key)
	seen, ok := s.sightings[place]
	if !ok || seen.rev != kv.ModRevision {
		if s.sightings == nil || len(s.sightings) >= maxSightings {
			s.sightings = map[string]sighting{}
		}
		s.sightings[place] = sighting{kv.ModRevision, now}
		return false
	}
	rec, genuine := s.openBeat(kv)
	if now.Sub(seen.since) < beatQuiet || genuine && now.Sub(rec.At) <= beatLife {
		return false
	}
	delete(s.sightings, place)
	return true
}
