package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/mux"
	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/authn"
	"github.com/seed-a3fb47d6/bulkhead/host/authz"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
)

// Config is what a Gateway is made of. Every field is required.
type Config struct {
	Listen    string // the listener's address; loopback listeners refuse foreign Host headers
	PublicURL *url.URL
	Authn     *authn.Service
	Sessions  *session.Table
	Live      Live
	Plugins   *plugin.Registry
	Clusters  []string // their names
	Catalog   *capability.Catalog
	Directory Directory
	Policy    *authz.Engine
	Decide    func(context.Context, *host.Question) host.Decision
	Health    Health
	Logger    *slog.Logger
}

// Gateway is the http.Handler of the whole surface. It is safe for concurrent
// use.
type Gateway struct {
	Config
	log    *slog.Logger
	hosts  map[string]bool // nil: any
	router *mux.Router
	// bodyTimeout is how long a request's body may take to arrive.
	bodyTimeout time.Duration
	complained  sync.Map // routes; see complain
}

// New returns the gateway.
func New(c Config) *Gateway {
	g := &Gateway{Config: c, log: c.Logger, bodyTimeout: readBodyTimeout, router: newRouter()}
	if isLoopback(c.Listen) {
		g.hosts = loopbackHosts(c.PublicURL.Hostname())
	}
	for _, r := range g.routes() {
		if r.access == administrative {
			r.handle = g.administer(r)
		}
		g.router.Handle(r.path, g.serve(r.access, r.action, r.handle)).Methods(r.methods()...)
	}
	g.router.NotFoundHandler = g.serve(signedIn, "host:unknown.read", func(http.ResponseWriter, *http.Request) error {
		return host.E(host.NotFound, "", "there is nothing here")
	})
	g.router.MethodNotAllowedHandler = g.serve(signedIn, "host:unknown.read", g.methodNotAllowed)
	return g
}

// methodNotAllowed answers for a path that has other methods. Which ones a plugin
// has is for people who may know, so the door answers for it.
func (g *Gateway) methodNotAllowed(w http.ResponseWriter, r *http.Request) error {
	if m, ok := g.with(r, http.MethodGet); ok && m.door() == "/api/" {
		return g.unaryDoor(w, mux.SetURLVars(r, m.Vars))
	}
	return notAllowed(g.methodsOf(r))
}

// methodsOf are the methods that the path of r has, except for plugins' routes.
func (g *Gateway) methodsOf(r *http.Request) (allowed []string) {
	for _, method := range methods {
		if m, ok := g.with(r, method); ok && m.door() != "/api/" {
			allowed = append(allowed, method)
		}
	}
	return allowed
}

type match struct{ mux.RouteMatch }

// with matches r as if it had another method.
func (g *Gateway) with(r *http.Request, method string) (m match, ok bool) {
	other := *r
	other.Method = method
	ok = g.router.Match(&other, &m.RouteMatch) && m.MatchErr == nil
	return m, ok
}

// door is where a plugin's route is, "/api/" or "/ws/", and "" for the host's own.
func (m *match) door() string {
	template, _ := m.Route.GetPathTemplate()
	door, _, ok := strings.Cut(template, "{plugin}")
	if !ok {
		return ""
	}
	return door
}

// methods of the surface; HEAD goes with GET.
var methods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// newRouter matches paths as they are sent: nothing is cleaned or decoded before.
func newRouter() *mux.Router { return mux.NewRouter().UseEncodedPath().SkipClean(true) }

// access says what a route of the host asks of the caller. The zero value
// asks for a login.
type access uint8

const (
	// signedIn routes concern the caller alone (auth), or decide by themselves
	// which plugin action is meant and ask policy for that (doors).
	signedIn access = iota
	// administrative routes put their own action to policy, with "admin" as the
	// plugin.
	administrative
	// public routes answer anybody, as often as one client may ask. They are
	// listed here and nowhere else.
	public
	// always routes answer anybody at any time: nobody must be kept by others
	// from watching over the host, or from signing out. They cost next to nothing,
	// or count for themselves what does.
	always
)

// route is one route of the host itself. Every one names an action.
type route struct {
	method, path string
	access       access
	action       host.Action
	handle       handler
}

func (r *route) methods() []string {
	if r.method == http.MethodGet {
		return []string{r.method, http.MethodHead}
	}
	return []string{r.method}
}

