// Package authn turns a request into a host.Principal, and is the only package
// that does. Every door asks the same resolver: the bearer token first; if that
// is absent or fails for any reason, the trusted proxy, which is believed or
// refused if it says anything; and then the cookie.
//
// A token is a signed statement of which login it belongs to, nothing more.
// Who that is comes from the login's record in host/state, and roles and teams
// come live from the directory, so that neither can be stale in a token. A
// verified token is remembered by its hash; expiry, revocation and key epoch
// are checked every time nonetheless.
//
// User ids and team ids have one form and one comparison, host.CanonicalID. A
// refusal names what was read, the value and the rule, for one line in the log.
//
// The package also owns the login methods (OpenID Connect, GitHub, a proxy in front,
// ID tokens, dev, none at all), each in a file, the cookie, refresh, logout, the
// cross-site check, and the rates that bound requests before anybody is known.
// Its handlers return errors for host/gateway to write. README.md tells
// operators how to set it up. Logins are kept by host/state, live sessions by host/session, and what
// a principal may do is decided by host/authz.
package authn
