package authn

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
)

// built is the principal of a token at one revision of the directory.
type built struct {
	revision  uint64
	principal *host.Principal
}

// Resolved is what a request's credentials were resolved to.
type Resolved struct {
	// Principal is who is asking. It may be shared with other requests; do not
	// change it.
	*host.Principal
	// RefreshDue is whether the token is past half of its lifetime or of the idle
	// limit, and a new token would live longer.
	RefreshDue bool

	token *token
}

// Resolve returns the principal of a request. On the admin socket it is the operator
// (AsOperator). Elsewhere a valid bearer token takes
// precedence. Without one, identity headers of a trusted proxy count, and are
// refused if they are invalid; if the proxy sends none, the cookie counts. The
// error is of kind Unauthenticated, Limited, or, while the store cannot say
// whether a login is live, Unavailable.
func (s *Service) Resolve(r *http.Request) (Resolved, error) {
	t, p, err := s.credential(r)
	if err != nil {
		return Resolved{}, err
	}
	return Resolved{p, s.refreshDue(t, p), t}, nil
}

func (s *Service) refreshDue(t *token, p *host.Principal) bool {
	if t.bearerBound {
		return false
	}
	half := t.issued.Add(min(t.expires.Sub(t.issued), s.life.idle) / 2)
	// Expiry has whole seconds, a login's end does not.
	return time.Now().After(half) && p.Login.Until.Sub(t.expires) >= time.Second
}

func (s *Service) credential(r *http.Request) (*token, *host.Principal, error) {
	if _, ok := operatorAddr(r); ok {
		return s.acceptOperator(r)
	}
	attempt := &attempt{s: s, r: r}
	if raw := bearer(r.Header["Authorization"]); raw != "" {
		if t, p, ok := attempt.try(raw, true); ok {
			return t, p, nil
		}
	}
	if s.proxy != nil {
		a, found, err := s.proxy.asserts(r)
		if err != nil {
			return nil, nil, s.refuseProxy(r, err)
		}
		if found {
			return s.acceptProxy(r, a)
		}
	}
	if raw := s.cookie.read(r); raw != "" {
		if t, p, ok := attempt.try(raw, false); ok {
			return t, p, nil
		}
	}
	if attempt.refusal != nil {
		return nil, nil, attempt.refusal
	}
	return nil, nil, errUnauthenticated
}

// attempt checks the credentials of one request.
type attempt struct {
	s        *Service
	r        *http.Request
	admitted bool  // the request was counted against the client's rate
	refusal  error // of kind Unavailable or Limited: trying again may help
}

func (a *attempt) try(raw string, header bool) (*token, *host.Principal, bool) {
	t, p, err := a.accept(raw, header)
	if k := host.KindOf(err); err != nil && (k == host.Unavailable || k == host.Limited) {
		a.refusal = err
	}
	return t, p, err == nil
}

// accept is the whole check of one credential.
func (a *attempt) accept(raw string, header bool) (*token, *host.Principal, error) {
	s := a.s
	if len(raw) > maxToken && (!header || len(s.bearers) == 0 || len(raw) > maxBearer) {
		return nil, nil, errUnauthenticated
	}
	hash := tokenHash(sha256.Sum256([]byte(raw)))
	t := s.tokens.get(hash)
	if t != nil && t.bearerBound {
		// The store may have dropped a bearer-bound login to make room for another.
		if _, live := s.State.Login(t.login); !live {
			s.tokens.drop(hash)
			t = nil
		}
	}
	if t == nil || t.epoch != s.keys.epoch() {
		if !a.admitted {
			if err := s.AdmitClient(a.r); err != nil {
				return nil, nil, err
			}
			a.admitted = true
		}
		var err error
		if t, err = s.verify(s.strict, raw); err != nil && header {
			t, err = s.acceptIDToken(a.r.Context(), raw)
		}
		if err != nil {
			if host.KindOf(err) == host.Unavailable {
				return nil, nil, err
			}
			if _, ok := errors.AsType[*refusal](err); ok {
				s.report(a.r, "a bearer token is refused", "bearer", err)
			} else {
				s.log.Debug("a credential is invalid", "error", err)
			}
			return nil, nil, errUnauthenticated
		}
		s.tokens.put(hash, t)
	}
	p, err := s.current(t)
	return t, p, err
}

// maxBearer bounds an ID token, which lists groups, before anything is parsed.
const maxBearer = 16 << 10

var errUnauthenticated = &host.Error{Kind: host.Unauthenticated, Op: "authn"}

// presented returns the request's credentials in order of precedence. Malformed
// ones are left out.
func (s *Service) presented(r *http.Request) []string {
	var all [2]string
	found := all[:0]
	if raw := bearer(r.Header["Authorization"]); raw != "" {
		found = append(found, raw)
	}
	if raw := s.cookie.read(r); raw != "" {
		found = append(found, raw)
	}
	return found
}

