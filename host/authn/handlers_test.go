package authn

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

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
		t.Errorf("a user without roles or teams: %s", me.text)
	}
}

func TestAFailedDevSignInChangesNothing(t *testing.T) {
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
	f := setUp(t, func(c *Config) { c.Options.Lifetimes.Idle = host.Duration(24 * time.Hour) })
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
		if who, _ := f.Resolve(request("GET", "Bearer "+raw, "")); who.RefreshDue != c.due {
			t.Errorf("%s: due %v", name, who.RefreshDue)
		}
	}
	if who, err := f.Resolve(request("GET", "", "")); err == nil || who.RefreshDue {
		t.Error("a request without a credential is due for a refresh")
	}
}

func TestTokenEndsWithTheLogin(t *testing.T) {
	f := setUp(t, func(c *Config) { c.Options.Lifetimes.Login = host.Duration(30 * time.Minute) })
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
