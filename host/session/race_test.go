package session

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// A logout commits, then ends what the table has. Wherever it falls between
// resolving a request and opening its session, nothing may survive it.
func TestLogoutBetweenResolveAndOpenLeavesNoSurvivor(t *testing.T) {
	p := person("ann", "1")
	type step struct {
		name   string
		before func(logout func()) // between resolving and Open
		during func(logout func()) // while Open asks whether the login is good
		after  func(logout func())
	}
	run := func(logout func()) { logout() }
	for _, s := range []step{{name: "before", before: run}, {name: "during", during: run}, {name: "after", after: run}} {
		t.Run(s.name, func(t *testing.T) {
			facts := &logins{}
			var table *Table
			var logout sync.WaitGroup
			commit := func() { // returns when committed; the ending runs unless Open keeps it waiting
				facts.end(p.Login.ID)
				ended := make(chan struct{})
				logout.Go(func() {
					endHere(gone(t), table, SessionsOf(p.User), host.ErrLoggedOut)
					close(ended)
				})
				select {
				case <-ended:
				case <-time.After(100 * time.Millisecond):
				}
			}
			at := func(f func(func())) {
				if f != nil {
					f(commit)
				}
			}
			table = NewTable(func(p *host.Principal) error {
				err := facts.revoked(p) // the answer was read before the logout
				at(s.during)
				return err
			}, Options{})

			at(s.before)
			session, err := table.Open(t.Context(), p, host.SessionInfo{})
			at(s.after)
			logout.Wait()
			if err == nil {
				wantDead(t, session, host.ErrLoggedOut)
				session.Close()
			} else if !errors.Is(err, host.ErrLoggedOut) {
				t.Error(err)
			}
			if left := table.All(); len(left) != 0 {
				t.Errorf("left in the table: %+v", left)
			}
		})
	}
}

func TestHammer(t *testing.T) {
	rounds := 3000
	if testing.Short() {
		rounds = 500
	}
	table, facts := newTable(50)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 1))
			for i := range rounds {
				user := host.UserID(fmt.Sprint("user-", r.IntN(3)))
				// Each worker logs out only what it opened, so it knows what must be dead.
				mine := person(user, host.LoginID(fmt.Sprint(w, "-", i)))
				s, err := table.Open(t.Context(), mine, host.SessionInfo{})
				if err != nil {
					if host.KindOf(err) != host.Limited {
						t.Error(err)
					}
					continue
				}
				remove := s.OnEnd(func(error) {
					if s.Alive() {
						t.Error("a stream is closed under authority")
					}
				})
				switch r.IntN(6) {
				case 0:
					s.End(host.ErrIdle)
				case 1:
					endHere(gone(t), table, SessionsOf(user), host.ErrLoggedOut)
				case 2:
					facts.end(mine.Login.ID)
					endHere(gone(t), table, OneLogin(user, mine.Login.ID), host.ErrLoggedOut)
					if s.Alive() {
						t.Error("survived its logout")
					}
					if _, err := table.Open(t.Context(), mine, host.SessionInfo{}); err == nil {
						t.Error("opened after its logout")
					}
				case 3:
					table.dropWhere(func(o *Session) bool { return o == s }, host.ErrRevoked).teardown()
				case 4:
					remove()
					s.Touch()
					s.Limit(1, 1)
				case 5:
					table.List(user)
				}
				wg.Go(s.Close)
				s.Close()
				if s.Alive() || s.Context().Err() == nil {
					t.Error("alive after it was closed")
				}
			}
		})
	}
	wg.Wait()
	if left := table.All(); len(left) != 0 {
		t.Errorf("%d sessions left", len(left))
	}
	for i := range table.shards {
		if n := len(table.shards[i].users); n != 0 {
			t.Errorf("shard %d remembers %d users without sessions", i, n)
		}
	}
}

func TestTenThousandSessionsOfOneUserEnd(t *testing.T) {
	const n = 10_000
	table, _ := newTable(n)
	var wg sync.WaitGroup
	var all []*Session
	for range n {
		s := open(t, table, person("ann", "1"))
		s.OnEnd(func(error) {})
		work(&wg, s)
		all = append(all, s)
	}
	other := open(t, table, person("ben", "1"))
	defer other.Close()
	if r := endHere(t.Context(), table, SessionsOf("ann"), host.ErrLoggedOut); r != (Result{Ended: n, Closed: n}) {
		t.Errorf("result %+v", r)
	}
	for _, s := range all {
		wantDead(t, s, host.ErrLoggedOut)
	}
	wantAlive(t, other)
	wg.Wait()
}

func BenchmarkOpenClose(b *testing.B) {
	table, _ := newTable(0)
	p := person("ann", "1")
	b.ReportAllocs()
	for b.Loop() {
		open(b, table, p).Close()
	}
}

// BenchmarkEndUser10000 ends sessions of which each has a stream and a worker.
func BenchmarkEndUser10000(b *testing.B) {
	const n = 10_000
	table, _ := newTable(n)
	for b.Loop() {
		b.StopTimer()
		var wg sync.WaitGroup
		for range n {
			s := open(b, table, person("ann", "1"))
			s.OnEnd(func(error) {})
			work(&wg, s)
		}
		b.StartTimer()
		endHere(b.Context(), table, SessionsOf("ann"), host.ErrLoggedOut)
		b.StopTimer()
		wg.Wait()
		b.StartTimer()
	}
}

// BenchmarkDropAuthority10000 is the first clock alone.
func BenchmarkDropAuthority10000(b *testing.B) {
	const n = 10_000
	table, _ := newTable(n)
	for b.Loop() {
		b.StopTimer()
		for range n {
			open(b, table, person("ann", "1"))
		}
		b.StartTimer()
		everything := SessionsOf("ann")
		d := table.drop(&everything, host.ErrLoggedOut)
		b.StopTimer()
		for _, s := range d.all {
			s.Close()
		}
		b.StartTimer()
	}
}
