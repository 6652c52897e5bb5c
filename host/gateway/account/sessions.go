package account

import (
	"net/http"
	"slices"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/internal/live"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
)

// sessions handles GET /auth/sessions: the caller's sessions on every replica, and their
// logins.
func (a *account) sessions(w http.ResponseWriter, r *http.Request) error {
	p := gateway.RequestOf(r.Context()).Principal
	list, err := a.Sessions.List(r.Context(), p.User)
	if err != nil {
		return err
	}
	type login struct {
		ID      host.LoginID `json:"id"`
		Method  string       `json:"method"`
		At      time.Time    `json:"at"`
		Until   time.Time    `json:"until"`
		Current bool         `json:"current"`
	}
	logins := []login{}
	for _, l := range a.Sessions.Logins(p.User) {
		logins = append(logins, login{l.ID, l.Method, l.At.UTC(), l.Until.UTC(), l.ID == p.Login.ID})
	}
	gateway.WriteJSON(w, http.StatusOK, map[string]any{"sessions": live.Shown(list, p), "logins": logins})
	return nil
}

// endSession handles DELETE /auth/sessions/{id}: it ends one of the caller's sessions, or
// one of their logins with all its sessions. Another user's id is treated like an unknown
// one.
func (a *account) endSession(w http.ResponseWriter, r *http.Request) error {
	p, id := gateway.RequestOf(r.Context()).Principal, gateway.Vars(r)["id"]
	list, err := a.Sessions.List(r.Context(), p.User)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(list, func(s host.SessionInfo) bool { return s.ID == id }); i >= 0 {
		return live.End(w, r, a.Sessions, session.Selected(list[i:i+1]), host.ErrEnded)
	}
	for _, l := range a.Sessions.Logins(p.User) {
		if string(l.ID) == id {
			return live.End(w, r, a.Sessions, session.OneLogin(p.User, l.ID), host.ErrLoggedOut)
		}
	}
	return host.E(host.NotFound, "", "you have no session or login with this id")
}

// endOthers handles DELETE /auth/sessions: it ends all of the caller's logins and sessions
// except this login and its sessions.
func (a *account) endOthers(w http.ResponseWriter, r *http.Request) error {
	p := gateway.RequestOf(r.Context()).Principal
	return live.End(w, r, a.Sessions, session.OtherLogins(p.User, p.Login.ID), host.ErrLoggedOut)
}
