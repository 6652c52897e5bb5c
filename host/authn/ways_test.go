package authn

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
)

func withBearer(t *testing.T) (*fixture, *idp) {
	f, p, _ := withIDP(t, func(c *OIDC) { c.Bearer, c.Audiences = true, []string{"cli"} })
	settle()
	return f, p
}

// settle waits until ID tokens are younger than a store that began just now,
// which believes none from before. They say when they were issued in whole
// seconds.
func settle() {
	began := time.Now().Unix()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for time.Now().Unix() == began {
		<-tick.C
	}
}

func bearing(raw string) *http.Request { return request("GET", "Bearer "+raw, "") }

func TestProgramsMaySendIDTokens(t *testing.T) {
	f, p := withBearer(t)
	past, future := time.Now().Add(-time.Minute).Unix(), time.Now().Add(time.Hour).Unix()
	for name, c := range map[string]struct {
		claims jwt.MapClaims
		ok     bool
	}{
		"for us":              {nil, true},
		"for a listed client": {jwt.MapClaims{"aud": "cli"}, true},
		"for somebody else":   {jwt.MapClaims{"aud": "other"}, false},
		"for nobody":          {jwt.MapClaims{"aud": ""}, false},
		// Google puts a service account's number there.
		"issued to another client":           {jwt.MapClaims{"azp": "1234567890"}, true},
		"for others too, issued to one":      {jwt.MapClaims{"aud": []string{"console", "other"}, "azp": "other"}, false},
		"for others too, issued to none":     {jwt.MapClaims{"aud": []string{"console", "other"}, "azp": ""}, false},
		"for others too, issued to a number": {jwt.MapClaims{"aud": []string{"console", "other"}, "azp": 7}, false},
		"for others too, issued to us":       {jwt.MapClaims{"aud": []string{"console", "other"}, "azp": "console"}, true},
		"for all of ours, issued to another": {jwt.MapClaims{"aud": []string{"console", "cli"}, "azp": "other"}, true},
		"expired":                            {jwt.MapClaims{"exp": past}, false},
		"of the future":                      {jwt.MapClaims{"iat": future}, false},
		"unverified address":                 {jwt.MapClaims{"email_verified": false}, false},
		"foreign domain":                     {jwt.MapClaims{"email": "ann@evil.example"}, false},
		"another issuer":                     {jwt.MapClaims{"iss": "https://evil.example"}, false},
		"not in the directory":               {jwt.MapClaims{"email": "eve@example.com"}, false},
	} {
		who, err := f.Resolve(bearing(p.token(c.claims)))
		if c.ok && (err != nil || who.User != "ann@example.com" || who.Login.Method != "oidc:corp") || !c.ok && host.KindOf(err) != host.Unauthenticated {
			t.Errorf("%s: %+v, %v", name, who, err)
		}
	}
	raw := p.token(nil)
	parts := strings.Split(raw, ".")
	if _, err := f.Resolve(bearing(parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])))); err == nil {
		t.Error("a token with another signature is good")
	}
	access := p
	access.change(func() { access.edit = func(h map[string]any, _ jwt.MapClaims) { h["typ"] = "at+jwt" } })
	if _, err := f.Resolve(bearing(access.token(nil))); err == nil {
		t.Error("an access token is good")
	}
	// In a cookie it is nothing: only our own tokens are.
	if _, err := f.Resolve(request("GET", "", raw)); err == nil {
		t.Error("an ID token in the cookie is good")
	}
}

// Tokens outlived logout in the consoles before: here an ID token does not,
// neither its own logout nor its user's, nor after a restart.
func TestAnIDTokenEndsWithItsLogout(t *testing.T) {
	for _, scope := range []string{"login", "default", "user"} {
		t.Run(scope, func(t *testing.T) {
			f, p := withBearer(t)
			used, unused := p.token(jwt.MapClaims{"jti": "1"}), p.token(jwt.MapClaims{"jti": "2"})
			if _, err := f.Resolve(bearing(used)); err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest("POST", "/auth/logout", strings.NewReader(`{"scope":"`+scope+`"}`))
			r.Header.Set("Authorization", "Bearer "+used)
			if err := f.Logout(httptest.NewRecorder(), r); err != nil {
				t.Fatal(err)
			}
			check := func(when string, s *Service) {
				t.Helper()
				for i := range 2 {
					if who, err := s.Resolve(bearing(used)); host.KindOf(err) != host.Unauthenticated {
						t.Errorf("%s, look %d: %+v, %v", when, i, who, err)
					}
				}
				_, err := s.Resolve(bearing(unused))
				if (err != nil) != (scope == "user") {
					t.Errorf("%s: the user's other token: %v", when, err)
				}
			}
			check("after logout", f.Service)
			fresh, err := New(f.Config) // another replica's memory
			if err != nil {
				t.Fatal(err)
			}
			check("elsewhere", fresh)
			check("after a restart", f.restart(t))
		})
	}
}

