package authn

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

func withBearer(t *testing.T) (*fixture, *idp) {
	f, p, _ := withIDP(t, func(c *OIDC) { c.Bearer, c.Audiences = true, []string{"cli"} })
	settle()
	return f, p
}

// settle waits until new ID tokens, whose issue time has whole seconds, are younger
// than the store, which refuses older ones.
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
		"for another client":  {jwt.MapClaims{"aud": "other"}, false},
		"without an audience": {jwt.MapClaims{"aud": ""}, false},
		// Google's azp is the number of a service account.
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
	// An ID token in the cookie does not count.
	if _, err := f.Resolve(request("GET", "", raw)); err == nil {
		t.Error("an ID token in the cookie is good")
	}
}

// In other consoles tokens survived a logout. Here an ID token ends with its own
// logout and with its user's, also after a restart.
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
