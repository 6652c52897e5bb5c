package server

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/authn"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
	"github.com/seed-a3fb47d6/bulkhead/host/state/statetest"
)

// soaking says that there is time for the long versions.
var soaking = os.Getenv("BULKHEAD_SOAK") != ""

// seat is what of a host decides whether somebody is signed in: its store, its
// session table and its resolver, joined as the server joins them.
type seat struct {
	store  *state.Store
	table  *session.Table
	people *authn.Service
	asked  atomic.Pointer[func()] // called while Open asks whether the login is good, once the answer was read
}

// everybody is a directory that knows whoever asks.
type everybody struct{}

func (everybody) PersonOf(*host.Principal) (authn.Person, bool) { return authn.Person{}, true }
func (everybody) Revision() uint64                              { return 1 }

func newSeat(t testing.TB, perUser int, o state.Options) *seat {
	t.Helper()
	s := &seat{}
	var err error
	if s.store, err = state.Open(t.Context(), state.Config{Dir: t.TempDir(), Options: o}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.store.Close() })
	s.table = session.NewTable(func(p *host.Principal) error {
		err := s.store.Revoked(p)
		if f := s.asked.Load(); f != nil {
			(*f)()
		}
		return err
	}, session.Options{Bounds: session.Bounds{PerUser: perUser}, Lapsed: s.store.Lapsed})
	ender := session.NewEnder(s.table, s.store)
	s.people, err = authn.New(authn.Config{
		PublicURL: &url.URL{Scheme: "http", Host: "127.0.0.1:8080"},
		State:     s.store, Sessions: ender, Directory: everybody{}, Options: authn.Options{Dev: &struct{}{}}, Rates: authn.Rates{Client: -1, Account: -1},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// seats are one host with its own store, or several on one cluster.
func seats(t testing.TB, n, perUser int) []*seat {
	t.Helper()
	if n == 1 {
		return []*seat{newSeat(t, perUser, state.Options{})}
	}
	cluster, key := statetest.Start(t, 3), statetest.Key(t)
	var all []*seat
	for range n {
		all = append(all, newSeat(t, perUser, state.Options{Endpoints: cluster.Endpoints, KeyFile: key}))
	}
	return all
}

// request is one with a bearer token.
func request(t testing.TB, path, token, body string) *http.Request {
	r := httptest.NewRequestWithContext(t.Context(), "POST", "http://127.0.0.1:8080"+path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	return r
}

func (s *seat) logout(t testing.TB, token, scope string) {
	w := httptest.NewRecorder()
	if err := s.people.Logout(w, request(t, "/auth/logout", token, `{"scope":"`+scope+`"}`)); err != nil {
		t.Error("logout:", err)
	}
}

// TestLogoutRace lets a logout fall at each point between resolving a request
// and having opened its session, on the same host and on another of three.
// Whatever was opened is dead when the logout was answered on the same host, and
// within moments on another; nothing opens later. (kubestellar/console #6075 and
// what it left: the session was registered after the check.)
func TestLogoutRace(t *testing.T) {
	attempts := 200
	if soaking {
		attempts = 2000
	}
	points := []string{"before resolving", "between resolving and opening", "while opening, after the login was found good", "after opening"}
	for hosts, name := range map[int]string{1: "one replica", 3: "three replicas"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := seats(t, hosts, 0)
			var longest time.Duration
			for i := range attempts {
				for _, point := range points {
					longest = max(longest, race(t, all, i, point))
				}
				if t.Failed() {
					return
				}
			}
			t.Logf("%d logouts at each of %d points; dead at the latest %v after the answer", attempts, len(points), longest)
		})
	}
}

// race returns how long after the logout's answer the session lived.
func race(t *testing.T, all []*seat, i int, point string) time.Duration {
	used, left := all[i%len(all)], all[(i+i/len(all))%len(all)]
	user := host.UserID("ann")
	token, p, err := left.people.Issue(t.Context(), authn.Identity{Issuer: "dev", Subject: string(user), User: user, Method: "dev"})
	if err != nil {
		t.Fatal(err)
	}
	for used.store.Revoked(p) != nil { // until the other replica knows of the login
		time.Sleep(50 * time.Microsecond)
	}
	scope := []string{"default", "login", "user"}[i%3]
	var answered time.Time
	var running sync.WaitGroup
	logout := func() { left.logout(t, token, scope); answered = time.Now() }
	at := func(here string) {
		if point == here {
			logout()
		}
	}
	if point == "while opening, after the login was found good" {
		// On the same host the logout waits for the session that is being opened.
		// So it runs beside it, and Open goes on when it is committed or waits.
		hook := func() {
			used.asked.Store(nil)
			running.Go(logout)
			for late := time.Now().Add(20 * time.Millisecond); left.store.Revoked(p) == nil && time.Now().Before(late); {
				time.Sleep(50 * time.Microsecond)
			}
		}
		used.asked.Store(&hook)
	}
	at("before resolving")
	var s *session.Session
	resolved, err := used.people.Resolve(request(t, "/", token, ""))
	at("between resolving and opening")
	if err == nil {
		s, err = used.table.Open(t.Context(), resolved.Principal, host.SessionInfo{})
	}
	if err == nil {
		running.Go(func() { // who works for the session leaves when it ends
			<-s.Context().Done()
			s.Close()
		})
	}
	at("after opening")
	if err == nil && used == left && point != "while opening, after the login was found good" && s.Alive() {
		t.Errorf("%s, scope %s: a session survived the answer to its logout", point, scope)
	}
	if err == nil {
		for late := time.After(5 * time.Second); s.Alive(); {
			select {
			case <-late:
				s.Close()
				t.Fatalf("%s, scope %s: a session survived its logout", point, scope)
			case <-time.After(20 * time.Microsecond):
			}
		}
	}
	dead := time.Now()
	running.Wait()
	if err != nil {
		if !errors.Is(err, host.ErrLoggedOut) && host.KindOf(err) != host.Unauthenticated {
			t.Errorf("%s: %v", point, err)
		}
		return 0
	}
	if !errors.Is(s.Cause(), host.ErrLoggedOut) {
		t.Errorf("%s: it ended with %v", point, s.Cause())
	}
	if again, err := used.table.Open(t.Context(), resolved.Principal, host.SessionInfo{}); err == nil {
		again.Close()
		t.Errorf("%s: a session opened after the logout", point)
	}
	return max(0, dead.Sub(answered))
}
