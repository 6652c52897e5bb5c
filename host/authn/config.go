package authn

import (
	"slices"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Options is the operator's configuration of sign-in. A way in that is not
// configured does not exist. Secrets are in files or environment variables
// that it names.
type Options struct {
	// Dev signs in whoever the directory knows, without any proof. It is
	// refused off loopback.
	Dev *struct{} `json:"dev,omitempty"`
	// OIDC are OpenID Connect providers.
	OIDC []OIDC `json:"oidc,omitempty"`
	// GitHub is github.com or one GitHub Enterprise server.
	GitHub *GitHub `json:"github,omitempty"`
	// Proxy believes the headers of an authenticating proxy in front.
	Proxy *Proxy `json:"proxy,omitempty"`
	// Disabled signs everybody in, with full rights unless it says otherwise.
	Disabled  *Disabled `json:"disabled,omitempty"`
	Lifetimes Lifetimes `json:"lifetimes,omitzero"`
	// Signing signs tokens with a given secret instead of the host's own keys.
	Signing *Signing `json:"signing,omitempty"`
}

// Mapping says what of a provider's claims counts. A claim is named as it is, or
// by a path into objects: realm_access.roles. In a path "\." is a dot of a name.
type Mapping struct {
	// User is the claim that holds the user id. An e-mail address counts as it
	// is, and only in a domain listed in IDDomains; anything else is prefixed
	// with the provider's name and a colon.
	User string `json:"user,omitempty"`
	// IDDomains are the mail domains whose addresses this provider may assert.
	// No other provider may list the same one.
	IDDomains []string `json:"idDomains,omitempty"`
	// Display is the claim with the person's name; "name" if empty.
	Display string `json:"display,omitempty"`
	// Teams is the claim that lists groups, or is an object whose keys are the
	// groups: each is replaced by what Map says of it, or else is itself the id of a
	// team.
	Teams string `json:"teams,omitempty"`
	// Map gives roles and teams to members of a group.
	Map map[string]Belongs `json:"map,omitempty"`
	// Roles is the claim that lists role names, or is an object whose keys are
	// these; they count as they are.
	Roles string `json:"roles,omitempty"`
	// Claims are further claims for policies to read, as input.principal.claims.
	Claims []string `json:"claims,omitempty"`
	// Unlisted admits people whom the directory does not list. They have the
	// rights of their groups alone.
	Unlisted bool `json:"unlisted,omitempty"`
}

// Belongs is what members of a group belong to.
type Belongs struct {
	Roles []string `json:"roles,omitempty"` // names of roles
	Teams []string `json:"teams,omitempty"` // ids of teams
}

// Secret is where a secret is: a file, or an environment variable. One of them.
type Secret struct {
	File string `json:"clientSecretFile,omitempty"` // holds the client secret
	Env  string `json:"clientSecretEnv,omitempty"`  // names the variable that holds it
}

// OIDC is one OpenID Connect provider.
type OIDC struct {
	Name     string `json:"name"`     // stands in the callback's path and in the login's method
	Issuer   string `json:"issuer"`   // exactly as the provider's tokens name it
	ClientID string `json:"clientID"` // as registered at the provider
	Secret   `json:",inline"`
	Scopes   []string `json:"scopes,omitempty"` // besides openid; profile and email if empty
	CAFile   string   `json:"caFile,omitempty"` // PEM; authorities for the provider's certificate, instead of the system's
	// Bearer accepts the provider's ID tokens in the Authorization header.
	Bearer bool `json:"bearer,omitempty"`
	// Audiences are those that a bearer token may be meant for, besides ClientID.
	Audiences []string `json:"audiences,omitempty"`
	// ClientAuth is how the host authenticates at the token endpoint:
	// client_secret_basic, encoded as RFC 6749 says, or client_secret_post, for
	// providers that read the former otherwise. If empty, what the provider names.
	ClientAuth string `json:"clientAuth,omitempty"`
	// EntraAddresses counts an address in upn or preferred_username as that of the
	// user, in IDDomains, although Microsoft Entra does not say email_verified. The
	// issuer must be one tenant, and guests are refused.
	EntraAddresses bool `json:"entraAddresses,omitempty"`
	// EndSession tells a browser that signs out where to sign out of the provider.
	EndSession bool `json:"endSession,omitempty"`
	Mapping    `json:",inline"`
}

// GitHub is GitHub's OAuth, which is not OpenID Connect.
type GitHub struct {
	ClientID string `json:"clientID"` // of the OAuth app
	Secret   `json:",inline"`
	URL      string `json:"url,omitempty"`    // https://github.com if empty
	CAFile   string `json:"caFile,omitempty"` // as for OIDC
	// Organizations, if any, are those of which somebody must be a member.
	Organizations []string `json:"organizations,omitempty"`
	// User is "id" (github:583231), which stays a person's for ever, "login"
	// (github:octocat), which GitHub gives to somebody else when it was given up
	// and which therefore needs Organizations, or "email": the primary address,
	// verified, in one of IDDomains. The default is "email" with IDDomains, else
	// "id". Teams are always read with Organizations, as "ORG/SLUG".
	User string `json:"user,omitempty"`
	// IDDomains are the mail domains whose addresses GitHub may assert.
	IDDomains []string           `json:"idDomains,omitempty"`
	Map       map[string]Belongs `json:"map,omitempty"`      // roles and teams of members of a GitHub team, by "ORG/SLUG"
	Unlisted  bool               `json:"unlisted,omitempty"` // admit people whom the directory does not list
}

// Proxy is an authenticating proxy in front of the host. Once it sends one of the
// headers it is believed or refused; without either the cookie counts.
type Proxy struct {
	// From are the networks it connects from, and "unix" for a Unix socket.
	From []string `json:"from"`
	// User is the header with the user id; X-Auth-Request-Email if empty.
	User string `json:"user,omitempty"`
	// Teams is the header with a list of groups; X-Auth-Request-Groups if empty.
	Teams string `json:"teams,omitempty"`
	// TeamsSeparator is the character between groups in that header: a comma if
	// empty, or ";", "|" or a space. White space around a group does not count.
	TeamsSeparator string `json:"teamsSeparator,omitempty"`
	// IDDomains, if any, are the mail domains whose addresses it may assert.
	IDDomains []string           `json:"idDomains,omitempty"`
	Map       map[string]Belongs `json:"map,omitempty"`      // roles and teams of members of a group
	Unlisted  bool               `json:"unlisted,omitempty"` // admit people whom the directory does not list
	// SignOut is where a browser signs out of the proxy: a path, or a URL.
	SignOut string `json:"signOut,omitempty"`
}

// Disabled is no authentication at all.
type Disabled struct {
	// User is the header with a name for the record, X-Auth-Request-Email if empty.
	// It says nothing about who acts, which is always the user "anonymous".
	User string `json:"user,omitempty"`
	// Roles are what everybody has; admin if empty.
	Roles []string `json:"roles,omitempty"`
	// Anywhere allows it on a listener that is not loopback.
	Anywhere bool `json:"anywhere,omitempty"`
}

// Lifetimes bound how long somebody stays signed in.
type Lifetimes struct {
	Token host.Duration `json:"token,omitempty"` // good without a refresh; 1h, at most 12h
	Login host.Duration `json:"login,omitempty"` // at most; 12h
	Idle  host.Duration `json:"idle,omitempty"`  // without any request or traffic; 30m
}

// Signing is HS256 with a secret that others hold as well.
type Signing struct {
	Algorithm  string `json:"algorithm"`            // HS256
	SecretFile string `json:"secretFile,omitempty"` // 32 bytes or more; a final newline does not count
	SecretEnv  string `json:"secretEnv,omitempty"`  // names the variable that holds it
}

// Paths are the files that the options name, for the caller to make absolute.
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

// Methods are the names of the ways in, as a sign-in page lists them.
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

// OAuthConfigured reports whether people can sign in by OAuth: a provider has
// both an id and a secret for us.
func (o *Options) OAuthConfigured() bool {
	return o.GitHub != nil && o.GitHub.ClientID != "" && o.GitHub.named() ||
		slices.ContainsFunc(o.OIDC, func(p OIDC) bool { return p.ClientID != "" && p.named() })
}
