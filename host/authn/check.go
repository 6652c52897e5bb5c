package authn

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/dnsname"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/netaddr"
)

// problems collects errors, each with the path of its field.
type problems []error

func (c *problems) add(field, format string, args ...any) {
	*c = append(*c, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
}

// Check returns all errors in the options, each with the path of its field.
// Loopback says whether the listener is on loopback. It reads no files.
func (o *Options) Check(loopback bool) []error {
	var bad problems
	if o.Dev == nil && len(o.OIDC) == 0 && o.GitHub == nil && o.Proxy == nil && o.Disabled == nil {
		bad.add("auth", "has no login method; add one, such as auth.oidc, or auth.dev on loopback")
	}
	if o.Dev != nil && !loopback {
		bad.add("auth.dev", "signs in without proof and is refused: the listener is not on loopback")
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
			bad.add("auth.signing.algorithm", "%q must be HS256; remove auth.signing to use Ed25519", s.Algorithm)
		}
		if (s.SecretFile == "") == (s.SecretEnv == "") {
			bad.add("auth.signing", "needs exactly one of secretFile and secretEnv")
		}
	}
	return bad
}

func (o *Options) checkDisabled(bad *problems, loopback bool) {
	if o.Dev != nil || len(o.OIDC) > 0 || o.GitHub != nil || o.Proxy != nil {
		bad.add("auth.disabled", "cannot be combined with a login method; remove one of them")
	}
	if !loopback && !o.Disabled.Anywhere {
		bad.add("auth.disabled", "gives every client full access and is refused: the listener is not on loopback; set auth.disabled.anywhere to allow it")
	}
	if h := o.Disabled.User; h != "" && !headerName.MatchString(h) {
		bad.add("auth.disabled.user", "%q is not a header name", h)
	}
}

// claimDomains refuses a domain that two providers list, since both could assert its
// users.
func claimDomains(bad *problems, at string, list []string, taken map[string]string) {
	for _, d := range list {
		d = strings.ToLower(d)
		switch other := taken[d]; {
		case !strings.Contains(d, ".") || !dnsname.IsSubdomain(d):
			bad.add(at+".idDomains", "%q is not a domain name such as example.com", d)
		case other != "" && other != at:
			bad.add(at+".idDomains", "%s is also listed by %s; only one provider may assert its addresses", d, other)
		default:
			taken[d] = at
		}
	}
}

var (
	methodName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)
	headerName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,63}$`)
)

func (p *OIDC) check(bad *problems, at string, names map[string]bool) {
	switch {
	case !methodName.MatchString(p.Name):
		bad.add(at+".name", "%q must be 1 to 32 lower-case letters, digits and dashes, and begin with a letter", p.Name)
	case slices.Contains(reserved, p.Name) || names[p.Name]:
		bad.add(at+".name", "%q is reserved or the name of another provider", p.Name)
	}
	names[p.Name] = true
	checkURL(bad, at+".issuer", p.Issuer)
	switch {
	case p.ClientID == "" && !p.Bearer:
		bad.add(at+".clientID", "is required, unless bearer is set with audiences")
	case p.ClientID == "" && len(p.Audiences) == 0:
		bad.add(at+".audiences", "is required without a clientID; otherwise bearer tokens for any client would be accepted")
	case p.ClientID != "" && !p.named():
		bad.add(at, "needs clientSecretFile or clientSecretEnv")
	}
	p.Secret.check(bad, at)
	if p.User == "" {
		bad.add(at+".user", "is required; it names the claim with the user id, such as email")
	}
	if p.User == "email" && len(p.IDDomains) == 0 {
		bad.add(at+".idDomains", "is required with user: email; list the domains whose addresses %s may assert", p.Name)
	}
	if c := p.ClientAuth; c != "" && c != authBasic && c != authPost {
		bad.add(at+".clientAuth", "%q must be %s or %s", c, authBasic, authPost)
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

func (g *GitHub) check(bad *problems) {
	if g.ClientID == "" {
		bad.add("auth.github.clientID", "is required")
	}
	if !g.named() {
		bad.add("auth.github", "needs clientSecretFile or clientSecretEnv")
	}
	g.Secret.check(bad, "auth.github")
	if g.URL != "" {
		checkURL(bad, "auth.github.url", g.URL)
	}
	switch g.User {
	case "", "id":
	case "login":
		if len(g.Organizations) == 0 {
			bad.add("auth.github.user", "login needs organizations, because GitHub may give an old login to another person")
		}
	case "email":
		if len(g.IDDomains) == 0 {
			bad.add("auth.github.idDomains", "is required with user: email; list the domains whose addresses count")
		}
	default:
		bad.add("auth.github.user", "%q must be id, login or email", g.User)
	}
}

func (p *Proxy) check(bad *problems) {
	if len(p.From) == 0 {
		bad.add("auth.proxy.from", "is required; list the networks that the proxy connects from")
	}
	if _, err := parsePeers(p.From); err != nil {
		bad.add("auth.proxy.from", "%v", err)
	}
	for field, h := range map[string]string{"user": p.User, "teams": p.Teams} {
		if h != "" && !headerName.MatchString(h) {
			bad.add("auth.proxy."+field, "%q is not a header name", h)
		}
	}
	if s := p.TeamsSeparator; s != "" && !slices.Contains([]string{",", ";", "|", " "}, s) {
		bad.add("auth.proxy.teamsSeparator", "%q must be \",\", \";\", \"|\" or \" \"", s)
	}
	claimDomains(bad, "auth.proxy", p.IDDomains, map[string]string{})
}

func (l *Lifetimes) check(bad *problems) {
	for field, d := range map[string]host.Duration{"token": l.Token, "login": l.Login, "idle": l.Idle} {
		if d < 0 || d > 0 && time.Duration(d) < time.Minute {
			bad.add("auth.lifetimes."+field, "%s is less than a minute", time.Duration(d))
		}
	}
	if time.Duration(l.Token) > maxTokenLife {
		bad.add("auth.lifetimes.token", "%s is more than %s, the time that a replaced signing key stays valid", time.Duration(l.Token), maxTokenLife)
	}
}

// maxTokenLife is less than the time that host/state keeps a replaced signing key.
const maxTokenLife = 12 * time.Hour

func checkURL(bad *problems, field, s string) {
	u, err := url.Parse(s)
	switch {
	case s == "":
		bad.add(field, "is required")
	case err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		bad.add(field, "%q must be a URL with scheme, host and path only", s)
	case u.Scheme != "https" && !(u.Scheme == "http" && netaddr.IsLoopback(u.Hostname())):
		bad.add(field, "%q must be https, or http on a loopback address", s)
	}
}

func (s *Secret) check(bad *problems, at string) {
	if s.File != "" && s.Env != "" {
		bad.add(at, "has both clientSecretFile and clientSecretEnv; remove one")
	}
}

// Client authentication at a token endpoint (OpenID Connect Core 1.0, section 9).
const (
	authBasic = "client_secret_basic"
	authPost  = "client_secret_post"
)
