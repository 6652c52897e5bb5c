package state

import (
	"context"
	"encoding/json"
	"maps"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// maxReport bounds what a replica reports of itself, in bytes.
const maxReport = 256 << 10

// Replica is one host of the fleet.
type Replica struct {
	ID string
	// Fresh is whether its heartbeats advance. A replica that was not seen before
	// counts as fresh until it has had time to.
	Fresh bool
	// Report is what it last reported, nil if it has not; it vanishes some 10 s after
	// the replica.
	Report json.RawMessage
}

// Fleet is the store's view of all replicas at one moment.
type Fleet struct {
	Revision int64 // of the store
	Desired  []Desired
	Replicas []Replica // by id
}

// Report shows report, which is JSON of at most 256 KiB, to all replicas as what
// this one runs, until the next report or its end. It only takes note and never
// waits.
func (s *Store) Report(report json.RawMessage) error {
	if len(report) > maxReport || !json.Valid(report) {
		return host.E(host.TooLarge, "state.report", "the report has %d bytes, and may have %d of JSON", len(report), maxReport)
	}
	s.published.mu.Lock()
	s.published.report, s.published.reportDue = report, true
	s.published.mu.Unlock()
	select {
	case s.published.wake <- struct{}{}:
	default:
	}
	return nil
}

// Fleet reads what should run and what each replica reports, from the store and at
// one revision of it. A record that is not genuine counts as absent.
func (s *Store) Fleet(ctx context.Context) (*Fleet, error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	below := clientv3.WithPrefix()
	resp, err := s.client.Txn(ctx).Then(clientv3.OpGet(s.at.want, below), clientv3.OpGet(s.at.beat, below), clientv3.OpGet(s.at.run, below)).Commit()
	if err != nil {
		return nil, unavailable("state.fleet", err)
	}
	f := &Fleet{Revision: resp.Header.Revision}
	for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
		if d, err := s.openDesired(kv); err == nil {
			f.Desired = append(f.Desired, d)
		} else {
			s.log.Error("a record in the state store is not genuine", "place", string(kv.Key), "error", err)
		}
	}
	reports := map[string]json.RawMessage{}
	for _, kv := range resp.Responses[2].GetResponseRange().Kvs {
		place := string(kv.Key)
		var report json.RawMessage
		if err := s.seal.open(place, kv.Value, &report); err != nil {
			s.log.Error("a replica's report in the state store is not genuine", "place", place, "error", err)
			continue
		}
		reports[strings.TrimPrefix(place, s.at.run)] = report
	}
	beats := resp.Responses[1].GetResponseRange().Kvs
	fresh := s.pulses.fresh(beats, s.at.beat, time.Now())
	for _, kv := range beats {
		id := strings.TrimPrefix(string(kv.Key), s.at.beat)
		r := Replica{ID: id, Fresh: fresh[id] || id == s.published.replica, Report: reports[id]}
		if !s.beat.shared && id != s.published.replica {
			continue // this host before it was started again
		}
		f.Replicas = append(f.Replicas, r)
	}
	return f, nil
}

// pulses is when heartbeats of replicas were last seen to advance, by the clock of
// this process.
type pulses struct {
	mu   sync.Mutex
	seen map[string]pulse
}

type pulse struct {
	revision int64
	at       time.Time
}

// advance takes note of a heartbeat that the watch brought, or that was found in the
// store.
func (p *pulses) advance(id string, revision int64, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note(id, revision, now)
}

func (p *pulses) note(id string, revision int64, now time.Time) {
	if p.seen == nil {
		p.seen = map[string]pulse{}
	}
	if old, ok := p.seen[id]; !ok || revision > old.revision {
		p.seen[id] = pulse{revision, now}
	}
}

// fresh returns the replicas whose heartbeats advanced lately. One that stopped
// admits no request before it is missing here: it counts from when it sent the beat,
// and this from when the beat was seen.
func (p *pulses) fresh(beats []*mvccpb.KeyValue, below string, now time.Time) map[string]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	fresh, listed := map[string]bool{}, map[string]bool{}
	for _, kv := range beats {
		id := strings.TrimPrefix(string(kv.Key), below)
		p.note(id, kv.ModRevision, now)
		listed[id], fresh[id] = true, now.Sub(p.seen[id].at) < sharedTiming.lapse
	}
	maps.DeleteFunc(p.seen, func(id string, _ pulse) bool { return !listed[id] })
	return fresh
}
