package state

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/logtest"
	"github.com/seed-a3fb47d6/bulkhead/host/state/statetest"
)

func entryOf(t testing.TB, s *Store, key string) *mvccpb.KeyValue {
	t.Helper()
	resp, err := s.client.Get(t.Context(), key)
	if err != nil || len(resp.Kvs) != 1 {
		t.Fatalf("%s: %v, %v", key, resp, err)
	}
	return resp.Kvs[0]
}

func count(t testing.TB, s *Store, below string) int64 {
	t.Helper()
	resp, err := s.client.Get(t.Context(), below, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	return resp.Count
}

// Another replica's clock may be behind the one that sweeps: what is swept early
// is not known where it still counts.
func TestTheSweeperForgetsNothingEarly(t *testing.T) {
	s := open(t, t.TempDir())
	now := time.Now()
	rec := record("ann", "1")
	rec, err := s.CreateLogin(t.Context(), rec)
	if err != nil {
		t.Fatal(err)
	}
	ended := signIn(t, s, "ann", "2")
	sealed := get(t, s, s.at.ofLogin(loginKey{"ann", "2"}))
	token := credential("ben", "3")
	admit(t, s, token)
	once := now.Add(10 * time.Minute)
	if _, err := s.Once(t.Context(), "state", once); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		s.EndLogin(t.Context(), "2"), s.EndLogin(t.Context(), "3"),
		s.EndSessions(t.Context(), "ann", host.ErrRevoked), s.EndSession(t.Context(), "ann", "s", host.ErrRevoked),
		s.EndUserLogins(t.Context(), "cem"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		what  string
		until time.Time
		below []string
	}{
		{"an ending of sessions", now.Add(endingLife), []string{s.at.sessionEnding, s.at.userEnding}},
		{"what may happen once", once, []string{s.at.once}},
		{"a login", rec.Until, []string{s.at.login}},
		{"a credential's logout", token.Credential, []string{s.at.logout}},
	} {
		s.sweep(t.Context(), c.until.Add(sweepLag-5*time.Second))
		for _, below := range c.below {
			if count(t, s, below) != 1 {
				t.Errorf("%s is swept early from %s", c.what, below)
			}
		}
		if c.until == once {
			if first, err := s.Once(t.Context(), "state", once); first || err != nil {
				t.Errorf("what happened once happens again: %v", err)
			}
			put(t, s, s.at.ofLogin(loginKey{"ann", "2"}), sealed)
			settled(t, s)
			if s.Revoked(ended) == nil {
				t.Error("a login that ended was forgotten, and its record put back is good")
			}
			if _, err := s.client.Delete(t.Context(), s.at.ofLogin(loginKey{"ann", "2"})); err != nil {
				t.Fatal(err)
			}
		}
		s.sweep(t.Context(), c.until.Add(sweepLag+5*time.Second))
		for _, below := range c.below {
			if count(t, s, below) != 0 {
				t.Errorf("%s is not swept from %s", c.what, below)
			}
		}
	}
	if s.sweep(t.Context(), now.Add(1000*time.Hour)); count(t, s, s.at.notBefore) != 1 {
		t.Error("a logout from everything is forgotten, though credentials may be older")
	}
}

// More than a page of records that are not over once kept those behind them.
func TestTheSweeperReachesEveryRecord(t *testing.T) {
	s := open(t, t.TempDir())
	for i := range sweepPage + 20 {
		put(t, s, s.at.sessionEnding+fmt.Sprintf("%04d", i), "")
	}
	var seen int
	s.sweepRecords(t.Context(), s.at.sessionEnding, func(kv *mvccpb.KeyValue) bool {
		seen++
		return strings.HasSuffix(string(kv.Key), "9")
	})
	if left := count(t, s, s.at.sessionEnding); seen != sweepPage+20 || left != sweepPage+20-(sweepPage+20)/10 {
		t.Errorf("%d looked at, %d left", seen, left)
	}
	// One that was written again meanwhile stays.
	s.sweepRecords(t.Context(), s.at.sessionEnding, func(kv *mvccpb.KeyValue) bool {
		put(t, s, string(kv.Key), "again")
		return true
	})
	if left := count(t, s, s.at.sessionEnding); left != sweepPage+20-(sweepPage+20)/10 {
		t.Errorf("%d left", left)
	}
}

// A replica whose clock is a day ahead would take away the others' heartbeats, and
// they would sign everybody out.
func TestAHeartbeatThatAdvancesIsNotSwept(t *testing.T) {
	s := open(t, t.TempDir())
	key, now := s.at.beatOf("other"), time.Now()
	beat := func(n int64, at time.Time) *mvccpb.KeyValue {
		sealed, err := s.seal.seal(key, beatRecord{n, at})
		if err != nil {
			t.Fatal(err)
		}
		put(t, s, key, sealed)
		return entryOf(t, s, key)
	}
	for i := range 5 {
		kv := beat(int64(i), now)
		for _, later := range []time.Duration{0, beatQuiet / 2} {
			if s.beatIsOver(kv, now.Add(2*beatLife+time.Duration(i)*beatQuiet+later)) {
				t.Fatal("a replica that lives is taken for gone")
			}
		}
	}
	last := beat(9, now)
	if s.beatIsOver(last, now.Add(beatLife-beatQuiet)) || s.beatIsOver(last, now.Add(beatLife-time.Second)) {
		t.Error("a heartbeat of today is swept")
	}
	if !s.beatIsOver(last, now.Add(beatLife+time.Second)) {
		t.Error("the heartbeat of a replica that is gone stays")
	}
}

func TestClocksThatDifferAreWarnedOf(t *testing.T) {
	s := open(t, t.TempDir())
	var w logtest.Log
	s.log = slog.New(slog.NewTextHandler(&w, nil))
	s.stop()
	s.running.Wait()
	key := s.at.beatOf("other")
	brought := func(skew time.Duration, value string) {
		if value == "" {
			var err error
			if value, err = s.seal.seal(key, beatRecord{1, time.Now().Add(-skew)}); err != nil {
				t.Fatal(err)
			}
		}
		s.put(&mvccpb.KeyValue{Key: []byte(key), Value: []byte(value)}, 0)
	}
	brought(maxSkew-2*time.Second, "")
	brought(0, "rubbish")
	s.beat.halt()
	brought(time.Minute, "") // it may only have come late
	if w.Count("clock") != 0 {
		t.Errorf("warned without a reason: %s", w.String())
	}
	s.beat.trust()
	for range 3 {
		brought(time.Minute, "")
		brought(-time.Minute, "")
	}
	if w.Count("this_one_is_ahead_by=1m0s") != 1 || w.Count("clock") != 1 {
		t.Errorf("log: %s", w.String())
	}
}

// Of clocks only: that of a new replica must not decide that a store which
// others write to is old.
func TestAFreshReplicaWhoseClockDiffersSignsNobodyOut(t *testing.T) {
	c, key := statetest.Start(t, 1), statetest.Key(t)
	a := on(t, c.Endpoints, key)
	p := signIn(t, a.Store, "ann", "1")
	eventually(t, "a beat is there", func() bool { return count(t, a.Store, a.at.beat) > 0 })
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	client := c.Client()
	old, err := client.Get(t.Context(), a.at.beat, clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	beat := func(ctx context.Context, n int64, skew time.Duration) {
		for _, kv := range old.Kvs {
			sealed, err := a.seal.seal(string(kv.Key), beatRecord{n, time.Now().Add(skew)})
			if err == nil {
				_, _ = client.Put(ctx, string(kv.Key), sealed)
			}
		}
	}
	for _, skew := range []time.Duration{-2 * time.Minute, 2 * time.Minute} {
		ctx, stop := context.WithCancel(t.Context())
		var beating sync.WaitGroup
		beat(ctx, 1, skew)
		beating.Go(func() {
			for n := int64(2); ctx.Err() == nil; n++ {
				beat(ctx, n, skew)
				pause(ctx, sharedTiming.beat)
			}
		})
		b := on(t, c.Endpoints, key)
		stop()
		beating.Wait()
		wantLive(t, b.Store, p)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		// Its own heartbeat is as new as this clock; leave the other's alone.
		if _, err := client.Delete(t.Context(), b.at.beatOf(b.Replica())); err != nil {
			t.Fatal(err)
		}
	}
	// No heartbeat advances: the store may be a backup.
	for _, skew := range []time.Duration{-2 * time.Minute, 2 * time.Minute} {
		beat(t.Context(), 1, skew)
		b := on(t, c.Endpoints, key)
		wantGone(t, b.Store, p, host.ErrLoggedOut)
		p = signIn(t, b.Store, "ann", host.LoginID(fmt.Sprint("again", skew)))
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Delete(t.Context(), b.at.beatOf(b.Replica())); err != nil {
			t.Fatal(err)
		}
	}
}
