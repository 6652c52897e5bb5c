package session

import (
	"slices"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// List returns the user's sessions, oldest first.
func (t *Table) List(user host.UserID) []host.SessionInfo {
	if user == "" {
		return nil
	}
	return infos(t.shardOf(user).snapshot(user))
}

// All returns the sessions of all users, oldest first.
func (t *Table) All() []host.SessionInfo {
	var all []*Session
	for i := range t.shards {
		all = append(all, t.shards[i].snapshot("")...)
	}
	return infos(all)
}

// Count returns how many sessions of each kind are open.
func (t *Table) Count() map[host.SessionKind]int {
	kinds := map[host.SessionKind]int{}
	for i := range t.shards {
		sh := &t.shards[i]
		sh.mu.Lock()
		for s := range sh.sessions("") {
			kinds[s.info.Kind]++
		}
		sh.mu.Unlock()
	}
	return kinds
}

func (sh *shard) snapshot(user host.UserID) []*Session {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return slices.Collect(sh.sessions(user))
}

func infos(sessions []*Session) []host.SessionInfo {
	out := make([]host.SessionInfo, 0, len(sessions))
	for _, s := range sessions {
		out = append(out, s.Info())
	}
	slices.SortStableFunc(out, older)
	return out
}
