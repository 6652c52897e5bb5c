// Package sdk is what a plugin's author writes against. A plugin registers its
// routes in init, and is built with `bulkhead plugin build`:
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
// The names are those of the routes in manifest.json. By the time a handler
// runs, the host has authenticated the person, asked policy about the route's
// action, and bounded body and time; the handler is left with its feature.
// What it reaches outside itself are capabilities: packages sdk/kube, sdk/helm,
// sdk/exec, sdk/azure, each of which the manifest asks for and the operator grants. Package
// sdk/session is for websockets and event streams, sdk/log for the log,
// sdk/sdktest for plain `go test`.
//
// # Life of an instance
//
// The host may serve every request from a fresh copy of the plugin as it was
// after OnStart. What a handler leaves in package variables is therefore gone;
// what OnStart leaves there is kept, and that includes the state of math/rand's
// top-level functions, of hash/maphash and of the order of maps, which are the
// same in every request. Clocks, crypto/rand and package sdk/random are live. An
// instance runs one request at a time, and goroutines make progress only while
// the handler runs.
//
// # Errors and panics
//
// An *Error reaches the client with its status. One that a capability returned
// keeps saying who refused, so it is best returned as it is. Any other error is
// answered with 500 and its text goes to the log only. A panic is not
// recovered: Go prints its trace, which the host logs, the client gets 502, and
// the host discards the instance, whose state nobody can vouch for.
//
// The package and all below it use the standard library only.
package sdk
