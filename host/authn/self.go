package authn

import (
	"net/http"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// self is the answer of GET /auth/me.
type self struct {
	User  host.UserID `json:"user"`
	Name  string      `json:"name"`
	Roles []string    `json:"roles"`
	Teams []string    `json:"teams"`
	Login selfLogin   `json:"login"`
}

type selfLogin struct {
	Method string    `json:"method"`
	At     time.Time `json:"at"`
	Until  time.Time `json:"until"`
}

func describe(p *host.Principal) self {
	return self{
		User: p.User, Name: p.Name, Roles: notNil(p.Roles), Teams: notNil(p.Teams),
		Login: selfLogin{Method: p.Login.Method, At: p.Login.At.UTC(), Until: p.Login.Until.UTC()},
	}
}

// notNil makes JSON write [] instead of null.
func notNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// Me handles GET /auth/me of who.
func (s *Service) Me(w http.ResponseWriter, _ *http.Request, who Resolved) error {
	return writeJSON(w, describe(who.Principal))
}

// Refresh handles POST /auth/refresh of who. It sets the cookie to a new token of
// the same login. The old token stays valid for replacedGrace, on every replica, so
// that another tab that still sends it is not signed out; a refresh by that tab
// replaces no token. The login's end does not change.
func (s *Service) Refresh(w http.ResponseWriter, r *http.Request, who Resolved) error {
	if err := s.CheckOrigin(r); err != nil {
		return err
	}
	t, p := who.token, who.Principal
	if t.bearerBound {
		return host.E(host.Invalid, "authn.refresh", "this login cannot be refreshed here: its provider or proxy renews it")
	}
	ctx, cancel := afterwards(r.Context())
	defer cancel()
	generation, err := s.State.RenewTokens(ctx, p.Login.ID, t.generation)
	if err != nil {
		return err
	}
	now := time.Now()
	expires := s.expiry(now, p.Login.Until)
	raw, err := s.signNext(p.User, p.Login.ID, generation, now, expires)
	if err != nil {
		return err
	}
	s.cookie.set(w, raw, p.Login.Until)
	return writeJSON(w, struct {
		Refreshed bool      `json:"refreshed"`
		Expires   time.Time `json:"expires"`
	}{true, expires.UTC().Truncate(time.Second)})
}
