package authn

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
)

// An address becomes the user id only if it is the one that the provider verified,
// whichever claim is configured.
func TestOnlyTheVerifiedAddressCanBeTheUserID(t *testing.T) {
	for name, c := range map[string]struct {
		claims map[string]any
		want   host.UserID
	}{
		"another's verified address": {map[string]any{"preferred_username": "boss@example.com", "email": "eve@example.com", "email_verified": true}, ""},
		"no address is verified":     {map[string]any{"preferred_username": "boss@example.com", "email_verified": true}, ""},
		"not verified":               {map[string]any{"preferred_username": "ann@example.com", "email": "ann@example.com", "email_verified": false}, ""},
		"verified":                   {map[string]any{"preferred_username": "ann@example.com", "email": "ann@example.com", "email_verified": true}, "ann@example.com"},
		"verified, in other case":    {map[string]any{"preferred_username": "Ann@Example.com", "email": "ann@example.com", "email_verified": true}, "ann@example.com"},
	} {
		m := Mapping{User: "preferred_username", IDDomains: []string{"example.com"}}
		if got, err := m.userID("corp", c.claims); got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %q, %v, want %q", name, got, err, c.want)
		}
	}
	f, p, b := withIDP(t, func(c *OIDC) { c.User = "preferred_username" })
	f.people.set("boss@example.com", Person{Roles: []string{"admin"}})
	p.change(func() {
		p.person["preferred_username"], p.person["email"] = "boss@example.com", "eve@example.com"
	})
	if to := b.signInAt(p); !strings.Contains(to, "not_allowed") || b.who() != "" {
		t.Errorf("led to %q as %q", to, b.who())
	}
}

// A logout ends tokens issued before it, so a token issued in the future would
// survive it.
func TestAnIDTokenIssuedInTheFutureIsRefused(t *testing.T) {
	f, p := withBearer(t)
	now := time.Now()
	for name, c := range map[string]struct {
		issued time.Duration
		ok     bool
	}{"now": {0, true}, "in a minute": {time.Minute, false}, "in an hour": {time.Hour, false}} {
		raw := p.token(jwt.MapClaims{"iat": now.Add(c.issued).Unix(), "exp": now.Add(5 * time.Hour).Unix()})
		if who, err := f.Resolve(bearing(raw)); (err == nil) != c.ok {
			t.Errorf("issued %s: %+v, %v", name, who, err)
		}
	}
}

// otherEncoding encodes the token's signature differently, with the same bytes: the
// last character of base64 has unused bits.
func otherEncoding(t *testing.T, raw string) string {
	t.Helper()
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	i := strings.IndexByte(alphabet, raw[len(raw)-1])
	if i < 0 || i%16 != 0 {
		t.Fatalf("the signature ends in %q", raw[len(raw)-1:])
	}
	return raw[:len(raw)-1] + string(alphabet[i+1])
}

// The login's id depends on the signed part only, so another encoding of the
// signature is the same login.
func TestAnotherEncodingOfASignatureIsTheSameLogin(t *testing.T) {
	f, p := withBearer(t)
	raw := p.token(nil)
	twin := otherEncoding(t, raw)
	first, err := f.Resolve(bearing(raw))
	if err != nil {
		t.Fatal(err)
	}
	if who, err := f.Resolve(bearing(twin)); err == nil && who.Login.ID != first.Login.ID {
		t.Errorf("the twin has login %s", who.Login.ID)
	}
	r := httptest.NewRequest("POST", "/auth/logout", strings.NewReader(`{"scope":"login"}`))
	r.Header.Set("Authorization", "Bearer "+raw)
	if err := f.Logout(httptest.NewRecorder(), r); err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{"the token": raw, "its twin": twin} {
		if who, err := f.Resolve(bearing(token)); host.KindOf(err) != host.Unauthenticated {
			t.Errorf("%s after logout: %+v, %v", name, who, err)
		}
	}
}

// withdrawing is a store whose signing keys the test can remove.
type withdrawing struct {
	Store
	gone atomic.Bool
}

func (w *withdrawing) Keys() []state.Key {
	if w.gone.Load() {
		return nil
	}
	return w.Store.Keys()
}