// bearer returns the token of the Authorization header (RFC 6750, section 2.1). It
// returns "" if there are two headers, since it is not clear which one counts.
func bearer(headers []string) string {
	if len(headers) != 1 {
		return ""
	}
	scheme, raw, _ := strings.Cut(strings.TrimSpace(headers[0]), " ")
	raw = strings.TrimLeft(raw, " ")
	if !strings.EqualFold(scheme, "bearer") || strings.ContainsAny(raw, " \t,") {
		return ""
	}
	return raw
}

// current returns the present principal of a verified token.
func (s *Service) current(t *token) (*host.Principal, error) {
	now := time.Now()
	if !now.Before(t.expires) {
		return nil, errUnauthenticated
	}
	p, err := s.principal(t)
	if err != nil {
		return nil, err
	}
	if err := s.State.Revoked(p); err != nil {
		return nil, err
	}
	if t.bearerBound {
		return p, nil
	}
	a, ok := s.State.Activity(t.login)
	if !ok {
		return nil, host.ErrLoggedOut
	}
	if t.replaced(a, now) {
		return nil, errReplaced
	}
	return p, s.use(t, a, p, now)
}

// replacedGrace is how long a token stays valid after a refresh replaced it.
const replacedGrace = time.Minute

var errReplaced = &host.Error{Kind: host.Unauthenticated, Op: "authn", Message: "this token was replaced by a refresh"}

// replaced reports whether a refresh replaced t and the grace period is over. A
// generation newer than this replica knows of is valid.
func (t *token) replaced(a state.Activity, now time.Time) bool {
	switch {
	case t.generation >= a.Generation:
		return false
	case t.generation+1 < a.Generation:
		return true
	}
	return now.Sub(a.Renewed) > replacedGrace
}

// use records that a login is in use, or ends it if it was idle for too long. The
// time of last use belongs to the login, since the cache may drop any token. A
// token's issue time counts as use, so a login that is refreshed on any replica is
// in use; traffic in a session on this replica counts too.
func (s *Service) use(t *token, a state.Activity, p *host.Principal, now time.Time) error {
	if now.Unix() == a.Used.Unix() {
		return nil
	}
	last := a.Used
	if t.issued.After(last) {
		last = t.issued
	}
	idle := now.Sub(last)
	if idle > s.life.idle && !s.inUse(p, now.Add(-s.life.idle)) {
		if _, err := s.end(context.Background(), loginRef{user: p.User, login: p.Login.ID, method: p.Login.Method}, scopeLogin); err != nil {
			return err
		}
		s.log.Info("signed out, idle", "user", string(p.User), "idle", idle.Round(time.Second))
		return host.ErrLoginExpired
	}
	s.State.Use(t.login, now)
	return nil
}

// inUse reports whether a session of the login had traffic after since.
func (s *Service) inUse(p *host.Principal, since time.Time) bool {
	for _, v := range s.Sessions.Here(p.User) {
		if v.Login == p.Login.ID && v.Cause == nil && v.LastUsed.After(since) {
			return true
		}
	}
	return false
}

// principal builds the principal from the login's record and the directory, once
// per revision of the directory. The revision is read first: if the directory
// changes meanwhile, the next request builds it again.
func (s *Service) principal(t *token) (*host.Principal, error) {
	revision := s.Directory.Revision()
	if b := t.built.Load(); b != nil && b.revision == revision {
		return b.principal, nil
	}
	rec, ok := s.State.Login(t.login)
	if !ok || rec.User != t.user {
		return nil, host.ErrLoggedOut
	}
	claims := t.claims
	if claims == nil {
		claims = rec.Claims
	}
	p, ok := s.principalOf(rec, claims)
	if !ok {
		return nil, errUnauthenticated
	}
	if t.name != "" {
		p.Name = t.name
	}
	t.built.Store(&built{revision, p})
	return p, nil
}

// principalOf returns false if the user is disabled, unlisted where listing is
// required, or not in the form in which ids are compared, and if the login method
// is no longer configured.
func (s *Service) principalOf(rec host.LoginRecord, claims map[string]any) (*host.Principal, bool) {
	m, ok := s.mappers[rec.Method]
	if !ok || rec.User != host.CanonicalID(rec.User) || (rec.User == operatorID) != (rec.Method == methodOperator) {
		return nil, false
	}
	asserted := m.asserted(claims)
	asserted.Teams = set(host.CanonicalIDs(asserted.Teams))
	p := &host.Principal{
		Issuer: rec.Issuer, Subject: rec.Subject, User: rec.User, Claims: claims,
		Asserted: asserted, Unlisted: m.unlisted(),
		Login: host.Login{ID: rec.ID, Method: rec.Method, At: rec.At, Until: rec.Until},
	}
	person, ok := s.Directory.PersonOf(p)
	if !ok {
		return nil, false
	}
	p.Name, p.Roles, p.Teams = person.Name, person.Roles, person.Teams
	if p.Name == "" {
		p.Name = rec.Name
	}
	// Drop asserted roles and teams that the directory does not have.
	absent := func(have []string) func(string) bool {
		return func(s string) bool { return !slices.Contains(have, s) }
	}
	p.Asserted.Roles = slices.DeleteFunc(p.Asserted.Roles, absent(p.Roles))
	p.Asserted.Teams = slices.DeleteFunc(p.Asserted.Teams, absent(p.Teams))
	return p, true
}
