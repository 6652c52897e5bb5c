package authn

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/dnsname"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/netaddr"
)

// Check adds all problems of the options to bad. Loopback says whether the listener is
// on loopback. It reads no files.
func (o *Options) Check(bad *config.Problems, loopback bool) {
	if o.Dev == nil && len(o.OIDC) == 0 && o.GitHub == nil && o.Proxy == nil && o.Disabled == nil {
		bad.Add("", "has no login method; add one, such as auth.oidc, or auth.dev on loopback")
	}
	if o.Dev != nil && !loopback {
		bad.Add("dev", "signs in without proof and is refused: the listener is not on loopback")
	}
	if o.Disabled != nil {
		o.checkDisabled(bad, loopback)
	}
	domains, names := map[string]string{}, map[string]bool{}
	for i := range o.OIDC {
		at := bad.Index("oidc", i)
		o.OIDC[i].check(at, names)
		claimDomains(at, o.OIDC[i].IDDomains, domains)
	}
	if o.GitHub != nil {
		o.GitHub.check(bad.At("github"))
		claimDomains(bad.At("github"), o.GitHub.IDDomains, domains)
	}
	if o.Proxy != nil {
		o.Proxy.check(bad.At("proxy"))
	}
	o.Lifetimes.check(bad.At("lifetimes"))
	if s := o.Signing; s != nil {
		if s.Algorithm != "HS256" {
			bad.Add("signing.algorithm", "%q must be HS256; remove auth.signing to use Ed25519", s.Algorithm)
		}
		if (s.SecretFile == "") == (s.SecretEnv == "") {
			bad.Add("signing", "needs exactly one of secretFile and secretEnv")
		}
	}
}

func (o *Options) checkDisabled(bad *config.Problems, loopback bool) {
	if o.Dev != nil || len(o.OIDC) > 0 || o.GitHub != nil || o.Proxy != nil {
		bad.Add("disabled", "cannot be combined with a login method; remove one of them")
	}
	if !loopback && !o.Disabled.Anywhere {
		bad.Add("disabled", "gives every client full access and is refused: the listener is not on loopback; set auth.disabled.anywhere to allow it")
	}
	if h := o.Disabled.User; h != "" && !headerName.MatchString(h) {
		bad.Add("disabled.user", "%q is not a header name", h)
	}
}

// claimDomains refuses a domain that two providers list, since both could assert its
// users.
func claimDomains(bad *config.Problems, list []string, taken map[string]string) {
	for _, d := range list {
		d = strings.ToLower(d)
		switch other := taken[d]; {
		case !strings.Contains(d, ".") || !dnsname.IsSubdomain(d):
			bad.Add("idDomains", "%q is not a domain name such as example.com", d)
		case other != "" && other != bad.Path():
			bad.Add("idDomains", "%s is also listed by %s; only one provider may assert its addresses", d, other)
		default:
			taken[d] = bad.Path()
		}
	}
}

