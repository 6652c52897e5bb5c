package authn

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Identity is the user that a login method established.
type Identity struct {
	Issuer  string
	Subject string
	User    host.UserID
	Method  string // login method: "dev", "oidc:corp", …
	Name    string
	Claims  map[string]any
	Source  string // where User comes from, for the log: `claim "email"`
	Hint    string // the provider's ID token, for its sign-out; may be empty
	Remote  string // the client's address, for the audit; may be empty
	// Warnings are claims without effect, for the log.
	Warnings []error
}

// warn logs claims without effect, once a minute for each user and claim.
func (s *Service) warn(id Identity) {
	for _, err := range id.Warnings {
		if s.reports.take("warn\x00"+id.Method+"\x00"+string(id.User)+"\x00"+err.Error(), time.Now()) {
			s.log.Warn("a claim is not used", append(errorAttrs(err), "user", string(id.User), "method", id.Method)...)
		}
	}
}

// Issue makes a new login for an identity and returns a token and its principal.
// The error is of kind Unauthenticated if the directory disables the user, or does
// not list a user who must be listed.
func (s *Service) Issue(ctx context.Context, id Identity) (string, *host.Principal, error) {
	now := time.Now()
	rec := host.LoginRecord{
		ID: newLoginID(), User: host.CanonicalID(id.User), Issuer: id.Issuer, Subject: id.Subject, Method: id.Method,
		Name: id.Name, Claims: id.Claims, At: now, Until: now.Add(s.life.login),
	}
	if err := s.checkListed(rec, id.Source); err != nil {
		return "", nil, err
	}
	s.warn(id)
	rec.Hint = id.Hint
	stored, err := s.createLogin(ctx, rec, id.Remote)
	if rec.Hint != "" && host.KindOf(err) == host.TooLarge { // a user in many groups signs out without the hint
		rec.Hint = ""
		stored, err = s.createLogin(ctx, rec, id.Remote)
	}
	if err != nil {
		return "", nil, err
	}
	rec = stored
	raw, err := s.sign(rec.User, rec.ID, now, s.expiry(now, rec.Until))
	if err != nil {
		return "", nil, err
	}
	p, ok := s.principalOf(rec, rec.Claims)
	if !ok {
		return "", nil, errUnauthenticated
	}
	return raw, p, nil
}

// notListed is the rule for users that the directory does not admit.
const notListed = "is a user that the directory disables or does not list"

// checkListed refuses a login for which principalOf returns false. Source is where
// the user id comes from.
func (s *Service) checkListed(rec host.LoginRecord, source string) error {
	if _, ok := s.principalOf(rec, rec.Claims); !ok {
		return &host.Error{
			Kind: host.Unauthenticated, Op: "authn.login", Message: fmt.Sprintf("user %q is not in the directory, or is disabled", rec.User),
			Err: refuse(source, string(rec.User), notListed),
		}
	}
	return nil
}

func (s *Service) expiry(now, until time.Time) time.Time {
	if expires := now.Add(s.life.token); expires.Before(until) {
		return expires
	}
	return until
}

func newLoginID() host.LoginID {
	var b [16]byte
	rand.Read(b[:])
	return host.LoginID(base64.RawURLEncoding.EncodeToString(b[:]))
}

// endPrevious ends the login whose cookie is about to be overwritten, since the
// browser could not sign out of it any more.
func (s *Service) endPrevious(r *http.Request) error {
	old, ok := s.ours(s.cookie.read(r))
	if !ok {
		return nil
	}
	_, err := s.end(r.Context(), old, scopeLogin)
	return err
}
