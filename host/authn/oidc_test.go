package authn

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
)

const tenant = "11111111-2222-3333-4444-555555555555"

// withProvider is withIDP for a provider whose users need not be listed.
func withProvider(t testing.TB, edit ...func(*OIDC, *idp)) (*fixture, *idp, *browser) {
	f, p, b := withIDP(t, func(c *OIDC) { c.Unlisted = true })
	cfg := f.Config
	c := cfg.Options.OIDC[0]
	for _, e := range edit {
		e(&c, p)
	}
	var bad config.Problems
	c.check(&bad, map[string]bool{})
	if err := bad.Err(); err != nil {
		t.Error(err)
	}
	cfg.Options.OIDC = []OIDC{c}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	f.people.unlisted = true
	f.Service = s
	b.server = f.serve(t)
	b.base, _ = url.Parse(b.server.URL)
	return f, p, b
}

// signInAnywhere signs in at a provider that sends no "iss".
func (b *browser) signInAnywhere(p *idp) string {
	b.t.Helper()
	back := p.approve(b.t, b.begin("?method=corp"))
	q := back.Query()
	q.Del("iss")
	back.RawQuery = q.Encode()
	return b.comeBack(back)
}

func TestSignOutSendsTheIDTokenHint(t *testing.T) {
	signOut := func(b *browser) url.Values {
		t.Helper()
		out := b.do("POST", "/auth/logout", "")
		b.wantStatus(out, 200)
		to, _ := out.body["signOut"].(string)
		u, err := url.Parse(to)
		if err != nil || to != "" && u.Path != "/end" {
			t.Errorf("sign out at %q", to)
		}
		return u.Query()
	}
	end := func(o *OIDC, _ *idp) { o.EndSession = true }
	f, p, b := withProvider(t, end)
	b.signInAt(p)
	first := p.sent
	q := signOut(b)
	if q.Get("id_token_hint") != first || q.Get("client_id") != "console" || q.Get("post_logout_redirect_uri") != "http://127.0.0.1:8080/login" {
		t.Errorf("sign out with %v", q)
	}
	// The hint is kept with the login, through a refresh and a restart.
	b.signInAt(p)
	b.wantStatus(b.do("POST", "/auth/refresh", ""), 200)
	f.Service = f.restart(t)
	b.server = f.serve(t)
	b.base, _ = url.Parse(b.server.URL)
	if _, err := f.mappers["oidc:corp"].(*oidcProvider).discover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if q := signOut(b); q.Get("id_token_hint") != p.sent {
		t.Errorf("after a restart: %v", q)
	}
	// A token too large for a URL, or for the record, is not kept.
	_, p, b = withProvider(t, end, func(_ *OIDC, p *idp) { p.change(func() { p.person["pad"] = strings.Repeat("x", maxHint) }) })
	b.signInAt(p)
	if q := signOut(b); q.Get("id_token_hint") != "" || q.Get("client_id") != "console" {
		t.Errorf("with a huge token: %d bytes", len(q.Get("id_token_hint")))
	}
	_, p, b = withProvider(t, end, func(o *OIDC, p *idp) {
		o.Claims = []string{"big"}
		p.change(func() {
			p.person = jwt.MapClaims{"sub": "1001", "email": "ann@example.com", "email_verified": true, "groups": []string{}, "pad": strings.Repeat("x", maxHint/2)}
			p.userinfo = jwt.MapClaims{"sub": "1001", "big": strings.Repeat("y", 12<<10)}
		})
	})
	if to := b.signInAt(p); to != "/pods?ns=shop" {
		t.Fatalf("led to %q", to)
	}
	if q := signOut(b); q.Get("id_token_hint") != "" || q.Get("client_id") != "console" {
		t.Errorf("beside big claims: %d bytes", len(q.Get("id_token_hint")))
	}
}

