package authn

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Promises that other consoles broke, each with its origin. Those that need a
// session table, a provider or a proxy are in the files of their subject.

// Origin: KubeStellar #6579.
func TestARevokedTokenIsNotRefreshed(t *testing.T) {
	f := setUp(t)
	for name, raw := range map[string]string{"revoked": f.revoked(t, "ann"), "expired": f.expired(t, "ann"), "garbage": "x"} {
		w := httptest.NewRecorder()
		r := request("POST", "", raw)
		r.Header.Set("X-Requested-With", "XMLHttpRequest")
		if err := resolving(f.Service, f.Refresh)(w, r); host.KindOf(err) != host.Unauthenticated || w.Header().Get("Set-Cookie") != "" {
			t.Errorf("%s: %v, %q", name, err, w.Header().Get("Set-Cookie"))
		}
	}
}

// Origin: KubeStellar #6026 and #6063, which were fixed in the middleware but not
// in refresh, nor for a token that refresh itself had revoked.
func TestRefreshResolvesCredentialsLikeEveryRequest(t *testing.T) {
	f := setUp(t)
	cookie, p := f.signIn(t, "ann")
	for _, header := range []string{"Basic eDp5", "Bearer", "Bearer garbage", "Bearer " + f.revoked(t, "ann"), "Bearer " + f.expired(t, "ann")} {
		w := httptest.NewRecorder()
		r := request("POST", header, cookie)
		r.Header.Set("X-Requested-With", "XMLHttpRequest")
		if err := resolving(f.Service, f.Refresh)(w, r); err != nil {
			t.Errorf("%q: %v", header, err)
			continue
		}
		again, err := f.Resolve(request("GET", "", strings.TrimPrefix(strings.Split(w.Header().Get("Set-Cookie"), ";")[0], "bulkhead=")))
		if err != nil || again.Login.ID != p.Login.ID {
			t.Errorf("%q: %+v, %v", header, again, err)
		}
	}
}

// Origin: KubeStellar #6060, #6061, #6065, #6930: two tabs that refreshed at once
// signed each other out, or refreshed for ever.
func TestTabsThatRefreshAtOnceStaySignedIn(t *testing.T) {
	f := setUp(t)
	b := f.browser(t, f.serve(t))
	b.signIn("ann")
	first := b.cookie()
	replies := make(chan reply, 8)
	for range cap(replies) {
		go func() { replies <- b.do("POST", "/auth/refresh", "") }()
	}
	for range cap(replies) {
		b.wantStatus(<-replies, 200)
	}
	for _, token := range []string{first, b.cookie()} {
		if _, err := f.Resolve(request("GET", "", token)); err != nil {
			t.Errorf("a tab's token: %v", err)
		}
		if who, err := f.Resolve(request("GET", "", token)); err != nil || who.RefreshDue {
			t.Error("a fresh token wants a refresh")
		}
	}
}

// Origin: KubeStellar #2449, #4278, #6585, #6590.
func TestTokensAreReadFromHeaderAndCookieAlone(t *testing.T) {
	f := setUp(t)
	raw, _ := f.signIn(t, "ann")
	for _, r := range []*http.Request{
		httptest.NewRequest("GET", "/x/stream?_token="+raw, nil),
		httptest.NewRequest("GET", "/x?access_token="+raw+"&token="+raw, nil),
		httptest.NewRequest("POST", "/x", strings.NewReader("access_token="+raw)),
	} {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-WebSocket-Protocol", raw)
		if p, err := f.Resolve(r); err == nil {
			t.Errorf("%s %s is %s", r.Method, r.URL.Path, p.User)
		}
	}
}

// Origin: KubeStellar #1787, #2546.
func TestPlaceholderTokensAreRefused(t *testing.T) {
	f := setUp(t)
	for _, raw := range []string{"demo-token", "null", "undefined", "dev-user", "0", "none"} {
		if p, err := f.Resolve(request("GET", "Bearer "+raw, raw)); err == nil {
			t.Errorf("%s is %s", raw, p.User)
		}
	}
}

// Origin: KubeStellar #8059: each restart signed all users out.
func TestLoginsSurviveARestart(t *testing.T) {
	f := setUp(t)
	raw, p := f.signIn(t, "ann")
	gone := f.revoked(t, "ben")
	after := f.restart(t)
	if again, err := after.Resolve(bearing(raw)); err != nil || again.Login.ID != p.Login.ID {
		t.Errorf("%+v, %v", again, err)
	}
	if who, err := after.Resolve(bearing(gone)); host.KindOf(err) != host.Unauthenticated {
		t.Errorf("who signed out before is %+v, %v", who, err)
	}
}

