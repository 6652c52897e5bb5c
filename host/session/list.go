package session

import (
	"cmp"
	"slices"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// View is what a person may be shown of a session.
type View struct {
	ID      string
	User    host.UserID
	Login   host.LoginID
	Info    Info
	Touched time.Time // last use, the start if it was never touched
	Cause   error     // why it ended; nil while it lives
}

// List returns the user's sessions, oldest first.
func (t *Table) List(user host.UserID) []View {
	if user == "" {
		return nil
	}
	return views(t.shardOf(user).snapshot(user))
}

// All returns everybody's sessions, oldest first.
func (t *Table) All() []View {
	var all []*Session
	for i := range t.shards {
		all = append(all, t.shards[i].snapshot("")...)
	}
	return views(all)
}

func (sh *shard) snapshot(user host.UserID) []*Session {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return slices.Collect(sh.sessions(user))
}

func views(sessions []*Session) []View {
	out := make([]View, 0, len(sessions))
	for _, s := range sessions {
		out = append(out, View{
			ID: s.ID(), User: s.principal.User, Login: s.principal.Login.ID, Info: s.info,
			Touched: s.info.Started.Add(time.Duration(s.touched.Load())), Cause: s.Cause(),
		})
	}
	slices.SortStableFunc(out, func(a, b View) int {
		return cmp.Or(a.Info.Started.Compare(b.Info.Started), cmp.Compare(a.ID, b.ID))
	})
	return out
}
