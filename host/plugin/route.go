package plugin

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// Match is a route that fits a request.
type Match struct {
	Route     host.Route
	Kind      manifest.Kind
	Resource  host.Resource // what path and query name
	Missing   []string      // dimensions that the route requires and the request lacks
	Ambiguous []string      // query names that a dimension reads and the request repeats
	pairs     []abi.Pair
}

// routes is a plugin's route table.
type routes struct {
	plugin string
	// digest and generation say which version of the plugin they are of.
	digest     string
	generation uint64
	list       []entry
	static     map[string][]int // by path, for those without parameters
	params     []int            // the others
}

type entry struct {
	manifest.Route
	segments []string
	socket   bool
}

func newRoutes(plugin string, list []manifest.Route) *routes {
	r := &routes{plugin: plugin, static: map[string][]int{}}
	for k, route := range list {
		e := entry{Route: route, socket: route.Kind == manifest.Socket}
		if strings.Contains(route.Path, "{") {
			e.segments = strings.Split(route.Path, "/")
			r.params = append(r.params, k)
		} else {
			r.static[route.Path] = append(r.static[route.Path], k)
		}
		r.list = append(r.list, e)
	}
	return r
}

// match finds the route for a path below the plugin's root. When only the
// method differs it returns the methods that would do.
func (r *routes) match(socket bool, method, path string, query url.Values) (_ *Match, allowed []string) {
	for _, k := range r.static[path] {
		if e := &r.list[k]; e.socket == socket {
			if e.Method == method {
				return r.found(e, nil, query), nil
			}
			allowed = append(allowed, e.Method)
		}
	}
	if len(r.params) == 0 {
		return nil, allowed
	}
	parts := strings.Split(path, "/")
	for _, k := range r.params {
		e := &r.list[k]
		params, ok := e.params(parts)
		if !ok || e.socket != socket {
			continue
		}
		if e.Method == method {
			return r.found(e, params, query), nil
		}
		allowed = append(allowed, e.Method)
	}
	return nil, allowed
}

func (e *entry) params(parts []string) ([]abi.Pair, bool) {
	if len(parts) != len(e.segments) {
		return nil, false
	}
	var params []abi.Pair
	for i, seg := range e.segments {
		name, ok := strings.CutPrefix(seg, "{")
		switch {
		case !ok && seg != parts[i], ok && parts[i] == "":
			return nil, false
		case ok:
			params = append(params, abi.Pair{Name: strings.TrimSuffix(name, "}"), Value: parts[i]})
		}
	}
	return params, true
}

func (r *routes) found(e *entry, params []abi.Pair, query url.Values) *Match {
	m := &Match{Route: r.route(e), Kind: e.Kind, pairs: params}
	for _, p := range params {
		if m.Route.Params == nil {
			m.Route.Params = make(map[string]string, len(params))
		}
		m.Route.Params[p.Name] = p.Value
	}
	if len(e.Resource) > 0 {
		m.Resource = make(host.Resource, len(e.Resource))
	}
	for dim, source := range e.Resource {
		from, name, _ := strings.Cut(source, ":")
		value := m.Route.Params[name]
		if from == "query" {
			// The plugin might read another of the values than policy did.
			if len(query[name]) > 1 {
				m.Ambiguous = append(m.Ambiguous, name)
			}
			value = query.Get(name)
		}
		if value != "" {
			m.Resource[dim] = value
		}
	}
	for _, dim := range e.Required {
		if m.Resource[dim] == "" {
			m.Missing = append(m.Missing, strings.TrimPrefix(strings.TrimPrefix(e.Resource[dim], "query:"), "path:"))
		}
	}
	slices.Sort(m.Ambiguous)
	return m
}

func (r *routes) route(e *entry) host.Route {
	return host.Route{
		Plugin: r.plugin, Name: e.Name, Action: host.Action(r.plugin + ":" + e.Action),
		Method: e.Method, Path: e.Path, Mutates: e.Mutates, Digest: r.digest, Generation: r.generation,
	}
}

// all lists the routes as policy sees them, with their kind.
func (r *routes) all() []Match {
	out := make([]Match, len(r.list))
	for k := range r.list {
		e := &r.list[k]
		out[k] = Match{Route: r.route(e), Kind: e.Kind}
		if len(e.Resource) > 0 {
			out[k].Resource = host.Resource(maps.Clone(e.Resource))
		}
	}
	return out
}