// Origin: KubeStellar #6586, #6587: without a credential, or with a revoked one,
// the middleware answered before logout could.
func TestLogoutWithoutACredentialDiffersFromARepeatedLogout(t *testing.T) {
	f := setUp(t)
	b := f.browser(t, f.serve(t))
	b.wantStatus(b.do("POST", "/auth/logout", ""), 401)
	for _, raw := range []string{f.revoked(t, "ann"), "garbage"} {
		out := b.do("POST", "/auth/logout", "", "Authorization", "Bearer "+raw)
		if out.status != 200 || out.body["message"] != "Already logged out" {
			t.Errorf("%d %s", out.status, out.text)
		}
	}
}

// Origin: KubeStellar #6588, #8680, and kobs, which changed state by GET.
func TestEveryUnsafeMethodNeedsTheCSRFHeader(t *testing.T) {
	f := setUp(t)
	raw, _ := f.signIn(t, "ann")
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "PROPFIND", "post"} {
		r := request("POST", "", raw)
		r.Method = method
		if err := f.CheckOrigin(r); host.KindOf(err) != host.Forbidden {
			t.Errorf("%s with a cookie and nothing else: %v", method, err)
		}
	}
	b := f.browser(t, f.serve(t))
	b.signIn("ann")
	for _, path := range []string{"/auth/logout", "/auth/refresh"} {
		if r := b.do("GET", path, ""); r.status != 405 && r.status != 404 {
			t.Errorf("GET %s: %d", path, r.status)
		}
	}
	b.wantStatus(b.do("GET", "/auth/me", ""), 200)
}

// Origin: KubeStellar #6583: a provider's text went into page and log unchanged.
func TestTheProvidersErrorTextIsSanitised(t *testing.T) {
	_, _, b := withIDP(t)
	said := "no\r\nSet-Cookie: x=y <script>\u202e" + strings.Repeat("z", 5000)
	to := b.comeBack(&url.URL{Path: "/auth/callback/corp", RawQuery: url.Values{"error": {"x\nlevel=INFO"}, "error_description": {said}}.Encode()})
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	d := u.Query().Get("error_description")
	if u.Query().Get("error") != "provider_error" || len(d) > maxShown+len("...") || !strings.HasPrefix(d, "no  Set-Cookie: x=y <script>?z") {
		t.Errorf("led to %q", to)
	}
}

// failingStore refuses writes.
type failingStore struct{ Store }

func (failingStore) Once(context.Context, string, time.Time) (bool, error) {
	return false, &host.Error{Kind: host.Unavailable, Err: errors.New("down")}
}

// A sign-in fails if the store cannot record that its state is used.
func TestAnUnavailableStoreFailsTheSignIn(t *testing.T) {
	f, p, b := withIDP(t)
	back := p.approve(t, b.begin("?method=corp"))
	f.State = failingStore{f.State}
	if to := b.comeBack(back); to != "/login?error=oauth_state_store_failed" || b.who() != "" {
		t.Errorf("led to %q as %q", to, b.who())
	}
}

// Sign-in makes a new login and cookie, and ends the login of a planted cookie.
func TestSignInMakesANewLogin(t *testing.T) {
	f, p, b := withIDP(t)
	planted, attacker := f.signIn(t, "ben")
	b.Jar.SetCookies(b.base, []*http.Cookie{{Name: "bulkhead", Value: planted, Path: "/"}})
	b.signInAt(p)
	if b.cookie() == planted || b.who() != "ann@example.com" {
		t.Errorf("the cookie is of %q", b.who())
	}
	if err := f.store.Revoked(attacker); !errors.Is(err, host.ErrLoggedOut) {
		t.Errorf("the login that was planted: %v", err)
	}
}

// Origin: kobs #445: a cookie that contained teams and permissions exceeded 4096
// bytes and locked out users with many teams.
func TestTheCookieIsSmallForAUserInManyTeams(t *testing.T) {
	f, p, b := withIDP(t)
	var groups []string
	for i := range 200 {
		groups = append(groups, "a-team-with-a-rather-long-name-"+time.Duration(i).String()+"@example.com")
	}
	f.people.set("ann@example.com", Person{Teams: groups})
	p.change(func() { p.person["groups"] = groups })
	b.signInAt(p)
	if n := len(b.cookie()); n == 0 || n > 1024 || b.who() != "ann@example.com" {
		t.Errorf("a cookie of %d bytes for %q", n, b.who())
	}
	p.change(func() { p.person["groups"] = []string{strings.Repeat("x", 20<<10)} })
	b.do("POST", "/auth/logout", "")
	if to := b.signInAt(p); !strings.Contains(to, "too_many_groups") {
		t.Errorf("more groups than can be kept led to %q", to)
	}
}
