package state

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Somebody who can write to the store, and does not have the host key.

func put(t *testing.T, s *Store, key, value string) {
	t.Helper()
	if _, err := s.client.Put(t.Context(), key, value); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, s *Store, key string) string {
	t.Helper()
	resp, err := s.client.Get(t.Context(), key)
	if err != nil || len(resp.Kvs) != 1 {
		t.Fatalf("%s: %v, %v", key, resp, err)
	}
	return string(resp.Kvs[0].Value)
}

// settled waits until everything written so far went through the watch.
func settled(t *testing.T, s *Store) {
	t.Helper()
	resp, err := s.client.Put(t.Context(), s.at.facts+"settled", "")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the watch caught up", func() bool { return s.Revision() >= resp.Header.Revision })
}

func TestTamperedRecordIsNobody(t *testing.T) {
	for name, alter := range map[string]func(string) string{
		"flipped bit": func(v string) string { return string([]byte{v[0] ^ 1}) + v[1:] },
		"truncated":   func(v string) string { return v[:10] },
		"emptied":     func(string) string { return "" },
		"plain JSON":  func(string) string { return `{"ID":"1","User":"ann"}` },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			p, other := signIn(t, s, "ann", "1"), signIn(t, s, "ann", "2")
			key := s.at.ofLogin(loginKey{"ann", "1"})
			put(t, s, key, alter(get(t, s, key)))
			settled(t, s)
			wantGone(t, s, p, host.ErrLoggedOut)
			wantLive(t, s, other)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, dir)
			wantGone(t, s, p, host.ErrLoggedOut)
			wantLive(t, s, other)
		})
	}
}

func TestRecordIsBoundToItsPlace(t *testing.T) {
	s := open(t, t.TempDir())
	signIn(t, s, "ann", "1")
	sealed := get(t, s, s.at.ofLogin(loginKey{"ann", "1"}))
	for _, k := range []loginKey{{"admin", "1"}, {"ann", "2"}} {
		put(t, s, s.at.ofLogin(k), sealed)
	}
	settled(t, s)
	if _, ok := s.Login("2"); ok {
		t.Error("a copied record became another login")
	}
	var rec host.LoginRecord
	if err := s.seal.open(s.at.ofLogin(loginKey{"ann", "2"}), []byte(sealed), &rec); err == nil {
		t.Error("a record opens in another place")
	}
	if rec, ok := s.Login("1"); !ok || rec.User != "ann" {
		t.Errorf("login 1 is now %q, %v", rec.User, ok)
	}
}

func TestPuttingAnEndedRecordBackRevivesNobody(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	one, all := signIn(t, s, "ann", "one"), signIn(t, s, "ben", "all")
	keys := []string{s.at.ofLogin(loginKey{"ann", "one"}), s.at.ofLogin(loginKey{"ben", "all"})}
	sealed := []string{get(t, s, keys[0]), get(t, s, keys[1])}
	if err := errors.Join(s.EndLogin(t.Context(), "one"), s.EndUserLogins(t.Context(), "ben")); err != nil {
		t.Fatal(err)
	}
	for i := range keys {
		put(t, s, keys[i], sealed[i])
	}
	settled(t, s)
	wantGone(t, s, one, host.ErrLoggedOut)
	wantGone(t, s, all, host.ErrLoggedOut)

	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	wantGone(t, s, all, host.ErrLoggedOut) // the mark outlives the process
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	// Nothing in memory remembers the login, only the mark does.
	s = open(t, dir)
	if _, err := s.client.Delete(t.Context(), keys[1]); err != nil {
		t.Fatal(err)
	}
	settled(t, s)
	s.cache.forget([]loginKey{{"ben", "all"}})
	put(t, s, keys[1], sealed[1])
	settled(t, s)
	wantGone(t, s, all, host.ErrLoggedOut)
}

