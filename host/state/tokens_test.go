package state

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

func generation(t testing.TB, s *Store, id host.LoginID) uint64 {
	t.Helper()
	a, ok := s.Activity(id)
	if !ok {
		t.Fatalf("login %s is not known", id)
	}
	return a.Generation
}

func renew(t testing.TB, s *Store, id host.LoginID, from uint64) uint64 {
	t.Helper()
	n, err := s.RenewTokens(t.Context(), id, from)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Tabs that renew the same token at once must not outdate one another's.
func TestTokensThatAreRenewedAtOnceAreOfOneGeneration(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	signIn(t, s, "ann", "1")
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			if n, err := s.RenewTokens(t.Context(), "1", 0); n != 1 || err != nil {
				t.Errorf("generation %d, %v", n, err)
			}
		})
	}
	all.Wait()
	if n := renew(t, s, "1", 0); n != 1 {
		t.Errorf("a token of before begins generation %d", n)
	}
	if n := renew(t, s, "1", 1); n != 2 {
		t.Errorf("the newest token begins generation %d", n)
	}
	settled(t, s)
	if n := generation(t, s, "1"); n != 2 {
		t.Errorf("generation %d after the watch", n)
	}
	before, _ := s.Activity("1")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if a, ok := s.Activity("1"); !ok || a.Generation != 2 || !a.Renewed.Equal(before.Renewed) {
		t.Errorf("after a restart: %+v, %v, want %+v", a, ok, before)
	}
}

func TestRenewingRevivesNoLogin(t *testing.T) {
	s := open(t, t.TempDir())
	p := signIn(t, s, "ann", "1")
	// Another replica logs it out, and this one has not heard of it.
	s.stop()
	s.running.Wait()
	if _, err := s.client.Delete(t.Context(), s.at.ofLogin(loginKey{"ann", "1"})); err != nil {
		t.Fatal(err)
	}
	wantLive(t, s, p)
	for range 2 {
		if _, err := s.RenewTokens(t.Context(), "1", 0); !errors.Is(err, host.ErrLoggedOut) {
			t.Errorf("a login that ended was renewed: %v", err)
		}
		wantGone(t, s, p, host.ErrLoggedOut)
	}
	if _, err := s.RenewTokens(t.Context(), "none", 0); !errors.Is(err, host.ErrLoggedOut) {
		t.Errorf("an unknown login: %v", err)
	}
}

// Another replica may have renewed already, and have been heard of by nobody.
func TestARenewalElsewhereIsLearnedOf(t *testing.T) {
	s := open(t, t.TempDir())
	signIn(t, s, "ann", "1")
	s.stop()
	s.running.Wait()
	rec, _ := s.Login("1")
	rec.Generation, rec.Renewed = 1, time.Now().Add(time.Hour) // its clock is ahead
	key, sealed, err := s.sealLogin(rec)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, key, sealed)
	if n := renew(t, s, "1", 0); n != 1 {
		t.Errorf("generation %d, want the one that began elsewhere", n)
	}
	if a, _ := s.Activity("1"); time.Until(a.Renewed) > 0 {
		t.Errorf("renewed %v from now", time.Until(a.Renewed))
	}
	if n := renew(t, s, "1", 1); n != 2 {
		t.Errorf("then generation %d", n)
	}
}

// A record put back is one from before the last renewal.
func TestARecordPutBackMakesNoTokenGoodAgain(t *testing.T) {
	s := open(t, t.TempDir())
	p := signIn(t, s, "ann", "1")
	key := s.at.ofLogin(loginKey{"ann", "1"})
	old := get(t, s, key)
	renew(t, s, "1", 0)
	put(t, s, key, old)
	settled(t, s)
	if n := generation(t, s, "1"); n != 1 {
		t.Errorf("generation %d after the record of before was put back", n)
	}
	wantLive(t, s, p)
	if n := renew(t, s, "1", 1); n != 2 {
		t.Errorf("it renews to generation %d", n)
	}
}

func TestLastUseIsKeptWithTheLogin(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	began := time.Now().Truncate(time.Second)
	signIn(t, s, "ann", "1")
	used := func() time.Time {
		a, ok := s.Activity("1")
		if !ok {
			t.Fatal("not known")
		}
		return a.Used
	}
	if u := used(); u.Before(began) {
		t.Errorf("a new login was last used at %v", u)
	}
	at := time.Now().Add(time.Minute)
	s.Use("1", at)
	s.Use("1", at.Add(-time.Second)) // of a request that took longer
	s.Use("none", at)
	if u := used(); u.Unix() != at.Unix() {
		t.Errorf("last used at %v, want %v", u, at)
	}
	renew(t, s, "1", 0)
	if u := used(); u.Unix() != at.Unix() {
		t.Errorf("last used at %v once its tokens were renewed, want %v", u, at)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if u := used(); u.Before(began) {
		t.Errorf("after a restart last used at %v", u)
	}
	if n := testing.AllocsPerRun(100, func() { s.Activity("1"); s.Use("1", at) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
