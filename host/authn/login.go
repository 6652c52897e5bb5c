package authn

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"net"
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
}

// Issue signs somebody in: it makes a login of its own, never one that existed
// before, and a token for it. A user whom the directory does not know or has
// disabled gets none.
func (s *Service) Issue(ctx context.Context, id Identity) (string, *host.Principal, error) {
	if _, ok := s.Directory.PersonOf(&host.Principal{User: id.User}); !ok {
		return "", nil, host.E(host.Unauthenticated, "authn.login", "user %q is not in the directory", id.User)
	}
	now := time.Now()
	rec, err := s.State.CreateLogin(ctx, state.LoginRecord{
		ID: newLoginID(), User: id.User, Issuer: id.Issuer, Subject: id.Subject, Method: id.Method,
		Name: id.Name, Claims: id.Claims, At: now, Until: now.Add(s.LoginLife),
	})
	if err != nil {
		return "", nil, err
	}
	raw, err := s.sign(rec.User, rec.ID, now, s.expiry(now, rec.Until))
	if err != nil {
		return "", nil, err
	}
	_, p, err := s.accept(raw)
	if err != nil {
		return "", nil, err
	}
	return raw, p, nil
}

func (s *Service) expiry(now, until time.Time) time.Time {
	if expires := now.Add(s.TokenLife); expires.Before(until) {
		return expires
	}
	return until
}

func newLoginID() host.LoginID {
	var b [16]byte
	rand.Read(b[:])
	return host.LoginID(base64.RawURLEncoding.EncodeToString(b[:]))
}

// Login handles POST /auth/login {"user": ID}, the way in for developers: it
// believes whoever can reach a loopback listener. The answer is the cookie and
// what Me says; a login that the browser had before ends.
func (s *Service) Login(w http.ResponseWriter, r *http.Request) error {
	if local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr); !s.Dev || !isLoopbackAddr(local) {
		return host.E(host.NotFound, "authn.login", "dev sign-in is not available here")
	}
	if err := s.checkSite(r); err != nil {
		return err
	}
	if !isJSON(r) {
		return host.E(host.Invalid, "authn.login", "Content-Type: must be application/json")
	}
	var body struct {
		User host.UserID `json:"user"`
	}
	if err := readJSON(w, r, &body); err != nil {
		return err
	}
	if body.User == "" {
		return host.E(host.Invalid, "authn.login", "body: user is required")
	}
	raw, p, err := s.Issue(r.Context(), Identity{
		Issuer: "dev", Subject: string(body.User), User: body.User, Method: "dev",
	})
	if err != nil {
		return err
	}
	if err := s.endReplaced(r); err != nil {
		return err
	}
	s.log.Info("signed in", "user", string(p.User), "method", p.Login.Method)
	s.cookie.set(w, raw, p.Login.Until)
	return writeJSON(w, describe(p))
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
