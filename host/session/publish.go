package session

import (
	"context"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

const (
	publishEvery = 500 * time.Millisecond
	// longCall is the age from which calls are shown.
	longCall = 2 * time.Second
)

// Publisher shows this process's sessions to other replicas; *state.Store implements it.
// Its methods never wait.
type Publisher interface {
	PublishSession(host.SessionInfo)
	WithdrawSession(user host.UserID, id string)
}

// Publish shows streams and long calls to other replicas until ctx is done. Sessions are
// withdrawn when they close. It is called once.
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

// Shown reports whether lists show a session: a stream, or a long call.
func Shown(i *host.SessionInfo) bool {
	return i.Kind != host.SessionCall || time.Since(i.Started) >= longCall
}

// publish holds s.mu throughout, so that Close withdraws the session after it and not
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
