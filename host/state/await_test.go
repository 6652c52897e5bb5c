package state

import (
	"context"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

func TestWithdrawnSessionsAreAwaited(t *testing.T) {
	s := open(t, t.TempDir())
	for _, id := range []string{"1", "2", "3"} {
		s.PublishSession(entry("ann", id))
	}
	eventually(t, "all are there", func() bool { return len(published1(t, s, "ann")) == 3 })
	if left := s.AwaitWithdrawn(t.Context(), "ann", []string{"never", "there"}); left != 0 {
		t.Errorf("%d left of sessions that are not published", left)
	}
	left := make(chan int)
	go func() { left <- s.AwaitWithdrawn(t.Context(), "ann", []string{"1", "2"}) }()
	s.WithdrawSession("ann", "1")
	s.WithdrawSession("ann", "2")
	if n := <-left; n != 0 {
		t.Errorf("%d left of sessions that were withdrawn", n)
	}
	soon, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if n := s.AwaitWithdrawn(soon, "ann", []string{"1", "3"}); n != 1 {
		t.Errorf("%d left, of which one is still published", n)
	}
}

// A user whose sessions were ended may open new ones at once. The watch, which brings
// the same ending again, must not end those too.
func TestTheWatchDoesNotAnnounceAnOwnEndingAgain(t *testing.T) {
	s := open(t, t.TempDir())
	var l told
	s.OnEnding(l.take)
	signIn(t, s, "ben", "2")
	for key, end := range map[string]func() error{
		s.at.userEndingOf("ann"):         func() error { return s.EndSessions(t.Context(), "ann", host.ErrRevoked) },
		s.at.sessionEndingOf("ann", "x"): func() error { return s.EndSession(t.Context(), "ann", "x", host.ErrEnded) },
		s.at.userEndingOf("ben"):         func() error { return s.EndLoginAndSessions(t.Context(), "2") },
	} {
		if err := end(); err != nil {
			t.Fatal(err)
		}
		settled(t, s)
		before := len(l.taken())
		got, err := s.client.Get(t.Context(), key)
		if err != nil || len(got.Kvs) != 1 {
			t.Fatal(key, got, err)
		}
		s.put(got.Kvs[0], 0) // as a watch that is late
		if all := l.taken(); before == 0 || len(all) != before {
			t.Errorf("%s was announced again: %+v", key, all[before:])
		}
	}
}
