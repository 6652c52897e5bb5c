package surfacetest

import (
	"context"
	"reflect"
	"sync"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
)

// Fleet is what replicas "a" and "b" have: a socket of ann's login "ann" and an event
// stream of her login "ann.2", and a socket of vic. It notes what was ended.
type Fleet struct {
	mu    sync.Mutex
	ended []ending
}

type ending struct {
	scope session.Scope
	cause error
}

// Ended reports whether the last ending since the call before was of this scope and
// cause.
func (f *Fleet) Ended(scope session.Scope, cause error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	last := f.ended
	f.ended = nil
	return len(last) == 1 && reflect.DeepEqual(last[0].scope, scope) && last[0].cause == cause
}

// Idle reports whether nothing was ended since Ended was called.
func (f *Fleet) Idle() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.ended) == 0
}

// Replica is this replica's name.
func (*Fleet) Replica() string { return "a" }

// List returns the sessions of a user, or all.
func (*Fleet) List(_ context.Context, user host.UserID) (list []host.SessionInfo, err error) {
	at := time.Unix(0, 0).UTC()
	for _, s := range []host.SessionInfo{
		{ID: "s1", User: "ann@example.com", Kind: host.SessionSocket, Plugin: "probe", Started: at, Replica: "a", Login: "ann"},
		{ID: "s2", User: "ann@example.com", Kind: host.SessionEvents, Plugin: "probe", Started: at, Replica: "b", Login: "ann.2"},
		{ID: "s3", User: "vic@example.com", Kind: host.SessionSocket, Plugin: "shell", Started: at, Replica: "b", Login: "vic"},
	} {
		if user == "" || s.User == user {
			list = append(list, s)
		}
	}
	return list, nil
}

// Logins returns the logins of ann.
func (*Fleet) Logins(user host.UserID) []host.LoginRecord {
	if user != "ann@example.com" {
		return nil
	}
	return []host.LoginRecord{{ID: "ann", User: user, Method: "dev"}, {ID: "ann.2", User: user, Method: "dev"}}
}

// End notes an ending.
func (f *Fleet) End(_ context.Context, scope session.Scope, cause error) (session.Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = append(f.ended, ending{scope, cause})
	return session.Result{Ended: 1, Closed: 1}, nil
}
