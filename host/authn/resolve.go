package authn

import (
	"crypto/sha256"
	"net/http"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// built is the principal that a token stands for at one revision of the
// directory.
type built struct {
	revision  uint64
	principal *host.Principal
}

// Resolve returns who is asking. A valid bearer token wins outright; if there
// is none, for whatever reason, the cookie is asked. The error is of kind
// Unauthenticated, or Unavailable while nobody can be told apart from somebody
// who logged out. The principal may be shared with other requests.
func (s *Service) Resolve(r *http.Request) (*host.Principal, error) {
	_, p, err := s.credential(r)
	return p, err
}

// RefreshDue reports whether the request's token is past half of its life and
// a new one would live longer.
func (s *Service) RefreshDue(r *http.Request) bool {
	t, p, err := s.credential(r)
	if err != nil {
		return false
	}
	half := t.issued.Add(t.expires.Sub(t.issued) / 2)
	// Expiry has whole seconds, a login's end does not.
	return time.Now().After(half) && p.Login.Until.Sub(t.expires) >= time.Second
}

func (s *Service) credential(r *http.Request) (*token, *host.Principal, error) {
	refusal := error(errNobody)
	for _, raw := range s.presented(r) {
		t, p, err := s.accept(raw)
		if err == nil {
			return t, p, nil
		}
		if host.KindOf(err) == host.Unavailable {
			refusal = err
		}
	}
	return nil, nil, refusal
}

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

// accept is the whole check of one credential.
func (s *Service) accept(raw string) (*token, *host.Principal, error) {
	if len(raw) > maxToken {
		return nil, nil, errNobody
	}
	hash := tokenHash(sha256.Sum256([]byte(raw)))
	t := s.tokens.get(hash)
	if t == nil || t.epoch != s.State.KeyEpoch() {
		var err error
		if t, err = s.verify(s.strict, raw); err != nil {
			return nil, nil, errNobody
		}
		s.tokens.put(hash, t)
	}
	p, err := s.current(t)
	return t, p, err
}

// current returns the principal a verified token stands for now.
func (s *Service) current(t *token) (*host.Principal, error) {
	if !time.Now().Before(t.expires) {
		return nil, errNobody
	}
	p, err := s.principal(t)
	if err != nil {
		return nil, err
	}
	if err := s.State.Revoked(p); err != nil {
		return nil, err
	}
	return p, nil
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
	p := &host.Principal{
		Issuer: rec.Issuer, Subject: rec.Subject, User: rec.User, Claims: rec.Claims,
		Login: host.Login{ID: rec.ID, Method: rec.Method, At: rec.At, Until: rec.Until},
	}
	person, ok := s.Directory.PersonOf(p)
	if !ok {
		return nil, errNobody
	}
	p.Name, p.Roles, p.Teams = person.Name, person.Roles, person.Teams
	if p.Name == "" {
		p.Name = rec.Name
	}
	t.built.Store(&built{revision, p})
	return p, nil
}
