// Package live lists sessions and answers requests to end them, for the account's routes
// and for administration.
package live

import (
	"context"
	"net/http"
	"slices"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
)

// Sessions lists and ends sessions and logins on every replica; *session.Ender implements
// it and documents the methods.
type Sessions interface {
	Replica() string
	List(context.Context, host.UserID) ([]host.SessionInfo, error)
	Logins(host.UserID) []host.LoginRecord
	End(context.Context, session.Scope, error) (session.Result, error)
}

// Session is a session as its user and administrators see it.
type Session struct {
	host.SessionInfo
	Current bool `json:"current"` // belongs to the login of the request
}

// Shown returns list as it is shown to p.
func Shown(list []host.SessionInfo, p *host.Principal) []Session {
	out := make([]Session, 0, len(list))
	for _, s := range list {
		out = append(out, Session{s, s.Login == p.Login.ID})
	}
	return out
}

// End ends the sessions and logins in the scope and answers the request with the result.
func End(w http.ResponseWriter, r *http.Request, sessions Sessions, scope session.Scope, cause error) error {
	result, err := sessions.End(r.Context(), scope, cause)
	if err != nil {
		return err
	}
	gateway.RequestOf(r.Context()).Log.Info("sessions ended",
		"sessions", result.Ended, "closed", result.Closed, "logins", result.Logins, "cause", host.EndCauseOf(cause).Name)
	gateway.WriteJSON(w, http.StatusOK, result)
	return nil
}

// Keep returns the sessions that match.
func Keep(list []host.SessionInfo, match func(*host.SessionInfo) bool) []host.SessionInfo {
	return slices.DeleteFunc(slices.Clone(list), func(s host.SessionInfo) bool { return !match(&s) })
}
