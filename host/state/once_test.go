package state

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

func TestOnceIsOnceForEverybody(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	until := time.Now().Add(time.Hour)
	var firsts atomic.Int32
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			first, err := s.Once(t.Context(), "name", until)
			if err != nil {
				t.Error(err)
			}
			if first {
				firsts.Add(1)
			}
		})
	}
	all.Wait()
	if firsts.Load() != 1 {
		t.Errorf("%d of 20 were first", firsts.Load())
	}
	if first, err := s.Once(t.Context(), "another", until); !first || err != nil {
		t.Errorf("another name: %v, %v", first, err)
	}
	s.forgetOnce(t.Context(), time.Now()) // not yet
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if first, err := s.Once(t.Context(), "name", until); first || err != nil {
		t.Errorf("after a restart: %v, %v", first, err)
	}
	s.forgetOnce(t.Context(), until.Add(time.Minute))
	if first, err := s.Once(t.Context(), "name", until); !first || err != nil {
		t.Errorf("after its time it is remembered: %v, %v", first, err)
	}
}

func TestABorneLoginIsNotAdmittedAgain(t *testing.T) {
	for name, end := range map[string]func(*Store, LoginRecord) error{
		"its own logout":    func(s *Store, rec LoginRecord) error { return s.EndLogin(t.Context(), rec.ID) },
		"with all sessions": func(s *Store, rec LoginRecord) error { return s.EndLoginAndSessions(t.Context(), rec.ID) },
		"the user's":        func(s *Store, rec LoginRecord) error { return s.EndUserLogins(t.Context(), rec.User) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			rec := record("ann", "token")
			for range 2 {
				got, err := s.AdmitLogin(t.Context(), rec)
				if err != nil || got.ID != rec.ID || !got.At.Equal(rec.At) {
					t.Fatalf("%+v, %v", got, err)
				}
			}
			wantLive(t, s, principal(rec))
			if _, err := s.AdmitLogin(t.Context(), func() LoginRecord { r := rec; r.User = "ben"; return r }()); !errors.Is(err, host.ErrLoggedOut) {
				t.Errorf("another user under the same id: %v", err)
			}
			if err := end(s, rec); err != nil {
				t.Fatal(err)
			}
			for range 2 { // here, and after a restart
				if got, err := s.AdmitLogin(t.Context(), rec); !errors.Is(err, host.ErrLoggedOut) {
					t.Errorf("%+v, %v", got, err)
				}
				wantGone(t, s, principal(rec), host.ErrLoggedOut)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = open(t, dir)
			}
			later := rec
			later.ID, later.At = "later", time.Now().Add(time.Second)
			if _, err := s.AdmitLogin(t.Context(), later); err != nil {
				t.Errorf("a credential issued afterwards: %v", err)
			}
		})
	}
}
