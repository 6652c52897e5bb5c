package authn

import (
	"crypto/ecdsa"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

func TestSignInAtAProvider(t *testing.T) {
	f, p, b := withIDP(t)
	page := b.begin("?redirect=/pods?ns=shop") // the only one, so it need not be named
	q, _ := url.Parse(page)
	for _, want := range []string{"state", "nonce", "code_challenge"} {
		if len(q.Query().Get(want)) < 40 {
			t.Errorf("%s is %q", want, q.Query().Get(want))
		}
	}
	if q.Query().Get("code_challenge_method") != "S256" || q.Query().Get("redirect_uri") != "http://127.0.0.1:8080/auth/callback/corp" {
		t.Errorf("sent to %s", page)
	}
	if to := b.comeBack(p.approve(t, page)); to != "/pods?ns=shop" {
		t.Errorf("led to %q", to)
	}
	if b.who() != "ann@example.com" {
		t.Errorf("signed in as %q", b.who())
	}
	who, err := f.Resolve(request("GET", "", b.cookie()))
	if err != nil || who.Issuer != p.URL || who.Subject != "1001" || who.Login.Method != "oidc:corp" {
		t.Errorf("%+v, %v", who, err)
	}
	if g := who.Claims["groups"]; g == nil || who.Claims["email"] != nil {
		t.Errorf("claims %v: the groups are kept for the mapping, the rest is not", who.Claims)
	}
	b.wantStatus(b.do("POST", "/auth/refresh", ""), 200)
	out := b.do("POST", "/auth/logout", "")
	b.wantStatus(out, 200)
	if b.who() != "" || out.body["signOut"] != nil {
		t.Errorf("after logout: %q, %s", b.who(), out.text)
	}
}

// Each deviation by itself, of the provider or of an attacker in between, fails the
// sign-in with a code on the sign-in page.
func TestOnlyAValidFlowSignsIn(t *testing.T) {
	claim := func(name string, v any) func(*idp) {
		return func(p *idp) {
			p.edit = func(_ map[string]any, c jwt.MapClaims) {
				if c[name] = v; v == nil {
					delete(c, name)
				}
			}
		}
	}
	person := func(name string, v any) func(*idp) { return func(p *idp) { p.person[name] = v } }
	query := func(edit func(url.Values)) func(*testing.T, *url.URL) {
		return func(_ *testing.T, u *url.URL) { q := u.Query(); edit(q); u.RawQuery = q.Encode() }
	}
	for name, c := range map[string]struct {
		provider func(*idp)
		callback func(*testing.T, *url.URL)
		code     string // "" for the honest ones
	}{
		"honest":                   {},
		"honest, verified as text": {provider: person("email_verified", "true")},
		"honest, several audiences": {provider: func(p *idp) {
			p.edit = func(_ map[string]any, c jwt.MapClaims) { c["aud"], c["azp"] = []string{"console", "x"}, "console" }
		}},
		"wrong nonce":               {claim("nonce", "another"), nil, "user_fetch_failed"},
		"no nonce":                  {claim("nonce", nil), nil, "user_fetch_failed"},
		"bad audience":              {claim("aud", "another"), nil, "user_fetch_failed"},
		"no audience":               {claim("aud", nil), nil, "user_fetch_failed"},
		"given to another client":   {claim("azp", "another"), nil, "user_fetch_failed"},
		"another issuer":            {claim("iss", "https://evil.example"), nil, "user_fetch_failed"},
		"expired":                   {claim("exp", time.Now().Add(-time.Minute).Unix()), nil, "user_fetch_failed"},
		"no subject":                {claim("sub", nil), nil, "user_fetch_failed"},
		"no issue time":             {claim("iat", nil), nil, "user_fetch_failed"},
		"another access token":      {claim("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"), nil, "user_fetch_failed"},
		"issued to a number":        {claim("azp", 7), nil, "user_fetch_failed"},
		"unverified address":        {person("email_verified", false), nil, "not_allowed"},
		"verification unsaid":       {claim("email_verified", nil), nil, "not_allowed"},
		"foreign domain":            {person("email", "ann@evil.example"), nil, "not_allowed"},
		"subdomain":                 {person("email", "ann@sub.example.com"), nil, "not_allowed"},
		"two ats":                   {person("email", "ann@evil.example@example.com"), nil, "not_allowed"},
		"domain as local part":      {person("email", "example.com@evil.example"), nil, "not_allowed"},
		"no address":                {claim("email", nil), nil, "user_fetch_failed"},
		"address of another type":   {person("email", []string{"ann@example.com"}), nil, "not_allowed"},
		"line break in the address": {person("email", "ann\n@example.com"), nil, "not_allowed"},
		"not in the directory":      {person("email", "eve@example.com"), nil, "not_allowed"},
		"no id token": {func(p *idp) {
			p.answer = func(w http.ResponseWriter, _ string) bool {
				w.Header().Set("Content-Type", "application/json")
				w.Write([]byte(`{"access_token":"x","token_type":"Bearer"}`))
				return true
			}
		}, nil, "user_fetch_failed"},
		"unsigned token":            {func(p *idp) { p.answer = unsigned(p) }, nil, "user_fetch_failed"},
		"provider says no":          {nil, query(func(q url.Values) { q.Del("code"); q.Set("error", "access_denied") }), "access_denied"},
		"provider fails":            {nil, query(func(q url.Values) { q.Del("code"); q.Set("error", "server_error") }), "provider_error"},
		"no code":                   {nil, query(func(q url.Values) { q.Del("code") }), "missing_code"},
		"no state":                  {nil, query(func(q url.Values) { q.Del("state") }), "csrf_validation_failed"},
		"changed state":             {nil, query(func(q url.Values) { q.Set("state", q.Get("state")+"A") }), "csrf_validation_failed"},
		"huge state":                {nil, query(func(q url.Values) { q.Set("state", strings.Repeat("A", 6000)) }), "csrf_validation_failed"},
		"mixed-up issuer":           {nil, query(func(q url.Values) { q.Set("iss", "https://evil.example") }), "csrf_validation_failed"},
		"issuer promised, not sent": {nil, query(func(q url.Values) { q.Del("iss") }), "csrf_validation_failed"},
		"another user's code":       {nil, query(func(q url.Values) { q.Set("code", "stolen") }), "exchange_failed"},
	} {
		t.Run(name, func(t *testing.T) {
			_, p, b := withIDP(t)
			if c.provider != nil {
				p.change(func() { c.provider(p) })
			}
			back := p.approve(t, b.begin("?method=corp"))
			if c.callback != nil {
				c.callback(t, back)
			}
			to := b.comeBack(back)
			u, err := url.Parse(to)
			if err != nil {
				t.Fatal(err)
			}
			if c.code == "" {
				if to != "/" || b.who() != "ann@example.com" {
					t.Errorf("led to %q as %q", to, b.who())
				}
				return
			}
			if u.Path != "/login" || u.Host != "" || u.Query().Get("error") != c.code || b.cookie() != "" || b.who() != "" {
				t.Errorf("led to %q with cookie %q, want error %s", to, b.cookie(), c.code)
			}
			if errorTexts[c.code] == "" {
				t.Errorf("the page has no words for %s", c.code)
			}
		})
	}
}

func unsigned(p *idp) func(http.ResponseWriter, string) bool {
	return func(w http.ResponseWriter, _ string) bool {
		c := jwt.MapClaims{"iss": p.URL, "aud": "console", "sub": "1001", "email": "ann@example.com", "email_verified": true,
			"iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix()}
		raw, _ := jwt.NewWithClaims(jwt.SigningMethodNone, c).SignedString(jwt.UnsafeAllowNoneSignatureType)
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{"access_token": "x", "token_type": "Bearer", "id_token": raw})
		return true
	}
}

// Origin: KubeStellar #6028 (state lost at a restart), and a state that was not
// bound to a browser.
func TestAStateIsValidOnceAndOnlyInItsBrowser(t *testing.T) {
	f, p, b := withIDP(t)
	other := f.browser(t, b.server)
	back := p.approve(t, b.begin("?method=corp"))
	if to := other.comeBack(back); !strings.Contains(to, "csrf_validation_failed") || other.who() != "" {
		t.Errorf("another browser was led to %q as %q", to, other.who())
	}
	// The failed attempt did not use up the state: an attacker cannot spoil another
	// user's sign-in.
	if to := b.comeBack(back); to != "/" || b.who() != "ann@example.com" {
		t.Fatalf("the browser that began was led to %q as %q", to, b.who())
	}
	code := back.Query().Get("code")
	p.change(func() { p.codes[code] = url.Values{} })
	before := p.exchange
	b.do("POST", "/auth/logout", "")
	if to := b.comeBack(back); !strings.Contains(to, "csrf_validation_failed") || b.who() != "" {
		t.Errorf("replayed: led to %q as %q", to, b.who())
	}
	if p.exchange != before {
		t.Error("a replayed state had a code exchanged")
	}
}

// Origin: KubeStellar #6064: a second tab's stale sign-in must not show an error to
// a signed-in user.
func TestAFailedCallbackRedirectsASignedInUserHome(t *testing.T) {
	_, p, b := withIDP(t)
	if to := b.signInAt(p); to != "/pods?ns=shop" {
		t.Fatalf("led to %q", to)
	}
	for _, query := range []string{"code=x&state=y", "error=access_denied", "", "code=x"} {
		u := &url.URL{Path: "/auth/callback/corp", RawQuery: query}
		if to := b.comeBack(u); to != "/" || b.who() != "ann@example.com" {
			t.Errorf("%q: led to %q as %q", query, to, b.who())
		}
	}
}

func TestKeysMayRotateAndForgedTokensDoNotFetchThem(t *testing.T) {
	_, p, b := withIDP(t)
	b.signInAt(p)
	p.change(func() { p.keys = map[string]*ecdsa.PrivateKey{"k2": newKey(t)}; p.signWith = "k2" })
	if to := b.signInAt(p); to != "/pods?ns=shop" || b.who() != "ann@example.com" {
		t.Errorf("after rotation: led to %q as %q", to, b.who())
	}
	// Tokens signed with a withdrawn key are refused.
	old := newKey(t)
	p.change(func() {
		published := p.keys
		p.answer = func(w http.ResponseWriter, _ string) bool {
			c := jwt.MapClaims{"iss": p.URL, "aud": "console", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix()}
			maps.Copy(c, p.person)
			tok := jwt.NewWithClaims(jwt.SigningMethodES256, c)
			tok.Header["kid"] = "k1"
			raw, _ := tok.SignedString(old)
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(map[string]any{"access_token": "x", "token_type": "Bearer", "id_token": raw})
			return published != nil
		}
	})
	b.do("POST", "/auth/logout", "")
	if to := b.signInAt(p); !strings.Contains(to, "user_fetch_failed") || b.who() != "" {
		t.Errorf("with a withdrawn key: led to %q as %q", to, b.who())
	}
}

// Claims that the ID token lacks come from userinfo, if its subject is the same.
func TestClaimsMayComeFromUserinfo(t *testing.T) {
	for subject, ok := range map[string]bool{"1001": true, "1002": false} {
		_, p, b := withIDP(t)
		p.change(func() {
			p.userinfo = jwt.MapClaims{"sub": subject, "email": "ann@example.com", "email_verified": true, "groups": []string{"x"}}
			p.person = jwt.MapClaims{"sub": "1001"}
		})
		b.signInAt(p)
		if (b.who() == "ann@example.com") != ok {
			t.Errorf("userinfo about %s: signed in as %q", subject, b.who())
		}
	}
}

// The ID token has one address, and userinfo has email_verified for another.
func TestEmailVerifiedAppliesToTheEmailBesideIt(t *testing.T) {
	for address, ok := range map[string]bool{"ann@example.com": true, "eve@example.com": false} {
		_, p, b := withIDP(t)
		p.change(func() {
			p.userinfo = jwt.MapClaims{"sub": "1001", "email": address, "email_verified": true, "groups": []string{"x"}}
			p.person = jwt.MapClaims{"sub": "1001", "email": "ann@example.com"}
		})
		b.signInAt(p)
		if (b.who() == "ann@example.com") != ok {
			t.Errorf("userinfo verifies %s: signed in as %q", address, b.who())
		}
	}
}

// The host starts and serves without its provider, and the page says why sign-in is
// not possible.
func TestAnUnreachableProviderIsReportedOnThePage(t *testing.T) {
	p := newIDP(t)
	p.Close()
	f := setUp(t, func(c *Config) { c.Options = Options{OIDC: []OIDC{corp(t, p)}} })
	b := f.browser(t, f.serve(t))
	if to := b.begin("?method=corp"); to != "/login?error=provider_unavailable" {
		t.Errorf("led to %q", to)
	}
}

// Origin: kobs v0.11 appended a redirect to a static state: an open redirect.
func TestRedirectStaysOnTheSite(t *testing.T) {
	_, _, b := withIDP(t)
	for _, bad := range []string{"https://evil.example", "//evil.example", "/\\evil.example", "\\/evil.example", "javascript:alert(1)", "/\t/evil.example",
		"/%0d%0aSet-Cookie:x", "pods", "http:/x"} {
		b.wantStatus(b.do("GET", "/auth/login?method=corp&redirect="+url.QueryEscape(bad), ""), 400)
	}
	// A page of another site can redirect users to the sign-in page only.
	r := b.do("GET", "/auth/login?method=corp&redirect=/x", "", "Sec-Fetch-Site", "cross-site")
	if r.header.Get("Location") != "/login?redirect=%2Fx" || b.do("GET", "/auth/login?method=nope", "").status != 404 {
		t.Errorf("from a foreign page: %d to %q", r.status, r.header.Get("Location"))
	}
}

func FuzzLocalPath(f *testing.F) {
	for _, s := range []string{"/", "/pods?ns=shop#x", "//evil.example", "/\\evil", "https://evil.example", "/%2f/evil", "/a/../..//evil"} {
		f.Add(s)
	}
	base, _ := url.Parse("https://console.example.com/login")
	f.Fuzz(func(t *testing.T, s string) {
		path, ok := localPath(s)
		if !ok {
			return
		}
		// As a browser parses it: backslashes are slashes, white space at the ends
		// and control characters are dropped (WHATWG URL).
		read := strings.NewReplacer("\\", "/", "\t", "", "\n", "", "\r", "").Replace(strings.Trim(path, " \x00\x1f"))
		u, err := base.Parse(read)
		if err != nil || u.Host != base.Host || u.Scheme != base.Scheme || strings.HasPrefix(read, "//") {
			t.Fatalf("%q is accepted and leads to %v, %v", s, u, err)
		}
	})
}

// A login by a method that is no longer configured is rejected. Origin: tokens that
// survived the removal of their provider (Rancher).
func TestALoginEndsWhenItsMethodIsRemoved(t *testing.T) {
	f, p, b := withIDP(t)
	b.signInAt(p)
	cfg := f.Config
	cfg.Options.OIDC = nil
	without, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if who, err := without.Resolve(request("GET", "", b.cookie())); host.KindOf(err) != host.Unauthenticated {
		t.Errorf("%+v, %v", who, err)
	}
}
