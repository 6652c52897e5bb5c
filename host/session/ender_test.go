package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// fleet stands in for the state store: it keeps what is committed and shows the
// sessions of another replica. Like the store, it announces an ending before it
// returns.
type fleet struct {
	mu         sync.Mutex
	committed  []string
	committing func() // before each commit
	fail       error
	elsewhere  []host.SessionInfo
	left       int // of the sessions elsewhere that End waits for
	ending     func(host.Ending)
	lapse      func(error)
}

func (f *fleet) commit(e host.Ending, format string, args ...any) error {
	if f.committing != nil {
		f.committing()
	}
	if f.fail != nil {
		return f.fail
	}
	f.mu.Lock()
	f.committed = append(f.committed, fmt.Sprintf(format, args...))
	f.mu.Unlock()
	f.ending(e)
	return nil
}

func (f *fleet) EndLogin(_ context.Context, id host.LoginID) error {
	return f.commit(host.Ending{User: "ann", Login: id, Cause: host.ErrLoggedOut}, "login %s", id)
}

func (f *fleet) EndLoginAndSessions(_ context.Context, id host.LoginID) error {
	return f.commit(host.Ending{User: "ann", Cause: host.ErrLoggedOut}, "login %s and sessions", id)
}

func (f *fleet) EndUserLogins(_ context.Context, user host.UserID) error {
	return f.commit(host.Ending{User: user, Cause: host.ErrLoggedOut}, "logins of %s", user)
}

func (f *fleet) EndSession(_ context.Context, user host.UserID, id string, cause error) error {
	return f.commit(host.Ending{User: user, Session: id, Cause: cause}, "session %s of %s: %s", id, user, host.EndCauseOf(cause).Name)
}

func (f *fleet) EndSessions(_ context.Context, user host.UserID, cause error) error {
	return f.commit(host.Ending{User: user, Cause: cause}, "sessions of %s: %s", user, host.EndCauseOf(cause).Name)
}

func (f *fleet) Replica() string { return "here" }

func (f *fleet) Logins(host.UserID) []host.LoginRecord {
	return []host.LoginRecord{{ID: "laptop"}, {ID: "phone"}}
}

func (f *fleet) PublishedSessions(_ context.Context, user host.UserID, _ string, _ int) (page []host.SessionInfo, next string, err error) {
	for _, s := range f.elsewhere {
		if user == "" || s.User == user {
			page = append(page, s)
		}
	}
	return append(page, host.SessionInfo{ID: "own", User: "ann", Login: "laptop", Replica: "here"}), "", nil
}

func (f *fleet) AwaitWithdrawn(_ context.Context, _ host.UserID, ids []string) int {
	return min(f.left, len(ids))
}

func (f *fleet) OnEnding(g func(host.Ending)) { f.ending = g }
func (f *fleet) OnLapse(g func(error))        { f.lapse = g }

// house is a replica on which ann has a session of her laptop and one of her phone,
// and ben one. ann has one of each on another replica, and ben one.
type house struct {
	*Ender
	facts              *fleet
	laptop, phone, ben *Session
	working            sync.WaitGroup
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{facts: &fleet{elsewhere: []host.SessionInfo{
		{ID: "far-laptop", User: "ann", Login: "laptop", Kind: host.SessionSocket, Replica: "there"},
		{ID: "far-phone", User: "ann", Login: "phone", Kind: host.SessionSocket, Replica: "there"},
		{ID: "far-ben", User: "ben", Login: "1", Kind: host.SessionSocket, Replica: "there"},
	}}}
	table, _ := newTable(0)
	h.Ender = NewEnder(table, h.facts)
	for at, p := range map[**Session]*host.Principal{
		&h.laptop: person("ann", "laptop"), &h.phone: person("ann", "phone"), &h.ben: person("ben", "1"),
	} {
		*at = open(t, table, p)
		work(&h.working, *at)
	}
	t.Cleanup(func() { table.Shutdown(context.Background()); h.working.Wait() })
	return h
}

