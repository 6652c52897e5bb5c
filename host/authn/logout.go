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

const (
	commitTimeout = 5 * time.Second // for the store to take a logout
	endingTimeout = 2 * time.Second // for sessions to leave, once they have no authority
)

type loggedOut struct {
	Success  bool   `json:"success"`
	Message  string `json:"message"`
	Sessions struct {
		Ended  int `json:"ended"`
		Closed int `json:"closed"`
	} `json:"sessions"`
	// SignOut is where to sign out of whoever signed the person in, who would do
	// so again.
	SignOut string `json:"signOut,omitempty"`
}

// Logout handles POST /auth/logout, with an optional {"scope": …}. In this
// order: the logout is committed, the sessions lose their authority and are
// closed, the cookie is cleared, the answer is given. When committing fails so
// does the request, and nothing is cleared.
//
// Somebody whose credential is no longer good is told "Already logged out".
// A token that merely expired still ends its login, because sessions last as
// long as the login does.
func (s *Service) Logout(w http.ResponseWriter, r *http.Request) error {
	if len(s.presented(r)) == 0 && (s.hop == nil || !s.hop.trusts(r)) {
		return errNobody
	}
	if err := s.CheckOrigin(r); err != nil {
		return err
	}
	scope, err := readScope(w, r)
	if err != nil {
		return err
	}
	answer := loggedOut{Success: true, Message: "Already logged out"}
	who, ok, err := s.leaving(r)
	if err != nil {
		return err
	}
	if ok {
		ctx, cancel := afterwards(r.Context())
		defer cancel()
		ended, err := s.end(ctx, who, scope)
		if err != nil {
			return err
		}
		s.log.Info("signed out", "user", string(who.user), "scope", scope, "sessions", ended.Ended, "closed", ended.Closed)
		answer.Message = "Logged out"
		answer.Sessions.Ended, answer.Sessions.Closed = ended.Ended, ended.Closed
		answer.SignOut = s.signOut(who)
	}
	// A cookie of another login that goes on is left: nobody could sign out of it.
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

// afterwards is a context for what must be finished although the client may go.
func afterwards(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
}

// leaver is whose login is to end.
type leaver struct {
	user   host.UserID
	login  host.LoginID
	method string
	hint   string // for the provider
}

// leaving finds the login a request signs out of: the one it resolves to, as
// at every door, else any of its credentials that belongs to a live login. The
// error is of kind Limited if too much of what this client sent was no good, of
// kind Unauthenticated if a trusted proxy names a user that is refused, and of
// kind Unavailable if the store cannot tell whether a login is live.
func (s *Service) leaving(r *http.Request) (leaver, bool, error) {
	p, err := s.Resolve(r)
	if err == nil {
		rec, _ := s.State.Login(p.Login.ID)
		return leaver{p.User, p.Login.ID, p.Login.Method, rec.Hint}, true, nil
	}
	if _, refused := errors.AsType[*refusal](err); refused || host.KindOf(err) == host.Limited {
		return leaver{}, false, err
	}
	for _, raw := range s.presented(r) {
		if who, ok := s.ours(raw); ok {
			return who, true, nil
		}
	}
	if host.KindOf(err) == host.Unavailable {
		return leaver{}, false, err
	}
	return leaver{}, false, nil
}

// ours tells the live login of a token that we signed, expired or not.
func (s *Service) ours(raw string) (leaver, bool) {
	t, err := s.verify(s.lenient, raw)
	if err != nil {
		return leaver{}, false
	}
	rec, ok := s.State.Login(t.login)
	return leaver{rec.User, rec.ID, rec.Method, rec.Hint}, ok && rec.User == t.user
}

// signOut is where a user signs out of what signed them in, empty if nowhere.
func (s *Service) signOut(who leaver) string {
	if who.method == methodProxy && s.Options.Proxy != nil {
		return s.Options.Proxy.SignOut
	}
	if p, ok := s.mappers[who.method].(*oidcProvider); ok {
		return p.signOut(s.PublicURL, who.hint)
	}
	return ""
}

// end commits the end of the login, or of all, and then ends sessions. From the
// commit on no session can open; those that opened before are in the table.
func (s *Service) end(ctx context.Context, who leaver, scope string) (session.Result, error) {
	before := s.live(who, scope)
	var err error
	switch scope {
	case scopeUser:
		err = s.State.EndUserLogins(ctx, who.user)
	case scopeLogin:
		err = s.State.EndLogin(ctx, who.login)
	default:
		err = s.State.EndLoginAndSessions(ctx, who.login)
	}
	if err != nil {
		return session.Result{}, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endingTimeout)
	defer cancel()
	var ended session.Result
	if scope == scopeLogin {
		ended = s.Sessions.EndLogin(ctx, who.user, who.login, host.ErrLoggedOut)
	} else {
		ended = s.Sessions.EndUser(ctx, who.user, host.ErrLoggedOut)
	}
	// The commit is an ending for all replicas, this one included: what it ended
	// here may have left the table by now.
	if gone := before - ended.Ended; gone > 0 {
		ended.Ended += gone
		ended.Closed += gone
	}
	return ended, nil
}

// live counts the sessions here that a logout of this scope is to end.
func (s *Service) live(who leaver, scope string) (n int) {
	for _, v := range s.Sessions.List(who.user) {
		if v.Cause == nil && (scope != scopeLogin || v.Login == who.login) {
			n++
		}
	}
	return n
}
