package admin

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/internal/live"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
)

const (
	defaultShown = 500
	maxShown     = 5000
)

// selection is the sessions that an administrator selects; an empty field selects
// all.
type selection struct {
	user, kind, plugin, replica, login string
}

// selectionOf reads the query; extra are further allowed keys.
func selectionOf(q url.Values, extra ...string) (s selection, err error) {
	fields := map[string]*string{"user": &s.user, "kind": &s.kind, "plugin": &s.plugin, "replica": &s.replica, "login": &s.login}
	for key, values := range q {
		f, known := fields[key]
		switch {
		case len(values) != 1 || values[0] == "":
			return s, host.E(host.Invalid, "", "%s is empty or given more than once", key)
		case known:
			*f = values[0]
		case !slices.Contains(extra, key):
			return s, host.E(host.Invalid, "", "%q is not a filter; the filters are user, kind, plugin, replica and login", key)
		}
	}
	s.user = host.CanonicalID(s.user)
	return s, nil
}

func (s *selection) match(x *host.SessionInfo) bool {
	is := func(want, got string) bool { return want == "" || want == got }
	return is(s.user, string(x.User)) && is(s.kind, string(x.Kind)) && is(s.plugin, x.Plugin) && is(s.replica, x.Replica) && is(s.login, string(x.Login))
}

func (a *admin) selected(ctx context.Context, s selection) ([]host.SessionInfo, error) {
	list, err := a.Sessions.List(ctx, host.UserID(s.user))
	return live.Keep(list, s.match), err
}

// sessions handles GET /api/admin/sessions?user=&kind=&plugin=&replica=&login=&limit=:
// the streams and long calls of all users, on every replica.
func (a *admin) sessions(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	s, err := selectionOf(q, "limit")
	if err != nil {
		return err
	}
	limit := defaultShown
	if v := q.Get("limit"); v != "" {
		if limit, err = strconv.Atoi(v); err != nil || limit < 1 || limit > maxShown {
			return host.E(host.Invalid, "", "limit must be a number from 1 to %d", maxShown)
		}
	}
	list, err := a.selected(r.Context(), s)
	if err != nil {
		return err
	}
	shown := live.Shown(list[:min(limit, len(list))], gateway.RequestOf(r.Context()).Principal)
	gateway.WriteJSON(w, http.StatusOK, map[string]any{"sessions": shown, "total": len(list), "replica": a.Sessions.Replica()})
	return nil
}

// endSession handles DELETE /api/admin/sessions/{id}. With a filter it ends the session
// only if the filter matches, since policy may have allowed it for one user only.
func (a *admin) endSession(w http.ResponseWriter, r *http.Request) error {
	id := gateway.Vars(r)["id"]
	filter, err := selectionOf(r.URL.Query())
	if err != nil {
		return err
	}
	list, err := a.selected(r.Context(), filter)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(s host.SessionInfo) bool { return s.ID == id })
	if i < 0 {
		return host.E(host.NotFound, "", "the session does not exist")
	}
	return live.End(w, r, a.Sessions, session.Selected(list[i:i+1]), host.ErrRevoked)
}

// endSessions handles DELETE /api/admin/sessions with a filter, or all=true. With
// logins=true all logins of a user end as well, so the user must sign in again.
func (a *admin) endSessions(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	s, err := selectionOf(q, "all", "logins")
	if err != nil {
		return err
	}
	all, badAll := flag(q, "all")
	logins, badLogins := flag(q, "logins")
	switch {
	case badAll != nil || badLogins != nil:
		return host.E(host.Invalid, "", "all and logins must be true or false")
	case all == (s != selection{}):
		return host.E(host.Invalid, "", "select the sessions to end by a filter, or all of them by all=true")
	case logins && s != (selection{user: s.user}) || logins && all:
		return host.E(host.Invalid, "", "logins=true requires user, and no other filter")
	}
	var scope session.Scope
	switch user := host.UserID(s.user); {
	case all:
		scope = session.Everybody()
	case logins:
		scope = session.LoginsOf(user)
	case s == selection{user: s.user}:
		scope = session.SessionsOf(user)
	default:
		list, err := a.selected(r.Context(), s)
		if err != nil {
			return err
		}
		scope = session.Selected(list)
	}
	gateway.RequestOf(r.Context()).Log.Info("an administrator ends sessions",
		"user", s.user, "kind", s.kind, "plugin", s.plugin, "replica", s.replica, "login", s.login, "all", all, "logins", logins)
	return live.End(w, r, a.Sessions, scope, host.ErrRevoked)
}

func flag(q url.Values, key string) (bool, error) {
	if !q.Has(key) {
		return false, nil
	}
	return strconv.ParseBool(q.Get(key))
}
