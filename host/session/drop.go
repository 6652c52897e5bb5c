package session

import (
	"context"
	"iter"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Shutdown ends every session and prevents new ones. It waits until they have left the
// table or ctx ends.
func (t *Table) Shutdown(ctx context.Context) Result {
	for i := range t.shards {
		t.shards[i].shut(host.ErrShutdown)
	}
	d := t.dropWhere(func(*Session) bool { return true }, host.ErrShutdown).teardown()
	return awaitClosed(ctx, d.all)
}

func (sh *shard) shut(cause error) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.closed = cause
}

// dropped are sessions without authority: all that were found, and those that lost it now
// and must be torn down.
type dropped struct{ all, now []*Session }

// drop takes the authority of the sessions in scope. The caller must then call
// teardown.
func (t *Table) drop(scope *Scope, cause error) (d dropped) {
	t.visit(scope, func(s *Session) { d.take(s, cause) })
	return d
}

// dropWhere is drop for the sessions that match, of any user. match is called with
// a lock held and must not call the table.
func (t *Table) dropWhere(match func(*Session) bool, cause error) (d dropped) {
	for i := range t.shards {
		t.shards[i].visit("", match, func(s *Session) { d.take(s, cause) })
	}
	return d
}

func (d *dropped) take(s *Session, cause error) {
	d.all = append(d.all, s)
	if s.drop(cause) {
		d.now = append(d.now, s)
	}
}

func (d dropped) teardown() dropped {
	for _, s := range d.now {
		s.teardown()
	}
	return d
}

// with returns the dropped sessions and those that were found before, each once, except
// without.
func (d dropped) with(before []*Session, without *Session) []*Session {
	seen := make(map[*Session]bool, len(d.all)+1)
	seen[without] = true
	var out []*Session
	for _, list := range [][]*Session{d.all, before} {
		for _, s := range list {
			if !seen[s] {
				seen[s] = true
				out = append(out, s)
			}
		}
	}
	return out
}

// find returns the sessions in scope that have authority.
func (t *Table) find(scope *Scope) (live []*Session) {
	t.visit(scope, func(s *Session) {
		if s.Cause() == nil {
			live = append(live, s)
		}
	})
	return live
}

// visit calls f with each session in scope, with a lock held.
func (t *Table) visit(scope *Scope, f func(*Session)) {
	switch {
	case !scope.byUser():
		for i := range t.shards {
			t.shards[i].visit("", scope.contains, f)
		}
	case scope.user != "": // for a shard, the empty user means all users
		t.shardOf(scope.user).visit(scope.user, scope.contains, f)
	}
}

// visit calls f with each matching session of the user, or of all users if user is empty.
func (sh *shard) visit(user host.UserID, match func(*Session) bool, f func(*Session)) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for s := range sh.sessions(user) {
		if match(s) {
			f(s)
		}
	}
}

// sessions iterates over one user's sessions, or over all if user is empty. It needs
// sh.mu.
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

// awaitClosed counts the sessions, and those that close before ctx ends. If ctx has
// already ended, it does not wait.
func awaitClosed(ctx context.Context, sessions []*Session) Result {
	r := Result{Ended: len(sessions)}
	for _, s := range sessions {
		if wait(ctx, s.over()) {
			r.Closed++
		}
	}
	return r
}

// wait reports whether closed is closed before ctx ends; if both are true, it returns
// true.
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
