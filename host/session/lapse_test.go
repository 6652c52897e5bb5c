package session

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

var errLapsed = &host.Error{Kind: host.Unavailable, Message: "lapsed"}

// lapsing is a table whose knowledge of logouts can lapse.
func lapsing() (*Table, *atomic.Bool) {
	lapsed := &atomic.Bool{}
	l := &logins{}
	return NewTable(l.revoked, Options{Lapsed: func() error {
		if lapsed.Load() {
			return errLapsed
		}
		return nil
	}}), lapsed
}

// A process that was stopped gets no event before it goes on. So authority is not
// a flag that an event drops: each question asks whether what is known has lapsed.
func TestTheFirstQuestionAfterALapseIsAlreadyNo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, lapsed := lapsing()
		asked, unasked := open(t, table, person("ann", "1")), open(t, table, person("ann", "1"))
		var told atomic.Pointer[error]
		asked.OnEnd(func(cause error) { told.Store(&cause) })
		wantAlive(t, asked)
		lapsed.Store(true)
		if asked.Alive() {
			t.Error("the first question after the lapse is answered yes")
		}
		synctest.Wait()
		wantDead(t, asked, errLapsed)
		if e := told.Load(); e == nil || !errors.Is(*e, errLapsed) {
			t.Errorf("its streams are not closed: %v", e)
		}
		// What ended stays so; what did not ask meanwhile goes on, as a process that
		// was not stopped would.
		lapsed.Store(false)
		wantDead(t, asked, errLapsed)
		wantAlive(t, unasked)
		asked.Close()
		unasked.Close()
	})
}

// The question may be asked while the session is locked, as by its own limits.
func TestALapseIsNoticedWhereverItIsAskedAbout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, lapsed := lapsing()
		s := open(t, table, person("ann", "1"))
		lapsed.Store(true)
		s.Limit(time.Minute, time.Minute)
		synctest.Wait()
		wantDead(t, s, errLapsed)
		s.Close()
	})
}

func TestTheEmptyIDEndsNoSession(t *testing.T) {
	table, _ := newTable(0)
	s := open(t, table, person("ann", "1")) // whose id was not asked for yet
	if r := endHere(gone(t), table, OneSession("ann", ""), host.ErrRevoked); r != (Result{}) {
		t.Errorf("result %+v", r)
	}
	wantAlive(t, s)
	id := s.ID()
	if r := endHere(gone(t), table, OneSession("ben", id), host.ErrRevoked); r != (Result{}) {
		t.Errorf("another user's: %+v", r)
	}
	if r := endHere(gone(t), table, OneSession("ann", id), host.ErrRevoked); r.Ended != 1 {
		t.Errorf("by its id: %+v", r)
	}
	wantDead(t, s, host.ErrRevoked)
	s.Close()
}

// The facts about the login are asked for when the session is in the table: an
// ending that comes between finds it there.
func TestALoginIsAskedAboutWhenItsSessionIsInTheTable(t *testing.T) {
	var table *Table
	var there int
	table = NewTable(func(p *host.Principal) error {
		there = table.shardOf(p.User).users[p.User].count
		return nil
	}, Options{})
	s := open(t, table, person("ann", "1"))
	if there != 1 {
		t.Errorf("%d sessions in the table when the login is asked about", there)
	}
	s.Close()
}

func TestARefusedSessionLeavesNothingBehind(t *testing.T) {
	table, l := newTable(1)
	l.end("1")
	for range 3 { // a session that stayed would use up the limit of one
		if s, err := table.Open(t.Context(), person("ann", "1"), host.SessionInfo{}); !errors.Is(err, host.ErrLoggedOut) || s != nil {
			t.Fatalf("%v, %v", s, err)
		}
	}
	open(t, table, person("ann", "2")).Close()
	if n := len(table.shardOf("ann").users); n != 0 {
		t.Errorf("%d users without sessions are remembered", n)
	}
}

// A second logout answers when what the first one ends is over, not before.
func TestASecondEndingWaitsForTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, _ := newTable(0)
		s := open(t, table, person("ann", "1"))
		if r := endHere(gone(t), table, SessionsOf("ann"), host.ErrLoggedOut); r != (Result{Ended: 1}) {
			t.Errorf("first %+v", r)
		}
		time.AfterFunc(time.Second, s.Close)
		start := time.Now()
		if r := endHere(t.Context(), table, SessionsOf("ann"), host.ErrLoggedOut); r != (Result{Ended: 1, Closed: 1}) || time.Since(start) != time.Second {
			t.Errorf("second %+v after %v", r, time.Since(start))
		}
	})
}