func (w *withdrawing) KeyEpoch() uint64 {
	if w.gone.Load() {
		return w.Store.KeyEpoch() + 1
	}
	return w.Store.KeyEpoch()
}

// A cached token is valid as long as its key exists.
func TestACachedTokenEndsWithItsKey(t *testing.T) {
	var keys *withdrawing
	f := setUp(t, func(c *Config) { keys = &withdrawing{Store: c.State}; c.State = keys })
	raw, _ := f.signIn(t, "ann")
	r := request("GET", "", raw)
	for range 2 { // the second from the cache
		if _, err := f.Resolve(r); err != nil {
			t.Fatal(err)
		}
	}
	keys.gone.Store(true)
	for range 2 {
		if p, err := f.Resolve(r); host.KindOf(err) != host.Unauthenticated {
			t.Errorf("a token of a withdrawn key: %+v, %v", p, err)
		}
	}
}

// If the store cannot commit a logout, the answer is 503 and the cookie stays, for
// every kind of credential.
func TestALogoutWhileTheStoreIsDownIs503(t *testing.T) {
	logout := func(t *testing.T, f *fixture, r *http.Request) {
		t.Helper()
		if err := f.store.Close(); err != nil {
			t.Fatal(err)
		}
		r.Method = "POST"
		r.Header.Set("X-Requested-With", "XMLHttpRequest")
		w := httptest.NewRecorder()
		if err := f.Logout(w, r); host.KindOf(err) != host.Unavailable {
			t.Errorf("%v, %s", err, w.Body)
		}
		if set := w.Header().Get("Set-Cookie"); set != "" {
			t.Errorf("the cookie is changed: %s", set)
		}
	}
	t.Run("cookie", func(t *testing.T) {
		f := setUp(t)
		raw, _ := f.signIn(t, "ann")
		logout(t, f, request("POST", "", raw))
	})
	t.Run("expired cookie", func(t *testing.T) {
		f := setUp(t)
		logout(t, f, request("POST", "", f.expired(t, "ann")))
	})
	t.Run("ID token", func(t *testing.T) {
		f, p := withBearer(t)
		raw := p.token(nil)
		if _, err := f.Resolve(bearing(raw)); err != nil {
			t.Fatal(err)
		}
		logout(t, f, bearing(raw))
	})
	t.Run("proxy", func(t *testing.T) {
		f := behindProxy(t)
		if _, err := f.Resolve(f.via(proxyAddr, email, "ann@example.com")); err != nil {
			t.Fatal(err)
		}
		logout(t, f, f.via(proxyAddr, email, "ann@example.com"))
	})
	t.Run("proxy, not seen before", func(t *testing.T) {
		f := behindProxy(t)
		logout(t, f, f.via(proxyAddr, email, "ann@example.com"))
	})
}

// A logout by bearer token keeps the cookie of another live login: without it, the
// browser could not sign out of that login.
func TestALogoutLeavesTheCookieOfAnotherLogin(t *testing.T) {
	f := setUp(t)
	ann, _ := f.signIn(t, "ann")
	ben, _ := f.signIn(t, "ben")
	r := request("POST", "Bearer "+ann, ben)
	r.Header.Set("X-Requested-With", "XMLHttpRequest")
	w := httptest.NewRecorder()
	if err := f.Logout(w, r); err != nil || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("%v, cookie set to %q", err, w.Header().Get("Set-Cookie"))
	}
	if _, err := f.Resolve(request("GET", "", ben)); err != nil {
		t.Errorf("the cookie's login: %v", err)
	}
	if _, err := f.Resolve(request("GET", "", ann)); err == nil {
		t.Error("the login that was signed out of is good")
	}
}

