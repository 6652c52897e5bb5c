package gateway

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/gorilla/mux"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

const (
	defaultShown = 500
	maxShown     = 5000
)

// selection is which sessions an administrator means.
type selection struct {
	user, kind, plugin, replica, login string
}

// selectionOf reads the query; extra are the keys that it may have besides.
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
			return s, host.E(host.Invalid, "", "%q is no filter; there are user, kind, plugin, replica, login", key)
		}
	}
	s.user = host.CanonicalID(s.user)
	return s, nil
}

func (s *selection) match(x listed) bool {
	is := func(want, got string) bool { return want == "" || want == got }
	return is(s.user, string(x.User)) && is(s.kind, x.Kind) && is(s.plugin, x.Plugin) && is(s.replica, x.Replica) && is(s.login, string(x.Login))
}

func (g *Gateway) selected(ctx context.Context, s selection) ([]listed, error) {
	list, err := g.gather(ctx, host.UserID(s.user))
	return keep(list, s.match), err
}

// adminSessions handles GET /api/admin/sessions?user=&kind=&plugin=&replica=&login=&limit=:
// the streams and long calls of everybody, on every replica.
func (g *Gateway) adminSessions(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	s, err := selectionOf(q, "limit")
	if err != nil {
		return err
	}
	limit := defaultShown
	if v := q.Get("limit"); v != "" {
		if limit, err = strconv.Atoi(v); err != nil || limit < 1 || limit > maxShown {
			return host.E(host.Invalid, "", "limit is not within 1 to %d", maxShown)
		}
	}
	list, err := g.selected(r.Context(), s)
	if err != nil {
		return err
	}
	mark(list, infoOf(r.Context()).principal)
	writeJSON(w, http.StatusOK, map[string]any{"sessions": list[:min(limit, len(list))], "total": len(list), "replica": g.Live.Replica()})
	return nil
}

// adminEndSession handles DELETE /api/admin/sessions/{id}. With a filter it ends
// the session only if that fits: policy may have allowed it for one user.
func (g *Gateway) adminEndSession(w http.ResponseWriter, r *http.Request) error {
	id := mux.Vars(r)["id"]
	filter, err := selectionOf(r.URL.Query())
	if err != nil {
		return err
	}
	list, err := g.selected(r.Context(), filter)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(s listed) bool { return s.ID == id })
	if i < 0 {
		return host.E(host.NotFound, "", "there is no such session")
	}
	return g.answerEnding(w, r, list[i:i+1], host.ErrRevoked, nil)
}

// adminEndSessions handles DELETE /api/admin/sessions with a filter of
// adminSessions, or all=true; user with logins=true signs that person out
// everywhere as well, so that they have to prove anew who they are.
func (g *Gateway) adminEndSessions(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	s, err := selectionOf(q, "all", "logins")
	if err != nil {
		return err
	}
	all, badAll := flag(q, "all")
	logins, badLogins := flag(q, "logins")
	switch {
	case badAll != nil || badLogins != nil:
		return host.E(host.Invalid, "", "all and logins are true or false")
	case all == (s != selection{}):
		return host.E(host.Invalid, "", "name whose sessions end by a filter, or everybody's by all=true")
	case logins && s != (selection{user: s.user}) || logins && all:
		return host.E(host.Invalid, "", "logins=true goes with user alone")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), endCommit)
	defer cancel()
	list, err := g.selected(r.Context(), s)
	if err != nil {
		return err
	}
	user, signedOut := host.UserID(s.user), 0
	if logins {
		signedOut = len(g.Live.Logins(user))
		if err := g.Live.EndUserLogins(ctx, user); err != nil {
			return err
		}
	}
	if s == (selection{user: s.user}) && !all {
		// One fact for all of them, the short calls too, that no list shows.
		if err := g.Live.EndSessions(ctx, user, host.ErrRevoked); err != nil {
			return err
		}
	}
	out, err := g.end(r.Context(), list, host.ErrRevoked)
	if err != nil {
		return err
	}
	out.Logins = signedOut
	infoOf(r.Context()).log.Info("sessions ended by an administrator", "user", s.user, "kind", s.kind, "plugin", s.plugin,
		"replica", s.replica, "all", all, "sessions", out.Ended, "logins", out.Logins)
	writeJSON(w, http.StatusOK, out)
	return nil
}

func flag(q url.Values, key string) (bool, error) {
	if !q.Has(key) {
		return false, nil
	}
	return strconv.ParseBool(q.Get(key))
}
