package session

import (
	"context"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

const (
	publishEvery = 500 * time.Millisecond
	// longCall is the age from which a call is worth showing.
	longCall = 2 * time.Second
)

// Publisher shows this process's sessions to other replicas; *state.Store is
// one. Its methods never wait.
type Publisher interface {
	PublishSession(host.SessionInfo)
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
func Shown(i *host.SessionInfo) bool {
	return i.Kind != host.SessionCall || time.Since(i.Started) >= longCall
}

// publish holds s.mu throughout, so that Close withdraws after it and not
// before.
func (s *Session) publish(to Publisher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.published != nil || s.closed || !s.Alive() || !Shown(&s.info) {
		return
	}
	s.published = to
	info := s.describe()
	info.LastUsed = time.Time{} // it changes all the time
	to.PublishSession(info)
}
