package authn

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// serve mounts the handlers on a loopback listener, as the gateway does.
func (f *fixture) serve(t testing.TB) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	for path, h := range map[string]func(http.ResponseWriter, *http.Request) error{
		"POST /auth/login": f.Login, "POST /auth/logout": f.Logout, "POST /auth/refresh": f.Refresh, "GET /auth/me": f.Me,
		"GET /auth/login": f.Begin, "GET /auth/callback/{method}": f.Callback, "GET /login": f.Page,
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if err := h(w, r); err != nil {
				e, _ := errors.AsType[*host.Error](err)
				http.Error(w, e.Public(), e.HTTPStatus())
			}
		})
	}
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv
}

// browser is a client with a cookie jar.
type browser struct {
	t testing.TB
	*http.Client
	base   *url.URL
	server *httptest.Server
}

func (f *fixture) browser(t testing.TB, srv *httptest.Server) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	base, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar, Transport: srv.Client().Transport}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &browser{t, client, base, srv}
}

type reply struct {
	status int
	header http.Header
	text   string
	body   map[string]any
}

func (b *browser) do(method, path, body string, headers ...string) reply {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.base.String()+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := b.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	out := reply{status: resp.StatusCode, header: resp.Header, text: strings.TrimSpace(string(text))}
	_ = json.Unmarshal(text, &out.body)
	return out
}

func (b *browser) cookie() string {
	for _, c := range b.Jar.Cookies(b.base) {
		if c.Name == "bulkhead" {
			return c.Value
		}
	}
	return ""
}

func (b *browser) signIn(user string) {
	b.t.Helper()
	if r := b.do("POST", "/auth/login", `{"user":"`+user+`"}`); r.status != 200 || b.cookie() == "" {
		b.t.Fatalf("sign-in: %d %s", r.status, r.text)
	}
}

func (b *browser) wantStatus(r reply, status int) {
	b.t.Helper()
	if r.status != status {
		b.t.Errorf("status %d (%s), want %d", r.status, r.text, status)
	}
}

func TestDevSignInAndMe(t *testing.T) {
	f := setUp(t)
	b := f.browser(t, f.serve(t))
	b.wantStatus(b.do("GET", "/auth/me", ""), 401)
	login := b.do("POST", "/auth/login", `{"user":"ann"}`)
	b.wantStatus(login, 200)
	set := login.header.Get("Set-Cookie")
	for _, attribute := range []string{"bulkhead=", "Path=/", "HttpOnly", "SameSite=Lax", "Max-Age=431"} {
		if !strings.Contains(set, attribute) {
			t.Errorf("cookie %q lacks %s", set, attribute)
		}
	}
	if strings.Contains(set, "Secure") {
		t.Error("a Secure cookie on http")
	}
	if strings.Contains(login.text, b.cookie()) {
		t.Error("the answer contains the token")
	}
	me := b.do("GET", "/auth/me", "")
	b.wantStatus(me, 200)
	if me.text != login.text || me.header.Get("Cache-Control") != "no-store" {
		t.Errorf("me: %s, %v", me.text, me.header)
	}
	if me.body["user"] != "ann" || me.body["name"] != "Ann Lee" || me.body["login"].(map[string]any)["method"] != "dev" {
		t.Errorf("me: %s", me.text)
	}
	if roles := me.body["roles"].([]any); len(roles) != 1 || roles[0] != "editor" {
		t.Errorf("roles %v", roles)
	}
	b.signIn("ben")
	if me := b.do("GET", "/auth/me", ""); me.body["roles"] == nil || me.body["teams"] == nil {
		t.Errorf("somebody without roles or teams: %s", me.text)
	}
}

