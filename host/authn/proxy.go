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
	"github.com/seed-a3fb47d6/bulkhead/host/state"
)

// anonymous is the user who acts when authentication is disabled.
const anonymous = "anonymous"

// hop is a login method that speaks with each request: the trusted proxy in
// front, or the absence of authentication.
type hop struct {
	method      string
	from        hops
	anybody     bool   // authentication is disabled: from does not count, and user is a name for the record
	user, teams string // canonical names of headers
	separator   string // of the items in the header teams
	domains     []string
	mapping     mapper
}

func newProxy(p *Proxy) (*hop, error) {
	from, err := parseHops(p.From)
	if err != nil {
		return nil, host.E(host.Invalid, "authn", "auth.proxy.from: %v", err)
	}
	return &hop{
		method: methodProxy, from: from, domains: p.IDDomains,
		user: header(p.User, "X-Auth-Request-Email"), teams: header(p.Teams, "X-Auth-Request-Groups"),
		separator: cmp.Or(p.TeamsSeparator, ","),
		mapping:   &Mapping{Teams: groupsClaim, Map: p.Map, Unlisted: p.Unlisted},
	}, nil
}

func newDisabled(d *Disabled) *hop {
	roles := d.Roles
	if len(roles) == 0 {
		roles = []string{"admin"}
	}
	return &hop{method: MethodDisabled, anybody: true, user: header(d.User, "X-Auth-Request-Email"), mapping: everybody(roles)}
}

func header(name, otherwise string) string {
	if name == "" {
		name = otherwise
	}
	return http.CanonicalHeaderKey(name)
}

// everybody maps each request to these roles.
type everybody []string

func (e everybody) asserted(map[string]any) host.Membership {
	return host.Membership{Roles: set(append([]string(nil), e...))}
}
func (e everybody) unlisted() bool { return true }

// trusts reports whether the request came over a connection from the hop.
func (h *hop) trusts(r *http.Request) bool {
	return h.anybody || h.from.contain(r)
}

// assertion is what a hop says about a request.
type assertion struct {
	user   host.UserID
	name   string // for the record only
	groups []string
	hash   tokenHash
}

// asserts returns what the hop says about the request. Said is false when it
// says nothing. A hop that says something that cannot be used is refused: what
// else the request carries, such as another person's cookie, must not count in
// its place.
func (h *hop) asserts(r *http.Request) (a assertion, said bool, err error) {
	if !h.trusts(r) {
		return a, false, nil
	}
	values := r.Header[h.user]
	if h.anybody {
		a.user, a.name = anonymous, printableName(strings.Join(values, ", "))
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

// userOf returns the one user that the hop names.
func (h *hop) userOf(values []string) (host.UserID, error) {
	source := sourceHeader(h.user)
	switch {
	case len(values) == 0:
		return "", refuse(source, nil, "is missing beside %s", sourceHeader(h.teams))
	case len(values) > 1:
		return "", refuse(source, values, "is sent more than once")
	}
	id := host.CanonicalID(values[0])
	if err := host.CheckUserID(id); err != nil {
		return "", refuse(source, values[0], "cannot be a user id: it %v", err)
	}
	if len(h.domains) > 0 && !inDomains(id, h.domains) {
		return "", refuse(source, values[0], "is not an address in auth.proxy.idDomains, which are %q", h.domains)
	}
	return host.UserID(id), nil
}

// otherList is what a list of groups looks like that is separated by something
// else: JSON, a distinguished name, or another character.
func (h *hop) otherList(groups []string) error {
	for _, g := range groups {
		// A distinguished name has commas and "=" of its own.
		if strings.ContainsAny(g, ";|[]{}\"\t") || strings.Contains(g, "=") == (h.separator == ",") && strings.ContainsAny(g, "=,") {
			return refuse(sourceHeader(h.teams), g, "is taken for one group, because auth.proxy.teamsSeparator is %q; "+
				"set that to what the proxy writes between groups", h.separator)
		}
	}
	return nil
}

// standing maps the user that a hop asserts to a login, in this process. An item
// is a user id and a login id.
type standing struct {
	making singleflight.Group
	mu     sync.Mutex
	logins map[host.UserID]host.LoginID
}

const maxStanding = 10_000

func (s *standing) get(user host.UserID) host.LoginID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logins[user]
}

func (s *standing) put(user host.UserID, id host.LoginID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.logins == nil || len(s.logins) >= maxStanding {
		s.logins = map[host.UserID]host.LoginID{} // a user who comes again gets another
	}
	s.logins[user] = id
}

// acceptHop returns the person a hop speaks for. The hop says so anew with each
// request, so a login that ended is followed by another at the next: to stay
// signed out, sign out of the proxy. No cookie counts beside it.
func (s *Service) acceptHop(r *http.Request, a assertion) (*token, *host.Principal, error) {
	if t := s.tokens.get(a.hash); t != nil {
		p, err := s.current(t)
		if err == nil || host.KindOf(err) == host.Unavailable {
			return t, p, err
		}
	}
	made, err, _ := s.standing.making.Do(string(a.user), func() (any, error) { return s.stand(r, a) })
	if err != nil {
		if k := host.KindOf(err); k == host.Unavailable || k == host.Limited {
			return nil, nil, err
		}
		return nil, nil, s.refuseHop(r, err)
	}
	if err := s.hop.otherList(a.groups); err != nil {
		s.report(r, "a list of groups may not be what it was meant to be", s.hop.method, err)
	}
	rec := made.(state.LoginRecord)
	t := &token{
		user: rec.User, login: rec.ID, issued: rec.At, expires: rec.Until, foreign: true, name: a.name, claims: claimsOfHop(a),
	}
	s.tokens.put(a.hash, t)
	p, err := s.current(t)
	if errors.Is(err, errNobody) { // known once, and not now
		err = s.refuseHop(r, refuse(sourceHeader(s.hop.user), string(a.user), notListed))
	}
	return t, p, err
}

// refuseHop is the answer to a request whose hop is refused.
func (s *Service) refuseHop(r *http.Request, err error) error {
	s.report(r, "sign-in refused", s.hop.method, err)
	return unauthenticated(err)
}

func claimsOfHop(a assertion) map[string]any { return map[string]any{groupsClaim: a.groups} }

// stand returns the login of the user that the hop asserts, and makes it if there
// is none.
func (s *Service) stand(r *http.Request, a assertion) (state.LoginRecord, error) {
	if rec, ok := s.State.Login(s.standing.get(a.user)); ok && rec.User == a.user {
		return rec, nil
	}
	if err := s.AdmitClient(r); err != nil {
		return state.LoginRecord{}, err
	}
	now := time.Now()
	rec := state.LoginRecord{
		ID: newLoginID(), User: a.user, Issuer: s.hop.method, Subject: string(a.user), Method: s.hop.method,
		At: now, Until: now.Add(s.life.login),
	}
	if _, ok := s.principalOf(rec, claimsOfHop(a)); !ok {
		return rec, refuse(sourceHeader(s.hop.user), string(a.user), notListed)
	}
	ctx, cancel := afterwards(r.Context())
	defer cancel()
	rec, err := s.State.CreateLogin(ctx, rec)
	if err != nil {
		return rec, err
	}
	s.log.Info("signed in", "user", string(a.user), "method", s.hop.method)
	s.standing.put(a.user, rec.ID)
	return rec, nil
}
