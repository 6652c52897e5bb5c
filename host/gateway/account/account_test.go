package account_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/authn"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/account"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway/internal/surfacetest"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// signIn answers with the name of the handler, and the user where it was given one.
type signIn struct{}

func says(w http.ResponseWriter, name string) error {
	_, err := io.WriteString(w, name)
	return err
}

func (signIn) Page(w http.ResponseWriter, _ *http.Request) error     { return says(w, "page") }
func (signIn) Login(w http.ResponseWriter, _ *http.Request) error    { return says(w, "login") }
func (signIn) Begin(w http.ResponseWriter, _ *http.Request) error    { return says(w, "begin") }
func (signIn) Callback(w http.ResponseWriter, _ *http.Request) error { return says(w, "callback") }
func (signIn) CLIPage(w http.ResponseWriter, _ *http.Request) error  { return says(w, "cli page") }
func (signIn) CLIToken(w http.ResponseWriter, _ *http.Request) error { return says(w, "cli token") }
func (signIn) CLIAllow(w http.ResponseWriter, _ *http.Request, who authn.Resolved) error {
	return says(w, "cli allow "+string(who.User))
}
func (signIn) Logout(w http.ResponseWriter, _ *http.Request) error { return says(w, "logout") }
func (signIn) Refresh(w http.ResponseWriter, _ *http.Request, who authn.Resolved) error {
	return says(w, "refresh "+string(who.User))
}
func (signIn) Me(w http.ResponseWriter, _ *http.Request, who authn.Resolved) error {
	return says(w, "me "+string(who.User))
}

// would permits seen, and change with a reason.
func would(_ context.Context, q *host.Question) host.Decision {
	switch q.Route.Name {
	case "seen", "chat":
		return host.Decision{Allow: true}
	case "change":
		return host.Decision{Reason: host.Reason{Code: "reason_required"}}
	}
	return host.Decision{Reason: host.Reason{Code: "no_action"}}
}

// plugins has a plugin with a page, and one whose page is of no use without a route.
func plugins(*host.Principal) []plugin.Info {
	probe, other := surfacetest.Probe{}.Info(), plugin.Info{Name: "other", UI: &manifest.UI{Title: "Others"}}
	probe.Digest, probe.UI = "sha256:0a", &manifest.UI{Title: "Probes", Icon: "icon.svg", Routes: []string{"seen"}}
	return []plugin.Info{probe, other}
}

func open(t *testing.T) (*surfacetest.Surface, *surfacetest.Policy) {
	t.Helper()
	policy := &surfacetest.Policy{}
	return serve(t, policy, &surfacetest.Fleet{}), policy
}

func serve(t *testing.T, policy *surfacetest.Policy, fleet *surfacetest.Fleet) *surfacetest.Surface {
	t.Helper()
	return surfacetest.Open(t, policy, func(g *gateway.Gateway, _ *session.Table) {
		account.Mount(g, account.Config{SignIn: signIn{}, Sessions: fleet, Plugins: plugins, Would: would})
		for _, r := range []gateway.Route{ // as administration mounts its own
			{Method: "GET", Path: "/api/admin/things/{id}", Action: "admin:seen"},
			{Method: "DELETE", Path: "/api/admin/things/{id}", Action: "admin:things.remove"},
			{Method: gateway.AnyMethod, Path: "/api/admin/{path:.*}", Action: "admin:seen"},
		} {
			r.Handle = func(http.ResponseWriter, *http.Request) error { return nil }
			g.Mount(r)
		}
	})
}

// Signing in and out needs no login; what concerns the caller needs one, and no
// permission.
func TestWhatSignInHandlesIsPublic(t *testing.T) {
	s, policy := open(t)
	anonymous, nia := s.Anonymous(t), s.As(t, "nia")
	for request, want := range map[string]string{
		"GET /login": "page", "POST /auth/login": "login", "GET /auth/login": "begin", "GET /auth/callback/corp": "callback", "POST /auth/logout": "logout",
		"GET /auth/cli": "cli page", "POST /auth/cli/token": "cli token",
	} {
		method, path, _ := strings.Cut(request, " ")
		if got := anonymous.Do(method, path, ""); got.Status != 200 || got.Body != want {
			t.Errorf("%s: %v, want %s", request, got, want)
		}
	}
	for request, want := range map[string]string{"POST /auth/refresh": "refresh nia@example.com", "GET /auth/me": "me nia@example.com"} {
		method, path, _ := strings.Cut(request, " ")
		if got := nia.Do(method, path, ""); got.Status != 200 || got.Body != want {
			t.Errorf("%s: %v, want %s", request, got, want)
		}
		if got := anonymous.Do(method, path, ""); got.Status != 401 {
			t.Errorf("%s signed out: %v", request, got)
		}
	}
	for _, request := range []string{"GET /auth/routes", "GET /auth/sessions", "DELETE /auth/sessions", "DELETE /auth/sessions/x"} {
		method, path, _ := strings.Cut(request, " ")
		if got := anonymous.Do(method, path, ""); got.Status != 401 {
			t.Errorf("%s signed out: %v", request, got)
		}
	}
	if n := len(policy.Asked()); n != 0 {
		t.Errorf("policy is asked %d times", n)
	}
}

