package guest

import (
	"net/url"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// pattern is a handler by method and path. The host has matched the request already, and a
// request says which parameters it found: together with the path they identify the route,
// so that the handler is always that of the route on which policy has decided.
type pattern[F any] struct {
	text, method string
	segments     []string
	f            F
}

type patterns[F any] []pattern[F]

// newPattern panics for a pattern that no route of a manifest can have.
func newPattern[F any](text string, isNil bool, f F) pattern[F] {
	method, path, ok := strings.Cut(text, " ")
	if !ok || method == "" || strings.ToUpper(method) != method || !strings.HasPrefix(path, "/") {
		panic("bulkhead: pattern " + quote(text) + " must be a method and a path, such as \"GET /releases/{name}\"")
	}
	if isNil {
		panic("bulkhead: the handler of " + quote(text) + " is nil")
	}
	for _, name := range append(unary.texts(), streams.texts()...) {
		if name == text {
			panic("bulkhead: " + quote(text) + " is registered twice")
		}
	}
	return pattern[F]{text, method, strings.Split(path, "/"), f}
}

func (l patterns[F]) texts() []string {
	out := make([]string, len(l))
	for i := range l {
		out[i] = l[i].text
	}
	return out
}

// find returns the handler of a request's route; ok is false if none is registered.
func (l patterns[F]) find(r *abi.Request) (f F, ok bool) {
	path, _, _ := strings.Cut(r.URL, "?")
	for i := range l {
		if p := &l[i]; p.method == r.Method && p.matches(path, r.Host.Params) {
			return p.f, true
		}
	}
	return f, false
}

func (p *pattern[F]) matches(path string, params []abi.Pair) bool {
	for i, want := range p.segments {
		got, rest, more := strings.Cut(path, "/")
		if more != (i < len(p.segments)-1) {
			return false
		}
		path = rest
		if !strings.HasPrefix(want, "{") {
			if got != want {
				return false
			}
			continue
		}
		if len(params) == 0 || params[0].Name != want[1:len(want)-1] {
			return false
		}
		if value, err := url.PathUnescape(got); err != nil || value != params[0].Value {
			return false
		}
		params = params[1:]
	}
	return len(params) == 0
}
