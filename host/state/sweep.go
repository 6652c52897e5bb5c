package state

import (
	"context"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	sweepEvery = time.Minute
	sweepBatch = 100 // operations in one transaction; etcd allows 128
)

// keepSweeping removes what has served its time. Nobody depends on it: checks
// compare the time themselves.
func (s *Store) keepSweeping(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			s.sweepLogins(ctx, now)
			s.sweepRecords(ctx, s.at.cut, func(kv *mvccpb.KeyValue) bool { return s.endingIsOver(kv, now) })
			s.sweepRecords(ctx, s.at.end, func(kv *mvccpb.KeyValue) bool { return s.endingIsOver(kv, now) })
			s.sweepRecords(ctx, s.at.beat, func(kv *mvccpb.KeyValue) bool {
				rec, ok := s.openBeat(kv)
				return !ok || now.Sub(rec.At) > beatLife
			})
			s.forgetOnce(ctx, now)
			s.tendKeys(ctx, now)
		}
	}
}

func (s *Store) sweepLogins(ctx context.Context, now time.Time) {
	for keys := range slices.Chunk(s.cache.due(now), sweepBatch) {
		ops := make([]clientv3.Op, 0, len(keys))
		for _, k := range keys {
			ops = append(ops, clientv3.OpDelete(s.at.ofLogin(k)))
		}
		if _, err := s.commit(ctx, "state.sweep", ops...); err != nil {
			return
		}
		s.endLogins(slices.Clone(keys))
		s.cache.forget(keys)
	}
}

func (s *Store) endingIsOver(kv *mvccpb.KeyValue, now time.Time) bool {
	var rec ending
	return s.seal.open(string(kv.Key), kv.Value, &rec) != nil || now.Sub(rec.At) > endingLife
}

// sweepRecords removes the records below root that are over, unless they have
// been written again meanwhile.
func (s *Store) sweepRecords(ctx context.Context, root string, over func(*mvccpb.KeyValue) bool) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	resp, err := s.client.Get(ctx, root, clientv3.WithPrefix(), clientv3.WithLimit(10*sweepBatch))
	if err != nil {
		return
	}
	for _, kv := range resp.Kvs {
		if !over(kv) {
			continue
		}
		place := string(kv.Key)
		same := clientv3.Compare(clientv3.ModRevision(place), "=", kv.ModRevision)
		if _, err := s.client.Txn(ctx).If(same).Then(clientv3.OpDelete(place)).Commit(); err != nil {
			return
		}
	}
}
