package host

import "time"

// UserID is the id of a user in policy, audit and impersonation, such as an e-mail
// address, in the form of CanonicalID. The empty id is no user and is never authorized.
type UserID string

// LoginID is the id of one login, the "sid" claim of its tokens: 128 random bits in
// base64url. A token refresh keeps it.
type LoginID string

// Login is one sign-in of a user. Its sessions end with it.
type Login struct {
	ID     LoginID
	Method string    // the login method: "dev", "oidc:corp", …
	At     time.Time // when the user signed in
	Until  time.Time // absolute end
}

// Principal is the user of a request. Only host/authn makes one from a request. It is
// immutable and safe for concurrent use.
//
// The identity is Issuer and Subject (OpenID Connect Core 1.0, section 2); User is the id
// in the directory.
type Principal struct {
	Issuer  string
	Subject string
	User    UserID
	Name    string   // display name, may be empty
	Roles   []string // sorted, current: those of the directory and the asserted ones
	Teams   []string // sorted team ids, likewise
	Claims  map[string]any
	Login   Login
	// Asserted is the memberships that the identity provider asserts, as the operator
	// maps them. They count in addition to those of the directory, and only for roles
	// and teams that exist.
	Asserted Membership
	// Unlisted is set if the user may be signed in without an entry in the directory.
	Unlisted bool
}

// Membership is roles by name and teams by id, each sorted.
type Membership struct {
	Roles []string
	Teams []string
}

// Empty reports whether m has no role and no team.
func (m *Membership) Empty() bool { return len(m.Roles) == 0 && len(m.Teams) == 0 }

// Known reports whether p identifies a user.
func (p *Principal) Known() bool { return p != nil && p.User != "" }

// Authority is a session's right to have any effect. A session that ends loses it first,
// before its streams and its guest end. Implementations are safe for concurrent use, and
// Alive costs little: atomic loads and a reading of the clock.
type Authority interface {
	// Alive reports whether effects are still allowed. Once false, it stays false.
	Alive() bool
	// Cause returns why authority was lost, nil while Alive is true.
	Cause() error
}