// The chain resolves a request's credentials once, and handlers use the result.
func TestCredentialsAreResolvedOnce(t *testing.T) {
	s, _ := open(t)
	ann := s.As(t, "ann")
	for _, request := range []string{"GET /auth/me", "POST /auth/refresh", "GET /auth/routes"} {
		before := s.Resolved.Load()
		method, path, _ := strings.Cut(request, " ")
		ann.Do(method, path, "")
		if n := s.Resolved.Load() - before; n != 1 {
			t.Errorf("%s: credentials are resolved %d times", request, n)
		}
	}
}

// A user sees the routes that policy would permit, also those that need a reason,
// and no others.
func TestOnesRoutesAreThoseThatPolicyWouldPermit(t *testing.T) {
	s, _ := open(t)
	got := s.As(t, "nia").Do("GET", "/auth/routes", "")
	want := `{"admin":[{"name":"seen","kind":"unary","method":"GET","path":"/api/admin/things/{id}","action":"admin:seen","mutates":false}],` +
		`"pages":[{"plugin":"probe","title":"Probes","icon":"/ui/probe/0a/icon.svg","path":"/ui/probe/0a/","routes":["seen"]}],"routes":[` +
		`{"plugin":"probe","name":"seen","kind":"unary","method":"GET","path":"/api/probe/seen","action":"probe:seen.read","mutates":false},` +
		`{"plugin":"probe","name":"change","kind":"unary","method":"POST","path":"/api/probe/change","action":"probe:change","mutates":true,"reasonRequired":true},` +
		`{"plugin":"probe","name":"chat","kind":"socket","method":"GET","path":"/ws/probe","action":"probe:chat.read","mutates":false}]}`
	if got.Status != 200 || strings.TrimSpace(got.Body) != want {
		t.Errorf("%v", got)
	}
}

// A user sees their own sessions and logins on every replica, and which of them are of
// the login that asks.
func TestOnesSessionsAndLoginsAreShown(t *testing.T) {
	s, _ := open(t)
	got := s.As(t, "ann.2").Do("GET", "/auth/sessions", "")
	for _, want := range []string{
		`"id":"s1","user":"ann@example.com","kind":"socket","plugin":"probe","started":"1970-01-01T00:00:00Z","replica":"a","login":"ann","current":false`,
		`"id":"s2","user":"ann@example.com","kind":"events","plugin":"probe","started":"1970-01-01T00:00:00Z","replica":"b","login":"ann.2","current":true`,
	} {
		if !strings.Contains(got.Body, want) {
			t.Errorf("%v lacks %s", got, want)
		}
	}
	if got.Status != 200 || strings.Contains(got.Body, "s3") || strings.Count(got.Body, `"method":"dev"`) != 2 {
		t.Errorf("%v", got)
	}
}

// A user ends one session, one login, or all other logins, and nothing of another user.
func TestOneEndsOnesOwnSessionsAndLogins(t *testing.T) {
	fleet := &surfacetest.Fleet{}
	s := serve(t, &surfacetest.Policy{}, fleet)
	ann := s.As(t, "ann")
	for path, want := range map[string]struct {
		scope session.Scope
		cause error
	}{
		"/auth/sessions/s2":    {session.Selected([]host.SessionInfo{fleetSession(t, fleet, "s2")}), host.ErrEnded},
		"/auth/sessions/ann.2": {session.OneLogin("ann@example.com", "ann.2"), host.ErrLoggedOut},
		"/auth/sessions":       {session.OtherLogins("ann@example.com", "ann"), host.ErrLoggedOut},
	} {
		if got := ann.Do("DELETE", path, ""); got.Status != 200 || strings.TrimSpace(got.Body) != `{"ended":1,"closed":1}` || !fleet.Ended(want.scope, want.cause) {
			t.Errorf("%s: %v", path, got)
		}
	}
	for _, path := range []string{"/auth/sessions/s3", "/auth/sessions/vic", "/auth/sessions/nothing"} {
		if got := ann.Do("DELETE", path, ""); got.Status != 404 || !fleet.Idle() {
			t.Errorf("%s: %v", path, got)
		}
	}
}

func fleetSession(t *testing.T, f *surfacetest.Fleet, id string) host.SessionInfo {
	t.Helper()
	list, err := f.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		if s.ID == id {
			return s
		}
	}
	t.Fatalf("there is no session %s", id)
	return host.SessionInfo{}
}
