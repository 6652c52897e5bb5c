package authn

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
)

// Identity is who a way in found somebody to be.
type Identity struct {
	Issuer  string
	Subject string
	User    host.UserID
	Method  string // the way in: "dev", "oidc:corp", …
	Name    string
	Claims  map[string]any
	Source  string // what named User, for the log: `claim "email"`
	Hint    string // the provider's ID token, to sign out there with; may be empty
	// Warnings are what of the provider's words has no effect, for the log.
	Warnings []error
}

// warn logs what of a provider's words has no effect, of each user and claim once
// a minute.
func (s *Service) warn(id Identity) {
	for _, err := range id.Warnings {
		if s.reports.take("warn\x00"+id.Method+"\x00"+string(id.User)+"\x00"+err.Error(), time.Now()) {
			s.log.Warn("a claim is not used", append(about(err), "user", string(id.User), "method", id.Method)...)
		}
	}
}

// Issue signs somebody in: it makes a login of its own, never one that existed
// before, and a token for it. Somebody whom the directory has disabled, or does
// not know although it must, gets none.
func (s *Service) Issue(ctx context.Context, id Identity) (string, *host.Principal, error) {
	now := time.Now()
	rec := state.LoginRecord{
		ID: newLoginID(), User: host.CanonicalID(id.User), Issuer: id.Issuer, Subject: id.Subject, Method: id.Method,
		Name: id.Name, Claims: id.Claims, At: now, Until: now.Add(s.life.login),
	}
	if err := s.knows(rec, id.Source); err != nil {
		return "", nil, err
	}
	s.warn(id)
	rec.Hint = id.Hint
	stored, err := s.State.CreateLogin(ctx, rec)
	if rec.Hint != "" && host.KindOf(err) == host.TooLarge { // who is in many groups signs out without it
		rec.Hint = ""
		stored, err = s.State.CreateLogin(ctx, rec)
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
		return "", nil, errNobody
	}
	return raw, p, nil
}

// notListed is the rule for users of whom the directory knows nothing good.
const notListed = "is a user whom the directory disables or does not list"

// knows refuses a login of a user for whom principalOf returns false. Source is
// what named the user.
func (s *Service) knows(rec state.LoginRecord, source string) error {
	if _, ok := s.principalOf(rec, rec.Claims); !ok {
		return &host.Error{
			Kind: host.Unauthenticated, Op: "authn.login", Message: fmt.Sprintf("user %q is not in the directory", rec.User),
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

// endReplaced ends the login whose cookie is about to be overwritten: nobody
// could sign out of it any more.
func (s *Service) endReplaced(r *http.Request) error {
	old, ok := s.ours(s.cookie.read(r))
	if !ok {
		return nil
	}
	ctx, cancel := afterwards(r.Context())
	defer cancel()
	_, err := s.end(ctx, old, scopeLogin)
	return err
}