// A state names its provider; the callback of another provider refuses it.
func TestAStateIsValidForItsProviderOnly(t *testing.T) {
	one, two := newIDP(t), newIDP(t)
	other := corp(t, two)
	other.Name, other.IDDomains = "other", []string{"example.org"}
	f := setUp(t, func(c *Config) { c.Options = Options{OIDC: []OIDC{corp(t, one), other}} })
	f.people.set("ann@example.com", Person{})
	b := f.browser(t, f.serve(t))
	b.wantStatus(b.do("GET", "/auth/login", ""), 404) // there are two
	back := one.approve(t, b.begin("?method=corp"))
	back.Path = "/auth/callback/other"
	q := back.Query()
	q.Set("iss", two.URL)
	back.RawQuery = q.Encode()
	if to := b.comeBack(back); !strings.Contains(to, "csrf_validation_failed") || b.who() != "" || one.exchange+two.exchange != 0 {
		t.Errorf("led to %q as %q", to, b.who())
	}
}

func TestAStateThatHasExpiredIsRefused(t *testing.T) {
	f, p, b := withIDP(t)
	page, _ := url.Parse(b.begin("?method=corp"))
	var old flow
	if _, err := f.states.ParseWithClaims(page.Query().Get("state"), &old, f.keyOf(stateType)); err != nil {
		t.Fatal(err)
	}
	if left := time.Until(old.ExpiresAt.Time); left > flowLife || left < flowLife-time.Minute {
		t.Errorf("a state is good for %s", left)
	}
	old.ExpiresAt = jwt.NewNumericDate(time.Now().Add(-time.Second))
	state, err := f.signAs(stateType, old)
	if err != nil {
		t.Fatal(err)
	}
	back := p.approve(t, page.String())
	q := back.Query()
	q.Set("state", state)
	back.RawQuery = q.Encode()
	if to := b.comeBack(back); !strings.Contains(to, "csrf_validation_failed") || b.who() != "" {
		t.Errorf("led to %q as %q", to, b.who())
	}
}

func TestAProviderUnreachableAtCallbackIsANetworkError(t *testing.T) {
	_, p, b := withIDP(t)
	back := p.approve(t, b.begin("?method=corp"))
	p.CloseClientConnections()
	p.Close()
	if to := b.comeBack(back); to != "/login?error=network_error" || b.who() != "" {
		t.Errorf("led to %q as %q", to, b.who())
	}
}

// Two cookies with different values do not count: one may have been planted.
func TestTwoCookiesOfOneNameDoNotCount(t *testing.T) {
	f := setUp(t)
	ann, _ := f.signIn(t, "ann")
	ben, _ := f.signIn(t, "ben")
	for want, values := range map[host.UserID][]string{"": {ben, ann}, "ann": {ann, ann}} {
		r := httptest.NewRequest("GET", "/", nil)
		for _, v := range values {
			r.AddCookie(&http.Cookie{Name: "bulkhead", Value: v})
		}
		p, err := f.Resolve(r)
		if (err == nil) != (want != "") || err == nil && p.User != want {
			t.Errorf("%d cookies: %+v, %v, want %q", len(values), p, err, want)
		}
	}
}

// A cookie has a Max-Age of at least a second, also shortly before its login ends:
// without Max-Age it would be a session cookie.
func TestACookieAlwaysHasAnAge(t *testing.T) {
	f := setUp(t)
	w := httptest.NewRecorder()
	f.cookie.set(w, "token", time.Now().Add(-time.Minute))
	if got := w.Header().Get("Set-Cookie"); !strings.Contains(got, "; Max-Age=1;") {
		t.Errorf("set: %s", got)
	}
}

// An oversized token is not parsed.
func TestAnOversizedGenuineIDTokenIsRefused(t *testing.T) {
	f, p := withBearer(t)
	for size, ok := range map[int]bool{maxToken: true, maxBearer: false} {
		if _, err := f.Resolve(bearing(p.token(jwt.MapClaims{"pad": strings.Repeat("x", size)}))); (err == nil) != ok {
			t.Errorf("with a claim of %d bytes: %v", size, err)
		}
	}
	without := setUp(t)
	if _, err := without.Resolve(bearing(p.token(nil))); err == nil {
		t.Error("an ID token counts though no provider's do")
	}
}

