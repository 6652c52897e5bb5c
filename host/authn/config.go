package authn

import (
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/follow"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
	"golang.org/x/oauth2"
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
	Token manifest.Duration `json:"token,omitempty"` // good without a refresh; 1h, at most 12h
	Login manifest.Duration `json:"login,omitempty"` // at most; 12h
	Idle  manifest.Duration `json:"idle,omitempty"`  // without any request or traffic; 30m
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

// complaints collects what is wrong, each with the field's path.
type complaints []error

func (c *complaints) add(field, format string, args ...any) {
	*c = append(*c, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
}

// Check returns everything that is wrong with the options, with the path of
// the field, for a listener that is on loopback or not. It reads no files.
func (o *Options) Check(loopback bool) []error {
	var bad complaints
	if o.Dev == nil && len(o.OIDC) == 0 && o.GitHub == nil && o.Proxy == nil && o.Disabled == nil {
		bad.add("auth", "names no way to sign in; auth.dev is one, on loopback")
	}
	if o.Dev != nil && !loopback {
		bad.add("auth.dev", "signs anybody in and is refused off loopback")
	}
	if o.Disabled != nil {
		o.checkDisabled(&bad, loopback)
	}
	domains, names := map[string]string{}, map[string]bool{}
	for i := range o.OIDC {
		at := fmt.Sprintf("auth.oidc[%d]", i)
		o.OIDC[i].check(&bad, at, names)
		claimDomains(&bad, at, o.OIDC[i].IDDomains, domains)
	}
	if o.GitHub != nil {
		o.GitHub.check(&bad)
		claimDomains(&bad, "auth.github", o.GitHub.IDDomains, domains)
	}
	if o.Proxy != nil {
		o.Proxy.check(&bad)
	}
	o.Lifetimes.check(&bad)
	if s := o.Signing; s != nil {
		if s.Algorithm != "HS256" {
			bad.add("auth.signing.algorithm", "%q is not HS256; leave signing out for Ed25519", s.Algorithm)
		}
		if (s.SecretFile == "") == (s.SecretEnv == "") {
			bad.add("auth.signing", "needs one of secretFile and secretEnv")
		}
	}
	return bad
}

func (o *Options) checkDisabled(bad *complaints, loopback bool) {
	if o.Dev != nil || len(o.OIDC) > 0 || o.GitHub != nil || o.Proxy != nil {
		bad.add("auth.disabled", "stands beside a way to sign in; it must be one or the other")
	}
	if !loopback && !o.Disabled.Anywhere {
		bad.add("auth.disabled", "lets anybody do anything and is refused off loopback, unless auth.disabled.anywhere says so")
	}
	if h := o.Disabled.User; h != "" && !headerName.MatchString(h) {
		bad.add("auth.disabled.user", "%q is not a header's name", h)
	}
}

// claimDomains refuses a domain that two providers list: it would not be clear
// whose word counts.
func claimDomains(bad *complaints, at string, list []string, taken map[string]string) {
	for _, d := range list {
		d = strings.ToLower(d)
		switch other := taken[d]; {
		case !domainName.MatchString(d):
			bad.add(at+".idDomains", "%q is not a domain", d)
		case other != "" && other != at:
			bad.add(at+".idDomains", "%s is also listed by %s; only one of them can say who its people are", d, other)
		default:
			taken[d] = at
		}
	}
}

var (
	methodName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)
	headerName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,63}$`)
	domainName = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)+$`)
)

func (p *OIDC) check(bad *complaints, at string, names map[string]bool) {
	switch {
	case !methodName.MatchString(p.Name):
		bad.add(at+".name", "%q is not lower-case letters, digits and dashes", p.Name)
	case slices.Contains(reserved, p.Name) || names[p.Name]:
		bad.add(at+".name", "%q is reserved, or the name of another provider", p.Name)
	}
	names[p.Name] = true
	checkURL(bad, at+".issuer", p.Issuer)
	switch {
	case p.ClientID == "" && !p.Bearer:
		bad.add(at+".clientID", "is missing")
	case p.ClientID == "" && len(p.Audiences) == 0:
		bad.add(at+".audiences", "are missing; without a clientID a bearer token would be taken whomever it is for")
	case p.ClientID != "" && !p.named():
		bad.add(at, "needs clientSecretFile or clientSecretEnv beside clientID")
	}
	p.Secret.check(bad, at)
	if p.User == "" {
		bad.add(at+".user", "is missing; it names the claim with the user id, such as email")
	}
	if p.User == "email" && len(p.IDDomains) == 0 {
		bad.add(at+".idDomains", "are missing; they are the domains whose addresses %s may assert", p.Name)
	}
	if c := p.ClientAuth; c != "" && c != authBasic && c != authPost {
		bad.add(at+".clientAuth", "%q is not %s or %s", c, authBasic, authPost)
	}
	p.checkEntra(bad, at)
	for field, name := range map[string]string{"user": p.User, "teams": p.Teams, "roles": p.Roles, "display": p.Display} {
		if name != "" {
			checkPath(bad, at+"."+field, name)
		}
	}
	for i, name := range p.Claims {
		checkPath(bad, fmt.Sprintf("%s.claims[%d]", at, i), name)
	}
}

