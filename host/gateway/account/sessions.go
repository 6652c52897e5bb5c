package account

import (
	"net/http"
	"slices"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/internal/live"
)

// sessions handles GET /auth/sessions: what the caller has running on any
// replica, and where they are signed in.
func (a *account) sessions(w http.ResponseWriter, r *http.Request) error {
	p := gateway.RequestOf(r.Context()).Principal
	list, err := a.Live.Gather(r.Context(), p.User)
	if err != nil {
		return err
	}
	live.Mark(list, p)
	type login struct {
		ID      host.LoginID `json:"id"`
		Method  string       `json:"method"`
		At      time.Time    `json:"at"`
		Until   time.Time    `json:"until"`
		Current bool         `json:"current"`
	}
	logins := []login{}
	for _, l := range a.Live.Logins(p.User) {
		logins = append(logins, login{l.ID, l.Method, l.At.UTC(), l.Until.UTC(), l.ID == p.Login.ID})
	}
	gateway.WriteJSON(w, http.StatusOK, map[string]any{"sessions": list, "logins": logins})
	return nil
}

// endSession handles DELETE /auth/sessions/{id}: one of the caller's sessions,
// or one of their logins with all sessions of it. Another user's is as absent as one
// that never existed.
func (a *account) endSession(w http.ResponseWriter, r *http.Request) error {
	p, id := gateway.RequestOf(r.Context()).Principal, gateway.Vars(r)["id"]
	list, err := a.Live.Gather(r.Context(), p.User)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(list, func(s live.Session) bool { return s.ID == id }); i >= 0 {
		return a.Live.Answer(w, r, list[i:i+1], host.ErrEnded, nil)
	}
	for _, l := range a.Live.Logins(p.User) {
		if string(l.ID) == id {
			return a.Live.Answer(w, r, live.Keep(list, func(s live.Session) bool { return s.Login == l.ID }), host.ErrLoggedOut, []host.LoginID{l.ID})
		}
	}
	return host.E(host.NotFound, "", "you have no such session")
}

// endOthers handles DELETE /auth/sessions: all of the caller's logins and
// sessions except this login and its sessions.
func (a *account) endOthers(w http.ResponseWriter, r *http.Request) error {
	p := gateway.RequestOf(r.Context()).Principal
	list, err := a.Live.Gather(r.Context(), p.User)
	if err != nil {
		return err
	}
	var others []host.LoginID
	for _, l := range a.Live.Logins(p.User) {
		if l.ID != p.Login.ID {
			others = append(others, l.ID)
		}
	}
	return a.Live.Answer(w, r, live.Keep(list, func(s live.Session) bool { return s.Login != p.Login.ID }), host.ErrLoggedOut, others)
}
