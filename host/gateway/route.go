package gateway

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/gorilla/mux"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Access defines which requests a route answers. The zero value requires a login.
type Access uint8

const (
	// SignedIn routes concern the caller alone, or ask policy by Admit.
	SignedIn Access = iota
	// Public routes answer all clients, within the rate of each.
	Public
	// Always routes answer all clients at any rate: one client must not prevent others
	// from monitoring the host or from signing out. They cost almost nothing, or limit
	// their expensive parts themselves.
	Always
)

// AnyMethod is the method of a route that answers every method, and refuses unsupported
// ones itself.
const AnyMethod = "*"

// Route is one route of the host. Every route names an action.
type Route struct {
	Method, Path string // Path is a template of gorilla/mux
	Access       Access
	Action       host.Action
	Handle       Handler
}

// Entry is one method and path of the surface. HEAD, which every GET has, is not
// listed.
type Entry struct {
	Method, Path string
	Action       host.Action
	Public       bool
}

// methods of the surface; HEAD goes with GET.
var methods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// listed returns the methods of r in the list of the surface.
func (r *Route) listed() []string {
	if r.Method == AnyMethod {
		return methods
	}
	return []string{r.Method}
}

// Mount adds routes in this order. It panics if a route names no valid action, or if an
// earlier route would answer in its place: mount special routes before general ones.
func (g *Gateway) Mount(routes ...Route) {
	for _, r := range routes {
		if _, _, ok := r.Action.Split(); !ok {
			panic(fmt.Sprintf("%s %s names no action, but %q", r.Method, r.Path, r.Action))
		}
		for _, method := range r.listed() {
			if m, ok := g.match(&http.Request{Method: method, URL: &url.URL{Path: r.Path}}, method); ok {
				earlier, _ := m.Route.GetPathTemplate()
				panic(fmt.Sprintf("%s %s is hidden by %s", r.Method, r.Path, earlier))
			}
		}
		g.table[r.Method+" "+r.Path] = r
		m := g.router.Handle(r.Path, g.serve(r.Path, r.Access, r.Action, r.Handle))
		switch r.Method {
		case AnyMethod:
		case http.MethodGet:
			m.Methods(http.MethodGet, http.MethodHead)
		default:
			m.Methods(r.Method)
		}
	}
}

// Methods returns the methods of the routes at the path of r, except routes with AnyMethod.
func (g *Gateway) Methods(r *http.Request) (allowed []string) {
	for _, method := range methods {
		if m, ok := g.match(r, method); ok {
			if _, err := m.Route.GetMethods(); err == nil {
				allowed = append(allowed, method)
			}
		}
	}
	return allowed
}

// match matches r as if it had this method.
func (g *Gateway) match(r *http.Request, method string) (m mux.RouteMatch, ok bool) {
	other := *r
	other.Method = method
	ok = g.router.Match(&other, &m) && m.MatchErr == nil
	return m, ok
}
