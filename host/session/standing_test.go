package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// rights is a policy that a test changes.
type rights struct {
	mu     sync.Mutex
	denied map[host.UserID]bool
	terms  host.Obligations
	asked  map[host.UserID]int
}

func (r *rights) decide(_ context.Context, q *host.Question) host.Decision {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked[q.Principal.User]++
	return host.Decision{Allow: !r.denied[q.Principal.User], Obligations: r.terms}
}

func (r *rights) set(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func withRights() (*Table, *rights) {
	r := &rights{denied: map[host.UserID]bool{}, asked: map[host.UserID]int{}}
	return NewTable(func(*host.Principal) error { return nil }, Options{Decide: r.decide}), r
}

func stand(t testing.TB, s *Session, allowed host.Obligations) *StandingDecision {
	t.Helper()
	st, err := s.Hold(&host.Question{Principal: s.Principal()}, allowed)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// Origin: demoting or deleting a user left what they had running alone.
func TestADemotedUsersSessionsEndAndNobodyElses(t *testing.T) {
	table, r := withRights()
	ann, ben := open(t, table, person("ann", "1")), open(t, table, person("ben", "2"))
	defer ann.Close()
	defer ben.Close()
	stand(t, ann, host.Obligations{})
	stand(t, ben, host.Obligations{})
	table.Redecide(t.Context())
	wantAlive(t, ann)
	r.set(func() { r.denied["ann"] = true })
	table.Redecide(t.Context())
	wantDead(t, ann, host.ErrNoLonger)
	wantAlive(t, ben)
}

func TestASessionLivesByEachDecisionThatItStandsBy(t *testing.T) {
	table, r := withRights()
	s := open(t, table, person("ann", "1"))
	defer s.Close()
	st := stand(t, s, host.Obligations{})
	r.set(func() { r.denied["ann"] = true })
	st.Release()
	st.Release()
	table.Redecide(t.Context())
	wantAlive(t, s)
	r.set(func() { r.denied["ann"] = false })
	stand(t, s, host.Obligations{})
	r.set(func() { r.denied["ann"] = true })
	table.Redecide(t.Context())
	wantDead(t, s, host.ErrNoLonger)
}

func TestNarrowerTermsEndASession(t *testing.T) {
	as := func(groups ...string) *host.Impersonation { return &host.Impersonation{User: "ann", Groups: groups} }
	for name, c := range map[string]struct {
		before, now host.Obligations
		ends        bool
	}{
		"the same":             {host.Obligations{Impersonate: as("a", "b")}, host.Obligations{Impersonate: as("b", "a")}, false},
		"a group more":         {host.Obligations{Impersonate: as("a")}, host.Obligations{Impersonate: as("a", "b")}, false},
		"a group less":         {host.Obligations{Impersonate: as("a", "b")}, host.Obligations{Impersonate: as("a")}, true},
		"somebody else":        {host.Obligations{Impersonate: as()}, host.Obligations{Impersonate: &host.Impersonation{User: "ben"}}, true},
		"nobody":               {host.Obligations{Impersonate: as()}, host.Obligations{}, true},
		"namespaces now":       {host.Obligations{}, host.Obligations{Namespaces: []string{"a"}}, true},
		"more namespaces":      {host.Obligations{Namespaces: []string{"a"}}, host.Obligations{Namespaces: []string{"a", "b"}}, false},
		"all namespaces":       {host.Obligations{Namespaces: []string{"a"}}, host.Obligations{}, false},
		"no namespace":         {host.Obligations{Namespaces: []string{"a"}}, host.Obligations{Namespaces: []string{}}, true},
		"fewer groups":         {host.Obligations{ResourceGroups: []string{"a", "b"}}, host.Obligations{ResourceGroups: []string{"b"}}, true},
		"redacted now":         {host.Obligations{}, host.Obligations{Redact: []string{"/a"}}, true},
		"redacted less":        {host.Obligations{Redact: []string{"/a"}}, host.Obligations{}, false},
		"recorded now":         {host.Obligations{}, host.Obligations{Record: host.RecordOutput}, true},
		"recorded more":        {host.Obligations{Record: host.RecordOutput}, host.Obligations{Record: host.RecordAll}, true},
		"recorded less":        {host.Obligations{Record: host.RecordAll}, host.Obligations{Record: host.RecordOutput}, false},
		"recorded not anymore": {host.Obligations{Record: host.RecordOutput}, host.Obligations{}, false},
	} {
		table, r := withRights()
		s := open(t, table, person("ann", "1"))
		stand(t, s, c.before)
		r.set(func() { r.terms = c.now })
		table.Redecide(t.Context())
		if s.Alive() == c.ends {
			t.Errorf("%s: the session is alive: %v", name, s.Alive())
		}
		s.Close()
	}
}

// A change that falls between the decision and Hold is not missed, wherever.
func TestAChangeBetweenDecisionAndStandIsNotMissed(t *testing.T) {
	for round := range 500 {
		table, r := withRights()
		s := open(t, table, person("ann", "1"))
		q := &host.Question{Principal: s.Principal()}
		var changing sync.WaitGroup
		changing.Go(func() {
			r.set(func() { r.denied["ann"] = true })
			table.Redecide(context.Background())
		})
		d := r.decide(t.Context(), q)
		var err error
		if d.Allow {
			_, err = s.Hold(q, d.Obligations)
		}
		changing.Wait()
		if d.Allow && s.Alive() {
			t.Fatalf("round %d: allowed before the change, and alive after it (%v)", round, err)
		}
		if err != nil && !errors.Is(err, host.ErrNoLonger) {
			t.Fatal(err)
		}
		s.Close()
	}
}

// shown is what other replicas would see.
type shown struct {
	mu  sync.Mutex
	ids map[string]host.SessionInfo
}

func (p *shown) PublishSession(e host.SessionInfo) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ids[e.ID] = e
}

func (p *shown) WithdrawSession(_ host.UserID, id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.ids, id)
}

