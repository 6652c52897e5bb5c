package session

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

const (
	commitWithin = 5 * time.Second // for the store to commit an ending
	closeWithin  = 2 * time.Second // for sessions that have lost authority to close
	commitAtOnce = 16              // endings that are committed concurrently
	// maxListed bounds the sessions that List reads from the store.
	maxListed = 50_000
)

// Facts is the shared state of logins and sessions; *state.Store implements it and
// documents the methods.
type Facts interface {
	Replica() string
	Logins(host.UserID) []host.LoginRecord
	EndLogin(context.Context, host.LoginID) error
	EndLoginAndSessions(context.Context, host.LoginID) error
	EndUserLogins(context.Context, host.UserID) error
	EndSession(ctx context.Context, user host.UserID, id string, cause error) error
	EndSessions(ctx context.Context, user host.UserID, cause error) error
	PublishedSessions(ctx context.Context, user host.UserID, after string, limit int) (page []host.SessionInfo, next string, err error)
	AwaitWithdrawn(ctx context.Context, user host.UserID, ids []string) (left int)
	OnEnding(func(host.Ending))
	OnLapse(func(cause error))
}

// Ender ends sessions and logins, on all replicas. Apart from that, a session ends only
// when it reaches a limit, when policy no longer allows it, or when the table shuts down.
// Ender is safe for concurrent use.
type Ender struct {
	table *Table
	facts Facts
}

// NewEnder returns the Ender of a table and the facts that its replica shares. From now
// on the Ender also ends sessions of the table when another replica commits an ending,
// and all of them when this replica is fenced.
func NewEnder(table *Table, facts Facts) *Ender {
	facts.OnEnding(func(e host.Ending) {
		scope := scopeOf(&e)
		table.drop(&scope, e.Cause).teardown()
	})
	facts.OnLapse(func(cause error) { table.dropWhere(func(*Session) bool { return true }, cause).teardown() })
	return &Ender{table, facts}
}

// Result is the outcome of an ending.
type Result struct {
	// Ended counts sessions: those of this replica, which have lost their authority,
	// and those that other replicas show, which lose theirs within 5 s.
	Ended  int `json:"ended"`
	Closed int `json:"closed"`           // how many of these are known to have closed
	Logins int `json:"logins,omitempty"` // logins that ended
}

// End ends the sessions and logins in the scope, with one of host's causes. It first
// commits the ending to the store, so that no session in the scope can open on any
// replica; then it takes the authority of this replica's sessions and closes them; then it
// waits, at most 2 s, until the sessions have closed here and on other replicas. It
// continues when ctx ends. If ctx belongs to a session (see Session.Context), that session
// is neither waited for nor counted.
//
// After an error the ending may or may not be committed: it is not certain that any
// session has ended, and the call should be repeated.
func (e *Ender) End(ctx context.Context, scope Scope, cause error) (Result, error) {
	ctx = context.WithoutCancel(ctx)
	committing, stop := context.WithTimeout(ctx, commitWithin)
	defer stop()
	if scope.kind == everybody {
		list, err := e.List(committing, "")
		if err != nil {
			return Result{}, err
		}
		scope = Selected(list)
	}
	found := e.table.find(&scope)
	elsewhere := e.elsewhere(committing, &scope, len(found) > 0)
	logins, err := e.commit(committing, &scope, cause, len(found) > 0)
	if err == nil || scope.kind == selected { // selected sessions of this replica need no commit
		found = e.table.drop(&scope, cause).teardown().with(found, asking(ctx))
	}
	if err != nil {
		stop()
		elsewhere()
		return Result{}, err
	}
	r := e.await(ctx, found, elsewhere())
	r.Logins = logins
	return r, nil
}

// commit commits the ending for all replicas and returns how many logins it ends.
// Sessions of this replica alone need no commit.
func (e *Ender) commit(ctx context.Context, scope *Scope, cause error, here bool) (logins int, err error) {
	switch scope.kind {
	case oneSession:
		if !here {
			err = e.facts.EndSession(ctx, scope.user, scope.id, cause)
		}
	case oneLogin:
		return 1, e.facts.EndLogin(ctx, scope.login)
	case loginAndSessions:
		return 1, e.facts.EndLoginAndSessions(ctx, scope.login)
	case otherLogins:
		for _, l := range e.facts.Logins(scope.user) {
			if l.ID == scope.login {
				continue
			}
			if err := e.facts.EndLogin(ctx, l.ID); err != nil {
				return logins, err
			}
			logins++
		}
	case loginsOf:
		return len(e.facts.Logins(scope.user)), e.facts.EndUserLogins(ctx, scope.user)
	case sessionsOf:
		err = e.facts.EndSessions(ctx, scope.user, cause)
	case selected:
		var commits errgroup.Group
		commits.SetLimit(commitAtOnce)
		for _, s := range scope.list {
			if s.Replica != e.facts.Replica() {
				commits.Go(func() error { return e.facts.EndSession(ctx, s.User, s.ID, cause) })
			}
		}
		err = commits.Wait()
	}
	return logins, err
}

