package guest

import (
	"maps"
	"slices"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// What a plugin registers.
type (
	StartFunc   func(*abi.Start) error
	HandleFunc  func(*abi.Request) (*abi.Response, error)
	SessionFunc func(*abi.Request) error
)

var (
	starters []StartFunc
	handlers = map[string]HandleFunc{}
	sessions = map[string]SessionFunc{}
	unary    patterns[HandleFunc]
	streams  patterns[SessionFunc]
)

// OnStart registers f to run once before the first request, in order.
func OnStart(f StartFunc) {
	if f == nil {
		panic("bulkhead: start function is nil")
	}
	starters = append(starters, f)
}

// HandleRoute registers the handler of a unary route. It panics for an invalid name, a
// second registration and a nil handler.
func HandleRoute(name string, f HandleFunc) {
	claim(name, f == nil)
	handlers[name] = f
}

// HandleSession does the same for a socket or event route.
func HandleSession(name string, f SessionFunc) {
	claim(name, f == nil)
	sessions[name] = f
}

// HandlePattern registers the handler of the unary route with this method and path, such as
// "GET /releases/{name}". It panics as HandleRoute does.
func HandlePattern(pattern string, f HandleFunc) {
	unary = append(unary, newPattern(pattern, f == nil, f))
}

// SessionPattern does the same for a socket or event route.
func SessionPattern(pattern string, f SessionFunc) {
	streams = append(streams, newPattern(pattern, f == nil, f))
}

func claim(name string, isNil bool) {
	switch {
	case !routeName(name):
		panic("bulkhead: route name " + quote(name) + " must be lower-case letters, digits and dashes, as in manifest.json")
	case isNil:
		panic("bulkhead: the handler of route " + quote(name) + " is nil")
	case handlers[name] != nil || sessions[name] != nil:
		panic("bulkhead: route " + quote(name) + " is registered twice")
	}
}

// routeName is manifest.ValidName without package regexp, which every plugin would have to
// link.
func routeName(s string) bool {
	if s == "" || len(s) > 63 || s[0] < 'a' || s[0] > 'z' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// Routes returns the names, and the methods and paths, of the registered unary routes.
func Routes() []string { return append(slices.Sorted(maps.Keys(handlers)), unary.texts()...) }

// Sessions does the same for socket and event routes.
func Sessions() []string { return append(slices.Sorted(maps.Keys(sessions)), streams.texts()...) }
