// Package peers measures Bulkhead's parts beside what one would use instead. It
// is a module of its own, so that the host does not depend on its competitors.
//
//	cd examples/peers && go test -run '^$' -bench .
package peers
