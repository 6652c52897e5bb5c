// Package door serves plugins' routes: calls and event streams below /api/, websockets
// below /ws/. It matches a request, admits it, and then calls the plugin.
package door

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// Plugin is a lease of the generation of a plugin that serves a user; *plugin.Lease
// implements it and documents the methods.
type Plugin interface {
	Match(socket bool, method, path string, query url.Values) (m *plugin.Match, allowed []string)
	Handle(context.Context, *plugin.Call) (*abi.Response, error)
	Session(context.Context, *plugin.Call, plugin.Socket) (resp *abi.Response, accepted bool, err error)
	Timeout() time.Duration
	BodyBytes() int
	Bind(end func(cause error))
	Return()
}

// Config has the dependencies of the doors. Every field is required.
type Config struct {
	// Lease returns the plugin of this name that serves p now, until it is returned. It
	// is safe for concurrent use.
	Lease func(name string, p *host.Principal) (Plugin, bool)
	// Behind returns why the plugin of this name must not be served here now, nil if it
	// may. It is asked once a request is admitted.
	Behind func(name string) error
	// Page returns a file of the page of the plugin of this name whose module has this
	// digest.
	Page func(name, digest, file string) ([]byte, bool)
	// PublicURL is the console's address.
	PublicURL *url.URL
}

type door struct {
	Config
	gateway    *gateway.Gateway
	complained sync.Map // routes; see complain
}

// routed is a placeholder for the action of the plugin's own route, which is found and
// decided later.
const routed host.Action = "plugin:route"

// Mount adds the doors to g. They answer every path below /api/ and /ws/ that has no route
// yet, so mount them last.
func Mount(g *gateway.Gateway, c Config) {
	d := &door{Config: c, gateway: g}
	g.Mount(gateway.Route{Method: http.MethodGet, Path: "/ui/{plugin}/{digest}/{file:.*}", Access: gateway.Public, Action: pageAction, Handle: d.page})
	for _, below := range []string{"", "/{path:.*}"} {
		g.Mount(
			gateway.Route{Method: http.MethodGet, Path: "/ws/{plugin}" + below, Action: routed, Handle: d.socket},
			gateway.Route{Method: gateway.AnyMethod, Path: "/api/{plugin}" + below, Action: routed, Handle: d.call},
		)
	}
}

// visit is one request on its way through a door.
type visit struct {
	plugin  Plugin // nil if the plugin does not exist
	match   *plugin.Match
	missing error // see Admission.Missing; with match, the route is behind the other door
	kind    host.SessionKind
	reason  string
	// The path below the plugin's root, and the query as it was sent and decoded.
	path, rawQuery string
	query          url.Values
	badQuery       error

	session     *session.Session
	question    *host.Question
	obligations host.Obligations
	call        *plugin.Call
}

// close ends the visit that open began.
func (v *visit) close() {
	if v.call != nil {
		v.call.Release()
	}
	if v.session != nil {
		v.session.Close()
	}
	if v.plugin != nil {
		v.plugin.Return()
	}
}

// open finds the route of r, admits the request, and prepares the call. Without an error,
// the caller must close the visit. parent is the parent of the session's context.
func (d *door) open(parent context.Context, r *http.Request, kind host.SessionKind) (*visit, error) {
	name, path, err := split(r)
	if err != nil {
		return nil, err
	}
	v := &visit{kind: kind, path: path}
	if v.reason, v.rawQuery, err = d.gateway.Reason(r); err != nil {
		return nil, err
	}
	method := asGet(r.Method)
	d.find(v, gateway.RequestOf(r.Context()).Principal, name, method)
	if v.match != nil && v.missing == nil {
		gateway.RequestOf(r.Context()).SetRoute(root(kind) + name + v.match.Route.Path)
	}
	err = d.admit(parent, r, v, name, method)
	if err == nil || v.plugin == nil && errors.Is(err, v.missing) {
		err = cmp.Or(d.Behind(name), err)
	}
	if err != nil {
		v.close()
		return nil, err
	}
	if err := d.prepare(r, v); err != nil {
		v.close()
		return nil, err
	}
	if v.kind != host.SessionCall {
		v.plugin.Bind(v.session.End)
	}
	return v, nil
}

// split returns the plugin's name in the URL and the path below its root.
func split(r *http.Request) (name, path string, err error) {
	vars := gateway.Vars(r)
	if path, err = url.PathUnescape(vars["path"]); err != nil {
		return "", "", host.E(host.Invalid, "", "the path is not encoded properly")
	}
	return vars["plugin"], "/" + strings.TrimSuffix(path, "/"), nil
}

// find looks up the plugin and its route. v.missing is the error for users who may know
// that the route does not exist. If both v.missing and v.match are set, the route is behind
// the other door: users who may use it learn that, others get the usual refusal.
func (d *door) find(v *visit, principal *host.Principal, name, method string) {
	v.query, v.badQuery = url.ParseQuery(v.rawQuery)
	p, ok := d.Lease(name, principal)
	if !ok {
		v.missing = host.E(host.NotFound, "", "the plugin does not exist")
		return
	}
	v.plugin = p
	socket := v.kind == host.SessionSocket
	var allowed []string
	if v.match, allowed = p.Match(socket, method, v.path, v.query); v.match != nil {
		return
	}
	if len(allowed) > 0 {
		v.missing = gateway.MethodNotAllowed(allowed)
		return
	}
	if v.match, _ = p.Match(!socket, method, v.path, v.query); v.match == nil {
		v.missing = host.E(host.NotFound, "", "the plugin does not have this route")
		return
	}
	what := "a websocket"
	other := host.SessionSocket
	if socket {
		what, other = "not a websocket", host.SessionCall
	}
	v.missing = host.E(host.NotFound, "", "the plugin does not have this route here; it is %s: %s %s", what, method,
		root(other)+v.match.Route.Plugin+strings.TrimSuffix(v.match.Route.Path, "/"))
}