// ended names the sessions here that have no authority.
func (h *house) ended() (names []string) {
	for name, s := range map[string]*Session{"laptop": h.laptop, "phone": h.phone, "ben": h.ben} {
		if !s.Alive() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (h *house) list(t *testing.T, user host.UserID) []host.SessionInfo {
	t.Helper()
	list, err := h.List(t.Context(), user)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestEachScopeCommitsItsEndingAndEndsItsSessions(t *testing.T) {
	for name, c := range map[string]struct {
		scope     func(h *house) Scope
		committed []string
		ended     []string // here
		result    Result
	}{
		"nothing":      {func(*house) Scope { return Scope{} }, nil, nil, Result{}},
		"no user":      {func(*house) Scope { return OneSession("", "") }, []string{"session  of : revoked"}, nil, Result{Ended: 1, Closed: 1}},
		"a session":    {func(h *house) Scope { return OneSession("ann", h.phone.ID()) }, nil, []string{"phone"}, Result{Ended: 1, Closed: 1}},
		"one far away": {func(*house) Scope { return OneSession("ann", "far-phone") }, []string{"session far-phone of ann: revoked"}, nil, Result{Ended: 1, Closed: 1}},
		"a login":      {func(*house) Scope { return OneLogin("ann", "phone") }, []string{"login phone"}, []string{"phone"}, Result{Ended: 2, Closed: 2, Logins: 1}},
		"other logins": {func(*house) Scope { return OtherLogins("ann", "phone") }, []string{"login laptop"}, []string{"laptop"}, Result{Ended: 2, Closed: 2, Logins: 1}},
		"a login and all sessions": {func(*house) Scope { return LoginAndSessions("ann", "phone") }, []string{"login phone and sessions"},
			[]string{"laptop", "phone"}, Result{Ended: 4, Closed: 4, Logins: 1}},
		"all logins":   {func(*house) Scope { return LoginsOf("ann") }, []string{"logins of ann"}, []string{"laptop", "phone"}, Result{Ended: 4, Closed: 4, Logins: 2}},
		"all sessions": {func(*house) Scope { return SessionsOf("ann") }, []string{"sessions of ann: revoked"}, []string{"laptop", "phone"}, Result{Ended: 4, Closed: 4}},
		"a selection": {func(h *house) Scope {
			return Selected(slices.DeleteFunc(h.list(t, "ann"), func(s host.SessionInfo) bool { return s.Login != "phone" }))
		}, []string{"session far-phone of ann: revoked"}, []string{"phone"}, Result{Ended: 2, Closed: 2}},
		"everybody": {func(*house) Scope { return Everybody() }, []string{
			"session far-ben of ben: revoked", "session far-laptop of ann: revoked", "session far-phone of ann: revoked",
		}, []string{"ben", "laptop", "phone"}, Result{Ended: 6, Closed: 6}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			scope := c.scope(h)
			result, err := h.End(t.Context(), scope, host.ErrRevoked)
			slices.Sort(h.facts.committed)
			if err != nil || result != c.result {
				t.Errorf("%+v, %v, want %+v", result, err, c.result)
			}
			if !slices.Equal(h.facts.committed, c.committed) || !slices.Equal(h.ended(), c.ended) {
				t.Errorf("committed %q, ended %q; want %q and %q", h.facts.committed, h.ended(), c.committed, c.ended)
			}
		})
	}
}

func TestNoSessionEndsBeforeItsEndingIsCommitted(t *testing.T) {
	for name, scope := range map[string]Scope{
		"a login": OneLogin("ann", "phone"), "a login and all sessions": LoginAndSessions("ann", "phone"),
		"all logins": LoginsOf("ann"), "all sessions": SessionsOf("ann"), "other logins": OtherLogins("ann", "laptop"),
	} {
		h := newHouse(t)
		commits := 0
		h.facts.committing = func() {
			commits++
			wantAlive(t, h.laptop)
			wantAlive(t, h.phone)
		}
		if _, err := h.End(t.Context(), scope, host.ErrLoggedOut); err != nil || commits != 1 {
			t.Errorf("%s: %d commits, %v", name, commits, err)
		}
		wantDead(t, h.phone, host.ErrLoggedOut)
	}
}

func TestAnEndingThatIsNotCommittedEndsNoLogin(t *testing.T) {
	down := &host.Error{Kind: host.Unavailable, Message: "the state store does not answer"}
	for _, scope := range []Scope{OneLogin("ann", "phone"), LoginAndSessions("ann", "phone"), LoginsOf("ann"), SessionsOf("ann"), OtherLogins("ann", "x")} {
		h := newHouse(t)
		h.facts.fail = down
		if result, err := h.End(t.Context(), scope, host.ErrLoggedOut); !errors.Is(err, down) || result != (Result{}) {
			t.Errorf("%+v, %v", result, err)
		}
		if ended := h.ended(); len(ended) > 0 {
			t.Errorf("%q ended", ended)
		}
	}
	// Sessions of this replica need no commit, so that they end in any case.
	h := newHouse(t)
	list := h.list(t, "ann")
	h.facts.fail = down
	if _, err := h.End(t.Context(), Selected(list), host.ErrRevoked); !errors.Is(err, down) {
		t.Error(err)
	}
	if ended := h.ended(); !slices.Equal(ended, []string{"laptop", "phone"}) {
		t.Errorf("%q ended", ended)
	}
}

func TestSessionsThatDoNotCloseAreNotCountedAsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		deaf := open(t, h.table, person("ann", "phone"))
		defer deaf.Close()
		h.facts.left = 1
		start := time.Now()
		result, err := h.End(t.Context(), OneLogin("ann", "phone"), host.ErrLoggedOut)
		if want := (Result{Ended: 3, Closed: 1, Logins: 1}); err != nil || result != want || time.Since(start) != closeWithin {
			t.Errorf("%+v, %v after %v", result, err, time.Since(start))
		}
		wantDead(t, deaf, host.ErrLoggedOut)
	})
}

