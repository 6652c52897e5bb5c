// Package gateway is the chain that every HTTP request passes, and the router that
// the rooms of the surface mount their routes on: host/gateway/account (signing in
// and out, and what concerns the caller alone), host/gateway/admin (administration)
// and host/gateway/door (plugins' routes). Together they are the only users of mux and
// of websockets.
//
// Every request goes the same way: request id, panic boundary, bounds, refusal of
// ambiguous paths and foreign hosts, match, then (unless the route is public)
// authentication and cross-site check, then the route's Handler. Handlers that need a
// decision call Admit, which opens a session, asks policy and refuses. Handlers return
// errors; one place writes them.
//
// README.md describes what clients meet, with the codes by which sockets and event
// streams end or are refused.
//
// Identity belongs to host/authn, decisions to host/authz, plugins to host/plugin, and
// running sessions to host/session.
package gateway