// routes is the whole surface.
func (g *Gateway) routes() []route {
	list := []route{
		{"GET", "/healthz", always, "host:health.read", g.healthz},
		{"GET", "/readyz", always, "host:health.read", g.readyz},
		{"GET", "/health", public, "host:health.read", g.health},
		{"GET", "/login", public, "auth:login", g.Authn.Page},
		{"POST", "/auth/login", public, "auth:login", g.Authn.Login},
		{"GET", "/auth/login", public, "auth:login", g.Authn.Begin},
		{"GET", "/auth/callback/{method}", public, "auth:login", g.Authn.Callback},
		// Logout answers an expired credential too, so it resolves by itself.
		{"POST", "/auth/logout", always, "auth:logout", g.Authn.Logout},
		{"POST", "/auth/refresh", signedIn, "auth:refresh", g.Authn.Refresh},
		{"GET", "/auth/me", signedIn, "auth:self.read", g.Authn.Me},
		{"GET", "/auth/routes", signedIn, "auth:self.read", g.ownRoutes},
		{"GET", "/auth/sessions", signedIn, "auth:sessions.read", g.ownSessions},
		{"DELETE", "/auth/sessions", signedIn, "auth:sessions.end", g.endOtherLogins},
		{"DELETE", "/auth/sessions/{id}", signedIn, "auth:sessions.end", g.endOwnSession},
		{"GET", "/api/admin/sessions", administrative, "admin:sessions.read", g.adminSessions},
		{"DELETE", "/api/admin/sessions", administrative, "admin:sessions.end", g.adminEndSessions},
		{"DELETE", "/api/admin/sessions/{id}", administrative, "admin:sessions.end", g.adminEndSession},
		{"GET", "/api/admin/directory", administrative, "admin:directory.read", g.adminDirectory},
		{"GET", "/api/admin/policies", administrative, "admin:policies.read", g.adminPolicies},
		{"GET", "/api/admin/policies/explain", administrative, "admin:policies.explain.read", g.adminExplain},
		{"POST", "/api/admin/policies/diff", administrative, "admin:policies.diff", g.adminDiff},
		{"GET", "/ws/{plugin}", signedIn, doorAction, g.socketDoor},
		{"GET", "/ws/{plugin}/{path:.*}", signedIn, doorAction, g.socketDoor},
	}
	for _, method := range methods {
		list = append(list,
			route{method, "/api/{plugin}", signedIn, doorAction, g.unaryDoor},
			route{method, "/api/{plugin}/{path:.*}", signedIn, doorAction, g.unaryDoor})
	}
	return list
}

// Entry is one method and path of the surface. HEAD, which every GET has, is not
// listed.
type Entry struct {
	Method, Path string
	Action       host.Action
	Public       bool
}

// Surface lists what the router serves, read off the router itself. A route
// that was registered past the table is an error.
func (g *Gateway) Surface() ([]Entry, error) {
	table := map[string]route{}
	for _, r := range g.routes() {
		table[r.method+" "+r.path] = r
	}
	var list []Entry
	err := g.router.Walk(func(m *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		path, err := m.GetPathTemplate()
		if err != nil {
			return err
		}
		methods, err := m.GetMethods()
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, method := range methods {
			if method == http.MethodHead && slices.Contains(methods, http.MethodGet) {
				continue
			}
			r, ok := table[method+" "+path]
			if !ok {
				return fmt.Errorf("%s %s is served but not in the table", method, path)
			}
			list = append(list, Entry{method, path, r.action, r.access == public || r.access == always})
		}
		return nil
	})
	return list, err
}

// doorAction stands for the action of the plugin's own route, which the door
// finds and decides.
const doorAction host.Action = "plugin:route"

// serve is the inner part of the chain: authentication and the cross-site
// check for routes that are not public.
func (g *Gateway) serve(a access, action host.Action, h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info := infoOf(r.Context())
		info.action, info.closes = action, g.closesRefusal(r)
		err := error(nil)
		switch a {
		case always:
		case public:
			err = g.Authn.AdmitClient(r)
		default:
			err = g.authenticate(w, r)
		}
		if err == nil {
			err = h(w, r)
		}
		if err != nil {
			g.writeError(w, r, err)
		}
	})
}

func (g *Gateway) authenticate(w http.ResponseWriter, r *http.Request) error {
	p, err := g.Authn.Resolve(r)
	if err != nil {
		return err
	}
	info := infoOf(r.Context())
	info.principal = p
	info.log = info.log.With("user", string(p.User))
	if p.Login.Method == authn.MethodDisabled && p.Name != "" {
		info.log = info.log.With("name", p.Name) // what the request says of itself, for the record
	}
	if err := g.Authn.AdmitAccount(p); err != nil {
		return err
	}
	if err := g.Authn.CheckOrigin(r); err != nil {
		return err
	}
	if g.Authn.RefreshDue(r) {
		w.Header().Set("X-Token-Refresh", "true")
	}
	return nil
}

// below splits a plugin's URL into the instance and the path below its root.
func below(r *http.Request) (name, path string, err error) {
	vars := mux.Vars(r)
	if path, err = url.PathUnescape(vars["path"]); err != nil {
		return "", "", host.E(host.Invalid, "", "the path is not encoded properly")
	}
	return vars["plugin"], "/" + strings.TrimSuffix(path, "/"), nil
}