func TestBadSignInsChangeNothing(t *testing.T) {
	f := setUp(t)
	b := f.browser(t, f.serve(t))
	for name, c := range map[string]struct {
		body    string
		headers []string
		status  int
		says    string
	}{
		"unknown user":      {`{"user":"eve"}`, nil, 401, "eve"},
		"no user":           {`{}`, nil, 400, "user"},
		"empty body":        {``, nil, 400, "user"},
		"unknown field":     {`{"user":"ann","admin":true}`, nil, 400, "admin"},
		"two values":        {`{"user":"ann"}{"user":"ben"}`, nil, 400, "more than one"},
		"not JSON":          {`user=ann`, nil, 400, "body"},
		"wrong type":        {`{"user":7}`, nil, 400, "user"},
		"huge":              {`{"user":"` + strings.Repeat("a", maxBody) + `"}`, nil, 413, "4096"},
		"form":              {`{"user":"ann"}`, []string{"Content-Type", "text/plain"}, 400, "Content-Type"},
		"foreign origin":    {`{"user":"ann"}`, []string{"Origin", "https://evil.example"}, 403, "cross-site"},
		"cross-site":        {`{"user":"ann"}`, []string{"Sec-Fetch-Site", "cross-site"}, 403, "cross-site"},
		"own site, foreign": {`{"user":"ann"}`, []string{"Sec-Fetch-Site", "same-site"}, 403, "cross-site"},
	} {
		r := b.do("POST", "/auth/login", c.body, c.headers...)
		if r.status != c.status || !strings.Contains(r.text, c.says) || r.header.Get("Set-Cookie") != "" || b.cookie() != "" {
			t.Errorf("%s: %d %s, cookie %q", name, r.status, r.text, r.header.Get("Set-Cookie"))
		}
	}
}

func TestDevSignInNeedsALoopbackListener(t *testing.T) {
	f := setUp(t)
	r := httptest.NewRequest("POST", "/auth/login", strings.NewReader(`{"user":"ann"}`))
	r.Header.Set("Content-Type", "application/json")
	if err := f.Login(httptest.NewRecorder(), r); host.KindOf(err) != host.NotFound {
		t.Errorf("on an unknown listener: %v", err)
	}
	off := setUp(t, func(c *Config) { c.Options.Dev = nil })
	b := off.browser(t, off.serve(t))
	b.wantStatus(b.do("POST", "/auth/login", `{"user":"ann"}`), 404)
}

func TestSignInRotatesTheLogin(t *testing.T) {
	f := setUp(t)
	b := f.browser(t, f.serve(t))
	b.signIn("ann")
	first := b.cookie()
	b.signIn("ann")
	if _, err := f.Resolve(request("GET", "", first)); err == nil {
		t.Error("the login that the cookie was replaced of is still good")
	}
	b.wantStatus(b.do("GET", "/auth/me", ""), 200)
}

// rooms is a browser signed in as ann beside another of hers and one of ben's,
// each with a session open.
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
	s, err := r.table.Open(context.WithoutCancel(t.Context()), p, session.Info{Kind: session.Socket})
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
			// As in the host, what is committed ends sessions by itself. They are
			// counted all the same.
			r.store.OnEnding(func(e state.Ending) {
				if e.Login != "" {
					r.table.EndLogin(t.Context(), e.User, e.Login, e.Cause)
				} else {
					r.table.EndUser(t.Context(), e.User, e.Cause)
				}
			})
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

