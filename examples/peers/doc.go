// Package peers compares Bulkhead's decisions with OPA. It is a separate module, so
// that the host does not depend on OPA's server.
//
//	cd examples/peers && go test -run '^$' -bench .
package peers
