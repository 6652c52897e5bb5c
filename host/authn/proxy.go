package authn

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/text"
)

// anonymous is the user of every request while authentication is disabled.
const anonymous = "anonymous"

// trustedProxy is a login method that asserts the user with each request: a proxy
// whose identity headers count, or disabled authentication.
type trustedProxy struct {
	method      string
	from        peerSet
	disabled    bool   // authentication is disabled: from is not used, and user is a display name only
	user, teams string // canonical names of headers
	separator   string // of the items in the header teams
	domains     []string
	mapping     mapper
}

func newProxy(p *Proxy) (*trustedProxy, error) {
	from, err := parsePeers(p.From)
	if err != nil {
		return nil, host.E(host.Invalid, "authn", "auth.proxy.from: %v", err)
	}
	return &trustedProxy{
		method: methodProxy, from: from, domains: p.IDDomains,
		user: header(p.User, "X-Auth-Request-Email"), teams: header(p.Teams, "X-Auth-Request-Groups"),
		separator: cmp.Or(p.TeamsSeparator, ","),
		mapping:   &Mapping{Teams: groupsClaim, Map: p.Map, Unlisted: p.Unlisted},
	}, nil
}

func newDisabled(d *Disabled) *trustedProxy {
	roles := d.Roles
	if len(roles) == 0 {
		roles = []string{"admin"}
	}
	return &trustedProxy{method: MethodDisabled, disabled: true, user: header(d.User, "X-Auth-Request-Email"), mapping: fixedRoles(roles)}
}

func header(name, otherwise string) string {
	if name == "" {
		name = otherwise
	}
	return http.CanonicalHeaderKey(name)
}

// fixedRoles gives each request these roles.
type fixedRoles []string

func (e fixedRoles) asserted(map[string]any) host.Membership {
	return host.Membership{Roles: set(append([]string(nil), e...))}
}
func (e fixedRoles) unlisted() bool { return true }

// trusts reports whether the request came over a connection from the proxy.
func (h *trustedProxy) trusts(r *http.Request) bool {
	return h.disabled || h.from.sent(r)
}

// assertion is the user and groups that a trusted proxy asserts for a request.
type assertion struct {
	user   host.UserID
	name   string // display name only
	groups []string
	hash   tokenHash
}

// asserts returns the proxy's assertion. Found is false if the request is not from
// the proxy or carries none of its headers. An invalid assertion is an error: the
// request's other credentials, such as another user's cookie, must not count
// instead.
func (h *trustedProxy) asserts(r *http.Request) (a assertion, found bool, err error) {
	if !h.trusts(r) {
		return a, false, nil
	}
	values := r.Header[h.user]
	if h.disabled {
		a.user, a.name = anonymous, text.Line(strings.Join(values, ", "), maxDisplayName)
		a.hash = sha256.Sum256([]byte(h.method + "\x00" + a.name))
		return a, true, nil
	}
	lists := slices.DeleteFunc(slices.Clone(r.Header[h.teams]), func(s string) bool { return s == "" })
	if len(values) == 0 && len(lists) == 0 {
		return a, false, nil
	}
	if a.user, err = h.userOf(values); err != nil {
		return a, true, err
	}
	sum := sha256.New()
	sum.Write([]byte(h.method + "\x00" + string(a.user)))
	for _, list := range lists {
		sum.Write([]byte("\x00" + list))
		for g := range strings.SplitSeq(list, h.separator) {
			if g = strings.TrimSpace(g); g != "" {
				a.groups = append(a.groups, g)
			}
		}
	}
	sum.Sum(a.hash[:0])
	return a, true, nil
}

// userOf returns the user in the proxy's header.
func (h *trustedProxy) userOf(values []string) (host.UserID, error) {
	source := sourceHeader(h.user)
	switch {
	case len(values) == 0:
		return "", refuse(source, nil, "is missing, but %s is sent", sourceHeader(h.teams))
	case len(values) > 1:
		return "", refuse(source, values, "is sent more than once; the proxy must send it once")
	}
	id := host.CanonicalID(values[0])
	if err := host.CheckUserID(id); err != nil {
		return "", refuse(source, values[0], "is not a valid user id: it %v", err)
	}
	if len(h.domains) > 0 && !inDomains(id, h.domains) {
		return "", refuse(source, values[0], "is not an address in auth.proxy.idDomains, %q", h.domains)
	}
	return host.UserID(id), nil
}

