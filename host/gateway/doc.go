// Package gateway is the chain that every HTTP request passes, and the router on which
// other packages mount their routes: host/gateway/account (signing in and out, and the
// caller's own sessions), host/gateway/admin (administration) and host/gateway/door
// (plugins' routes). Together they are the only users of mux and of websockets.
//
// Every request passes the same steps: request id, panic boundary, bounds, refusal of
// ambiguous paths and foreign hosts, match, then (unless the route is public)
// authentication and cross-site check, then the route's Handler. Handlers that need a
// decision call Admit, which opens a session, asks policy, and refuses if policy does.
// Handlers return errors, which one function writes.
//
// README.md is the documentation for clients, with the codes with which sockets and event
// streams end or are refused.
//
// host/authn provides identity, host/authz decisions, host/plugin plugins, and
// host/session running sessions.
package gateway
