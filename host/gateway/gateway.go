package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/audit"
	"github.com/seed-a3fb47d6/bulkhead/host/authn"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/netaddr"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/trace"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
)

// Authenticator is the part of sign-in that the chain uses; *authn.Service implements it
// and documents the methods.
type Authenticator interface {
	Screen(*http.Request)
	Resolve(*http.Request) (authn.Resolved, error)
	AdmitClient(*http.Request) error
	AdmitAccount(*host.Principal) error
	CheckOrigin(*http.Request) error
	CheckSite(*http.Request) error
	RemoteAddr(*http.Request) string
	FromProxy(*http.Request) bool
}

// Config has the dependencies of a Gateway. Every field but Served, Tracer and Audit is
// required.
type Config struct {
	Listen    string // the listener's address; loopback listeners refuse foreign Host headers
	PublicURL *url.URL
	Authn     Authenticator
	Sessions  *session.Table
	Decide    func(context.Context, *host.Question) host.Decision
	Health    Health
	Logger    *slog.Logger
	// Served, if set, is told of each answered request but websockets and event streams:
	// its method, the template of its route ("" if none matched), the status of the answer.
	Served func(ctx context.Context, method, route string, status int, took time.Duration)
	// Tracer begins the requests' traces; nil begins none.
	Tracer *trace.Tracer
	// Audit records requests that are refused and would have changed something; nil
	// records nothing.
	Audit *audit.Trail
}

// Gateway is the http.Handler of all routes. Mount all routes before it serves; after that
// it is safe for concurrent use.
type Gateway struct {
	Config
	hosts  map[string]bool // nil: any
	router *mux.Router
	table  map[string]Route // by method and path
	// bodyTimeout bounds the time for a request's body to arrive.
	bodyTimeout time.Duration
}

// New returns a gateway that has the health routes.
func New(c Config) *Gateway {
	g := &Gateway{Config: c, bodyTimeout: readBodyTimeout, router: newRouter(), table: map[string]Route{}}
	if netaddr.IsLoopback(netaddr.Host(c.Listen)) {
		g.hosts = loopbackHosts(c.PublicURL.Hostname())
	}
	g.Mount(
		Route{"GET", "/healthz", Always, "host:health.read", g.healthz},
		Route{"GET", "/readyz", Always, "host:health.read", g.readyz},
		Route{"GET", "/health", Public, "host:health.read", g.health},
	)
	g.router.NotFoundHandler = g.serve("", SignedIn, "host:unknown.read", func(http.ResponseWriter, *http.Request) error {
		return host.E(host.NotFound, "", "this path does not exist")
	})
	g.router.MethodNotAllowedHandler = g.serve("", SignedIn, "host:unknown.read", func(_ http.ResponseWriter, r *http.Request) error {
		return MethodNotAllowed(g.Methods(r))
	})
	return g
}

// newRouter matches paths as they are sent, without cleaning or decoding them.
func newRouter() *mux.Router { return mux.NewRouter().UseEncodedPath().SkipClean(true) }

// serve is the inner part of the chain: authentication and the cross-site
// check for routes that are not public.
func (g *Gateway) serve(path string, a Access, action host.Action, h Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req := RequestOf(r.Context())
		req.route, req.action, req.closes = path, action, g.closesRefusal(r)
		err := error(nil)
		switch a {
		case Always:
		case Public:
			err = g.Authn.AdmitClient(r)
		default:
			err = g.authenticate(w, r, req)
		}
		if err == nil {
			err = h(w, r)
		}
		if err != nil {
			g.writeError(w, r, err)
		}
	})
}

func (g *Gateway) authenticate(w http.ResponseWriter, r *http.Request, req *Request) (err error) {
	_, span := trace.Start(r.Context(), "bulkhead.authenticate")
	req.Resolved, err = g.Authn.Resolve(r)
	span.End()
	if err != nil {
		return err
	}
	p := req.Principal
	req.Log = req.Log.With("user", string(p.User))
	if p.Login.Method == authn.MethodDisabled && p.Name != "" {
		req.Log = req.Log.With("name", p.Name) // from the request; not verified
	}
	if err := g.Authn.AdmitAccount(p); err != nil {
		return err
	}
	if err := g.Authn.CheckOrigin(r); err != nil {
		return err
	}
	if req.RefreshDue {
		w.Header().Set("X-Token-Refresh", "true")
	}
	return nil
}

// Vars returns the variables of the path of r, still encoded.
func Vars(r *http.Request) map[string]string { return mux.Vars(r) }

// Surface lists the routes of the router. A route that was not registered by Mount is an
// error.
func (g *Gateway) Surface() ([]Entry, error) {
	var list []Entry
	err := g.router.Walk(func(m *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		path, err := m.GetPathTemplate()
		if err != nil {
			return err
		}
		key := AnyMethod
		if served, err := m.GetMethods(); err == nil {
			key = strings.TrimSuffix(strings.Join(served, ","), ","+http.MethodHead)
		}
		r, ok := g.table[key+" "+path]
		if !ok {
			return fmt.Errorf("%s %s is served but was not mounted", key, path)
		}
		for _, method := range r.listed() {
			list = append(list, Entry{method, path, r.Action, r.Access == Public || r.Access == Always})
		}
		return nil
	})
	return list, err
}