var (
	methodName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)
	headerName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,63}$`)
)

func (p *OIDC) check(bad *config.Problems, names map[string]bool) {
	switch {
	case !methodName.MatchString(p.Name):
		bad.Add("name", "%q must be 1 to 32 lower-case letters, digits and dashes, and begin with a letter", p.Name)
	case slices.Contains(reserved, p.Name) || names[p.Name]:
		bad.Add("name", "%q is reserved or the name of another provider", p.Name)
	}
	names[p.Name] = true
	checkURL(bad, "issuer", p.Issuer)
	switch {
	case p.ClientID == "" && !p.Bearer:
		bad.Add("clientID", "is required, unless bearer is set with audiences")
	case p.ClientID == "" && len(p.Audiences) == 0:
		bad.Add("audiences", "is required without a clientID; otherwise bearer tokens for any client would be accepted")
	case p.ClientID != "" && !p.named():
		bad.Add("", "needs clientSecretFile or clientSecretEnv")
	}
	p.Secret.check(bad)
	if p.User == "" {
		bad.Add("user", "is required; it names the claim with the user id, such as email")
	}
	if p.User == "email" && len(p.IDDomains) == 0 {
		bad.Add("idDomains", "is required with user: email; list the domains whose addresses %s may assert", p.Name)
	}
	if c := p.ClientAuth; c != "" && c != authBasic && c != authPost {
		bad.Add("clientAuth", "%q must be %s or %s", c, authBasic, authPost)
	}
	p.checkEntra(bad)
	for field, name := range map[string]string{"user": p.User, "teams": p.Teams, "roles": p.Roles, "display": p.Display} {
		if name != "" {
			checkPath(bad, field, name)
		}
	}
	for i, name := range p.Claims {
		checkPath(bad, fmt.Sprintf("claims[%d]", i), name)
	}
}

func (g *GitHub) check(bad *config.Problems) {
	if g.ClientID == "" {
		bad.Add("clientID", "is required")
	}
	if !g.named() {
		bad.Add("", "needs clientSecretFile or clientSecretEnv")
	}
	g.Secret.check(bad)
	if g.URL != "" {
		checkURL(bad, "url", g.URL)
	}
	switch g.User {
	case "", "id":
	case "login":
		if len(g.Organizations) == 0 {
			bad.Add("user", "login needs organizations, because GitHub may give an old login to another person")
		}
	case "email":
		if len(g.IDDomains) == 0 {
			bad.Add("idDomains", "is required with user: email; list the domains whose addresses count")
		}
	default:
		bad.Add("user", "%q must be id, login or email", g.User)
	}
}

func (p *Proxy) check(bad *config.Problems) {
	if len(p.From) == 0 {
		bad.Add("from", "is required; list the networks that the proxy connects from")
	}
	if _, err := parsePeers(p.From); err != nil {
		bad.Add("from", "%v", err)
	}
	for field, h := range map[string]string{"user": p.User, "teams": p.Teams} {
		if h != "" && !headerName.MatchString(h) {
			bad.Add(field, "%q is not a header name", h)
		}
	}
	if s := p.TeamsSeparator; s != "" && !slices.Contains([]string{",", ";", "|", " "}, s) {
		bad.Add("teamsSeparator", "%q must be \",\", \";\", \"|\" or \" \"", s)
	}
	claimDomains(bad, p.IDDomains, map[string]string{})
}

func (l *Lifetimes) check(bad *config.Problems) {
	for field, d := range map[string]host.Duration{"token": l.Token, "login": l.Login, "idle": l.Idle} {
		if d < 0 || d > 0 && time.Duration(d) < time.Minute {
			bad.Add(field, "%s is less than a minute", time.Duration(d))
		}
	}
	if time.Duration(l.Token) > maxTokenLife {
		bad.Add("token", "%s is more than %s, the time that a replaced signing key stays valid", time.Duration(l.Token), maxTokenLife)
	}
}

// maxTokenLife is less than the time that host/state keeps a replaced signing key.
const maxTokenLife = 12 * time.Hour

func checkURL(bad *config.Problems, field, s string) {
	u, err := url.Parse(s)
	switch {
	case s == "":
		bad.Add(field, "is required")
	case err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		bad.Add(field, "%q must be a URL with scheme, host and path only", s)
	case u.Scheme != "https" && !(u.Scheme == "http" && netaddr.IsLoopback(u.Hostname())):
		bad.Add(field, "%q must be https, or http on a loopback address", s)
	}
}

func (s *Secret) check(bad *config.Problems) {
	if s.File != "" && s.Env != "" {
		bad.Add("", "has both clientSecretFile and clientSecretEnv; remove one")
	}
}

// Client authentication at a token endpoint (OpenID Connect Core 1.0, section 9).
const (
	authBasic = "client_secret_basic"
	authPost  = "client_secret_post"
)
