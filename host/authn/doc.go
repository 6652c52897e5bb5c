// Package authn turns a request into a host.Principal, and is the only package
// that does. Every door asks the same resolver: the bearer token first, and if
// that is absent or fails for any reason, the cookie.
//
// A token is a signed statement of which login it belongs to, nothing more.
// Who that is comes from the login's record in host/state, and roles and teams
// come live from the directory, so that neither can be stale in a token. A
// verified token is remembered by its hash; expiry, revocation and key epoch
// are checked every time nonetheless.
//
// The package also owns the ways in (today: dev), the cookie, refresh, logout
// and the cross-site check. Its handlers return errors for host/gateway to
// write. Logins are kept by host/state, live sessions by host/session, and what
// a principal may do is decided by host/authz.
package authn
