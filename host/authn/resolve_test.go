package authn

import (
	"crypto/ed25519"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// If the header's token is invalid in any respect, a valid cookie counts; a valid
// header takes precedence.
func TestHeaderFallsBackToCookie(t *testing.T) {
	f := setUp(t)
	valid, _ := f.signIn(t, "ann")
	parts := strings.Split(valid, ".")
	eddsa := jwt.SigningMethodEdDSA
	_, stranger, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	f.people.set("off", Person{})
	disabled, _ := f.signIn(t, "off")
	f.people.remove("off")

	forge := func(edit func(map[string]any, jwt.MapClaims) (jwt.SigningMethod, any)) string {
		return "Bearer " + f.forge(t, "ann", edit)
	}
	set := func(key string, v any) string { // a claim
		return forge(func(_ map[string]any, c jwt.MapClaims) (jwt.SigningMethod, any) {
			if c[key] = v; v == nil {
				delete(c, key)
			}
			return eddsa, nil
		})
	}
	setHeader := func(key string, v any) string {
		return forge(func(h map[string]any, _ jwt.MapClaims) (jwt.SigningMethod, any) {
			if h[key] = v; v == nil {
				delete(h, key)
			}
			return eddsa, nil
		})
	}
	headers := map[string]string{
		"absent":             "",
		"another scheme":     "Basic YW5uOmFubg==",
		"scheme alone":       "Bearer",
		"scheme and space":   "Bearer  ",
		"no scheme":          valid,
		"two tokens":         "Bearer " + valid + " " + valid,
		"comma":              "Bearer " + valid + ",x",
		"garbage":            "Bearer garbage",
		"dots":               "Bearer ..",
		"two parts":          "Bearer " + parts[0] + "." + parts[1],
		"four parts":         "Bearer " + valid + ".e30",
		"padded base64":      "Bearer " + valid + "==",
		"expired":            "Bearer " + f.expired(t, "ann"),
		"revoked":            "Bearer " + f.revoked(t, "ann"),
		"disabled user":      "Bearer " + disabled,
		"wrong signature":    "Bearer " + parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])),
		"no signature":       "Bearer " + parts[0] + "." + parts[1] + ".",
		"another payload":    "Bearer " + parts[0] + "." + strings.Split(f.expired(t, "ben"), ".")[1] + "." + parts[2],
		"another host's key": forge(func(map[string]any, jwt.MapClaims) (jwt.SigningMethod, any) { return eddsa, stranger }),
		"unsigned": forge(func(map[string]any, jwt.MapClaims) (jwt.SigningMethod, any) {
			return jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType
		}),
		"signed with the public key as a secret": forge(func(map[string]any, jwt.MapClaims) (jwt.SigningMethod, any) {
			return jwt.SigningMethodHS256, []byte(f.store.Keys()[0].Public())
		}),
		"unknown key":      setHeader("kid", "unknown"),
		"no key id":        setHeader("kid", nil),
		"key in header":    setHeader("jwk", map[string]any{"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}),
		"key URL":          setHeader("jku", "https://evil.example/keys"),
		"critical header":  setHeader("crit", []string{"exp"}),
		"another type":     setHeader("typ", "JWT"),
		"no type":          setHeader("typ", nil),
		"another issuer":   set("iss", "https://evil.example"),
		"no issuer":        set("iss", nil),
		"another audience": set("aud", "other"),
		"no audience":      set("aud", nil),
		"no expiry":        set("exp", nil),
		"no issue time":    set("iat", nil),
		"not valid yet":    set("nbf", time.Now().Add(time.Hour).Unix()),
		"no subject":       set("sub", nil),
		"another subject":  set("sub", "ben"),
		"no login":         set("sid", nil),
		"unknown login":    set("sid", "unknown"),
		"no id":            set("jti", nil),
		"numeric subject":  set("sub", 7),
		"huge":             set("pad", strings.Repeat("x", maxToken)),
	}
	wins := map[string]string{
		"valid":            "Bearer " + valid,
		"valid, lower":     "bearer " + valid,
		"valid, two space": "BEARER  " + valid,
		"valid, unused claim": forge(func(_ map[string]any, c jwt.MapClaims) (jwt.SigningMethod, any) {
			c["pad"] = "x"
			return eddsa, nil
		}),
	}
	cookieValid, _ := f.signIn(t, "ben")
	cookies := map[string]string{
		"absent": "", "invalid": "garbage", "expired": f.expired(t, "ben"), "revoked": f.revoked(t, "ben"), "valid": cookieValid,
	}
	check := func(name, header, cookieName string, want host.UserID) {
		t.Run(name+" header, "+cookieName+" cookie", func(t *testing.T) {
			for range 2 { // the second time from the cache
				p, err := f.Resolve(request("GET", header, cookies[cookieName]))
				if want == "" {
					if p.Principal != nil || host.KindOf(err) != host.Unauthenticated {
						t.Errorf("%+v, %v; want it refused", p, err)
					}
				} else if err != nil || p.User != want {
					t.Errorf("%+v, %v; want %s", p, err, want)
				}
			}
		})
	}
	for c := range cookies {
		for name, header := range wins {
			check(name, header, c, "ann")
		}
		want := host.UserID("")
		if c == "valid" {
			want = "ben"
		}
		for name, header := range headers {
			check(name, header, c, want)
		}
	}
}