// checkSeparator returns an error if the list of groups seems to have another
// separator: a group looks like JSON, a distinguished name, or several groups.
func (h *trustedProxy) checkSeparator(groups []string) error {
	for _, g := range groups {
		// A distinguished name has commas and "=" of its own.
		if strings.ContainsAny(g, ";|[]{}\"\t") || strings.Contains(g, "=") == (h.separator == ",") && strings.ContainsAny(g, "=,") {
			return refuse(sourceHeader(h.teams), g, "counts as one group, because auth.proxy.teamsSeparator is %q; "+
				"set that to the character that the proxy writes between groups", h.separator)
		}
	}
	return nil
}

// proxyLogins maps the user that a trusted proxy asserts to that user's
// bearer-bound login on this replica.
type proxyLogins struct {
	making singleflight.Group
	mu     sync.Mutex
	logins map[host.UserID]host.LoginID
}

const maxProxyLogins = 10_000

func (s *proxyLogins) get(user host.UserID) host.LoginID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logins[user]
}

func (s *proxyLogins) put(user host.UserID, id host.LoginID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.logins == nil || len(s.logins) >= maxProxyLogins {
		s.logins = map[host.UserID]host.LoginID{} // users get a new login with their next request
	}
	s.logins[user] = id
}

// acceptProxy returns the principal that a trusted proxy asserts. The proxy asserts
// it with each request, so after a logout the next request makes a new login: to
// stay signed out, sign out of the proxy. The cookie does not count.
func (s *Service) acceptProxy(r *http.Request, a assertion) (*token, *host.Principal, error) {
	if t := s.tokens.get(a.hash); t != nil {
		p, err := s.current(t)
		if err == nil || host.KindOf(err) == host.Unavailable {
			return t, p, err
		}
	}
	made, err, _ := s.proxyLogins.making.Do(string(a.user), func() (any, error) { return s.proxyLogin(r, a) })
	if err != nil {
		if k := host.KindOf(err); k == host.Unavailable || k == host.Limited {
			return nil, nil, err
		}
		return nil, nil, s.refuseProxy(r, err)
	}
	if err := s.proxy.checkSeparator(a.groups); err != nil {
		s.hint(r, "a list of groups may have another separator", s.proxy.method, err)
	}
	rec := made.(host.LoginRecord)
	t := &token{
		user: rec.User, login: rec.ID, issued: rec.At, expires: rec.Until, bearerBound: true, name: a.name, claims: proxyClaims(a),
	}
	s.tokens.put(a.hash, t)
	p, err := s.current(t)
	if errors.Is(err, errUnauthenticated) { // listed at sign-in, and no longer
		err = s.refuseProxy(r, refuse(sourceHeader(s.proxy.user), string(a.user), notListed))
	}
	return t, p, err
}

// refuseProxy logs a refused assertion and returns the error for the request.
func (s *Service) refuseProxy(r *http.Request, err error) error {
	s.report(r, "sign-in refused", s.proxy.method, err)
	return unauthenticated(err)
}

func proxyClaims(a assertion) map[string]any { return map[string]any{groupsClaim: a.groups} }

// proxyLogin returns the login of the user that the proxy asserts, and makes one if
// the user has none.
func (s *Service) proxyLogin(r *http.Request, a assertion) (host.LoginRecord, error) {
	if rec, ok := s.State.Login(s.proxyLogins.get(a.user)); ok && rec.User == a.user {
		return rec, nil
	}
	if err := s.AdmitClient(r); err != nil {
		return host.LoginRecord{}, err
	}
	now := time.Now()
	rec := host.LoginRecord{
		ID: newLoginID(), User: a.user, Issuer: s.proxy.method, Subject: string(a.user), Method: s.proxy.method,
		At: now, Until: now.Add(s.life.login),
	}
	if _, ok := s.principalOf(rec, proxyClaims(a)); !ok {
		return rec, refuse(sourceHeader(s.proxy.user), string(a.user), notListed)
	}
	ctx, cancel := afterwards(r.Context())
	defer cancel()
	rec, err := s.State.CreateLogin(ctx, rec)
	if err != nil {
		return rec, err
	}
	s.log.Info("signed in", "user", string(a.user), "method", s.proxy.method)
	s.noteLogin(ctx, &rec, s.RemoteAddr(r))
	s.proxyLogins.put(a.user, rec.ID)
	return rec, nil
}
