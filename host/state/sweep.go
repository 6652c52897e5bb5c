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
	sweepPage  = 500 // records read at a time
)

// keepSweeping removes expired records. Correctness does not depend on it, since
// checks compare the time themselves.
func (s *Store) keepSweeping(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			s.sweep(ctx, now)
		}
	}
}

func (s *Store) sweep(ctx context.Context, now time.Time) {
	s.sweepLogins(ctx, now.Add(-sweepLag))
	s.sweepLogouts(ctx, now.Add(-sweepLag))
	s.sweepRecords(ctx, s.at.userEnding, func(kv *mvccpb.KeyValue) bool { return s.endingIsOver(kv, now) })
	s.sweepRecords(ctx, s.at.sessionEnding, func(kv *mvccpb.KeyValue) bool { return s.endingIsOver(kv, now) })
	s.sweepRecords(ctx, s.at.beat, func(kv *mvccpb.KeyValue) bool { return s.beatIsOver(kv, now) })
	s.forgetOnce(ctx, now.Add(-sweepLag))
	s.sweepUploads(ctx, now)
	s.tendKeys(ctx, now)
}

// sweepLogins removes the logins that expired before the given time.
func (s *Store) sweepLogins(ctx context.Context, before time.Time) {
	s.sweepKeys(ctx, s.cache.due(before), s.at.ofLogin, func(keys []loginKey, rev int64) {
		s.endLogins(slices.Clone(keys), rev)
		s.cache.forget(keys)
	})
}

// sweepLogouts removes the records of logouts whose credentials expired before the
// given time. A record that cannot be decrypted stays, since its end is unknown.
func (s *Store) sweepLogouts(ctx context.Context, before time.Time) {
	s.sweepKeys(ctx, s.cache.dueLogouts(before), s.at.logoutOf, func(keys []loginKey, _ int64) { s.cache.forgetLogouts(keys) })
}

func (s *Store) sweepKeys(ctx context.Context, keys []loginKey, key func(loginKey) string, done func([]loginKey, int64)) {
	for keys := range slices.Chunk(keys, sweepBatch) {
		ops := make([]clientv3.Op, 0, len(keys))
		for _, k := range keys {
			ops = append(ops, clientv3.OpDelete(key(k)))
		}
		rev, err := s.commit(ctx, "state.sweep", ops...)
		if err != nil {
			return
		}
		done(keys, rev)
	}
}

func (s *Store) endingIsOver(kv *mvccpb.KeyValue, now time.Time) bool {
	var rec ending
	return s.seal.open(string(kv.Key), kv.Value, &rec) != nil || now.Sub(rec.At) > endingLife+sweepLag
}

// sweepRecords removes the records below root for which over returns true, unless they
// have been written again meanwhile.
func (s *Store) sweepRecords(ctx context.Context, root string, over func(*mvccpb.KeyValue) bool) {
	for from, end := root, clientv3.GetPrefixRangeEnd(root); ; {
		kvs, more := s.page(ctx, from, end)
		for _, kv := range kvs {
			if !over(kv) {
				continue
			}
			key := string(kv.Key)
			same := clientv3.Compare(clientv3.ModRevision(key), "=", kv.ModRevision)
			deleting, cancel := context.WithTimeout(ctx, opTimeout)
			_, err := s.client.Txn(deleting).If(same).Then(clientv3.OpDelete(key)).Commit()
			cancel()
			if err != nil {
				return
			}
		}
		if !more {
			return
		}
		from = string(kvs[len(kvs)-1].Key) + "\x00"
	}
}

// page reads some records. After an error it returns none, and more is false.
func (s *Store) page(ctx context.Context, from, end string) (kvs []*mvccpb.KeyValue, more bool) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	resp, err := s.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(sweepPage))
	if err != nil {
		return nil, false
	}
	return resp.Kvs, resp.More
}
