package state

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

func entry(user host.UserID, id string) host.SessionInfo {
	return host.SessionInfo{ID: id, User: user, Login: "1", Kind: "socket", Plugin: "exec", Route: "exec", Started: time.Now()}
}

func published1(t *testing.T, s *Store, user host.UserID) []host.SessionInfo {
	t.Helper()
	page, next, err := s.PublishedSessions(t.Context(), user, "", 0)
	if err != nil || next != "" {
		t.Fatalf("listing: more %q, %v", next, err)
	}
	return page
}

func TestPublishedSessionsAreListedUntilWithdrawn(t *testing.T) {
	s := open(t, t.TempDir())
	s.PublishSession(entry("ann", "a1"))
	s.PublishSession(entry("ann", "a2"))
	s.PublishSession(entry("ben", "b1"))
	s.PublishSession(entry("", "nobody's"))
	s.PublishSession(entry("ann", "a/b"))
	s.PublishSession(entry("ann", strings.Repeat("x", maxSessionID+1)))
	eventually(t, "three entries", func() bool { return len(published1(t, s, "")) == 3 })
	if got := published1(t, s, "ann"); len(got) != 2 || got[0].Replica != s.Replica() || got[0].Plugin != "exec" {
		t.Errorf("ann's: %+v", got)
	}
	if got := published1(t, s, "an"); len(got) != 0 {
		t.Errorf("a user whose name begins another's sees %+v", got)
	}
	s.WithdrawSession("ann", "a1")
	s.WithdrawSession("ann", "never there")
	eventually(t, "one of ann's is left", func() bool { return len(published1(t, s, "ann")) == 1 })
}

func TestPagesOfPublishedSessionsCoverAllOnce(t *testing.T) {
	s := open(t, t.TempDir())
	const n = 257
	for i := range n {
		s.PublishSession(entry(host.UserID(fmt.Sprint("user-", i%3)), fmt.Sprint(i)))
	}
	eventually(t, "all are there", func() bool { return len(published1(t, s, "")) == n })
	seen, after := map[string]bool{}, ""
	for pages := 0; ; pages++ {
		page, next, err := s.PublishedSessions(t.Context(), "", after, 10)
		if err != nil || pages > n {
			t.Fatal(pages, err)
		}
		for _, e := range page {
			if seen[e.ID] {
				t.Errorf("%s is listed twice", e.ID)
			}
			seen[e.ID] = true
		}
		if after = next; next == "" {
			break
		}
	}
	if len(seen) != n {
		t.Errorf("%d of %d listed", len(seen), n)
	}
	if page, _, err := s.PublishedSessions(t.Context(), "ann", escape("user-1")+"/1", 10); err != nil || len(page) != 0 {
		t.Errorf("another user's place opens %+v, %v", page, err)
	}
}

func TestEntriesAreBoundedAndForgedOnesLeftOut(t *testing.T) {
	s := open(t, t.TempDir())
	e := entry("ann", "1")
	e.Target = strings.Repeat("é", maxRecord)
	s.PublishSession(e)
	eventually(t, "it is there", func() bool { return len(published1(t, s, "ann")) == 1 })
	if got := published1(t, s, "ann")[0].Target; len(got) > maxField || !strings.HasPrefix(got, "éé") {
		t.Errorf("target of %d bytes", len(got))
	}
	put(t, s, s.at.liveOf("ann")+"forged", `{"ID":"forged","User":"ann"}`)
	put(t, s, s.at.liveOf("ben")+"1", get(t, s, s.at.liveOf("ann")+"1"))
	if got := published1(t, s, ""); len(got) != 1 {
		t.Errorf("listed: %+v", got)
	}
}

func TestEntriesComeBackAfterTheLeaseWasLost(t *testing.T) {
	s := open(t, t.TempDir())
	s.PublishSession(entry("ann", "1"))
	eventually(t, "it is there", func() bool { return len(published1(t, s, "ann")) == 1 })
	leases, err := s.client.Leases(t.Context())
	if err != nil || len(leases.Leases) != 1 {
		t.Fatal(leases, err)
	}
	if _, err := s.client.Revoke(t.Context(), leases.Leases[0].ID); err != nil {
		t.Fatal(err)
	}
	s.PublishSession(entry("ann", "2"))
	eventually(t, "both are there", func() bool { return len(published1(t, s, "ann")) == 2 })
}

// told collects what OnEnding says.
type told struct {
	mu  sync.Mutex
	all []host.Ending
}

func (l *told) take(e host.Ending) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, e)
}

func (l *told) taken() []host.Ending {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.all)
}

func (l *told) count(want host.Ending) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.all {
		if e.User == want.User && e.Login == want.Login && e.Session == want.Session && errors.Is(e.Cause, want.Cause) {
			n++
		}
	}
	return n
}

func TestEndingsOfSessionsAreAnnounced(t *testing.T) {
	s := open(t, t.TempDir())
	var l told
	s.OnEnding(l.take)
	p, other := signIn(t, s, "ann", "phone"), signIn(t, s, "ann", "laptop")
	if err := s.EndSession(t.Context(), "ann", "s1", host.ErrRevoked); err != nil {
		t.Fatal(err)
	}
	if err := s.EndSessions(t.Context(), "ben", host.ErrNoLonger); err != nil {
		t.Fatal(err)
	}
	if err := s.EndLoginAndSessions(t.Context(), "phone"); err != nil {
		t.Fatal(err)
	}
	wantGone(t, s, p, host.ErrLoggedOut)
	wantLive(t, s, other)
	for _, want := range []host.Ending{
		{User: "ann", Session: "s1", Cause: host.ErrRevoked},
		{User: "ben", Cause: host.ErrNoLonger},
		{User: "ann", Login: "phone", Cause: host.ErrLoggedOut},
		{User: "ann", Cause: host.ErrLoggedOut},
	} {
		if l.count(want) == 0 {
			t.Errorf("not told of %+v when it was committed", want)
		}
	}
	settled(t, s)
	before := l.count(host.Ending{User: "ben", Cause: host.ErrNoLonger})
	if _, err := s.reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := l.count(host.Ending{User: "ben", Cause: host.ErrNoLonger}); n != before {
		t.Errorf("a reload ended sessions that may have opened since")
	}
	for _, id := range []string{"", "a/b", strings.Repeat("x", maxSessionID+1)} {
		if err := s.EndSession(t.Context(), "ann", id, host.ErrRevoked); host.KindOf(err) != host.Invalid {
			t.Errorf("session %q: %v", id, err)
		}
	}
}

func TestPublishingDoesNotWaitForTheStore(t *testing.T) {
	s := open(t, t.TempDir())
	_ = s.client.Close()
	for i := range 2 * publishBatch {
		s.PublishSession(entry("ann", fmt.Sprint(i)))
		s.WithdrawSession("ann", fmt.Sprint(i))
	}
	if _, _, err := s.PublishedSessions(context.Background(), "", "", 0); host.KindOf(err) != host.Unavailable {
		t.Error(err)
	}
}