// restart closes the store and opens another service on the same data.
func (f *fixture) restart(t testing.TB) *Service {
	t.Helper()
	if err := f.store.Close(); err != nil {
		t.Fatal(err)
	}
	store, err := state.Open(t.Context(), state.Config{Dir: f.dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	cfg := f.Config
	cfg.State = store
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Origin: KubeStellar #6028: sign-ins that a restart interrupted failed. Here
// they go on, and what was used before it stays used.
func TestASignInSurvivesARestart(t *testing.T) {
	f, p, b := withIDP(t)
	done := p.approve(t, b.begin("?method=corp"))
	b.comeBack(done)
	b.do("POST", "/auth/logout", "")
	waiting := p.approve(t, b.begin("?method=corp"))
	f.Service = f.restart(t)
	b.server = f.serve(t)
	b.base, _ = url.Parse(b.server.URL)
	if to := b.comeBack(done); !strings.Contains(to, "csrf_validation_failed") {
		t.Errorf("a state used before the restart led to %q", to)
	}
	if to := b.comeBack(waiting); to != "/" || b.who() != "ann@example.com" {
		t.Errorf("a sign-in begun before the restart led to %q as %q", to, b.who())
	}
}

// Origin: kobs signed with an empty key by default; secrets from documentation
// are what scanners try.
func TestWeakSecretsAreRefused(t *testing.T) {
	for secret, ok := range map[string]bool{
		"":                                       false,
		"too short":                              false,
		"your-256-bit-secret":                    false,
		strings.Repeat("a", 64):                  false,
		strings.Repeat("0123456789abcdefXY", 4):  false,
		"a-string-secret-at-least-256-bits-long": false,
		"A_STRING_SECRET_AT_LEAST_256_BITS_LONG!!":                         false,
		"super-secret-jwt-token-with-at-least-32-characters-long":          false,
		"404E635266556A586E3272357538782F413F4428472B4B6250645367566B5970": false,
		"m6t1Yw9qLr0Zx4Hs8Vb2Nc7Kd5Jf3Gp6":                                 true,
	} {
		_, err := newSecretKey(&Signing{Algorithm: "HS256", SecretFile: secretFile(t, secret).File}, nil)
		if (err == nil) != ok {
			t.Errorf("%q: %v", secret, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "auth.signing") || len(secret) > 12 && strings.Contains(err.Error(), secret)) {
			t.Errorf("%q: error %v", secret, err)
		}
	}
}

func TestTokensSignedWithASecret(t *testing.T) {
	signing := &Signing{Algorithm: "HS256", SecretFile: secretFile(t, "m6t1Yw9qLr0Zx4Hs8Vb2Nc7Kd5Jf3Gp6").File}
	f := setUp(t, func(c *Config) { c.Options.Signing = signing })
	raw, _ := f.signIn(t, "ann")
	if p, err := f.Resolve(bearing(raw)); err != nil || p.User != "ann" {
		t.Fatalf("%+v, %v", p, err)
	}
	// The host's own kind of key signs nothing then, and the other way about.
	cfg := f.Config
	cfg.Options.Signing = nil
	other, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Resolve(bearing(raw)); err == nil {
		t.Error("a token of the secret is good for Ed25519")
	}
	own, err := other.sign("ann", "x", time.Now(), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.verify(f.strict, own); err == nil {
		t.Error("an Ed25519 token is good for the secret")
	}
	state, err := f.signAs(stateType, flow{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.verify(f.strict, state); err == nil {
		t.Error("a state is a token")
	}
	if _, err := f.readState(raw, "corp", binding{}); err == nil {
		t.Error("a token is a state")
	}
}

// Origin: kobs #445: a cookie with teams and permissions in it outgrew 4096
// bytes and locked people with many teams out.
func TestTheCookieIsSmallForSomebodyInManyTeams(t *testing.T) {
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

func TestThePageOffersWhatThereIs(t *testing.T) {
	_, p, b := withIDP(t)
	page := b.do("GET", "/login?error=not_allowed&error_description=%3Cscript%3E&redirect=//evil.example", "")
	for _, want := range []string{`href="/auth/login?method=corp&amp;redirect=%2F"`, errorTexts["not_allowed"], "&lt;script&gt;", `id="dev"`} {
		if !strings.Contains(page.text, want) {
			t.Errorf("the page lacks %q: %s", want, page.text)
		}
	}
	if csp := page.header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") {
		t.Errorf("policy %q", csp)
	}
	if strings.Contains(page.text, "evil.example") {
		t.Error("the page leads to another site")
	}
	b.signInAt(p)
	if page := b.do("GET", "/login", ""); !strings.Contains(page.text, "Ann Lee") || !strings.Contains(page.text, "Sign out") {
		t.Errorf("signed in: %s", page.text)
	}
}
