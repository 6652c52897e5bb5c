package host

import "time"

// LoginRecord is a login as the state store keeps it. A token means nothing
// without the record of its login.
type LoginRecord struct {
	ID      LoginID
	User    UserID
	Issuer  string
	Subject string
	Method  string         // the login method: "dev", "oidc:corp", …
	Name    string         // display name, may be empty
	Claims  map[string]any // the identity provider's claims that policy may see; never modified
	At      time.Time      // when the user signed in
	Until   time.Time      // absolute end
	Hint    string         // the provider's ID token, to sign out there with; may be empty
	// Credential is when the credential expires that a bearer-bound login is kept
	// for. Until then the store remembers that the login has ended, because the
	// credential may be presented again. Zero for any other login.
	Credential time.Time
	Epoch      string // set by the store
	// Generation counts how often the login's tokens were renewed, the last time at
	// Renewed.
	Generation uint64
	Renewed    time.Time
}

// BearerBound reports whether the login is kept for a credential that the user
// may present again, such as an ID token.
func (r *LoginRecord) BearerBound() bool { return !r.Credential.IsZero() }
