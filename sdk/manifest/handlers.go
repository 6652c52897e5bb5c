package manifest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Handlers are what a plugin has registered: each the name of a route, or its method and
// path as in "GET /releases/{name}".
type Handlers struct {
	Unary    []string
	Sessions []string // for routes of the kinds events and socket
}

// CheckHandlers returns how the handlers of a plugin differ from the routes of m: a route
// without a handler or with two, a handler without a route.
func (m *Manifest) CheckHandlers(h Handlers) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for i := range m.Routes {
		r := &m.Routes[i]
		list, other, by := h.Unary, h.Sessions, "sdk.Handle or sdk.Route"
		if r.Kind != Unary {
			list, other, by = h.Sessions, h.Unary, "session.Handle or session.Route"
		}
		switch n := r.handlers(list); {
		case n > 1:
			bad("route %q (%s) has %d handlers", r.Name, r.pattern(), n)
		case n == 0 && r.handlers(other) > 0:
			bad("route %q (%s) is of kind %s, and its handler must be registered with %s", r.Name, r.pattern(), r.Kind, by)
		case n == 0:
			bad("route %q (%s) of the manifest has no handler", r.Name, r.pattern())
		}
	}
	for _, name := range slices.Concat(h.Unary, h.Sessions) {
		if !slices.ContainsFunc(m.Routes, func(r Route) bool { return name == r.Name || name == r.pattern() }) {
			bad("the handler %q has no route in the manifest", name)
		}
	}
	return errors.Join(errs...)
}

func (r *Route) pattern() string { return r.Method + " " + r.Path }

// handlers counts the handlers in list for r.
func (r *Route) handlers(list []string) (n int) {
	for _, name := range list {
		if name == r.Name || name == r.pattern() {
			n++
		}
	}
	return n
}

// maxHandlers bounds ParseHandlers.
const maxHandlers = 4 * MaxRoutes

// ParseHandlers reads the body of the answer of abi.ExportRoutes.
func ParseHandlers(text string) (h Handlers, err error) {
	n := 0
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		kind, name, ok := strings.Cut(line, " ")
		switch n++; {
		case n > maxHandlers:
			return Handlers{}, fmt.Errorf("lists more than %d handlers", maxHandlers)
		case !ok || name == "":
			return Handlers{}, fmt.Errorf("line %d: %q is not a kind and a route", n, line)
		case kind == "unary":
			h.Unary = append(h.Unary, name)
		case kind == "session":
			h.Sessions = append(h.Sessions, name)
		default:
			return Handlers{}, fmt.Errorf("line %d: %q is neither unary nor session", n, kind)
		}
	}
	return h, nil
}
