// Package gateway is Bulkhead's HTTP surface: the one middleware chain that
// every request passes, the routes of the host itself, and the doors through
// which a plugin's routes are reached. It is the only user of mux and of
// websockets.
//
// Every request goes the same way: request id, panic boundary, bounds, refusal
// of ambiguous paths and foreign hosts, then (unless the route is one of the
// typed public ones) authentication, cross-site check, match, session,
// authorization, door. Handlers return errors; one place writes them.
//
// What clients meet, with the codes by which sockets and event streams end or are
// refused, is in README.md.
//
// Who somebody is belongs to host/authn, what they may to host/authz, what
// happens then to host/plugin. What is running is in host/session.
package gateway
