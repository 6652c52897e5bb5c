package host

import "time"

// LoginRecord is a login in the state store. A token is invalid without the record of its
// login.
type LoginRecord struct {
	ID      LoginID
	User    UserID
	Issuer  string
	Subject string
	Method  string         // the login method: "dev", "oidc:corp", …
	Name    string         // display name, may be empty
	Claims  map[string]any // the identity provider's claims that policy may see; immutable
	At      time.Time      // when the user signed in
	Until   time.Time      // absolute end
	Hint    string         // the provider's ID token, for signing out there; may be empty
	// Credential is when the credential of a bearer-bound login expires. Until then
	// the store remembers that the login has ended, because the credential may be
	// presented again. Zero for any other login.
	Credential time.Time
	Epoch      string // set by the store
	// Generation counts the renewals of the login's tokens; the last was at Renewed.
	Generation uint64
	Renewed    time.Time
}

// BearerBound reports whether the login belongs to a credential that the user may present
// again, such as an ID token.
func (r *LoginRecord) BearerBound() bool { return !r.Credential.IsZero() }
