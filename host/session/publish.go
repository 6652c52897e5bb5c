package session

import (
	"context"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
)

const (
	publishEvery = 500 * time.Millisecond
	// longCall is the age from which a call is worth showing.
	longCall = 2 * time.Second
)

// Publisher shows this process's sessions to other replicas; *state.Store is
// one. Its methods never wait.
type Publisher interface {
	PublishSession(state.SessionEntry)
	WithdrawSession(user host.UserID, id string)
}

// Publish shows streams, and calls that take long, to other replicas until ctx
// is done. Sessions withdraw themselves when they close. It is called once.
func (t *Table) Publish(ctx context.Context, to Publisher) {
	tick := time.NewTicker(publishEvery)
	defer tick.Stop()
	for {
		for i := range t.shards {
			for _, s := range t.shards[i].snapshot("") {
				s.publish(to)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Shown reports whether people are shown a session: a stream, or a call that
// takes long.
func (i *Info) Shown() bool {
	return i.Kind != Call || time.Since(i.Started) >= longCall
}

// publish holds s.mu throughout, so that Close withdraws after it and not
// before.
func (s *Session) publish(to Publisher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.published != nil || s.closed || !s.Alive() || !s.info.Shown() {
		return
	}
	s.published = to
	to.PublishSession(state.SessionEntry{
		ID: s.idLocked(), User: s.principal.User, Login: s.principal.Login.ID,
		Kind: string(s.info.Kind), Plugin: s.info.Plugin, Route: s.info.Route, Target: s.info.Target,
		RequestID: s.info.RequestID, RemoteAddr: s.info.RemoteAddr, Started: s.info.Started,
	})
}
