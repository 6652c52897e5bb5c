package authn

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
)

// rooms is a browser signed in as ann, another browser of hers and one of ben's,
// each with an open session.
type rooms struct {
	*fixture
	here, there, ben             *browser
	hereLive, thereLive, benLive *session.Session
}

func furnish(t *testing.T, edit ...func(*Config)) *rooms {
	f := setUp(t, edit...)
	srv := f.serve(t)
	r := &rooms{fixture: f, here: f.browser(t, srv), there: f.browser(t, srv), ben: f.browser(t, srv)}
	r.hereLive, r.thereLive, r.benLive = r.live(t, r.here, "ann"), r.live(t, r.there, "ann"), r.live(t, r.ben, "ben")
	return r
}

func (r *rooms) live(t *testing.T, b *browser, user string) *session.Session {
	b.signIn(user)
	p, err := r.Resolve(request("GET", "", b.cookie()))
	if err != nil {
		t.Fatal(err)
	}
	s, err := r.table.Open(context.WithoutCancel(t.Context()), p.Principal, host.SessionInfo{Kind: host.SessionSocket})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // the door: its work is over when the session ends
		defer close(done)
		<-s.Context().Done()
		s.Close()
	}()
	t.Cleanup(func() { s.End(host.ErrShutdown); <-done })
	return s
}

func (r *rooms) want(t *testing.T, s *session.Session, alive bool) {
	t.Helper()
	if s.Alive() != alive || !alive && !errors.Is(s.Cause(), host.ErrLoggedOut) {
		t.Errorf("session of %s: alive %v, cause %v", s.Principal().User, s.Alive(), s.Cause())
	}
}

func TestLogoutScopes(t *testing.T) {
	for _, c := range []struct {
		name, body               string
		thereSession, thereLogin bool // what is left of the user's other browser
		ended                    float64
	}{
		{"no body", ``, false, true, 2},
		{"default", `{"scope":"default"}`, false, true, 2},
		{"this login", `{"scope":"login"}`, true, true, 1},
		{"the user", `{"scope":"user"}`, false, false, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := furnish(t)
			token := r.here.cookie()
			out := r.here.do("POST", "/auth/logout", c.body)
			r.here.wantStatus(out, 200)
			counts := out.body["sessions"].(map[string]any)
			if out.body["success"] != true || counts["ended"] != c.ended || counts["closed"] != c.ended {
				t.Errorf("answer %s", out.text)
			}
			r.want(t, r.hereLive, false)
			r.want(t, r.thereLive, c.thereSession)
			r.want(t, r.benLive, true)

			if r.here.cookie() != "" {
				t.Error("the cookie is still there")
			}
			if _, err := r.Resolve(request("GET", "Bearer "+token, token)); host.KindOf(err) != host.Unauthenticated {
				t.Errorf("the token after logout: %v", err)
			}
			status := 401
			if c.thereLogin {
				status = 200
			}
			r.there.wantStatus(r.there.do("GET", "/auth/me", ""), status)
			r.ben.wantStatus(r.ben.do("GET", "/auth/me", ""), 200)
		})
	}
}

func TestLogoutIsIdempotent(t *testing.T) {
	r := furnish(t)
	token := r.here.cookie()
	r.here.wantStatus(r.here.do("POST", "/auth/logout", ""), 200)
	r.here.wantStatus(r.here.do("POST", "/auth/logout", ""), 401) // nothing to say who
	for name, value := range map[string]string{"revoked": token, "garbage": "garbage"} {
		r.here.Jar.SetCookies(r.here.base, []*http.Cookie{{Name: "bulkhead", Value: value, Path: "/"}})
		again := r.here.do("POST", "/auth/logout", "")
		r.here.wantStatus(again, 200)
		if again.body["message"] != "Already logged out" || again.body["success"] != true || r.here.cookie() != "" {
			t.Errorf("%s: %s, cookie %q", name, again.text, r.here.cookie())
		}
	}
}

func TestLogoutRefusesAnInvalidBody(t *testing.T) {
	r := furnish(t)
	for body, status := range map[string]int{
		`{"scope":"everyone"}`: 400, `{"scope":""}`: 400, `{"scopes":"user"}`: 400, `[]`: 400, `{"scope":"` + strings.Repeat("x", maxBody) + `"}`: 413,
	} {
		out := r.here.do("POST", "/auth/logout", body)
		r.here.wantStatus(out, status)
	}
	r.here.wantStatus(r.here.do("POST", "/auth/logout", "", "Origin", "https://evil.example"), 403)
	r.here.wantStatus(r.here.do("POST", "/auth/logout", "", "Content-Type", "text/plain"), 403)
	r.want(t, r.hereLive, true)
	r.here.wantStatus(r.here.do("GET", "/auth/me", ""), 200)
}

// With an invalid bearer token the logout ends the cookie's login.
func TestLogoutResolvesCredentialsLikeEveryRequest(t *testing.T) {
	r := furnish(t)
	stale := "Bearer " + r.revoked(t, "ben")
	out := r.here.do("POST", "/auth/logout", "", "Authorization", stale)
	if out.body["message"] != "Logged out" {
		t.Errorf("answer %s", out.text)
	}
	r.want(t, r.hereLive, false)
	r.want(t, r.benLive, true)
}

func TestLogoutWithAnExpiredTokenEndsItsLogin(t *testing.T) {
	r := furnish(t)
	p := r.hereLive.Principal()
	past, err := r.sign(p.User, p.Login.ID, time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	r.here.Jar.SetCookies(r.here.base, []*http.Cookie{{Name: "bulkhead", Value: past, Path: "/"}})
	r.here.wantStatus(r.here.do("GET", "/auth/me", ""), 401)
	r.here.wantStatus(r.here.do("POST", "/auth/logout", ""), 200)
	r.want(t, r.hereLive, false)
	if _, ok := r.store.Login(p.Login.ID); ok {
		t.Error("the login is still live")
	}
}

func TestLogoutCommitsBeforeItEndsAndAnswers(t *testing.T) {
	r := furnish(t)
	for _, s := range []*session.Session{r.hereLive, r.thereLive} {
		s.OnEnd(func(error) {
			if err := r.store.Revoked(s.Principal()); !errors.Is(err, host.ErrLoggedOut) {
				t.Errorf("a session ends before the logout is committed: %v", err)
			}
		})
	}
	out := r.here.do("POST", "/auth/logout", `{"scope":"user"}`)
	r.here.wantStatus(out, 200)
	if out.body["sessions"].(map[string]any)["ended"] != 2.0 {
		t.Errorf("answer %s", out.text)
	}
	r.want(t, r.hereLive, false)
	r.want(t, r.thereLive, false)
}

func TestLogoutThatCannotBeCommittedFails(t *testing.T) {
	r := furnish(t)
	cookie := r.here.cookie()
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	out := r.here.do("POST", "/auth/logout", "")
	r.here.wantStatus(out, 503)
	if r.here.cookie() != cookie || out.body["success"] == true {
		t.Errorf("a failed logout answered %s and left cookie %q", out.text, r.here.cookie())
	}
}
