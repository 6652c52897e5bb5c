package authn

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

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
	for field, d := range map[string]host.Duration{"token": l.Token, "login": l.Login, "idle": l.Idle} {
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

func (s *Secret) check(bad *complaints, at string) {
	if s.File != "" && s.Env != "" {
		bad.add(at, "has both clientSecretFile and clientSecretEnv")
	}
}

// Ways to authenticate at a token endpoint (OpenID Connect Core 1.0, section 9).
const (
	authBasic = "client_secret_basic"
	authPost  = "client_secret_post"
)