func TestTheSignOutOfAProviderIsCheckedLikeItsOtherEndpoints(t *testing.T) {
	for _, field := range []string{"authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint", "end_session_endpoint"} {
		for _, bad := range []string{"javascript:alert(1)", "http://evil.example/out", "https://user:pw@id.example/", "/end"} {
			f, _, b := withProvider(t, func(_ *OIDC, p *idp) { p.change(func() { p.meta = jwt.MapClaims{field: bad} }) })
			log := f.keepLog()
			if to := b.begin("?method=corp"); to != "/login?error=provider_unavailable" || len(log.Take(field)) != 1 {
				t.Errorf("%s %s: led to %q", field, bad, to)
			}
		}
	}
}

func TestUserinfoIsOptionalIfTheIDTokenNamesTheUser(t *testing.T) {
	for status, ok := range map[int]bool{400: true, 401: true, 403: true, 404: true, 429: false, 500: false, 503: false} {
		f, p, b := withProvider(t, func(_ *OIDC, p *idp) {
			p.change(func() {
				p.person = jwt.MapClaims{"sub": "1001", "email": "ann@example.com", "email_verified": true}
				p.userinfoStatus = status
			})
		})
		log := f.keepLog()
		to := b.signInAt(p)
		if (to == "/pods?ns=shop" && b.who() == "ann@example.com") != ok || !ok && !strings.Contains(to, "error=temporarily_unavailable") {
			t.Errorf("%d: led to %q as %q", status, to, b.who())
		}
		if lines := log.Take("userinfo_endpoint", "status"); ok && len(lines) != 1 {
			t.Errorf("%d: log %q", status, lines)
		}
	}
	// The claim with the user id is required.
	_, p, b := withProvider(t, func(_ *OIDC, p *idp) {
		p.change(func() { p.person, p.userinfoStatus = jwt.MapClaims{"sub": "1001", "groups": []string{"x"}}, 401 })
	})
	if to := b.signInAt(p); !strings.Contains(to, "error=user_fetch_failed") || b.who() != "" {
		t.Errorf("without an address: led to %q as %q", to, b.who())
	}
}

func TestTheClientAuthenticatesAsTheConfigurationSays(t *testing.T) {
	for what, c := range map[string]struct {
		auth    string
		methods []string
		inBody  bool
		ok      bool
	}{
		"nothing said":                             {"", nil, false, true},
		"post alone is offered":                    {"", []string{authPost}, true, true},
		"both are offered, basic is read":          {"", []string{authBasic, authPost}, false, true},
		"both are offered, basic is read as it is": {"", []string{authBasic, authPost}, true, false},
		"post is configured":                       {authPost, []string{authBasic, authPost}, true, true},
		"post is configured, nothing is said":      {authPost, nil, true, true},
		"basic is configured":                      {authBasic, []string{authPost}, false, true},
	} {
		_, p, b := withProvider(t, func(o *OIDC, p *idp) {
			o.ClientAuth = c.auth
			p.change(func() {
				p.inBody = c.inBody
				if c.methods != nil {
					p.meta = jwt.MapClaims{"token_endpoint_auth_methods_supported": c.methods}
				}
			})
		})
		if to := b.signInAt(p); (to == "/pods?ns=shop") != c.ok || !c.ok && !strings.Contains(to, "error=invalid_client") {
			t.Errorf("%s: led to %q", what, to)
		}
	}
}

// The host's log says why a program's token is refused.
func TestARefusedIDTokenNamesTheClaim(t *testing.T) {
	f, p := withBearer(t)
	for claim, c := range map[string]jwt.MapClaims{
		"aud": {"aud": "other"},
		"azp": {"aud": []string{"console", "other"}, "azp": "other"},
		"iat": {"iat": 4102444800, "exp": 4102448400},
	} {
		log := f.keepLog()
		w := httptest.NewRecorder()
		if err := resolving(f.Service, f.Me)(w, bearing(p.token(c))); host.KindOf(err) != host.Unauthenticated || w.Code != http.StatusOK {
			t.Errorf("%s: %v", claim, err)
		}
		if lines := log.Take(`claim \"`+claim+`\"`, "level=WARN"); len(lines) != 1 {
			t.Errorf("%s: log %q", claim, lines)
		}
	}
}
