package gateway

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/gorilla/mux"
	"golang.org/x/sync/errgroup"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
)

// Live is what all replicas know of sessions and logins; *state.Store is one,
// and says what the methods promise.
type Live interface {
	Replica() string
	PublishedSessions(ctx context.Context, user host.UserID, after string, limit int) (page []state.SessionEntry, next string, err error)
	EndSession(ctx context.Context, user host.UserID, id string, cause error) error
	EndSessions(ctx context.Context, user host.UserID, cause error) error
	Logins(user host.UserID) []state.LoginRecord
	EndLogin(context.Context, host.LoginID) error
	EndUserLogins(context.Context, host.UserID) error
}

const (
	endCommit = 5 * time.Second // for the store to take an ending
	endWait   = 2 * time.Second // for what lost its authority to close
	endPoll   = 50 * time.Millisecond
	endAtOnce = 16 // endings that are being committed side by side
	// maxGathered bounds what is taken from the store for one answer.
	maxGathered = 50_000
)

// listed is a session as people see it.
type listed struct {
	ID         string       `json:"id"`
	User       host.UserID  `json:"user"`
	Kind       string       `json:"kind"` // call, events, socket
	Plugin     string       `json:"plugin"`
	Route      string       `json:"route,omitempty"`
	Target     string       `json:"target,omitempty"`
	Started    time.Time    `json:"started"`
	LastUsed   *time.Time   `json:"lastUsed,omitempty"` // known on its own replica only
	RemoteAddr string       `json:"remoteAddr,omitempty"`
	RequestID  string       `json:"requestId,omitempty"`
	Replica    string       `json:"replica"`
	Login      host.LoginID `json:"login"`
	Current    bool         `json:"current"` // of the login that asks
}

// gather returns the streams and long calls of one user on every replica, or of
// everybody if user is empty, oldest first. What this replica has comes from its
// own table, which knows at once.
func (g *Gateway) gather(ctx context.Context, user host.UserID) ([]listed, error) {
	here, own := g.Live.Replica(), g.Sessions.All
	if user != "" {
		own = func() []session.View { return g.Sessions.List(user) }
	}
	all := []listed{}
	for _, v := range own() {
		if v.Cause != nil || !v.Info.Shown() {
			continue
		}
		used := v.Touched.UTC()
		all = append(all, listed{
			v.ID, v.User, string(v.Info.Kind), v.Info.Plugin, v.Info.Route, v.Info.Target, v.Info.Started.UTC(), &used,
			v.Info.RemoteAddr, v.Info.RequestID, here, v.Login, false,
		})
	}
	for after, more := "", true; more && len(all) < maxGathered; {
		page, next, err := g.Live.PublishedSessions(ctx, user, after, 0)
		if err != nil {
			return nil, err
		}
		for _, e := range page {
			if e.Replica != here {
				all = append(all, listed{
					e.ID, e.User, e.Kind, e.Plugin, e.Route, e.Target, e.Started.UTC(), nil,
					e.RemoteAddr, e.RequestID, e.Replica, e.Login, false,
				})
			}
		}
		after, more = next, next != ""
	}
	slices.SortStableFunc(all, func(a, b listed) int { return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.ID, b.ID)) })
	return all, nil
}

// mark says which sessions are of the login that asks.
func mark(list []listed, p *host.Principal) {
	for i := range list {
		list[i].Current = list[i].Login == p.Login.ID
	}
}

// ended is the answer to an ending.
type ended struct {
	Ended  int `json:"ended"`            // sessions; none of them has authority any more, or will have within 5 s on another replica
	Closed int `json:"closed"`           // of these, how many were seen to be gone
	Logins int `json:"logins,omitempty"` // that ended too
}