func TestRemovingOrSpoilingAMarkRevivesNobody(t *testing.T) {
	s := open(t, t.TempDir())
	p := signIn(t, s, "ann", "1")
	sealed := get(t, s, s.at.ofLogin(loginKey{"ann", "1"}))
	if err := s.EndUserLogins(t.Context(), "ann"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.client.Delete(t.Context(), s.at.notBeforeOf("ann")); err != nil {
		t.Fatal(err)
	}
	put(t, s, s.at.ofLogin(loginKey{"ann", "1"}), sealed)
	settled(t, s)
	wantGone(t, s, p, host.ErrLoggedOut)

	ben := signIn(t, s, "ben", "2")
	put(t, s, s.at.notBeforeOf("ben"), "rubbish")
	settled(t, s)
	wantGone(t, s, ben, host.ErrLoggedOut)
}

func TestForgedKeySignsNothing(t *testing.T) {
	s := open(t, t.TempDir())
	epoch := s.KeyEpoch()
	foreign, err := newSealer(make([]byte, hostKeySize))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := foreign.seal(s.at.key+"2", keyRecord{Seed: make([]byte, 32), Created: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, s.at.key+"2", sealed)
	settled(t, s)
	if len(s.Keys()) != 1 || s.KeyEpoch() != epoch {
		t.Errorf("%d keys at epoch %d, want the one of epoch %d", len(s.Keys()), s.KeyEpoch(), epoch)
	}
	if _, err := s.client.Delete(t.Context(), s.keyPlace(1)); err != nil {
		t.Fatal(err)
	}
	settled(t, s)
	if len(s.Keys()) != 0 || s.KeyEpoch() == epoch {
		t.Error("a withdrawn key is still in use")
	}
}

func TestASpoiledKeyVerifiesNothing(t *testing.T) {
	s := open(t, t.TempDir())
	put(t, s, s.keyPlace(1), "rubbish")
	settled(t, s)
	if n := len(s.Keys()); n != 0 {
		t.Errorf("%d keys, though the record of the one there was does not open", n)
	}
}

func TestLostHistoryMeansLoadingAnew(t *testing.T) {
	s := open(t, t.TempDir())
	gone, live := signIn(t, s, "ann", "1"), signIn(t, s, "ann", "2")
	settled(t, s)

	// Stand in for a watch that was away: the deletion and the compaction
	// happen while nobody follows.
	s.stop()
	s.running.Wait()
	next := s.Revision() + 1
	resp, err := s.client.Delete(t.Context(), s.at.ofLogin(loginKey{"ann", "1"}))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		put(t, s, s.at.facts+"noise", "")
	}
	if _, err := s.client.Compact(t.Context(), resp.Header.Revision+2); err != nil {
		t.Fatal(err)
	}
	wantLive(t, s, gone) // not known yet
	s.running.Go(func() { s.watch(t.Context(), next) })
	eventually(t, "the login that ended meanwhile is gone", func() bool { return s.Revoked(gone) != nil })
	wantLive(t, s, live)
}

func TestStoreThatTakesNoWritesAdmitsNobody(t *testing.T) {
	s, err := Open(t.Context(), Config{Dir: t.TempDir(), timing: timing{beat: 40 * time.Millisecond, admit: 200 * time.Millisecond, lapse: 300 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p := signIn(t, s, "ann", "1")
	eventually(t, "ready", func() bool { return s.Ready() == nil })

	_ = s.client.Close() // every write fails from here on
	eventually(t, "the fence closes", func() bool { return s.Ready() != nil })
	if err := s.Revoked(p); host.KindOf(err) != host.Unavailable {
		t.Errorf("behind the fence: %v", err)
	}
	if _, err := s.CreateLogin(t.Context(), record("ann", "2")); host.KindOf(err) != host.Unavailable {
		t.Errorf("sign-in: %v", err)
	}
	if err := s.EndLogin(t.Context(), "1"); host.KindOf(err) != host.Unavailable {
		t.Errorf("a logout that was not committed answered %v", err)
	}
}

func TestClosedStoreAdmitsNobody(t *testing.T) {
	s := open(t, t.TempDir())
	p := signIn(t, s, "ann", "1")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Revoked(p); host.KindOf(err) != host.Unavailable {
		t.Error(err)
	}
}

func TestOnlyTheOwnNewestBeatCounts(t *testing.T) {
	h := newHeartbeat(sharedTiming)
	encode := func(r beatRecord) (string, error) { return fmt.Sprint(r.N), nil }
	next := func() string {
		beat, _, err := h.next(encode)
		if err != nil {
			t.Fatal(err)
		}
		return beat
	}
	h.trust()
	h.fresh.Store(-1)
	old := next()
	if again := next(); again != old {
		t.Errorf("a beat of which nobody knows whether it was taken is followed by %q", again)
	}
	h.taken(old)
	own := next()
	for _, beat := range []string{"", "another replica's", old} {
		if h.seen(beat); h.fresh.Load() != -1 {
			t.Errorf("beat %q counts", beat)
		}
	}
	if h.seen(own); h.fresh.Load() < 0 {
		t.Error("the own beat does not count")
	}
	h.fresh.Store(-1)
	if h.seen(own); h.fresh.Load() != -1 {
		t.Error("a beat that comes back again counts again")
	}
}
