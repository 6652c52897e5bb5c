package authn

import (
	"slices"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Options is the operator's configuration of sign-in. A login method that is not
// configured does not exist. Secrets are in files or environment variables that the
// options name.
type Options struct {
	// Dev signs in any user of the directory, without proof. It is refused unless
	// the listener is on loopback.
	Dev *struct{} `json:"dev,omitempty"`
	// OIDC are OpenID Connect providers.
	OIDC []OIDC `json:"oidc,omitempty"`
	// GitHub is sign-in with github.com or one GitHub Enterprise server.
	GitHub *GitHub `json:"github,omitempty"`
	// Proxy trusts the identity headers of an authenticating proxy.
	Proxy *Proxy `json:"proxy,omitempty"`
	// Disabled turns authentication off. Every request has full rights, unless
	// roles limits them.
	Disabled  *Disabled `json:"disabled,omitempty"`
	Lifetimes Lifetimes `json:"lifetimes,omitzero"`
	// Signing signs tokens with a shared secret instead of the host's own keys.
	Signing *Signing `json:"signing,omitempty"`
}

// Mapping maps a provider's claims to users, roles and teams. A claim is named as
// it is, or by a path into objects: realm_access.roles. In a path "\." is a dot in a
// name.
type Mapping struct {
	// User is the claim that holds the user id. An e-mail address counts only in a
	// domain of idDomains, and unchanged; any other value is prefixed with the
	// provider's name and a colon.
	User string `json:"user,omitempty"`
	// IDDomains are the mail domains whose addresses this provider may assert.
	// Two providers may not list the same domain.
	IDDomains []string `json:"idDomains,omitempty"`
	// Display is the claim with the display name; "name" if empty.
	Display string `json:"display,omitempty"`
	// Teams is the claim that lists groups, or an object whose keys are the groups.
	// A group in map gives the roles and teams there; any other group is the id of
	// a team.
	Teams string `json:"teams,omitempty"`
	// Map gives roles and teams to the members of a group.
	Map map[string]Belongs `json:"map,omitempty"`
	// Roles is the claim that lists role names, or an object whose keys are role
	// names.
	Roles string `json:"roles,omitempty"`
	// Claims are further claims that policies read as input.principal.claims.
	Claims []string `json:"claims,omitempty"`
	// Unlisted admits users that the directory does not list. They have the rights
	// of their groups only.
	Unlisted bool `json:"unlisted,omitempty"`
}

// Belongs is the roles and teams of a group's members.
type Belongs struct {
	Roles []string `json:"roles,omitempty"` // names of roles
	Teams []string `json:"teams,omitempty"` // ids of teams
}

// Secret is the place of a secret: a file or an environment variable, not both.
type Secret struct {
	File string `json:"clientSecretFile,omitempty"` // holds the client secret
	Env  string `json:"clientSecretEnv,omitempty"`  // names the variable that holds it
}

// OIDC is one OpenID Connect provider.
type OIDC struct {
	Name     string `json:"name"`     // part of the callback's path and of the login method
	Issuer   string `json:"issuer"`   // exactly as in the provider's tokens
	ClientID string `json:"clientID"` // as registered at the provider
	Secret   `json:",inline"`
	Scopes   []string `json:"scopes,omitempty"` // in addition to openid; profile and email if empty
	CAFile   string   `json:"caFile,omitempty"` // PEM file with the authorities for the provider's certificate, instead of the system's
	// Bearer accepts the provider's ID tokens in the Authorization header.
	Bearer bool `json:"bearer,omitempty"`
	// Audiences are the accepted audiences of bearer tokens, besides clientID.
	Audiences []string `json:"audiences,omitempty"`
	// ClientAuth is how the host authenticates at the token endpoint:
	// client_secret_basic, encoded as RFC 6749 requires, or client_secret_post, for
	// providers that decode the former differently. If empty, the method that the
	// provider's metadata names.
	ClientAuth string `json:"clientAuth,omitempty"`
	// EntraAddresses accepts an address in upn or preferred_username as the user id,
	// in idDomains, although Microsoft Entra does not send email_verified. The issuer
	// must be one tenant, and guests are refused.
	EntraAddresses bool `json:"entraAddresses,omitempty"`
	// EndSession makes a logout lead on to the provider's own sign-out.
	EndSession bool `json:"endSession,omitempty"`
	Mapping    `json:",inline"`
}

// GitHub is GitHub's OAuth, which is not OpenID Connect.
type GitHub struct {
	ClientID string `json:"clientID"` // of the OAuth app
	Secret   `json:",inline"`
	URL      string `json:"url,omitempty"`    // https://github.com if empty
	CAFile   string `json:"caFile,omitempty"` // as for OIDC
	// Organizations are the names of organizations; a user must be a member of one of
	// them. If empty, any account is accepted.
	Organizations []string `json:"organizations,omitempty"`
	// User is the source of the user id: "id" (github:583231), which never changes;
	// "login" (github:octocat), which GitHub may give to another person after a
	// rename and which therefore needs organizations; or "email", the verified
	// primary address, in one of idDomains. The default is "email" with idDomains,
	// otherwise "id". Teams are read if organizations is set, as "ORG/SLUG".
	User string `json:"user,omitempty"`
	// IDDomains are the mail domains whose addresses GitHub may assert.
	IDDomains []string           `json:"idDomains,omitempty"`
	Map       map[string]Belongs `json:"map,omitempty"`      // roles and teams of a GitHub team's members, by "ORG/SLUG"
	Unlisted  bool               `json:"unlisted,omitempty"` // admit users that the directory does not list
}

// Proxy is an authenticating proxy in front of the host. If it sends one of the
// headers, the request is accepted or refused by them; if it sends neither, the
// cookie counts.
type Proxy struct {
	// From lists the networks that the proxy connects from, and "unix" for a Unix
	// socket.
	From []string `json:"from"`
	// User is the header with the user id; X-Auth-Request-Email if empty.
	User string `json:"user,omitempty"`
	// Teams is the header with a list of groups; X-Auth-Request-Groups if empty.
	Teams string `json:"teams,omitempty"`
	// TeamsSeparator is the character between groups in that header: a comma if
	// empty, or ";", "|" or a space. White space around a group is ignored.
	TeamsSeparator string `json:"teamsSeparator,omitempty"`
	// IDDomains are the only mail domains whose addresses it may assert; any if
	// empty.
	IDDomains []string           `json:"idDomains,omitempty"`
	Map       map[string]Belongs `json:"map,omitempty"`      // roles and teams of a group's members
	Unlisted  bool               `json:"unlisted,omitempty"` // admit users that the directory does not list
	// SignOut is where a browser signs out of the proxy: a path, or a URL.
	SignOut string `json:"signOut,omitempty"`
}

// Disabled turns authentication off.
type Disabled struct {
	// User is the header with a display name; X-Auth-Request-Email if empty. It gives
	// no rights: the user of every request is "anonymous".
	User string `json:"user,omitempty"`
	// Roles are the roles of every request; admin if empty.
	Roles []string `json:"roles,omitempty"`
	// Anywhere allows this on a listener that is not on loopback.
	Anywhere bool `json:"anywhere,omitempty"`
}

// Lifetimes are limits on how long a user stays signed in.
type Lifetimes struct {
	Token host.Duration `json:"token,omitempty"` // of a token without a refresh; 1h, at most 12h
	Login host.Duration `json:"login,omitempty"` // of a login; 12h
	Idle  host.Duration `json:"idle,omitempty"`  // of a login without requests or traffic; 30m
}

// Signing is HS256 with a shared secret.
type Signing struct {
	Algorithm  string `json:"algorithm"`            // HS256
	SecretFile string `json:"secretFile,omitempty"` // 32 bytes or more; a final newline is ignored
	SecretEnv  string `json:"secretEnv,omitempty"`  // names the variable that holds it
}

// Paths returns pointers to the file names in the options, for the caller to make
// absolute.
func (o *Options) Paths() []*string {
	var paths []*string
	for i := range o.OIDC {
		paths = append(paths, &o.OIDC[i].File, &o.OIDC[i].CAFile)
	}
	if o.GitHub != nil {
		paths = append(paths, &o.GitHub.File, &o.GitHub.CAFile)
	}
	if o.Signing != nil {
		paths = append(paths, &o.Signing.SecretFile)
	}
	return paths
}

// Methods returns the names of the configured login methods, sorted.
func (o *Options) Methods() []string {
	var names []string
	for _, p := range o.OIDC {
		if p.ClientID != "" {
			names = append(names, p.Name)
		}
	}
	if o.GitHub != nil {
		names = append(names, methodGitHub)
	}
	for name, there := range map[string]bool{methodProxy: o.Proxy != nil, methodDev: o.Dev != nil, MethodDisabled: o.Disabled != nil} {
		if there {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// OAuthConfigured reports whether users can sign in by OAuth: a provider has both a
// client id and a client secret.
func (o *Options) OAuthConfigured() bool {
	return o.GitHub != nil && o.GitHub.ClientID != "" && o.GitHub.named() ||
		slices.ContainsFunc(o.OIDC, func(p OIDC) bool { return p.ClientID != "" && p.named() })
}
