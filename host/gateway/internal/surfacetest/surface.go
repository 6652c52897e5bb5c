// Package surfacetest serves rooms of the gateway to their tests: a real gateway with
// a real session table, behind a real HTTP server, whose sign-in and policy are
// functions, and a plugin that is Go in this process.
package surfacetest

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/authn"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/logtest"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
	"github.com/seed-a3fb47d6/bulkhead/host/session/sessiontest"
)

// Surface is a gateway that serves.
type Surface struct {
	*gateway.Gateway
	URL, Addr string
	Sessions  *session.Table
	Log       *logtest.Log
	// Resolved counts how often credentials were resolved.
	Resolved *atomic.Int32
}

// End ends all sessions of the user, with the cause, and waits until they have closed.
func (s *Surface) End(t *testing.T, user host.UserID, cause error) session.Result {
	t.Helper()
	result, err := session.NewEnder(s.Sessions, &sessiontest.Alone{}).End(t.Context(), session.SessionsOf(user), cause)
	if err != nil {
		t.Error(err)
	}
	return result
}

// Policy decides in tests: Allow, or what the test says.
type Policy struct {
	mu     sync.Mutex
	decide func(*host.Question) host.Decision
	asked  []host.Question
}

// Says has policy decide by f until the test ends; nil is the default, by which ann
// may do everything and other users nothing.
func (p *Policy) Says(t *testing.T, f func(*host.Question) host.Decision) {
	set := func(f func(*host.Question) host.Decision) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.decide = f
	}
	set(f)
	t.Cleanup(func() { set(nil) })
}

// Obliges has policy allow everything with these obligations until the test ends.
func (p *Policy) Obliges(t *testing.T, o host.Obligations) {
	p.Says(t, func(*host.Question) host.Decision { return host.Decision{Allow: true, Obligations: o} })
}

// Decide is the Decide of a gateway and a session table.
func (p *Policy) Decide(_ context.Context, q *host.Question) host.Decision {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, *q)
	switch {
	case p.decide != nil:
		return p.decide(q)
	case q.Principal.User == "ann@example.com":
		return host.Decision{Allow: true}
	}
	return host.Decision{Reason: host.Reason{Code: "no_role"}}
}

// Asked returns the questions so far.
func (p *Policy) Asked() []host.Question {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]host.Question(nil), p.asked...)
}

// Open serves what mount mounts until the test ends.
func Open(t *testing.T, p *Policy, mount func(*gateway.Gateway, *session.Table)) *Surface {
	t.Helper()
	s := &Surface{Log: &logtest.Log{}, Resolved: new(atomic.Int32)}
	log := slog.New(slog.NewTextHandler(s.Log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s.Sessions = session.NewTable(func(*host.Principal) error { return nil }, session.Options{Decide: p.Decide, Logger: log})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Addr = listener.Addr().String()
	public := &url.URL{Scheme: "http", Host: s.Addr}
	s.URL = public.String()
	s.Gateway = gateway.New(gateway.Config{
		Listen: s.Addr, PublicURL: public, Authn: SignIn{s.Resolved}, Sessions: s.Sessions, Decide: p.Decide, Health: Healthy, Logger: log,
	})
	mount(s.Gateway, s.Sessions)
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: s.Gateway, MaxHeaderBytes: gateway.MaxHeaderBytes}}
	server.Start()
	t.Cleanup(server.Close)
	t.Cleanup(func() { s.Sessions.Shutdown(context.Background()) })
	return s
}

// Healthy is a host that has no problems.
var Healthy = gateway.Health{
	Version: "test", Started: time.Now(), Checks: func() map[string]error { return nil }, Degraded: func() map[string]error { return nil },
	Clusters: func() (int, int) { return 0, 0 }, Stopping: func() bool { return false },
}

// SignIn believes the cookie that As sets, and takes the origin evil.example for a
// foreign page.
type SignIn struct{ resolved *atomic.Int32 }

const cookieName = "surfacetest"

// principal is the user and the login of a cookie's value.
func principal(login string) *host.Principal {
	name, _, _ := strings.Cut(login, ".")
	return &host.Principal{User: host.UserID(name + "@example.com"), Login: host.Login{ID: host.LoginID(login), Method: "dev"}}
}

// Screen leaves r as it is.
func (SignIn) Screen(*http.Request) {}

// Resolve reads the cookie.
func (s SignIn) Resolve(r *http.Request) (authn.Resolved, error) {
	s.resolved.Add(1)
	c, err := r.Cookie(cookieName)
	if err != nil {
		return authn.Resolved{}, &host.Error{Kind: host.Unauthenticated}
	}
	return authn.Resolved{Principal: principal(c.Value), RefreshDue: strings.HasSuffix(c.Value, ".old")}, nil
}

// AdmitClient lets every client through.
func (SignIn) AdmitClient(*http.Request) error { return nil }

// AdmitAccount lets every account through.
func (SignIn) AdmitAccount(*host.Principal) error { return nil }

// CheckOrigin refuses changes and sockets of foreign pages.
func (s SignIn) CheckOrigin(r *http.Request) error {
	if (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.Header.Get("Upgrade") == "" {
		return nil
	}
	return s.CheckSite(r)
}

// CheckSite refuses foreign pages.
func (SignIn) CheckSite(r *http.Request) error {
	if strings.Contains(r.Header.Get("Origin"), "evil.example") || r.Header.Get("Sec-Fetch-Site") == "cross-site" {
		return &host.Error{Kind: host.Forbidden, Message: "the request comes from another site"}
	}
	return nil
}

// FromProxy trusts no proxy.
func (SignIn) FromProxy(*http.Request) bool { return false }

// RemoteAddr is the address for documentation (RFC 5737), so that a test sees who
// was asked for it.
func (SignIn) RemoteAddr(*http.Request) string { return "192.0.2.7" }
