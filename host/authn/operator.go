package authn

import (
	"context"
	"net/http"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

const (
	// methodOperator is the method of requests over the admin socket.
	methodOperator = "operator"
	// operatorID is the user of these requests. No other login method may use it.
	operatorID host.UserID = "operator@local"
)

type operatorKey struct{}

// AsOperator marks a connection as one that proves its user to be the operator of
// this host, such as a Unix socket whose peer was checked. Its requests are those of
// the user operator@local, by the login method "operator", with the role admin;
// their other credentials do not count. from describes the peer, for logs and
// session lists. A directory entry for operator@local may disable the user.
func AsOperator(conn context.Context, from string) context.Context {
	return context.WithValue(conn, operatorKey{}, from)
}

// operatorAddr returns the peer of an operator's connection.
func operatorAddr(r *http.Request) (from string, ok bool) {
	from, ok = r.Context().Value(operatorKey{}).(string)
	return from, ok
}

// acceptOperator returns the principal of a request over the admin socket. Its login
// is made with the first request, and again after it ended.
func (s *Service) acceptOperator(r *http.Request) (*token, *host.Principal, error) {
	if t := s.operator.Load(); t != nil {
		p, err := s.current(t)
		if err == nil || host.KindOf(err) == host.Unavailable {
			return t, p, err
		}
	}
	made, err, _ := s.operatorLogin.Do("", func() (any, error) { return s.newOperatorLogin(r.Context()) })
	if err != nil {
		return nil, nil, err
	}
	t := made.(*token)
	p, err := s.current(t)
	return t, p, err
}

func (s *Service) newOperatorLogin(ctx context.Context) (*token, error) {
	if t := s.operator.Load(); t != nil {
		if _, err := s.current(t); err == nil {
			return t, nil
		}
	}
	now := time.Now()
	rec := host.LoginRecord{
		ID: newLoginID(), User: operatorID, Issuer: methodOperator, Subject: string(operatorID), Method: methodOperator,
		At: now, Until: now.Add(s.life.login),
	}
	if err := s.checkListed(rec, "the admin socket"); err != nil {
		return nil, err
	}
	ctx, cancel := afterwards(ctx)
	defer cancel()
	rec, err := s.State.CreateLogin(ctx, rec)
	if err != nil {
		return nil, err
	}
	s.log.Info("signed in", "user", string(rec.User), "method", rec.Method)
	s.noteLogin(ctx, &rec, "")
	t := &token{user: rec.User, login: rec.ID, issued: rec.At, expires: rec.Until, bearerBound: true}
	s.operator.Store(t)
	return t, nil
}
