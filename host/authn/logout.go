package authn

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
)

// What a logout ends.
const (
	scopeDefault = "default" // this login, and every live session of the user
	scopeLogin   = "login"   // this login and its sessions
	scopeUser    = "user"    // every login and every session of the user
)

// commitTimeout bounds how long the store may take to commit a change of a login.
const commitTimeout = 5 * time.Second

type loggedOut struct {
	Success  bool   `json:"success"`
	Message  string `json:"message"`
	Sessions struct {
		Ended  int `json:"ended"`
		Closed int `json:"closed"`
	} `json:"sessions"`
	// SignOut is where to sign out of the provider or proxy, which would otherwise
	// sign the user in again.
	SignOut string `json:"signOut,omitempty"`
}

// Logout handles POST /auth/logout, with an optional {"scope": …}. In this
// order it commits the logout, revokes the authority of the sessions and closes
// them, clears the cookie, and answers. If the commit fails, the request fails and
// nothing is cleared.
//
// A request whose credential is revoked or invalid gets 200 "Already logged out".
// An expired token still ends its login, because sessions last as long as the login.
func (s *Service) Logout(w http.ResponseWriter, r *http.Request) error {
	if len(s.presented(r)) == 0 && (s.proxy == nil || !s.proxy.trusts(r)) {
		return errUnauthenticated
	}
	if err := s.CheckOrigin(r); err != nil {
		return err
	}
	scope, err := readScope(w, r)
	if err != nil {
		return err
	}
	answer := loggedOut{Success: true, Message: "Already logged out"}
	who, ok, err := s.loginToEnd(r)
	if err != nil {
		return err
	}
	if ok {
		ended, err := s.end(r.Context(), who, scope)
		if err != nil {
			return err
		}
		s.log.Info("signed out", "user", string(who.user), "scope", scope, "sessions", ended.Ended, "closed", ended.Closed)
		answer.Message = "Logged out"
		answer.Sessions.Ended, answer.Sessions.Closed = ended.Ended, ended.Closed
		answer.SignOut = s.signOut(who)
	}
	// Keep the cookie of another live login: without it, that login cannot sign out.
	if _, alive := s.ours(s.cookie.read(r)); !alive {
		s.cookie.clear(w)
	}
	return writeJSON(w, answer)
}

func readScope(w http.ResponseWriter, r *http.Request) (string, error) {
	body := struct {
		Scope string `json:"scope"`
	}{scopeDefault}
	if err := readJSON(w, r, &body); err != nil {
		return "", err
	}
	switch body.Scope {
	case scopeDefault, scopeLogin, scopeUser:
		return body.Scope, nil
	}
	return "", host.E(host.Invalid, "authn.logout", "body: scope must be default, login or user, not %q", body.Scope)
}

// afterwards returns a context for work that must finish even if the client
// disconnects.
func afterwards(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
}

// loginRef identifies the login to end.
type loginRef struct {
	user   host.UserID
	login  host.LoginID
	method string
	hint   string // for the provider
}

// loginToEnd finds the login that a request signs out of: the one that Resolve
// returns, otherwise that of the first credential with a live login. The error is
// of kind Limited if the client sent too many invalid credentials, of kind
// Unauthenticated if the user that a trusted proxy asserts is refused, and of kind
// Unavailable if the store cannot say whether a login is live.
func (s *Service) loginToEnd(r *http.Request) (loginRef, bool, error) {
	p, err := s.Resolve(r)
	if err == nil {
		rec, _ := s.State.Login(p.Login.ID)
		return loginRef{p.User, p.Login.ID, p.Login.Method, rec.Hint}, true, nil
	}
	if _, refused := errors.AsType[*refusal](err); refused || host.KindOf(err) == host.Limited {
		return loginRef{}, false, err
	}
	for _, raw := range s.presented(r) {
		if who, ok := s.ours(raw); ok {
			return who, true, nil
		}
	}
	if host.KindOf(err) == host.Unavailable {
		return loginRef{}, false, err
	}
	return loginRef{}, false, nil
}

// ours returns the live login of a token of this host, expired or not.
func (s *Service) ours(raw string) (loginRef, bool) {
	t, err := s.verify(s.lenient, raw)
	if err != nil {
		return loginRef{}, false
	}
	rec, ok := s.State.Login(t.login)
	return loginRef{rec.User, rec.ID, rec.Method, rec.Hint}, ok && rec.User == t.user
}

// signOut returns where a user signs out of the provider or proxy, or "".
func (s *Service) signOut(who loginRef) string {
	if who.method == methodProxy && s.Options.Proxy != nil {
		return s.Options.Proxy.SignOut
	}
	if p, ok := s.mappers[who.method].(*oidcProvider); ok {
		return p.signOut(s.PublicURL, who.hint)
	}
	return ""
}

// end ends the login, or all of the user's logins, and sessions with it.
func (s *Service) end(ctx context.Context, who loginRef, scope string) (session.Result, error) {
	ends := session.LoginAndSessions(who.user, who.login)
	switch scope {
	case scopeUser:
		ends = session.LoginsOf(who.user)
	case scopeLogin:
		ends = session.OneLogin(who.user, who.login)
	}
	ended, err := s.Sessions.End(ctx, ends, host.ErrLoggedOut)
	s.noteEnd(ctx, who, scope, ended, err)
	return ended, err
}
