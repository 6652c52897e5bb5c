package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// logins stands in for the shared facts: which logins have ended.
type logins struct{ ended sync.Map }

func (l *logins) end(id host.LoginID) { l.ended.Store(id, true) }

func (l *logins) revoked(p *host.Principal) error {
	if _, ok := l.ended.Load(p.Login.ID); ok {
		return host.ErrLoggedOut
	}
	return nil
}

func person(user host.UserID, login host.LoginID) *host.Principal {
	return &host.Principal{User: user, Login: host.Login{ID: login}}
}

func newTable(perUser int) (*Table, *logins) {
	l := &logins{}
	return NewTable(l.revoked, Options{Bounds: Bounds{PerUser: perUser}}), l
}

func open(t testing.TB, table *Table, p *host.Principal) *Session {
	t.Helper()
	s, err := table.Open(t.Context(), p, host.SessionInfo{Kind: host.SessionSocket, Plugin: "exec"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// work closes the session as soon as it ended, as a door does.
func work(wg *sync.WaitGroup, s *Session) {
	wg.Go(func() {
		<-s.Context().Done()
		s.Close()
	})
}

func wantDead(t testing.TB, s *Session, cause error) {
	t.Helper()
	if s.Alive() || !errors.Is(s.Cause(), cause) || !errors.Is(context.Cause(s.Context()), cause) {
		t.Errorf("alive %v, cause %v, context %v; want it ended with %v", s.Alive(), s.Cause(), context.Cause(s.Context()), cause)
	}
}

func wantAlive(t testing.TB, s *Session) {
	t.Helper()
	if !s.Alive() || s.Cause() != nil || s.Context().Err() != nil {
		t.Errorf("alive %v, cause %v, context %v; want it alive", s.Alive(), s.Cause(), s.Context().Err())
	}
}

// endHere ends what is in scope on this replica, and waits until it has closed or ctx
// ends.
func endHere(ctx context.Context, table *Table, scope Scope, cause error) Result {
	return awaitClosed(ctx, table.drop(&scope, cause).teardown().all)
}

func TestEndingAUserEndsEverythingOfTheUserAndNothingElse(t *testing.T) {
	table, _ := newTable(0)
	var wg sync.WaitGroup
	var anns []*Session
	for i := range 20 {
		s := open(t, table, person("ann", host.LoginID(fmt.Sprint(i%2))))
		work(&wg, s)
		anns = append(anns, s)
	}
	ben := open(t, table, person("ben", "ben"))
	defer ben.Close()

	r := endHere(t.Context(), table, SessionsOf("ann"), host.ErrLoggedOut)
	if r != (Result{Ended: 20, Closed: 20}) {
		t.Errorf("result %+v", r)
	}
	for _, s := range anns {
		wantDead(t, s, host.ErrLoggedOut)
	}
	wantAlive(t, ben)
	if left := table.All(); len(left) != 1 || left[0].User != "ben" {
		t.Errorf("left in the table: %+v", left)
	}
	wg.Wait()
}

func TestEndLoginLeavesTheUsersOtherLogins(t *testing.T) {
	table, _ := newTable(0)
	phone, laptop := open(t, table, person("ann", "phone")), open(t, table, person("ann", "laptop"))
	defer laptop.Close()
	var wg sync.WaitGroup
	work(&wg, phone)
	if r := endHere(t.Context(), table, OneLogin("ann", "phone"), host.ErrRevoked); r != (Result{Ended: 1, Closed: 1}) {
		t.Errorf("result %+v", r)
	}
	wantDead(t, phone, host.ErrRevoked)
	wantAlive(t, laptop)
	wg.Wait()
}

func TestEndingNobodyEndsNothing(t *testing.T) {
	table, _ := newTable(0)
	var all []*Session
	for i := range 200 { // every shard has somebody
		all = append(all, open(t, table, person(host.UserID(fmt.Sprint("user", i)), "")))
	}
	for _, r := range []Result{
		endHere(t.Context(), table, SessionsOf(""), host.ErrLoggedOut),
		endHere(t.Context(), table, OneLogin("", ""), host.ErrLoggedOut),
		endHere(t.Context(), table, SessionsOf("unknown"), host.ErrLoggedOut),
	} {
		if r != (Result{}) {
			t.Errorf("result %+v", r)
		}
	}
	if table.List("") != nil {
		t.Error("nobody has sessions")
	}
	for _, s := range all {
		wantAlive(t, s)
		s.Close()
	}
}

func TestAuthorityGoesFirstThenStreamsThenContext(t *testing.T) {
	table, _ := newTable(0)
	var sessions []*Session
	var seen atomic.Int32
	for range 10 {
		s := open(t, table, person("ann", "1"))
		sessions = append(sessions, s)
		s.OnEnd(func(cause error) {
			for _, other := range sessions {
				if other.Alive() {
					t.Error("a stream was closed while another session of the user had authority")
				}
			}
			if s.Context().Err() != nil {
				t.Error("the guest was stopped before the stream was closed")
			}
			if !errors.Is(cause, host.ErrLoggedOut) {
				t.Errorf("cause %v", cause)
			}
			seen.Add(1)
		})
	}
	var wg sync.WaitGroup
	for _, s := range sessions {
		work(&wg, s)
	}
	endHere(t.Context(), table, SessionsOf("ann"), host.ErrLoggedOut)
	wg.Wait()
	if seen.Load() != 10 {
		t.Errorf("%d streams closed, want 10", seen.Load())
	}
}

func TestFirstCauseWinsAndStreamsCloseOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, _ := newTable(0)
		s := open(t, table, person("ann", "1"))
		var calls atomic.Int32
		s.OnEnd(func(error) { calls.Add(1) })
		s.End(host.ErrIdle)
		s.End(host.ErrLoggedOut)
		endHere(gone(t), table, SessionsOf("ann"), host.ErrRevoked)
		synctest.Wait()
		wantDead(t, s, host.ErrIdle)
		if calls.Load() != 1 {
			t.Errorf("stream closed %d times", calls.Load())
		}
		s.Close()
		s.Close()
		if !errors.Is(s.Cause(), host.ErrIdle) {
			t.Errorf("cause after close: %v", s.Cause())
		}
	})
}

