package host

import "time"

// UserID is the id by which policy, audit and impersonation know a person,
// such as an e-mail address, in the form of CanonicalID. The empty id names no
// one and is never authorized.
type UserID string

// LoginID names one sign-in: the "sid" claim of its token. It is 128 random
// bits in base64url and survives token refresh.
type LoginID string

// Login is one sign-in of a person. Everything that it started ends with it.
type Login struct {
	ID     LoginID
	Method string    // the way in: "dev", "oidc:corp", …
	At     time.Time // when the person signed in
	Until  time.Time // absolute end
}

// Principal is who is asking. Only host/authn constructs one from a request.
// It is immutable after construction and safe for concurrent use.
//
// The identity key is Issuer and Subject (OpenID Connect Core 1.0, section 2);
// User is the name under which the directory lists the person.
type Principal struct {
	Issuer  string
	Subject string
	User    UserID
	Name    string   // display name, may be empty
	Roles   []string // sorted, live: the directory's and the asserted
	Teams   []string // sorted team ids, likewise
	Claims  map[string]any
	Login   Login
	// Asserted is what the identity provider says they belong to, as the
	// operator maps it. It counts beside what the directory says, and only for
	// roles and teams that exist.
	Asserted Membership
	// Unlisted people may be signed in without an entry in the directory.
	Unlisted bool
}

// Membership is roles by name and teams by id, each sorted.
type Membership struct {
	Roles []string
	Teams []string
}

// Empty reports whether m holds nothing.
func (m *Membership) Empty() bool { return len(m.Roles) == 0 && len(m.Teams) == 0 }

// Known reports whether p identifies a person.
func (p *Principal) Known() bool { return p != nil && p.User != "" }

// Authority is a session's right to have any effect at all. It is the first
// thing that goes when a session ends, before its streams and its guest.
// Implementations are safe for concurrent use and Alive costs little: atomic
// loads and a reading of the clock.
type Authority interface {
	// Alive reports whether effects are still allowed. Once false, always false.
	Alive() bool
	// Cause is why authority was lost, nil while it is alive.
	Cause() error
}