func (p *shown) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.ids)
}

func TestStreamsAndLongCallsAreShownUntilTheyClose(t *testing.T) {
	table, _ := newTable(0)
	to := &shown{ids: map[string]host.SessionInfo{}}
	ctx, stop := context.WithCancel(t.Context())
	var publishing sync.WaitGroup
	publishing.Go(func() { table.Publish(ctx, to) })
	defer publishing.Wait()
	defer stop()
	begin := func(kind host.SessionKind, age time.Duration) *Session {
		s, err := table.Open(t.Context(), person("ann", "1"), host.SessionInfo{Kind: kind, Plugin: "exec", Target: "dev/shop/web-0", Started: time.Now().Add(-age)})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	socket, long, short := begin(host.SessionSocket, 0), begin(host.SessionCall, time.Minute), begin(host.SessionCall, -time.Hour)
	defer short.Close()
	for deadline := time.Now().Add(20 * time.Second); to.count() != 2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("shown: %+v", to.ids)
		}
	}
	if e := to.ids[socket.ID()]; e.User != "ann" || e.Login != "1" || e.Kind != "socket" || e.Target != "dev/shop/web-0" {
		t.Errorf("shown as %+v", e)
	}
	socket.Close()
	long.Close()
	if to.count() != 0 {
		t.Errorf("still shown: %+v", to.ids)
	}
}

// Whoever closes while sessions are being shown leaves nothing behind.
func TestNothingIsShownAfterItsClose(t *testing.T) {
	to := &shown{ids: map[string]host.SessionInfo{}}
	table, _ := newTable(1000)
	var racing sync.WaitGroup
	for i := range 200 {
		s := open(t, table, person(host.UserID(fmt.Sprint("u", i%10)), "1"))
		s.info.Kind = host.SessionSocket
		racing.Go(func() { s.publish(to) })
		racing.Go(s.Close)
	}
	racing.Wait()
	if to.count() != 0 {
		t.Errorf("%d are still shown", to.count())
	}
}

func TestTheTablesOwnBoundsCountBesideThePolicys(t *testing.T) {
	for _, c := range []struct{ own, said, want time.Duration }{
		{0, 0, 0}, {time.Hour, 0, time.Hour}, {0, time.Hour, time.Hour}, {time.Hour, time.Minute, time.Minute}, {time.Minute, time.Hour, time.Minute},
	} {
		if got := shorter(c.said, c.own); got != c.want {
			t.Errorf("the table says %s, policy %s: %s", c.own, c.said, got)
		}
	}
	table := NewTable(func(*host.Principal) error { return nil }, Options{Bounds: Bounds{Idle: time.Millisecond}})
	s := open(t, table, person("ann", "1"))
	defer s.Close()
	s.Limit(0, time.Hour)
	<-s.Context().Done()
	wantDead(t, s, host.ErrIdle)
}