// Where a session has closed and the wait is over as well, it counts as closed.
func TestAClosedSessionCountsThoughTheWaitIsOver(t *testing.T) {
	closed := make(chan struct{})
	close(closed)
	for range 100 { // select would take either
		if !wait(gone(t), closed) {
			t.Fatal("a closed session counts as open")
		}
	}
}

func TestNoTimerIsLeftOfASessionThatEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, _ := newTable(0)
		s := open(t, table, person("ann", "1"))
		s.Limit(time.Hour, time.Hour)
		s.End(host.ErrRevoked)
		for range 2 {
			if s.mu.Lock(); s.limit != nil || s.idle != nil {
				t.Error("timers of an ended session run on")
			}
			s.mu.Unlock()
			s.Limit(time.Hour, time.Hour)
		}
		s.Close()
	})
}

func TestAnEndedSessionIsNotShown(t *testing.T) {
	table, _ := newTable(0)
	var to shown
	ended, closed := open(t, table, person("ann", "1")), open(t, table, person("ann", "1"))
	ended.End(host.ErrRevoked)
	closed.Close()
	for _, s := range []*Session{ended, closed} {
		if s.publish(&to); to.count() != 0 {
			t.Error("a session that ended is shown")
		}
	}
	ended.Close()
}

// A later limit replaces an earlier one; neither outlasts the login; use counts
// from when the limit was set.
func TestLimitsReplaceOneAnotherAndEndWithTheLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, _ := newTable(0)
		until := func(d time.Duration) *host.Principal {
			p := person("ann", "1")
			p.Login.Until = time.Now().Add(d)
			return p
		}
		short, longer, late := open(t, table, until(time.Minute)), open(t, table, until(time.Hour)), open(t, table, until(time.Hour))
		short.Limit(time.Hour, 0) // longer than its login
		longer.Limit(time.Second, time.Second)
		longer.Limit(30*time.Minute, 0)
		time.Sleep(50 * time.Second)
		late.Limit(0, 20*time.Second)
		time.Sleep(15 * time.Second)
		synctest.Wait()
		wantDead(t, short, host.ErrLoginExpired)
		wantAlive(t, longer)
		wantAlive(t, late)
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		wantDead(t, longer, host.ErrTooLong)
		wantDead(t, late, host.ErrIdle)
		for _, s := range []*Session{short, longer, late} {
			s.Close()
		}
	})
}

// A request that is over says nothing of what its principal may do.
func TestAnEndedRequestDoesNotMakeAnAllowADenial(t *testing.T) {
	var table *Table
	table = NewTable((&logins{}).revoked, Options{Decide: func(ctx context.Context, _ *host.Question) host.Decision {
		return host.Decision{Allow: ctx.Err() == nil}
	}})
	ctx, cancel := context.WithCancel(t.Context())
	s, err := table.Open(ctx, person("ann", "1"), host.SessionInfo{})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	table.Redecide(t.Context()) // something changed since the session was opened
	if _, err := s.Hold(&host.Question{}, host.Obligations{}); errors.Is(err, host.ErrNoLonger) {
		t.Errorf("standing: %v", err)
	}
	s.Close()
}

func TestASessionEndsWithItsLoginsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, _ := newTable(0)
		p := person("ann", "1")
		p.Login.Until = time.Now().Add(time.Hour)
		s := open(t, table, p) // for which no limit is set
		defer s.Close()
		time.Sleep(time.Hour + 1)
		synctest.Wait()
		wantDead(t, s, host.ErrLoginExpired)
	})
}

// One stream that hangs delays neither the others nor their guests.
func TestStreamsOfManySessionsAreClosedSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, _ := newTable(0)
		release := make(chan struct{})
		var wg sync.WaitGroup
		for range 5 {
			s := open(t, table, person("ann", "1"))
			s.OnEnd(func(error) { <-release })
			work(&wg, s)
		}
		start := time.Now()
		if r := endHere(t.Context(), table, SessionsOf("ann"), host.ErrLoggedOut); r != (Result{Ended: 5, Closed: 5}) || time.Since(start) != closerGrace {
			t.Errorf("%+v after %v, want %v", r, time.Since(start), closerGrace)
		}
		close(release)
		wg.Wait()
	})
}
