package authn

import (
	"crypto/sha256"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
)

// anonymous is who acts when authentication is disabled and nobody says who.
const anonymous = "anonymous"

// hop is a way in that speaks with each request: the proxy in front, or the
// absence of authentication.
type hop struct {
	method      string
	from        hops
	anybody     bool // from counts for nothing
	user, teams string
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
		mapping: &Mapping{Teams: groupsClaim, Map: p.Map, Unlisted: p.Unlisted},
	}, nil
}

func newDisabled(d *Disabled) *hop {
	roles := d.Roles
	if len(roles) == 0 {
		roles = []string{"admin"}
	}
	return &hop{method: methodDisabled, anybody: true, user: header(d.User, "X-Auth-Request-Email"), mapping: everybody(roles)}
}

func header(name, otherwise string) string {
	if name == "" {
		name = otherwise
	}
	return http.CanonicalHeaderKey(name)
}

// everybody has these roles.
type everybody []string

func (e everybody) asserted(map[string]any) host.Membership {
	return host.Membership{Roles: set(append([]string(nil), e...))}
}
func (e everybody) unlisted() bool { return true }

// trusts reports whether the request came over a connection from the hop.
func (h *hop) trusts(r *http.Request) bool {
	return h.anybody || h.from.contain(r)
}

func (h *hops) contain(r *http.Request) bool {
	if local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr); local != nil && local.Network() == "unix" {
		return h.unix
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && h.has(peer.Addr())
}

func (h *hops) has(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for _, n := range h.networks {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}

// assertion is what a hop says about a request.
type assertion struct {
	user   string
	groups []string
	hash   tokenHash
}

// asserts returns what the hop says about the request; not ok when it says
// nothing, or nothing that can be understood in one way.
func (h *hop) asserts(r *http.Request) (a assertion, ok bool) {
	if !h.trusts(r) {
		return a, false
	}
	switch values := r.Header[h.user]; {
	case len(values) == 1 && values[0] != "":
		a.user = values[0]
	case len(values) == 0 && h.anybody:
		a.user = anonymous
	default:
		return a, false
	}
	if plainID(a.user) != nil || len(h.domains) > 0 && !inDomains(a.user, h.domains) {
		return a, false
	}
	if strings.Contains(a.user, "@") {
		a.user = strings.ToLower(a.user)
	}
	sum := sha256.New()
	sum.Write([]byte(h.method + "\x00" + a.user))
	if h.teams != "" {
		for _, list := range r.Header[h.teams] {
			sum.Write([]byte("\x00" + list))
			for g := range strings.SplitSeq(list, ",") {
				if g = strings.TrimSpace(g); g != "" {
					a.groups = append(a.groups, g)
				}
			}
		}
	}
	sum.Sum(a.hash[:0])
	return a, true
}

// standing remembers which login stands for whom a hop speaks, in this process.
// It holds a person's name and an id each.
type standing struct {
	making singleflight.Group
	mu     sync.Mutex
	logins map[string]host.LoginID
}

const maxStanding = 10_000

func (s *standing) get(user string) host.LoginID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logins[user]
}

func (s *standing) put(user string, id host.LoginID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.logins == nil || len(s.logins) >= maxStanding {
		s.logins = map[string]host.LoginID{} // whoever comes again gets another
	}
	s.logins[user] = id
}

// acceptHop returns the person a hop speaks for. The hop says so anew with each
// request, so a login that ended is followed by another at the next: to stay
// signed out, sign out of the proxy. Nobody else's cookie counts beside it.
func (s *Service) acceptHop(r *http.Request, a assertion) (*token, *host.Principal, error) {
	if t := s.tokens.get(a.hash); t != nil {
		p, err := s.current(t)
		if err == nil || host.KindOf(err) == host.Unavailable {
			return t, p, err
		}
	}
	made, err, _ := s.standing.making.Do(a.user, func() (any, error) { return s.stand(r, a) })
	if err != nil {
		if k := host.KindOf(err); k == host.Unavailable || k == host.Limited {
			return nil, nil, err
		}
		s.log.Debug("whom the proxy names may not sign in", "user", a.user, "error", err)
		return nil, nil, errNobody
	}
	rec := made.(state.LoginRecord)
	t := &token{user: rec.User, login: rec.ID, issued: rec.At, expires: rec.Until, foreign: true, claims: claimsOfHop(a)}
	s.tokens.put(a.hash, t)
	p, err := s.current(t)
	return t, p, err
}

func claimsOfHop(a assertion) map[string]any { return map[string]any{groupsClaim: a.groups} }

// stand returns the login that stands for a hop's person, made if there is none.
func (s *Service) stand(r *http.Request, a assertion) (state.LoginRecord, error) {
	if rec, ok := s.State.Login(s.standing.get(a.user)); ok && string(rec.User) == a.user {
		return rec, nil
	}
	if err := s.AdmitClient(r); err != nil {
		return state.LoginRecord{}, err
	}
	now := time.Now()
	rec := state.LoginRecord{
		ID: newLoginID(), User: host.UserID(a.user), Issuer: s.hop.method, Subject: a.user, Method: s.hop.method,
		At: now, Until: now.Add(s.life.login),
	}
	if _, ok := s.principalOf(rec, claimsOfHop(a)); !ok {
		return rec, errNobody
	}
	ctx, cancel := afterwards(r.Context())
	defer cancel()
	rec, err := s.State.CreateLogin(ctx, rec)
	if err != nil {
		return rec, err
	}
	s.log.Info("signed in", "user", a.user, "method", s.hop.method)
	s.standing.put(a.user, rec.ID)
	return rec, nil
}
