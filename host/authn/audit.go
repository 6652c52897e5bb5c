package authn

import (
	"context"
	"net/http"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/audit"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
)

// signInOf describes a login that begins.
func signInOf(rec *host.LoginRecord, remote string) *audit.Event {
	return &audit.Event{
		Kind: audit.KindSignIn, Action: "auth:login", Target: string(rec.User), Remote: remote,
		Principal: &host.Principal{User: rec.User, Login: host.Login{ID: rec.ID, Method: rec.Method}},
	}
}

// createLogin stores a login that a person asked for, with a record before and after it. An
// error is of kind Unavailable if it cannot be recorded.
func (s *Service) createLogin(ctx context.Context, rec host.LoginRecord, remote string) (host.LoginRecord, error) {
	x, err := s.Audit.Begin(ctx, signInOf(&rec, remote))
	if err != nil {
		return host.LoginRecord{}, err
	}
	stored, err := s.State.CreateLogin(ctx, rec)
	x.End(audit.Outcome{Err: err})
	return stored, err
}

// noteLogin records a login that came with a request, such as a proxy's. Such a request may
// be a read, so it does not depend on the record.
func (s *Service) noteLogin(ctx context.Context, rec *host.LoginRecord, remote string) {
	s.Audit.Note(ctx, signInOf(rec, remote), audit.Outcome{Result: audit.Success})
}

// noteRefusal records that a sign-in, or a credential, is refused.
func (s *Service) noteRefusal(r *http.Request, method, code string, err error) {
	details := map[string]any{"path": r.URL.Path}
	if code != "" {
		details["code"] = code
	}
	s.Audit.Note(r.Context(), &audit.Event{
		Kind: audit.KindSignIn, Action: "auth:login", Method: method, Remote: s.RemoteAddr(r), Details: details,
	}, audit.Outcome{Result: audit.Refused, Err: err})
}

// noteEnd records the end of a login, or of all of a user's.
func (s *Service) noteEnd(ctx context.Context, who loginRef, scope string, ended session.Result, err error) {
	s.Audit.Note(ctx, &audit.Event{
		Kind: audit.KindSignOut, Action: "auth:logout", Target: string(who.user),
		Principal: &host.Principal{User: who.user, Login: host.Login{ID: who.login, Method: who.method}},
		Details:   map[string]any{"scope": scope, "sessions": ended.Ended, "closed": ended.Closed},
	}, audit.Outcome{Err: err})
}
