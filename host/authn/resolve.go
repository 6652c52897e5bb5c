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

// built is the principal that a token stands for at one revision of the
// directory.
type built struct {
	revision  uint64
	principal *host.Principal
}

// Resolve returns who is asking. A valid bearer token wins outright; if there
// is none, for whatever reason, a trusted proxy that says something is believed,
// or refused if that cannot be used; if it says nothing the cookie is asked. The
// error is of kind Unauthenticated, Limited, or Unavailable while the store cannot
// tell whether a login is live. The principal may be shared with other requests.
func (s *Service) Resolve(r *http.Request) (*host.Principal, error) {
	_, p, err := s.credential(r)
	return p, err
}

// RefreshDue reports whether the request's token is past half of its life, or
// of the time that a login may be idle, and a new one would live longer.
func (s *Service) RefreshDue(r *http.Request) bool {
	t, p, err := s.credential(r)
	if err != nil || t.foreign {
		return false
	}
	half := t.issued.Add(min(t.expires.Sub(t.issued), s.life.idle) / 2)
	// Expiry has whole seconds, a login's end does not.
	return time.Now().After(half) && p.Login.Until.Sub(t.expires) >= time.Second
}

func (s *Service) credential(r *http.Request) (*token, *host.Principal, error) {
	attempt := &attempt{s: s, r: r}
	if raw := bearer(r.Header["Authorization"]); raw != "" {
		if t, p, ok := attempt.try(raw, true); ok {
			return t, p, nil
		}
	}
	if s.hop != nil {
		a, said, err := s.hop.asserts(r)
		if err != nil {
			return nil, nil, s.refuseHop(r, err)
		}
		if said {
			return s.acceptHop(r, a)
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
	return nil, nil, errNobody
}

// attempt is the look at one request's credentials.
type attempt struct {
	s        *Service
	r        *http.Request
	admitted bool  // the client was let through to have something verified
	refusal  error // why it may be worth trying again
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
		return nil, nil, errNobody
	}
	hash := tokenHash(sha256.Sum256([]byte(raw)))
	t := s.tokens.get(hash)
	if t != nil && t.foreign {
		// A login that an ID token bears may have been set aside for another.
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
				s.log.Debug("a credential is not good", "error", err)
			}
			return nil, nil, errNobody
		}
		s.tokens.put(hash, t)
	}
	p, err := s.current(t)
	return t, p, err
}

// maxBearer bounds an ID token, which lists groups, before anything is parsed.
const maxBearer = 16 << 10

var errNobody = &host.Error{Kind: host.Unauthenticated, Op: "authn"}

// presented returns the request's credentials in the order in which they
// count. What is not even shaped like one is none.
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

// bearer reads an Authorization header (RFC 6750, section 2.1). Two of them
// are none, since it is not clear which was meant.
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

// current returns the principal a verified token stands for now.
func (s *Service) current(t *token) (*host.Principal, error) {
	now := time.Now()
	if !now.Before(t.expires) {
		return nil, errNobody
	}
	p, err := s.principal(t)
	if err != nil {
		return nil, err
	}
	if err := s.State.Revoked(p); err != nil {
		return nil, err
	}
	if t.foreign {
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

// replacedGrace is for how long a token counts that was replaced by a refresh.
const replacedGrace = time.Minute

var errReplaced = &host.Error{Kind: host.Unauthenticated, Op: "authn", Message: "this token was replaced by a refresh"}

// replaced reports whether a token of ours is of a generation that counts no
// more. A generation that this replica has not heard of yet counts.
func (t *token) replaced(a state.Activity, now time.Time) bool {
	switch {
	case t.generation >= a.Generation:
		return false
	case t.generation+1 < a.Generation:
		return true
	}
	return now.Sub(a.Renewed) > replacedGrace
}

// use notes that a login is in use, or ends it if it was not for too long. Last
// use is kept with the login and not with a token, of which the cache may forget
// any. A token of ours was issued to the person who was there, so a login that is
// refreshed is in use wherever its requests went; so is one with traffic in a
// session here.
func (s *Service) use(t *token, a state.Activity, p *host.Principal, now time.Time) error {
	if now.Unix() == a.Used.Unix() {
		return nil
	}
	last := a.Used
	if t.issued.After(last) {
		last = t.issued
	}
	idle := now.Sub(last)
	if idle > s.life.idle && !s.busy(p, now.Add(-s.life.idle)) {
		ctx, cancel := afterwards(context.Background())
		defer cancel()
		if _, err := s.end(ctx, leaver{user: p.User, login: p.Login.ID}, scopeLogin); err != nil {
			return err
		}
		s.log.Info("signed out, idle", "user", string(p.User), "idle", idle.Round(time.Second))
		return host.ErrLoginExpired
	}
	s.State.Use(t.login, now)
	return nil
}

// busy reports whether a session of the login was used since.
func (s *Service) busy(p *host.Principal, since time.Time) bool {
	for _, v := range s.Sessions.List(p.User) {
		if v.Login == p.Login.ID && v.Cause == nil && v.Touched.After(since) {
			return true
		}
	}
	return false
}

// principal builds what the login's record and the directory say, once per
// revision of the directory. The revision is read first: if the directory
// changes meanwhile, the next request builds again.
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
		return nil, errNobody
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
func (s *Service) principalOf(rec state.LoginRecord, claims map[string]any) (*host.Principal, bool) {
	way, ok := s.mappers[rec.Method]
	if !ok || rec.User != host.CanonicalID(rec.User) {
		return nil, false
	}
	asserted := way.asserted(claims)
	asserted.Teams = set(host.CanonicalIDs(asserted.Teams))
	p := &host.Principal{
		Issuer: rec.Issuer, Subject: rec.Subject, User: rec.User, Claims: claims,
		Asserted: asserted, Unlisted: way.unlisted(),
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
	// What does not exist cannot count, and need not be carried around.
	absent := func(have []string) func(string) bool {
		return func(s string) bool { return !slices.Contains(have, s) }
	}
	p.Asserted.Roles = slices.DeleteFunc(p.Asserted.Roles, absent(p.Roles))
	p.Asserted.Teams = slices.DeleteFunc(p.Asserted.Teams, absent(p.Teams))
	return p, true
}
