// Package authn turns a request into a host.Principal, and is the only package
// that does. There is one resolver. It tries the bearer token first; if that is
// absent or fails for any reason, the trusted proxy, whose identity headers are
// accepted or refused but never ignored; and then the cookie.
//
// A token states which login it belongs to, and nothing else. The user comes from
// the login's record in host/state, and roles and teams come live from the
// directory, so that neither can be stale in a token. Verified tokens are cached
// by hash; expiry, revocation and key epoch are checked for every request.
//
// User ids and team ids have one form and one comparison, host.CanonicalID. A
// refusal names the source, the value and the rule, and is logged in one line.
//
// The package also owns the login methods (OpenID Connect, GitHub, trusted proxy,
// ID tokens, dev, disabled), each in a file, and the cookie, refresh, logout, the
// cross-site check, and the rate limits that apply before the user is known. Its
// handlers return errors, which host/gateway writes. README.md is the operators'
// guide. host/state keeps logins, host/session keeps live sessions, and host/authz
// decides what a principal may do.
package authn