// gone is a context that has ended: "do not wait".
func gone(t testing.TB) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestCloseEndsWithoutCallingStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, _ := newTable(0)
		s := open(t, table, person("ann", "1"))
		s.OnEnd(func(error) { t.Error("called after the work was over") })
		s.Close()
		wantDead(t, s, host.ErrDone)
		if r := endHere(t.Context(), table, SessionsOf("ann"), host.ErrLoggedOut); r != (Result{}) {
			t.Errorf("result %+v", r)
		}
		synctest.Wait()
	})
}

func TestStreamThatClosedByItselfIsNotClosedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, _ := newTable(0)
		s := open(t, table, person("ann", "1"))
		defer s.Close()
		var kept atomic.Bool
		remove := s.OnEnd(func(error) { t.Error("called after it was removed") })
		s.OnEnd(func(error) { kept.Store(true) })
		remove()
		remove()
		s.End(host.ErrLoggedOut)
		synctest.Wait()
		if !kept.Load() {
			t.Error("the other stream stayed open")
		}
	})
}

func TestStreamOpenedAfterTheEndIsClosedAtOnce(t *testing.T) {
	table, _ := newTable(0)
	s := open(t, table, person("ann", "1"))
	defer s.Close()
	s.End(host.ErrLoggedOut)
	var cause error
	s.OnEnd(func(err error) { cause = err })
	if !errors.Is(cause, host.ErrLoggedOut) {
		t.Errorf("cause %v", cause)
	}
}

func TestStuckOrBrokenStreamHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, _ := newTable(0)
		release := make(chan struct{})
		stuck, broken, fine := open(t, table, person("ann", "1")), open(t, table, person("ann", "1")), open(t, table, person("ann", "1"))
		stuck.OnEnd(func(error) { <-release })
		broken.OnEnd(func(error) { panic("broken") })
		var closed atomic.Bool
		fine.OnEnd(func(error) { closed.Store(true) })
		var wg sync.WaitGroup
		for _, s := range []*Session{stuck, broken, fine} {
			work(&wg, s)
		}
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if r := endHere(ctx, table, SessionsOf("ann"), host.ErrLoggedOut); r != (Result{Ended: 3, Closed: 3}) {
			t.Errorf("result %+v", r)
		}
		if d := time.Since(start); d != closerGrace || !closed.Load() {
			t.Errorf("after %v, healthy stream closed %v; want %v", d, closed.Load(), closerGrace)
		}
		close(release)
		wg.Wait()
	})
}

func TestWaitIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, _ := newTable(0)
		deaf, good := open(t, table, person("ann", "1")), open(t, table, person("ann", "1"))
		var wg sync.WaitGroup
		work(&wg, good)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if r := endHere(ctx, table, SessionsOf("ann"), host.ErrLoggedOut); r != (Result{Ended: 2, Closed: 1}) || time.Since(start) != time.Second {
			t.Errorf("result %+v after %v", r, time.Since(start))
		}
		wantDead(t, deaf, host.ErrLoggedOut)

		// A second logout still waits for what the first one left behind.
		go func() { time.Sleep(time.Second); deaf.Close() }()
		if r := endHere(t.Context(), table, SessionsOf("ann"), host.ErrLoggedOut); r != (Result{Ended: 1, Closed: 1}) {
			t.Errorf("second result %+v", r)
		}
		wg.Wait()
	})
}

func TestLoginsEndEndsItsSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, _ := newTable(0)
		p := person("ann", "1")
		p.Login.Until = time.Now().Add(time.Hour)
		s := open(t, table, p)
		defer s.Close()
		s.Limit(2*time.Hour, 0) // no longer than the login
		time.Sleep(time.Hour - 1)
		synctest.Wait()
		wantAlive(t, s)
		time.Sleep(1)
		synctest.Wait()
		wantDead(t, s, host.ErrLoginExpired)
	})
}

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, _ := newTable(0)
		long, idle, busy, off := open(t, table, person("ann", "1")), open(t, table, person("ann", "1")),
			open(t, table, person("ann", "1")), open(t, table, person("ann", "1"))
		long.Limit(time.Minute, 0)
		idle.Limit(0, 10*time.Second)
		busy.Limit(0, 10*time.Second)
		off.Limit(time.Second, time.Second)
		off.Limit(0, 0)
		for range 11 {
			time.Sleep(9 * time.Second)
			busy.Touch()
		}
		synctest.Wait()
		wantDead(t, long, host.ErrTooLong)
		wantDead(t, idle, host.ErrIdle)
		wantAlive(t, busy)
		wantAlive(t, off)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		wantDead(t, busy, host.ErrIdle)
		for _, s := range []*Session{long, idle, busy, off} {
			s.Close()
		}
	})
}

func TestSessionEndsWithItsRequest(t *testing.T) {
	table, _ := newTable(0)
	ctx, cancel := context.WithCancelCause(t.Context())
	call, err := table.Open(ctx, person("ann", "1"), host.SessionInfo{Kind: host.SessionCall})
	if err != nil {
		t.Fatal(err)
	}
	defer call.Close()
	socket, err := table.Open(context.WithoutCancel(ctx), person("ann", "1"), host.SessionInfo{Kind: host.SessionSocket})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	cancel(host.ErrClientGone)
	if cause := context.Cause(call.Context()); !errors.Is(cause, host.ErrClientGone) {
		t.Errorf("the call's context: %v", cause)
	}
	wantAlive(t, socket)
}

func TestSessionsPerUserAreLimited(t *testing.T) {
	table, _ := newTable(3)
	var mine []*Session
	for range 3 {
		mine = append(mine, open(t, table, person("ann", "1")))
	}
	if _, err := table.Open(t.Context(), person("ann", "2"), host.SessionInfo{}); host.KindOf(err) != host.Limited {
		t.Errorf("the fourth: %v", err)
	}
	open(t, table, person("ben", "1")).Close()
	mine[1].Close()
	open(t, table, person("ann", "1")).Close()
	mine[0].Close()
	mine[2].Close()
	if left := table.All(); len(left) != 0 {
		t.Errorf("left: %+v", left)
	}
}

func TestNobodyOpensNothing(t *testing.T) {
	table, _ := newTable(0)
	for _, p := range []*host.Principal{nil, {}} {
		if _, err := table.Open(t.Context(), p, host.SessionInfo{}); host.KindOf(err) != host.Unauthenticated {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

func TestShutdownEndsAllAndOpensNone(t *testing.T) {
	table, _ := newTable(0)
	var wg sync.WaitGroup
	var all []*Session
	for i := range 100 {
		s := open(t, table, person(host.UserID(fmt.Sprint(i)), "1"))
		work(&wg, s)
		all = append(all, s)
	}
	if r := table.Shutdown(t.Context()); r != (Result{Ended: 100, Closed: 100}) {
		t.Errorf("result %+v", r)
	}
	for _, s := range all {
		wantDead(t, s, host.ErrShutdown)
	}
	if _, err := table.Open(t.Context(), person("ann", "1"), host.SessionInfo{}); !errors.Is(err, host.ErrShutdown) {
		t.Errorf("open after shutdown: %v", err)
	}
	wg.Wait()
}

func TestListShowsOnlyTheOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, _ := newTable(0)
		var sessions []*Session
		for i, user := range []host.UserID{"ann", "ben", "ann"} {
			s, err := table.Open(t.Context(), person(user, "1"), host.SessionInfo{Kind: host.SessionCall, Target: fmt.Sprint(i)})
			if err != nil {
				t.Fatal(err)
			}
			sessions = append(sessions, s)
			time.Sleep(time.Second)
		}
		sessions[0].Touch()
		got := table.List("ann")
		if len(got) != 2 || got[0].Target != "0" || got[1].Target != "2" {
			t.Fatalf("list: %+v", got)
		}
		if got[0].ID != sessions[0].ID() || got[0].ID == got[1].ID || len(got[0].ID) < 22 {
			t.Errorf("ids %q and %q", got[0].ID, got[1].ID)
		}
		if d := got[0].LastUsed.Sub(got[0].Started); d != 3*time.Second {
			t.Errorf("touched %v after its start", d)
		}
		if got[1].Cause != nil {
			t.Errorf("cause %v", got[1].Cause)
		}
		if all := table.All(); len(all) != 3 {
			t.Errorf("all: %+v", all)
		}
		match := func(s *Session) bool { return s.info.Target == "1" }
		table.dropWhere(match, host.ErrRevoked).teardown()
		for i, s := range sessions {
			if s.Alive() != (i != 1) {
				t.Errorf("session %d: alive %v", i, s.Alive())
			}
			s.Close()
		}
	})
}
