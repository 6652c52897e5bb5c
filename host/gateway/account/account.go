// Package account has the routes that concern the caller alone: signing in and out, the
// caller's own sessions and logins, and the plugins' routes that the caller may use.
package account

import (
	"context"
	"net/http"
	"sync"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/audit"
	"github.com/seed-a3fb47d6/bulkhead/host/authn"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/internal/live"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
)

// SignIn handles the requests for signing in and out; *authn.Service implements it.
type SignIn interface {
	Page(http.ResponseWriter, *http.Request) error
	Login(http.ResponseWriter, *http.Request) error
	Begin(http.ResponseWriter, *http.Request) error
	Callback(http.ResponseWriter, *http.Request) error
	CLIPage(http.ResponseWriter, *http.Request) error
	CLIAllow(http.ResponseWriter, *http.Request, authn.Resolved) error
	CLIToken(http.ResponseWriter, *http.Request) error
	Logout(http.ResponseWriter, *http.Request) error
	Refresh(http.ResponseWriter, *http.Request, authn.Resolved) error
	Me(http.ResponseWriter, *http.Request, authn.Resolved) error
}

// Config has the dependencies of the account's routes. Every field but Audit is required.
type Config struct {
	SignIn   SignIn
	Sessions live.Sessions
	// Plugins lists the plugins as they serve a user.
	Plugins func(*host.Principal) []plugin.Info
	// Would returns what policy would decide, without a record in the decision log.
	Would func(context.Context, *host.Question) host.Decision
	// Audit records which sessions and logins users end; nil records nothing.
	Audit *audit.Trail
}

type account struct {
	Config
	// administration lists the routes below /api/admin. What is mounted does not change
	// while requests are served.
	administration func() []host.Route
}

// Mount adds the account's routes to g.
func Mount(g *gateway.Gateway, c Config) {
	a := &account{c, sync.OnceValue(func() []host.Route { return administration(g) })}
	g.Mount(
		gateway.Route{Method: "GET", Path: "/login", Access: gateway.Public, Action: "auth:login", Handle: c.SignIn.Page},
		gateway.Route{Method: "POST", Path: "/auth/login", Access: gateway.Public, Action: "auth:login", Handle: c.SignIn.Login},
		gateway.Route{Method: "GET", Path: "/auth/login", Access: gateway.Public, Action: "auth:login", Handle: c.SignIn.Begin},
		gateway.Route{Method: "GET", Path: "/auth/callback/{method}", Access: gateway.Public, Action: "auth:login", Handle: c.SignIn.Callback},
		gateway.Route{Method: "GET", Path: "/auth/cli", Access: gateway.Public, Action: "auth:login", Handle: c.SignIn.CLIPage},
		gateway.Route{Method: "POST", Path: "/auth/cli", Action: "auth:login", Handle: resolved(c.SignIn.CLIAllow)},
		gateway.Route{Method: "POST", Path: "/auth/cli/token", Access: gateway.Public, Action: "auth:login", Handle: c.SignIn.CLIToken},
		// Logout answers an expired credential too, so it resolves the credential itself.
		gateway.Route{Method: "POST", Path: "/auth/logout", Access: gateway.Always, Action: "auth:logout", Handle: c.SignIn.Logout},
		gateway.Route{Method: "POST", Path: "/auth/refresh", Action: "auth:refresh", Handle: resolved(c.SignIn.Refresh)},
		gateway.Route{Method: "GET", Path: "/auth/me", Action: "auth:self.read", Handle: resolved(c.SignIn.Me)},
		gateway.Route{Method: "GET", Path: "/auth/routes", Action: "auth:self.read", Handle: a.routes},
		gateway.Route{Method: "GET", Path: "/auth/sessions", Action: "auth:sessions.read", Handle: a.sessions},
		gateway.Route{Method: "DELETE", Path: "/auth/sessions", Action: "auth:sessions.end", Handle: a.noted(a.endOthers)},
		gateway.Route{Method: "DELETE", Path: "/auth/sessions/{id}", Action: "auth:sessions.end", Handle: a.noted(a.endSession)},
	)
}

// noted records what a user ends. It takes rights away, so it does not depend on the record.
func (a *account) noted(handle gateway.Handler) gateway.Handler {
	return func(w http.ResponseWriter, r *http.Request) (err error) {
		e := &audit.Event{
			Kind: audit.KindSignOut, Action: "auth:sessions.end", Target: gateway.Vars(r)["id"], Principal: gateway.RequestOf(r.Context()).Principal,
		}
		defer func() { a.Audit.Note(r.Context(), e, audit.Outcome{Err: err}) }()
		return handle(w, r)
	}
}

// resolved calls f with the principal that the chain resolved.
func resolved(f func(http.ResponseWriter, *http.Request, authn.Resolved) error) gateway.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		return f(w, r, gateway.RequestOf(r.Context()).Resolved)
	}
}