// A request counts once against its client, however many invalid credentials it
// has.
func TestARequestCountsOnceAgainstItsClient(t *testing.T) {
	f := setUp(t, func(c *Config) { c.Rates = Rates{Client: 1} })
	for i := range 10 {
		if _, err := f.Resolve(request("GET", "Bearer x.y.z", "a.b.c")); host.KindOf(err) != host.Unauthenticated {
			t.Fatalf("request %d: %v", i, err)
		}
	}
	if _, err := f.Resolve(request("GET", "Bearer x.y.z", "a.b.c")); host.KindOf(err) != host.Limited {
		t.Errorf("the eleventh: %v", err)
	}
}

// Asserted roles and teams that the directory does not have are dropped, and the
// directory's display name takes precedence.
func TestAPrincipalHasOnlyRolesAndTeamsOfTheDirectory(t *testing.T) {
	f, p, b := withIDP(t, func(c *OIDC) { c.Roles = "roles" })
	p.change(func() {
		p.person["groups"], p.person["roles"] = []string{"Payments@Example.com", "nowhere"}, []string{"viewer", "emperor"}
	})
	f.people.set("ann@example.com", Person{Roles: []string{"viewer"}, Teams: []string{"payments@example.com"}})
	b.signInAt(p)
	who, err := f.Resolve(request("GET", "", b.cookie()))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(who.Asserted.Roles, []string{"viewer"}) || !slices.Equal(who.Asserted.Teams, []string{"payments@example.com"}) || who.Name != "Ann Lee" {
		t.Errorf("%+v", who)
	}
	f.people.set("ann@example.com", Person{Name: "Ann of the directory"})
	if who, err = f.Resolve(request("GET", "", b.cookie())); err != nil || who.Name != "Ann of the directory" || !who.Asserted.Empty() {
		t.Errorf("%+v, %v", who, err)
	}
}

// A user id that is invalid for clusters or logs is refused by every login method,
// and the login has the canonical form of an address.
func TestEveryLoginHasACanonicalUser(t *testing.T) {
	f := setUp(t)
	f.people.set("ann@example.com", Person{})
	raw, p, err := f.Issue(t.Context(), Identity{Issuer: "dev", Subject: "x", User: "Ann@Example.COM", Method: "dev"})
	if err != nil || p.User != "ann@example.com" || len(f.store.Logins("ann@example.com")) != 1 {
		t.Fatalf("%+v, %v", p, err)
	}
	if who, err := f.Resolve(bearing(raw)); err != nil || who.User != "ann@example.com" {
		t.Errorf("%+v, %v", who, err)
	}
	if _, err := f.store.CreateLogin(t.Context(), host.LoginRecord{
		ID: "x", User: "Ann@example.com", Issuer: "x", Subject: "x", At: time.Now(), Until: time.Now().Add(time.Hour),
	}); host.KindOf(err) != host.Invalid {
		t.Errorf("the store takes another form: %v", err)
	}
	if err := f.store.EndUserLogins(t.Context(), "ANN@example.com"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Resolve(bearing(raw)); host.KindOf(err) != host.Unauthenticated {
		t.Errorf("revoked in another form: %v", err)
	}
	// A record with a non-canonical user id is refused.
	old := host.LoginRecord{ID: "x", User: "Ann@example.com", Issuer: "dev", Subject: "x", Method: "dev", At: time.Now(), Until: time.Now().Add(time.Hour)}
	f.people.set("Ann@example.com", Person{}) // a directory that compares as it is written
	if p, ok := f.principalOf(old, nil); ok {
		t.Errorf("%+v", p)
	}
	for claim, want := range map[string]host.UserID{"system:x": "", "Kim": "corp:Kim", "a b": "", "a,b": "", strings.Repeat("a", host.MaxUserID-5): "", strings.Repeat("a", host.MaxUserID-6): "x"} {
		m := Mapping{User: "sub"}
		provider := "corp"
		if claim == "system:x" {
			provider = "system" // which Options.Check refuses
		}
		if want == "x" {
			provider, want = "corpo", host.UserID("corpo:"+claim)
		} else if len(claim) > 100 {
			provider = "corpo"
		}
		if got, err := m.userID(provider, map[string]any{"sub": claim}); got != want || (err == nil) != (want != "") {
			t.Errorf("%.20s: %.20q, %v", claim, got, err)
		}
	}
}
