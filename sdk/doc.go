// Package sdk is the API for plugins. A plugin registers its handlers in init and is built
// with `bulkhead plugin build`:
//
//	package main
//
//	import "github.com/seed-a3fb47d6/bulkhead/sdk"
//
//	func init() {
//		sdk.Handle("hello", func(r *sdk.Request) (*sdk.Response, error) {
//			return sdk.Text(200, "hello "+r.User()), nil
//		})
//	}
//
//	func main() {}
//
// The names are those of the routes in manifest.json; Route takes a route's method and path
// instead. Before a handler runs, the host has
// authenticated the user, asked policy about the route's action, and bounded body and
// time. A plugin reaches the outside only through capabilities, with the packages
// sdk/kube, sdk/helm, sdk/exec and sdk/azure; the manifest requests each capability and
// the operator grants it. Package sdk/session is for websockets and event streams, sdk/log
// for the log, sdk/sdktest for plain `go test`.
//
// # Life of an instance
//
// Every request starts with the state that the plugin had after OnStart. Values that a
// handler stores in package variables are lost after the request; values that OnStart
// stored remain. The state of math/rand's top-level functions, of hash/maphash and of the
// iteration order of maps is therefore the same in every request. Clocks, crypto/rand and
// package sdk/random are live. An instance runs one request at a time, and goroutines make
// progress only while the handler runs.
//
// # Errors and panics
//
// An *Error reaches the client with its status. An error of a capability contains the
// origin of the refusal, so return it unchanged. For any other error the client gets 500,
// and the text goes to the log only. A panic is not recovered: Go prints its trace, which
// the host logs, the client gets 502, and the host discards the instance, because its
// state is unknown.
//
// This package and its subpackages use the standard library only.
package sdk