// end ends sessions wherever they are. Those of other replicas end by a fact in
// the store, which it has taken when end returns.
func (g *Gateway) end(ctx context.Context, sessions []listed, cause error) (ended, error) {
	committing, stop := context.WithTimeout(context.WithoutCancel(ctx), endCommit)
	defer stop()
	waiting, cancel := context.WithTimeout(context.WithoutCancel(ctx), endWait)
	defer cancel()
	out := ended{Ended: len(sessions)}
	remote := map[host.UserID]map[string]bool{}
	var commits errgroup.Group
	commits.SetLimit(endAtOnce)
	for _, s := range sessions {
		if s.Replica != g.Live.Replica() {
			commits.Go(func() error { return g.Live.EndSession(committing, s.User, s.ID, cause) })
			if remote[s.User] == nil {
				remote[s.User] = map[string]bool{}
			}
			remote[s.User][s.ID] = true
		}
	}
	err := commits.Wait()
	for _, s := range sessions {
		if s.Replica == g.Live.Replica() {
			r := g.Sessions.EndSession(waiting, s.User, s.ID, cause)
			out.Closed += r.Closed + 1 - r.Ended // one that ended meanwhile is gone, too
		}
	}
	if err != nil {
		return ended{}, err
	}
	for user, ids := range remote {
		out.Closed += len(ids) - g.remain(waiting, user, ids)
	}
	return out, nil
}

// remain waits until the user's sessions with these ids are gone from the store,
// and returns how many are left when ctx ends.
func (g *Gateway) remain(ctx context.Context, user host.UserID, ids map[string]bool) (left int) {
	for {
		left = len(ids)
		if list, err := g.gather(context.WithoutCancel(ctx), user); err == nil {
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

// ownSessions handles GET /auth/sessions: what the caller has running on any
// replica, and where they are signed in.
func (g *Gateway) ownSessions(w http.ResponseWriter, r *http.Request) error {
	p := infoOf(r.Context()).principal
	list, err := g.gather(r.Context(), p.User)
	if err != nil {
		return err
	}
	mark(list, p)
	type login struct {
		ID      host.LoginID `json:"id"`
		Method  string       `json:"method"`
		At      time.Time    `json:"at"`
		Until   time.Time    `json:"until"`
		Current bool         `json:"current"`
	}
	logins := []login{}
	for _, l := range g.Live.Logins(p.User) {
		logins = append(logins, login{l.ID, l.Method, l.At.UTC(), l.Until.UTC(), l.ID == p.Login.ID})
	}
	writeJSON(w, http.StatusOK, map[string]any{"sessions": list, "logins": logins})
	return nil
}

// endOwnSession handles DELETE /auth/sessions/{id}: one of the caller's sessions,
// or one of their logins with all that hangs on it. Somebody else's is as absent
// as one that never was.
func (g *Gateway) endOwnSession(w http.ResponseWriter, r *http.Request) error {
	info, id := infoOf(r.Context()), mux.Vars(r)["id"]
	list, err := g.gather(r.Context(), info.principal.User)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(list, func(s listed) bool { return s.ID == id }); i >= 0 {
		return g.answerEnding(w, r, list[i:i+1], host.ErrEnded, nil)
	}
	for _, l := range g.Live.Logins(info.principal.User) {
		if string(l.ID) == id {
			return g.answerEnding(w, r, keep(list, func(s listed) bool { return s.Login == l.ID }), host.ErrLoggedOut, []host.LoginID{l.ID})
		}
	}
	return host.E(host.NotFound, "", "you have no such session")
}

// endOtherLogins handles DELETE /auth/sessions: everything of the caller but this
// login and what hangs on it.
func (g *Gateway) endOtherLogins(w http.ResponseWriter, r *http.Request) error {
	p := infoOf(r.Context()).principal
	list, err := g.gather(r.Context(), p.User)
	if err != nil {
		return err
	}
	var others []host.LoginID
	for _, l := range g.Live.Logins(p.User) {
		if l.ID != p.Login.ID {
			others = append(others, l.ID)
		}
	}
	return g.answerEnding(w, r, keep(list, func(s listed) bool { return s.Login != p.Login.ID }), host.ErrLoggedOut, others)
}

// answerEnding ends logins first, so that none of them opens anything new.
func (g *Gateway) answerEnding(w http.ResponseWriter, r *http.Request, sessions []listed, cause error, logins []host.LoginID) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), endCommit)
	defer cancel()
	for _, id := range logins {
		if err := g.Live.EndLogin(ctx, id); err != nil {
			return err
		}
	}
	out, err := g.end(r.Context(), sessions, cause)
	if err != nil {
		return err
	}
	out.Logins = len(logins)
	infoOf(r.Context()).log.Info("sessions ended", "sessions", out.Ended, "closed", out.Closed, "logins", out.Logins, "cause", cause.Error())
	writeJSON(w, http.StatusOK, out)
	return nil
}

func keep(list []listed, match func(listed) bool) []listed {
	return slices.DeleteFunc(slices.Clone(list), func(s listed) bool { return !match(s) })
}