// A policy that shortens its bounds shortens what runs, counted from where it began
// and was last used; one that lengthens them changes nothing.
func TestShorterBoundsApplyToWhatRuns(t *testing.T) {
	for name, c := range map[string]struct {
		before, now host.Obligations
		lives       time.Duration // from the start; 0: for an hour at least
		cause       error
	}{
		"max_session, where there was none": {host.Obligations{}, host.Obligations{MaxSession: 10 * time.Minute}, 10 * time.Minute, host.ErrTooLong},
		"a shorter max_session":             {host.Obligations{MaxSession: time.Hour}, host.Obligations{MaxSession: 10 * time.Minute}, 10 * time.Minute, host.ErrTooLong},
		"one that has passed already":       {host.Obligations{}, host.Obligations{MaxSession: time.Minute}, 5 * time.Minute, host.ErrTooLong},
		"idle, where there was none":        {host.Obligations{}, host.Obligations{Idle: 5 * time.Minute}, 9 * time.Minute, host.ErrIdle},
		"a shorter idle":                    {host.Obligations{Idle: time.Hour}, host.Obligations{Idle: 5 * time.Minute}, 9 * time.Minute, host.ErrIdle},
		"a longer max_session":              {host.Obligations{MaxSession: 10 * time.Minute}, host.Obligations{MaxSession: time.Hour}, 10 * time.Minute, host.ErrTooLong},
		"no max_session any more":           {host.Obligations{MaxSession: 10 * time.Minute}, host.Obligations{}, 10 * time.Minute, host.ErrTooLong},
		"a longer idle":                     {host.Obligations{Idle: 5 * time.Minute}, host.Obligations{Idle: time.Hour}, 9 * time.Minute, host.ErrIdle},
		"nothing":                           {host.Obligations{}, host.Obligations{}, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				table, r := withRights()
				s := open(t, table, person("ann", "1"))
				defer s.Close()
				began := time.Now()
				s.Limit(c.before.MaxSession, c.before.Idle)
				stand(t, s, c.before)
				time.Sleep(4 * time.Minute)
				s.Touch()
				time.Sleep(time.Minute)
				r.set(func() { r.terms = c.now })
				table.Redecide(t.Context())
				table.Redecide(t.Context()) // again changes nothing
				select {
				case <-s.Context().Done():
					if lived := time.Since(began); lived != c.lives || !errors.Is(s.Cause(), c.cause) {
						t.Errorf("it ended after %v with %v, want %v and %v", lived, s.Cause(), c.lives, c.cause)
					}
				case <-time.After(time.Hour):
					if c.lives != 0 {
						t.Errorf("it lives for more than %v", time.Hour)
					}
				}
			})
		})
	}
}

// The change of policy may fall between the decision and Hold.
func TestShorterBoundsThatCameMeanwhileApply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, r := withRights()
		s := open(t, table, person("ann", "1"))
		defer s.Close()
		r.set(func() { r.terms = host.Obligations{MaxSession: time.Minute} })
		table.Redecide(t.Context())
		s.Limit(0, 0)
		stand(t, s, host.Obligations{})
		time.Sleep(time.Minute + 1)
		wantDead(t, s, host.ErrTooLong)
	})
}

// The bounds of one call's decision are the call's: asking again and hearing the
// same makes them no bounds of the session that made the call.
func TestTheBoundsOfACallAreNotTheSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, r := withRights()
		s := open(t, table, person("ann", "1"))
		defer s.Close()
		bounds := host.Obligations{MaxSession: time.Minute, Idle: time.Minute}
		s.Limit(0, 0)
		stand(t, s, bounds)
		r.set(func() { r.terms = bounds })
		table.Redecide(t.Context())
		time.Sleep(time.Hour)
		wantAlive(t, s)
	})
}

// New bounds of the table shorten what runs and never lengthen it; a session without
// bounds of its own, such as a call's, keeps its time.
func TestNewBoundsOfTheTableReachWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewTable(func(*host.Principal) error { return nil }, Options{Bounds: Bounds{Longest: time.Hour}})
		stream, call := open(t, table, person("ann", "1")), open(t, table, person("ann", "1"))
		defer stream.Close()
		defer call.Close()
		stream.Limit(0, 0)
		table.SetBounds(Bounds{PerUser: 2, Longest: 2 * time.Hour})
		table.SetBounds(Bounds{PerUser: 2, Longest: 10 * time.Minute})
		if _, err := table.Open(t.Context(), person("ann", "1"), host.SessionInfo{}); host.KindOf(err) != host.Limited {
			t.Errorf("a third session: %v", err)
		}
		table.SetBounds(Bounds{Longest: 30 * time.Minute})
		time.Sleep(10*time.Minute + time.Second)
		synctest.Wait()
		wantDead(t, stream, host.ErrTooLong)
		if !call.Alive() {
			t.Errorf("a call without bounds has ended: %v", call.Cause())
		}
		later := open(t, table, person("ann", "1"))
		defer later.Close()
		later.Limit(0, 0)
		time.Sleep(29 * time.Minute)
		synctest.Wait()
		if !later.Alive() {
			t.Errorf("a session has bounds that were replaced: %v", later.Cause())
		}
	})
}