func TestTwoAuthorizationHeadersDoNotCount(t *testing.T) {
	f := setUp(t)
	ann, _ := f.signIn(t, "ann")
	ben, _ := f.signIn(t, "ben")
	r := request("GET", "Bearer "+ann, "")
	r.Header.Add("Authorization", "Bearer "+ben)
	if p, err := f.Resolve(r); err == nil {
		t.Errorf("resolved to %s", p.User)
	}
}

func TestATokenOfAnotherHostIsRefused(t *testing.T) {
	here, there := setUp(t), setUp(t)
	raw, _ := there.signIn(t, "ann")
	if p, err := here.Resolve(request("GET", "Bearer "+raw, "")); host.KindOf(err) != host.Unauthenticated {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestAnOversizedGenuineTokenIsRefused(t *testing.T) {
	f := setUp(t)
	padded := func(n int) string {
		return f.forge(t, "ann", func(_ map[string]any, c jwt.MapClaims) (jwt.SigningMethod, any) {
			c["pad"] = strings.Repeat("x", n)
			return jwt.SigningMethodEdDSA, nil
		})
	}
	small, huge := padded(100), padded(maxToken)
	if _, err := f.verify(f.strict, small); err != nil {
		t.Error(err)
	}
	if _, err := f.verify(f.strict, huge); !errors.Is(err, errBadToken) {
		t.Errorf("%d bytes: %v", len(huge), err)
	}
	if _, err := f.Resolve(request("GET", "Bearer "+huge, huge)); host.KindOf(err) != host.Unauthenticated {
		t.Error(err)
	}
}

func TestPrincipalFollowsDirectoryAndLogin(t *testing.T) {
	f := setUp(t)
	raw, issued := f.signIn(t, "ann")
	resolve := func() (*host.Principal, error) {
		who, err := f.Resolve(request("GET", "Bearer "+raw, ""))
		return who.Principal, err
	}

	p, err := resolve()
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "Ann Lee" || !slices.Equal(p.Roles, []string{"editor"}) || !slices.Equal(p.Teams, []string{"payments"}) ||
		p.Issuer != "dev" || p.Subject != "ann" || p.Login.ID != issued.Login.ID || p.Login.Method != "dev" {
		t.Errorf("principal %+v", p)
	}
	if again, _ := resolve(); again != p {
		t.Error("the principal was built anew though nothing changed")
	}
	f.people.set("ann", Person{Name: "Ann", Roles: []string{"viewer"}})
	if p, err = resolve(); err != nil || !slices.Equal(p.Roles, []string{"viewer"}) || len(p.Teams) != 0 {
		t.Errorf("after demotion: %+v, %v", p, err)
	}
	f.people.remove("ann")
	if p, err = resolve(); host.KindOf(err) != host.Unauthenticated {
		t.Errorf("after being disabled: %+v, %v", p, err)
	}
	f.people.set("ann", Person{})
	if err := f.store.EndUserLogins(t.Context(), "ann"); err != nil {
		t.Fatal(err)
	}
	if p, err = resolve(); host.KindOf(err) != host.Unauthenticated {
		t.Errorf("after logout: %+v, %v", p, err)
	}
}

func TestACachedTokenExpires(t *testing.T) {
	f := setUp(t)
	_, p := f.signIn(t, "ann")
	now := time.Now()
	raw, err := f.sign("ann", p.Login.ID, now, now.Add(2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	r := request("GET", "Bearer "+raw, "")
	if _, err := f.Resolve(r); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if _, err := f.Resolve(r); err != nil {
			break
		}
		if time.Since(now) > 10*time.Second {
			t.Fatal("still good long after its expiry")
		}
	}
	if time.Since(now) < time.Second {
		t.Error("refused before its expiry")
	}
}

func TestAnUnavailableStoreIsNotUnauthenticated(t *testing.T) {
	f := setUp(t)
	raw, _ := f.signIn(t, "ann")
	if err := f.store.Close(); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*http.Request{
		"header": request("GET", "Bearer "+raw, ""), "cookie": request("GET", "", raw), "both": request("GET", "Bearer "+raw, "garbage"),
	} {
		if _, err := f.Resolve(r); host.KindOf(err) != host.Unavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := f.Resolve(request("GET", "Bearer garbage", "")); host.KindOf(err) != host.Unauthenticated {
		t.Errorf("garbage: %v", err)
	}
}