// elsewhere returns the ids of the scope's sessions that other replicas show, by user. It
// asks while the ending is being committed; without an answer, these sessions end
// nevertheless but are not counted.
func (e *Ender) elsewhere(ctx context.Context, scope *Scope, here bool) (wait func() map[host.UserID][]string) {
	ids := map[host.UserID][]string{}
	switch scope.kind {
	case selected:
		for _, s := range scope.list {
			if s.Replica != e.facts.Replica() {
				ids[s.User] = append(ids[s.User], s.ID)
			}
		}
	case oneSession:
		if !here {
			ids[scope.user] = []string{scope.id}
		}
	default:
		if !scope.byUser() {
			break
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = e.published(ctx, scope.user, func(s host.SessionInfo) {
				if scope.containsLogin(s.Login) {
					ids[s.User] = append(ids[s.User], s.ID)
				}
			})
		}()
		return func() map[host.UserID][]string { <-done; return ids }
	}
	return func() map[host.UserID][]string { return ids }
}

// await waits until the sessions have closed, within closeWithin.
func (e *Ender) await(ctx context.Context, here []*Session, elsewhere map[host.UserID][]string) (r Result) {
	ctx, cancel := context.WithTimeout(ctx, closeWithin)
	defer cancel()
	var (
		others sync.WaitGroup
		mu     sync.Mutex
		gone   int
	)
	for user, ids := range elsewhere {
		r.Ended += len(ids)
		others.Go(func() {
			left := e.facts.AwaitWithdrawn(ctx, user, ids)
			mu.Lock()
			defer mu.Unlock()
			gone += len(ids) - left
		})
	}
	own := awaitClosed(ctx, here)
	others.Wait()
	return Result{Ended: r.Ended + own.Ended, Closed: gone + own.Closed}
}

// EndWhere ends the sessions of this replica whose principal matches. It takes
// their authority and does not wait for them to close. match is called with a lock
// held and must not call the table.
func (e *Ender) EndWhere(match func(*host.Principal) bool, cause error) {
	e.table.dropWhere(func(s *Session) bool { return match(s.principal) }, cause).teardown()
}

// Here returns the user's sessions on this replica, oldest first, including ended ones
// that have not closed yet.
func (e *Ender) Here(user host.UserID) []host.SessionInfo { return e.table.List(user) }

// Replica returns the name of this replica in SessionInfo.
func (e *Ender) Replica() string { return e.facts.Replica() }

// Logins returns the user's live logins, oldest first.
func (e *Ender) Logins(user host.UserID) []host.LoginRecord { return e.facts.Logins(user) }

// List returns the live streams and long calls of one user on every replica, or of all
// users if user is empty, oldest first and with times in UTC. Sessions of this replica
// come from its own table, which is always current.
func (e *Ender) List(ctx context.Context, user host.UserID) ([]host.SessionInfo, error) {
	own := e.table.All
	if user != "" {
		own = func() []host.SessionInfo { return e.table.List(user) }
	}
	list := []host.SessionInfo{}
	for _, s := range own() {
		if s.Cause == nil && Shown(&s) {
			s.Replica, s.Started, s.LastUsed = e.facts.Replica(), s.Started.UTC(), s.LastUsed.UTC()
			list = append(list, s)
		}
	}
	err := e.published(ctx, user, func(s host.SessionInfo) {
		s.Started = s.Started.UTC()
		list = append(list, s)
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(list, older)
	return list, nil
}

// published calls f with each session that another replica shows, up to maxListed.
func (e *Ender) published(ctx context.Context, user host.UserID, f func(host.SessionInfo)) error {
	listed := 0
	for after, more := "", true; more && listed < maxListed; {
		page, next, err := e.facts.PublishedSessions(ctx, user, after, 0)
		if err != nil {
			return err
		}
		for _, s := range page {
			if s.Replica != e.facts.Replica() {
				f(s)
			}
		}
		listed += len(page)
		after, more = next, next != ""
	}
	return nil
}

// older orders sessions by when they were opened.
func older(a, b host.SessionInfo) int {
	return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.ID, b.ID))
}
