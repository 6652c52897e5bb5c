package session

import (
	"context"
	"iter"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Result says what an ending came to.
type Result struct {
	Ended  int // sessions that were found; none of them has authority any more
	Closed int // of these, how many had left the table when the wait was over
}

// EndUser ends every session of the user and waits until they have left the
// table or ctx ends. A context that has ended already means not to wait.
func (t *Table) EndUser(ctx context.Context, user host.UserID, cause error) Result {
	return t.end(ctx, t.dropUser(user, func(*Session) bool { return true }, cause))
}

// EndLogin ends the sessions that the user opened under one login, as EndUser.
func (t *Table) EndLogin(ctx context.Context, user host.UserID, id host.LoginID, cause error) Result {
	match := func(s *Session) bool { return s.principal.Login.ID == id }
	return t.end(ctx, t.dropUser(user, match, cause))
}

// EndSession ends one session of the user, as EndUser.
func (t *Table) EndSession(ctx context.Context, user host.UserID, id string, cause error) Result {
	match := func(s *Session) bool { return s.named(id) }
	return t.end(ctx, t.dropUser(user, match, cause))
}

// EndWhere ends the sessions of any user that match, as EndUser. match is
// called with a lock held and must not call the table or session.ID.
func (t *Table) EndWhere(ctx context.Context, match func(*Session) bool, cause error) Result {
	var found dropped
	for i := range t.shards {
		found.add(t.shards[i].drop("", match, cause))
	}
	return t.end(ctx, found)
}

// Shutdown ends every session, as EndUser, and lets none open from now on.
func (t *Table) Shutdown(ctx context.Context) Result {
	for i := range t.shards {
		t.shards[i].shut(host.ErrShutdown)
	}
	return t.EndWhere(ctx, func(*Session) bool { return true }, host.ErrShutdown)
}

func (sh *shard) shut(cause error) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.closed = cause
}

// dropped are sessions without authority: all to wait for, and those that lost
// it just now and are to be torn down.
type dropped struct{ all, now []*Session }

func (d *dropped) add(more dropped) {
	d.all = append(d.all, more.all...)
	d.now = append(d.now, more.now...)
}

func (t *Table) dropUser(user host.UserID, match func(*Session) bool, cause error) dropped {
	if user == "" {
		return dropped{} // to a shard this means anybody
	}
	return t.shardOf(user).drop(user, match, cause)
}

// drop takes the authority of the matching sessions of the user, or of anybody
// if user is empty.
func (sh *shard) drop(user host.UserID, match func(*Session) bool, cause error) (d dropped) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for s := range sh.sessions(user) {
		if !match(s) {
			continue
		}
		d.all = append(d.all, s)
		if s.drop(cause) {
			d.now = append(d.now, s)
		}
	}
	return d
}

// sessions ranges over one user's sessions, or over all if user is empty. It
// needs sh.mu.
func (sh *shard) sessions(user host.UserID) iter.Seq[*Session] {
	return func(yield func(*Session) bool) {
		if user != "" {
			sh.users[user].each(yield)
			return
		}
		for _, u := range sh.users {
			if !u.each(yield) {
				return
			}
		}
	}
}

func (u *owned) each(yield func(*Session) bool) bool {
	if u == nil {
		return true
	}
	for s := u.first; s != nil; s = s.next {
		if !yield(s) {
			return false
		}
	}
	return true
}

func (t *Table) end(ctx context.Context, d dropped) Result {
	for _, s := range d.now {
		s.teardown()
	}
	r := Result{Ended: len(d.all)}
	for _, s := range d.all {
		if wait(ctx, s.over()) {
			r.Closed++
		}
	}
	return r
}

// wait prefers "closed" where both are true.
func wait(ctx context.Context, closed <-chan struct{}) bool {
	select {
	case <-closed:
		return true
	default:
	}
	select {
	case <-closed:
		return true
	case <-ctx.Done():
		return false
	}
}
