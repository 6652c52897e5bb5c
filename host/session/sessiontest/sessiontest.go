// Package sessiontest has what tests end sessions with where a state store would be
// too much.
package sessiontest

import (
	"context"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Alone is the session.Facts of a replica without others and without a store: each
// ending takes effect here and is not remembered. The zero value is ready.
type Alone struct {
	Records []host.LoginRecord // of logins, of any user
	ending  func(host.Ending)
}

func (*Alone) Replica() string { return "alone" }

// Logins returns the user's records.
func (a *Alone) Logins(user host.UserID) (list []host.LoginRecord) {
	for _, r := range a.Records {
		if r.User == user {
			list = append(list, r)
		}
	}
	return list
}

func (a *Alone) end(e host.Ending) error {
	a.ending(e)
	return nil
}

func (a *Alone) user(id host.LoginID) host.UserID {
	for _, r := range a.Records {
		if r.ID == id {
			return r.User
		}
	}
	return ""
}

func (a *Alone) EndLogin(_ context.Context, id host.LoginID) error {
	return a.end(host.Ending{User: a.user(id), Login: id, Cause: host.ErrLoggedOut})
}

func (a *Alone) EndLoginAndSessions(_ context.Context, id host.LoginID) error {
	return a.end(host.Ending{User: a.user(id), Cause: host.ErrLoggedOut})
}

func (a *Alone) EndUserLogins(_ context.Context, user host.UserID) error {
	return a.end(host.Ending{User: user, Cause: host.ErrLoggedOut})
}

func (a *Alone) EndSession(_ context.Context, user host.UserID, id string, cause error) error {
	return a.end(host.Ending{User: user, Session: id, Cause: cause})
}

func (a *Alone) EndSessions(_ context.Context, user host.UserID, cause error) error {
	return a.end(host.Ending{User: user, Cause: cause})
}

func (*Alone) PublishedSessions(context.Context, host.UserID, string, int) ([]host.SessionInfo, string, error) {
	return nil, "", nil
}

func (*Alone) AwaitWithdrawn(context.Context, host.UserID, []string) int { return 0 }

func (a *Alone) OnEnding(f func(host.Ending)) { a.ending = f }

func (*Alone) OnLapse(func(error)) {}
