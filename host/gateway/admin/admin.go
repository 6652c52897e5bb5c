// Package admin has the routes of administration: the sessions of all users, the
// directory, policy, plugins and the configuration. Policy decides each route by its own
// action, with "admin" as the plugin.
package admin

import (
	"context"
	"net/http"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/audit"
	"github.com/seed-a3fb47d6/bulkhead/host/authz"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/internal/live"
	"github.com/seed-a3fb47d6/bulkhead/host/policytool"
)

// Plugin is the plugin name of the host's administration in policy. It is reserved: no
// plugin can have it.
const Plugin = "admin"

// Policy answers administrators' questions about policy; *policytool.Tools implements it
// and documents the methods.
type Policy interface {
	Status() authz.Status
	Explain(context.Context, *host.Question) *policytool.Explanation
	Compare(ctx context.Context, bundle []byte) (*policytool.DiffReport, error)
}

// Config has the dependencies of administration. Every field is required.
type Config struct {
	Sessions  live.Sessions
	Directory Directory
	Policy    Policy
	// HostView returns the host view for explaining a question about a plugin.
	HostView func(plugin string) *policytool.HostView
	Kinds    *capability.Catalog // of the host's capabilities
	Plugins  Plugins
	Uploads  Uploads
	// Configuration is the host's.
	Configuration Configuration
	// Audit records what administrators change, and looks at the audit itself.
	Audit *audit.Trail
}

type admin struct {
	Config
	gateway *gateway.Gateway
}

// Mount adds administration to g. It also refuses unknown paths below /api/admin, so mount
// it before the plugins.
func Mount(g *gateway.Gateway, c Config) {
	a := &admin{c, g}
	for _, r := range append(append(a.pluginRoutes(), a.auditRoutes()...), []gateway.Route{
		{Method: "GET", Path: "/api/admin/sessions", Action: "admin:sessions.read", Handle: a.sessions},
		{Method: "DELETE", Path: "/api/admin/sessions", Action: "admin:sessions.end", Handle: a.endSessions},
		{Method: "DELETE", Path: "/api/admin/sessions/{id}", Action: "admin:sessions.end", Handle: a.endSession},
		{Method: "GET", Path: "/api/admin/directory", Action: "admin:directory.read", Handle: a.directory},
		{Method: "GET", Path: "/api/admin/policies", Action: "admin:policies.read", Handle: a.policies},
		{Method: "GET", Path: "/api/admin/policies/explain", Action: "admin:policies.explain.read", Handle: a.explain},
		{Method: "POST", Path: "/api/admin/policies/diff", Action: "admin:policies.diff", Handle: a.diff},
		{Method: "GET", Path: "/api/admin/config", Action: "admin:config.read", Handle: a.configStatus},
		{Method: "POST", Path: "/api/admin/config/reload", Action: "admin:config.reload", Handle: a.reload},
	}...) {
		handle := r.Handle
		_, name, _ := r.Action.Split()
		route := host.Route{Plugin: Plugin, Name: name, Action: r.Action, Method: r.Method, Path: r.Path, Mutates: r.Method != http.MethodGet}
		r.Handle = func(w http.ResponseWriter, r *http.Request) error { return a.serve(w, r, route, nil, handle) }
		g.Mount(r)
	}
	for _, path := range []string{"/api/admin", "/api/admin/{path:.*}"} {
		g.Mount(gateway.Route{Method: gateway.AnyMethod, Path: path, Action: unknown, Handle: a.missing})
	}
}

// unknown is the action of requests that have no route.
const unknown host.Action = "admin:unknown.read"

// missing refuses a request without a route. It asks policy first, so that a user
// without rights cannot tell what does not exist from what is forbidden.
func (a *admin) missing(w http.ResponseWriter, r *http.Request) error {
	err := error(host.E(host.NotFound, "", "this administration route does not exist"))
	if allowed := a.gateway.Methods(r); len(allowed) > 0 {
		err = gateway.MethodNotAllowed(allowed)
	}
	return a.serve(w, r, host.Route{Plugin: Plugin, Action: unknown, Method: r.Method}, err, nil)
}

// serve admits a request for route and calls handle within the session that was opened for
// it.
func (a *admin) serve(w http.ResponseWriter, r *http.Request, route host.Route, missing error, handle gateway.Handler) error {
	reason, query, err := a.gateway.Reason(r)
	if err != nil {
		return err
	}
	r.URL.RawQuery = query
	question := &host.Question{Principal: gateway.RequestOf(r.Context()).Principal, Reason: reason, Route: route}
	if user := r.URL.Query().Get("user"); user != "" && missing == nil {
		question.Resource = host.Resource{"user": user}
	}
	s, o, err := a.gateway.Admit(r.Context(), r, &gateway.Admission{Question: question, Kind: host.SessionCall, Missing: missing})
	if err != nil {
		return err
	}
	defer s.Close()
	if !route.Mutates { // a look can last for hours; it ends with the right to it
		if _, err := s.Hold(question, o); err != nil {
			return err
		}
	}
	return a.audited(w, r.WithContext(s.Context()), question, handle)
}
