// Package live lists and ends what people have running on any replica, for the
// account's routes and for administration.
package live

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
)

// Store is what all replicas know of sessions and logins; *state.Store is one and
// says what the methods promise.
type Store interface {
	Replica() string
	PublishedSessions(ctx context.Context, user host.UserID, after string, limit int) (page []host.SessionInfo, next string, err error)
	EndSession(ctx context.Context, user host.UserID, id string, cause error) error
	EndSessions(ctx context.Context, user host.UserID, cause error) error
	Logins(user host.UserID) []host.LoginRecord
	EndLogin(context.Context, host.LoginID) error
	EndUserLogins(context.Context, host.UserID) error
}

// Commit bounds how long the store may take to accept an ending.
const Commit = 5 * time.Second

const (
	endWait   = 2 * time.Second // for what lost its authority to close
	endPoll   = 50 * time.Millisecond
	endAtOnce = 16 // endings that are being committed side by side
	// maxGathered bounds what is taken from the store for one answer.
	maxGathered = 50_000
)

// Sessions is what runs on this replica and, by Store, on the others.
type Sessions struct {
	Store
	Table *session.Table
}

// Session is a session as its user and administrators see it.
type Session struct {
	host.SessionInfo
	Current bool `json:"current"` // of the login that asks
}

// Gather returns the streams and long calls of one user on every replica, or of all
// users if user is empty, oldest first. This replica's come from its own table, which
// knows at once.
func (l *Sessions) Gather(ctx context.Context, user host.UserID) ([]Session, error) {
	here, own := l.Replica(), l.Table.All
	if user != "" {
		own = func() []host.SessionInfo { return l.Table.List(user) }
	}
	all := []Session{}
	for _, v := range own() {
		if v.Cause != nil || !session.Shown(&v) {
			continue
		}
		v.Replica = here
		all = append(all, Session{SessionInfo: inUTC(v)})
	}
	for after, more := "", true; more && len(all) < maxGathered; {
		page, next, err := l.PublishedSessions(ctx, user, after, 0)
		if err != nil {
			return nil, err
		}
		for _, e := range page {
			if e.Replica != here {
				all = append(all, Session{SessionInfo: inUTC(e)})
			}
		}
		after, more = next, next != ""
	}
	slices.SortStableFunc(all, func(a, b Session) int { return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.ID, b.ID)) })
	return all, nil
}

func inUTC(i host.SessionInfo) host.SessionInfo {
	i.Started = i.Started.UTC()
	if !i.LastUsed.IsZero() {
		i.LastUsed = i.LastUsed.UTC()
	}
	return i
}

// Mark sets Current of the sessions of p's login.
func Mark(list []Session, p *host.Principal) {
	for i := range list {
		list[i].Current = list[i].Login == p.Login.ID
	}
}

// Ended is the answer to an ending.
type Ended struct {
	Ended  int `json:"ended"`            // sessions; none of them has authority any more, or will have within 5 s on another replica
	Closed int `json:"closed"`           // of these, how many were seen to be gone
	Logins int `json:"logins,omitempty"` // that ended too
}

// End ends sessions wherever they are. Those of other replicas end by a fact in
// the store, which it has taken when end returns.
func (l *Sessions) End(ctx context.Context, sessions []Session, cause error) (Ended, error) {
	committing, stop := context.WithTimeout(context.WithoutCancel(ctx), Commit)
	defer stop()
	waiting, cancel := context.WithTimeout(context.WithoutCancel(ctx), endWait)
	defer cancel()
	out := Ended{Ended: len(sessions)}
	remote := map[host.UserID]map[string]bool{}
	var commits errgroup.Group
	commits.SetLimit(endAtOnce)
	for _, s := range sessions {
		if s.Replica != l.Replica() {
			commits.Go(func() error { return l.EndSession(committing, s.User, s.ID, cause) })
			if remote[s.User] == nil {
				remote[s.User] = map[string]bool{}
			}
			remote[s.User][s.ID] = true
		}
	}
	err := commits.Wait()
	for _, s := range sessions {
		if s.Replica == l.Replica() {
			r := l.Table.EndSession(waiting, s.User, s.ID, cause)
			out.Closed += r.Closed + 1 - r.Ended // one that ended meanwhile is gone, too
		}
	}
	if err != nil {
		return Ended{}, err
	}
	for user, ids := range remote {
		out.Closed += len(ids) - l.remain(waiting, user, ids)
	}
	return out, nil
}

// remain waits until the user's sessions with these ids are gone from the store,
// and returns how many are left when ctx ends.
func (l *Sessions) remain(ctx context.Context, user host.UserID, ids map[string]bool) (left int) {
	for {
		left = len(ids)
		if list, err := l.Gather(context.WithoutCancel(ctx), user); err == nil {
			left = 0
			for _, s := range list {
				if ids[s.ID] {
					left++
				}
			}
		}
		if left == 0 {
			return 0
		}
		select {
		case <-time.After(endPoll):
		case <-ctx.Done():
			return left
		}
	}
}

// Answer ends logins and sessions and answers the request with the result. Logins
// end first, so that none of them opens anything new.
func (l *Sessions) Answer(w http.ResponseWriter, r *http.Request, sessions []Session, cause error, logins []host.LoginID) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), Commit)
	defer cancel()
	for _, id := range logins {
		if err := l.EndLogin(ctx, id); err != nil {
			return err
		}
	}
	out, err := l.End(r.Context(), sessions, cause)
	if err != nil {
		return err
	}
	out.Logins = len(logins)
	gateway.RequestOf(r.Context()).Log.Info("sessions ended", "sessions", out.Ended, "closed", out.Closed, "logins", out.Logins, "cause", cause.Error())
	gateway.WriteJSON(w, http.StatusOK, out)
	return nil
}

// Keep returns the sessions that match.
func Keep(list []Session, match func(Session) bool) []Session {
	return slices.DeleteFunc(slices.Clone(list), func(s Session) bool { return !match(s) })
}
