package sdk

import (
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/guest"
)

// Handle registers the handler of the unary route called name in the manifest.
// Call it in init. It panics if the name is not a route name, is registered
// already, or handle is nil. A route that has no handler answers 404.
//
// A nil Response without an error is 204. One that cannot be sent (a status
// outside 200 to 599, a body over 8 MiB, more than 256 headers) becomes 500.
func Handle(name string, handle func(*Request) (*Response, error)) {
	if handle == nil {
		guest.HandleRoute(name, nil)
	}
	guest.HandleRoute(name, func(r *abi.Request) (*abi.Response, error) {
		resp, err := handle(NewRequest(r))
		return (*abi.Response)(resp), err
	})
}

// OnStart registers what runs once, before the first request: read the config,
// warm caches. An error keeps the plugin from being loaded and is shown to the
// operator, message and all. Several run in the order of their registration.
// No capability can be called yet: there is no person to act for.
func OnStart(start func(*Start) error) {
	if start == nil {
		guest.OnStart(nil)
	}
	guest.OnStart(func(s *abi.Start) error { return start(&Start{s}) })
}