// An administrator who ends their own sessions is answered all the same.
func TestAnEndingDoesNotWaitForTheSessionThatAsksForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		asking := open(t, h.table, person("ann", "phone"))
		defer asking.Close()
		start := time.Now()
		result, err := h.End(asking.Context(), SessionsOf("ann"), host.ErrRevoked)
		if err != nil || result != (Result{Ended: 4, Closed: 4}) || time.Since(start) != 0 {
			t.Errorf("%+v, %v after %v", result, err, time.Since(start))
		}
		wantDead(t, asking, host.ErrRevoked)
	})
}

func TestAnEndingGoesOnWhenTheClientIsGone(t *testing.T) {
	h := newHouse(t)
	if result, err := h.End(gone(t), LoginsOf("ann"), host.ErrLoggedOut); err != nil || result.Closed != 4 {
		t.Errorf("%+v, %v", result, err)
	}
}

func TestWhatAnotherReplicaCommitsEndsHere(t *testing.T) {
	h := newHouse(t)
	h.facts.ending(host.Ending{User: "ann", Session: h.phone.ID(), Cause: host.ErrEnded})
	wantDead(t, h.phone, host.ErrEnded)
	wantAlive(t, h.laptop)
	h.facts.ending(host.Ending{User: "ann", Login: "laptop", Cause: host.ErrLoggedOut})
	wantDead(t, h.laptop, host.ErrLoggedOut)
	wantAlive(t, h.ben)
	h.facts.ending(host.Ending{User: "ben", Cause: host.ErrRevoked})
	wantDead(t, h.ben, host.ErrRevoked)
}

func TestAFencedReplicaEndsEverySession(t *testing.T) {
	h := newHouse(t)
	h.facts.lapse(host.ErrFenced)
	for _, s := range []*Session{h.laptop, h.phone, h.ben} {
		wantDead(t, s, host.ErrFenced)
	}
}

func TestTheListIsOfAllReplicasAndShowsNoSessionTwice(t *testing.T) {
	h := newHouse(t)
	h.ben.End(host.ErrIdle)
	var ids []string
	for _, s := range h.list(t, "") {
		ids = append(ids, s.Replica+" "+string(s.User)+" "+string(s.Login))
	}
	slices.Sort(ids)
	want := []string{"here ann laptop", "here ann phone", "there ann laptop", "there ann phone", "there ben 1"}
	if !slices.Equal(ids, want) {
		t.Errorf("%q, want %q", ids, want)
	}
}