// Ways to authenticate at a token endpoint (OpenID Connect Core 1.0, section 9).
const (
	authBasic = "client_secret_basic"
	authPost  = "client_secret_post"
)

func (g *GitHub) check(bad *complaints) {
	if g.ClientID == "" {
		bad.add("auth.github.clientID", "is missing")
	}
	if !g.named() {
		bad.add("auth.github", "needs clientSecretFile or clientSecretEnv beside clientID")
	}
	g.Secret.check(bad, "auth.github")
	if g.URL != "" {
		checkURL(bad, "auth.github.url", g.URL)
	}
	switch g.User {
	case "", "id":
	case "login":
		if len(g.Organizations) == 0 {
			bad.add("auth.github.user", "login needs organizations: GitHub gives a login that was given up to anybody")
		}
	case "email":
		if len(g.IDDomains) == 0 {
			bad.add("auth.github.idDomains", "are missing; they are the domains whose addresses count")
		}
	default:
		bad.add("auth.github.user", "%q is not id, login or email", g.User)
	}
}

func (p *Proxy) check(bad *complaints) {
	if len(p.From) == 0 {
		bad.add("auth.proxy.from", "is missing; it lists the networks that the proxy connects from")
	}
	if _, err := parseHops(p.From); err != nil {
		bad.add("auth.proxy.from", "%v", err)
	}
	for field, h := range map[string]string{"user": p.User, "teams": p.Teams} {
		if h != "" && !headerName.MatchString(h) {
			bad.add("auth.proxy."+field, "%q is not a header's name", h)
		}
	}
	if s := p.TeamsSeparator; s != "" && !slices.Contains([]string{",", ";", "|", " "}, s) {
		bad.add("auth.proxy.teamsSeparator", "%q is not one of \",\", \";\", \"|\" and \" \"", s)
	}
	claimDomains(bad, "auth.proxy", p.IDDomains, map[string]string{})
}

func (l *Lifetimes) check(bad *complaints) {
	for field, d := range map[string]manifest.Duration{"token": l.Token, "login": l.Login, "idle": l.Idle} {
		if d < 0 || d > 0 && time.Duration(d) < time.Minute {
			bad.add("auth.lifetimes."+field, "%s is less than a minute", time.Duration(d))
		}
	}
	if time.Duration(l.Token) > maxTokenLife {
		bad.add("auth.lifetimes.token", "%s is more than %s, for which a key that was replaced still verifies", time.Duration(l.Token), maxTokenLife)
	}
}

// maxTokenLife is less than host/state keeps a key that no longer signs.
const maxTokenLife = 12 * time.Hour

func checkURL(bad *complaints, field, s string) {
	u, err := url.Parse(s)
	switch {
	case s == "":
		bad.add(field, "is missing")
	case err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		bad.add(field, "%q is not a URL of scheme, host and path", s)
	case u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname())):
		bad.add(field, "%q must be https, or http on a loopback address", s)
	}
}

func (s *Secret) named() bool { return s.File != "" || s.Env != "" }

func (s *Secret) check(bad *complaints, at string) {
	if s.File != "" && s.Env != "" {
		bad.add(at, "has both clientSecretFile and clientSecretEnv")
	}
}

// follow returns the secret as its file holds it, without the newline that editors
// put after it.
func (s *Secret) follow(at string, log *slog.Logger) (*follow.Value[string], error) {
	same := func(secret string) (string, error) { return secret, nil }
	return followSecret(log, at+".clientSecretFile", s.File, at+".clientSecretEnv", s.Env, same)
}

// withSecret is c with the client's secret as it is now.
func withSecret(c oauth2.Config, secret *follow.Value[string]) *oauth2.Config {
	c.ClientSecret = secret.Get()
	return &c
}

// followSecret makes a value of a secret: of a file's, each time it changes.
func followSecret[T any](log *slog.Logger, fileField, file, envField, env string, parse func(string) (T, error)) (*follow.Value[T], error) {
	if env != "" {
		v := os.Getenv(env)
		if v == "" {
			return nil, fmt.Errorf("%s: the environment has no %s", envField, env)
		}
		return follow.Open(log, func([][]byte) (T, error) { return parse(v) })
	}
	value, err := follow.Open(log, func(contents [][]byte) (T, error) {
		v := strings.TrimRight(string(contents[0]), "\r\n")
		if v == "" || len(v) > maxSecret {
			var none T
			return none, fmt.Errorf("%s must hold 1 to %d bytes", file, maxSecret)
		}
		return parse(v)
	}, file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", fileField, err)
	}
	return value, nil
}

const maxSecret = 4 << 10

// hops are the peers that may speak for others.
type hops struct {
	networks []netip.Prefix
	unix     bool
}

func parseHops(from []string) (hops, error) {
	var h hops
	for _, s := range from {
		if s == "unix" {
			h.unix = true
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			var a netip.Addr
			if a, err = netip.ParseAddr(s); err == nil {
				p = netip.PrefixFrom(a, a.BitLen())
			}
		}
		switch {
		case err != nil:
			return hops{}, fmt.Errorf("%q is not a network such as 10.0.0.0/8, an address, or unix", s)
		case p.Bits() == 0:
			return hops{}, fmt.Errorf("%q is everybody", s)
		}
		h.networks = append(h.networks, p.Masked())
	}
	return h, nil
}