// root is where the routes of plugins are that have sessions of the kind.
func root(kind host.SessionKind) string {
	if kind == host.SessionSocket {
		return "/ws/"
	}
	return "/api/"
}

// admit asks policy about the route that was found, and opens v's session.
func (d *door) admit(parent context.Context, r *http.Request, v *visit, name, method string) (err error) {
	v.question = &host.Question{Principal: gateway.RequestOf(r.Context()).Principal, Reason: v.reason, Route: host.Route{
		// A request without a route is decided like a read, so that a user without
		// permission cannot distinguish it from a forbidden one.
		Plugin: name, Action: host.Action(name + ":unknown.read"), Method: method,
	}}
	if v.match != nil {
		v.question.Route, v.question.Resource = v.match.Route, v.match.Resource
		if v.match.Kind == manifest.Events {
			v.kind = host.SessionEvents
		}
		if v.match.Route.Mutates {
			// A change that has begun is completed even if the client disconnects;
			// its deadline and a logout still end it.
			parent = context.WithoutCancel(parent)
		}
	}
	v.session, v.obligations, err = d.gateway.Admit(parent, r, &gateway.Admission{
		Question: v.question, Kind: v.kind, Target: target(v.question.Resource, v.path), Missing: v.missing,
		// Messages cannot be redacted, and only sockets can be terminals.
		Redacts: v.kind == host.SessionCall, Records: v.kind == host.SessionSocket, Narrows: true,
	})
	return err
}

// target returns the target of a request for session lists: the resource that the route
// declares, such as "dev/shop/web-0", or the path.
func target(r host.Resource, path string) string {
	var parts []string
	for _, key := range []string{"cluster", "instance", "namespace", "resourceGroup", "type", "resource", "pod", "release", "name"} {
		if v := r[key]; v != "" {
			parts = append(parts, v)
		}
	}
	return cmp.Or(strings.Join(parts, "/"), path)
}

// prepare checks the requirements of the route for an admitted request and makes the call.
func (d *door) prepare(r *http.Request, v *visit) error {
	m, o := v.match, v.obligations
	switch {
	case v.badQuery != nil:
		return host.E(host.Invalid, "", "the query is not encoded properly")
	case len(m.Ambiguous) > 0:
		return host.E(host.Invalid, "", "%s is given more than once", strings.Join(m.Ambiguous, ", "))
	case len(m.Missing) > 0:
		return host.E(host.Invalid, "", "%s %s required", strings.Join(m.Missing, ", "), plural(len(m.Missing), "is", "are"))
	}
	if _, err := v.session.Hold(v.question, o); err != nil {
		return err
	}
	req := gateway.RequestOf(r.Context())
	v.call = &plugin.Call{
		Match: m, Obligations: o, URL: pathAndQuery(v.path, v.rawQuery), Header: inbound(r.Header),
		Caller: &capability.Caller{
			Plugin: m.Route.Plugin, Principal: req.Principal, Route: m.Route, Resource: m.Resource,
			Obligations: o, Reason: v.reason, Authority: v.session, Hold: v.hold, Outlive: d.outlive(r, v), RequestID: req.ID, Logger: req.Log,
		},
	}
	return nil
}

// outlive returns capability.Caller.Outlive. The questions are decided again once the
// session is open, so that no change of policy is missed.
func (d *door) outlive(r *http.Request, v *visit) func(string, *host.Question) (capability.Session, error) {
	return func(target string, q *host.Question) (capability.Session, error) {
		req := gateway.RequestOf(r.Context())
		s, err := d.gateway.Sessions.Open(context.WithoutCancel(r.Context()), req.Principal, host.SessionInfo{
			Kind: host.SessionCall, Plugin: v.question.Route.Plugin, Route: v.question.Route.Name, Target: target,
			RequestID: req.ID, RemoteAddr: d.gateway.Authn.RemoteAddr(r),
		})
		if err != nil {
			return nil, err
		}
		s.Limit(0, 0)
		for _, asked := range []*host.Question{v.question, q} {
			decision := d.gateway.Decide(s.Context(), asked)
			if !decision.Allow {
				s.Close()
				return nil, &host.Error{Kind: host.Forbidden, Message: "you may not do this", Detail: decision.Reason.Code}
			}
			if _, err := s.Hold(asked, decision.Obligations); err != nil {
				s.Close()
				return nil, err
			}
		}
		return s, nil
	}
}

// hold is capability.Caller.Hold.
func (v *visit) hold(q *host.Question, allowed host.Obligations) (release func(), err error) {
	st, err := v.session.Hold(q, allowed)
	return st.Release, err
}

func pathAndQuery(path, query string) string {
	u := url.URL{Path: path, RawQuery: query}
	return u.RequestURI()
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