func TestLogoutRefusesWhatItDoesNotUnderstand(t *testing.T) {
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

// A stale header must not keep a logout from reaching the cookie's login.
func TestLogoutResolvesLikeEveryDoor(t *testing.T) {
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

// ending is a session table that looks, when it is asked to end sessions, at
// whether the logout was committed before.
type ending struct {
	*session.Table
	t *testing.T
	f *fixture
}

func (e *ending) EndUser(ctx context.Context, user host.UserID, cause error) session.Result {
	for _, v := range e.List(user) {
		p := &host.Principal{User: user, Login: host.Login{ID: v.Login}}
		if err := e.f.store.Revoked(p); !errors.Is(err, host.ErrLoggedOut) {
			e.t.Errorf("sessions end before the logout is committed: %v", err)
		}
	}
	return e.Table.EndUser(ctx, user, cause)
}

func TestLogoutCommitsBeforeItEndsAndAnswers(t *testing.T) {
	r := furnish(t)
	r.Sessions = &ending{r.table, t, r.fixture}
	out := r.here.do("POST", "/auth/logout", `{"scope":"user"}`)
	r.here.wantStatus(out, 200)
	if out.body["sessions"].(map[string]any)["ended"] != 2.0 {
		t.Errorf("answer %s", out.text)
	}
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

func TestRefreshKeepsTheLogin(t *testing.T) {
	r := furnish(t)
	old, before := r.here.cookie(), r.hereLive.Principal()
	out := r.here.do("POST", "/auth/refresh", "")
	r.here.wantStatus(out, 200)
	now := r.here.cookie()
	if now == old || out.body["refreshed"] != true || strings.Contains(out.text, now) {
		t.Errorf("answer %s", out.text)
	}
	for name, token := range map[string]string{"old": old, "new": now} {
		p, err := r.Resolve(request("GET", "", token))
		if err != nil || p.Login.ID != before.Login.ID || !p.Login.Until.Equal(before.Login.Until) {
			t.Errorf("%s token: %+v, %v", name, p, err)
		}
	}
	r.want(t, r.hereLive, true)
	r.here.wantStatus(r.here.do("POST", "/auth/logout", ""), 200)
	for _, token := range []string{old, now} {
		if _, err := r.Resolve(request("GET", "", token)); err == nil {
			t.Error("a token of the login outlived it")
		}
	}
	r.here.wantStatus(r.here.do("POST", "/auth/refresh", ""), 401)
	r.there.wantStatus(r.there.do("POST", "/auth/refresh", "", "Authorization", "Bearer"), 200) // falls back to the cookie
	r.there.wantStatus(r.there.do("POST", "/auth/refresh", "", "Sec-Fetch-Site", "cross-site"), 403)
}

func TestRefreshIsDuePastHalfLife(t *testing.T) {
	f := setUp(t, func(c *Config) { c.Options.Lifetimes.Idle = manifest.Duration(24 * time.Hour) })
	_, p := f.signIn(t, "ann")
	now := time.Now()
	for name, c := range map[string]struct {
		issued, expires time.Duration
		due             bool
	}{
		"new":                 {0, time.Hour, false},
		"before half":         {-29 * time.Minute, 31 * time.Minute, false},
		"past half":           {-31 * time.Minute, 29 * time.Minute, true},
		"expired":             {-2 * time.Hour, -time.Hour, false},
		"ends with the login": {-20 * time.Hour, p.Login.Until.Sub(now), false},
	} {
		raw, err := f.sign("ann", p.Login.ID, now.Add(c.issued), now.Add(c.expires))
		if err != nil {
			t.Fatal(err)
		}
		if got := f.RefreshDue(request("GET", "Bearer "+raw, "")); got != c.due {
			t.Errorf("%s: due %v", name, got)
		}
	}
	if f.RefreshDue(request("GET", "", "")) {
		t.Error("nobody has something to refresh")
	}
}

func TestTokenEndsWithTheLogin(t *testing.T) {
	f := setUp(t, func(c *Config) { c.Options.Lifetimes.Login = manifest.Duration(30 * time.Minute) })
	raw, p := f.signIn(t, "ann")
	token, err := f.verify(f.strict, raw)
	if err != nil || token.expires.After(p.Login.Until) {
		t.Errorf("token until %v, login until %v, %v", token.expires, p.Login.Until, err)
	}
}

func TestSecureCookieOnHTTPS(t *testing.T) {
	f := setUp(t, func(c *Config) {
		c.PublicURL, c.Options.Dev = &url.URL{Scheme: "https", Host: "console.example.com"}, nil
	})
	set, cleared := httptest.NewRecorder(), httptest.NewRecorder()
	f.cookie.set(set, "token", time.Now().Add(time.Hour))
	f.cookie.clear(cleared)
	const attributes = "; HttpOnly; Secure; SameSite=Lax"
	if got := set.Header().Get("Set-Cookie"); !strings.HasPrefix(got, "__Host-bulkhead=token; Path=/; Max-Age=35") || !strings.HasSuffix(got, attributes) {
		t.Errorf("set: %s", got)
	}
	if got := cleared.Header().Get("Set-Cookie"); got != "__Host-bulkhead=; Path=/; Max-Age=0"+attributes {
		t.Errorf("cleared: %s", got)
	}
}

func TestACrossSiteRefusalNamesBothOriginsAndIsBounded(t *testing.T) {
	f := setUp(t)
	for _, c := range []struct{ header, value, want string }{
		{"Origin", "http://127.0.0.1:9311", `a page of "http://127.0.0.1:9311"; the console's pages are of "http://127.0.0.1:8080", by publicURL`},
		{"Origin", "a\x1b[31m\xff" + strings.Repeat("x", 5000), `a page of "a\x1b[31m\xffxxx`},
		{"Sec-Fetch-Site", "cross-site", `a page of another site; the console's pages are of "http://127.0.0.1:8080"`},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set(c.header, c.value)
		e, ok := errors.AsType[*host.Error](f.CheckSite(r))
		if !ok || !strings.Contains(e.Detail, c.want) || len(e.Detail) > 300 {
			t.Errorf("%.30q: %v", c.value, e)
		}
	}
}

func TestCheckOrigin(t *testing.T) {
	local := setUp(t)
	public := &url.URL{Scheme: "https", Host: "Console.example.com:443"}
	secure := &Service{Config: Config{PublicURL: public}, cookie: cookieFor(public), origins: originsOf(public)}

	const ajax = "X-Requested-With: XMLHttpRequest"
	for _, c := range []struct {
		name    string
		service *Service
		method  string
		cookie  bool
		headers []string
		ok      bool
	}{
		{"a page reads", local.Service, "GET", true, []string{"Sec-Fetch-Site: cross-site"}, true},
		{"a program with a cookie jar", local.Service, "POST", true, []string{ajax}, true},
		{"a program with a JSON body", local.Service, "POST", true, []string{"Content-Type: application/json; charset=utf-8"}, true},
		{"a program without a cookie", local.Service, "POST", false, []string{"Content-Type: text/plain"}, true},
		{"a form", local.Service, "POST", true, []string{"Content-Type: application/x-www-form-urlencoded"}, false},
		{"a form that looks like JSON", local.Service, "POST", true, []string{"Content-Type: text/plain; application/json"}, false},
		{"no content type", local.Service, "DELETE", true, nil, false},
		{"another X-Requested-With", local.Service, "DELETE", true, []string{"X-Requested-With: me"}, false},
		{"our page", local.Service, "POST", true, []string{ajax, "Sec-Fetch-Site: same-origin", "Origin: http://127.0.0.1:8080"}, true},
		{"our page by another name", local.Service, "POST", true, []string{ajax, "Origin: http://localhost:8080"}, true},
		{"another port", local.Service, "POST", true, []string{ajax, "Origin: http://127.0.0.1:9090"}, false},
		{"a foreign page", local.Service, "POST", true, []string{ajax, "Origin: https://evil.example"}, false},
		{"a page that hides", local.Service, "POST", true, []string{ajax, "Origin: null"}, false},
		{"cross-site", local.Service, "PATCH", true, []string{ajax, "Sec-Fetch-Site: cross-site"}, false},
		{"a sibling", local.Service, "POST", true, []string{ajax, "Sec-Fetch-Site: same-site"}, false},
		{"two origins", local.Service, "POST", true, []string{ajax, "Origin: http://127.0.0.1:8080", "Origin: https://evil.example"}, false},
		{"an upgrade by a program", local.Service, "GET", true, []string{"Upgrade: websocket"}, true},
		{"an upgrade by our page", local.Service, "GET", true, []string{"Upgrade: websocket", "Origin: http://127.0.0.1:8080"}, true},
		{"an upgrade by a foreign page", local.Service, "GET", true, []string{"Upgrade: websocket", "Origin: https://evil.example"}, false},
		{"an upgrade without a cookie by a foreign page", local.Service, "GET", false, []string{"Upgrade: websocket", "Origin: https://evil.example"}, false},
		{"https: our page", secure, "POST", true, []string{ajax, "Origin: https://console.example.com"}, true},
		{"https: downgraded", secure, "POST", true, []string{ajax, "Origin: http://console.example.com"}, false},
		{"https: localhost", secure, "POST", true, []string{ajax, "Origin: http://localhost"}, false},
		{"https: suffix", secure, "POST", true, []string{ajax, "Origin: https://console.example.com.evil.example"}, false},
	} {
		r := httptest.NewRequest(c.method, "/", nil)
		if c.cookie {
			r.AddCookie(&http.Cookie{Name: c.service.cookie.name, Value: "x"})
		}
		for _, h := range c.headers {
			k, v, _ := strings.Cut(h, ": ")
			r.Header.Add(k, v)
		}
		err := c.service.CheckOrigin(r)
		if (err == nil) != c.ok || err != nil && host.KindOf(err) != host.Forbidden {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
