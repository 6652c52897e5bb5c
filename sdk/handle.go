package sdk

import (
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/guest"
)

// Handle registers the handler of the unary route with this name in the manifest. Call it
// in init. It panics if the name is not a valid route name or already registered, or if
// handle is nil. A route without a handler answers 404.
//
// A nil Response without an error is answered with 204. A Response that cannot be sent (a
// status outside 200 to 599, a body over 8 MiB, more than 256 headers) is answered with
// 500.
func Handle(name string, handle func(*Request) (*Response, error)) {
	if handle == nil {
		guest.HandleRoute(name, nil)
	}
	guest.HandleRoute(name, func(r *abi.Request) (*abi.Response, error) {
		resp, err := handle(NewRequest(r))
		return (*abi.Response)(resp), err
	})
}

// Route registers the handler of the unary route with this method and path in the manifest,
// written as net/http's patterns: "GET /releases/{name}". It is Handle by another key; the
// parameters must have the names that the manifest gives them.
func Route(pattern string, handle func(*Request) (*Response, error)) {
	if handle == nil {
		guest.HandlePattern(pattern, nil)
	}
	guest.HandlePattern(pattern, func(r *abi.Request) (*abi.Response, error) {
		resp, err := handle(NewRequest(r))
		return (*abi.Response)(resp), err
	})
}

// OnStart registers a function that runs once, before the first request, for example to
// read the config or to fill caches. After an error the host does not load the plugin, and
// shows the operator the complete message. Several functions run in the order of their
// registration. Capabilities cannot be called yet, because there is no user to act for.
func OnStart(start func(*Start) error) {
	if start == nil {
		guest.OnStart(nil)
	}
	guest.OnStart(func(s *abi.Start) error { return start(&Start{s}) })
}
