package authn

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
)

// behindProxy is a service that believes the headers of 10.1.0.0/16.
func behindProxy(t testing.TB, edit ...func(*Proxy)) *fixture {
	p := &Proxy{From: []string{"10.1.0.0/16", "fd00:1::/32"}}
	for _, e := range edit {
		e(p)
	}
	f := setUp(t, func(c *Config) { c.Options = Options{Proxy: p} })
	f.people.set("ann@example.com", Person{Name: "Ann Lee"})
	f.people.set("ben@example.com", Person{Name: "Ben"})
	return f
}

// via is a request over a connection from somewhere, as the gateway hands it on.
func (f *fixture) via(from string, headers ...string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = from
	for i := 0; i < len(headers); i += 2 {
		r.Header[headers[i]] = append(r.Header[headers[i]], headers[i+1])
	}
	f.Screen(r)
	return r
}

const (
	proxyAddr = "10.1.2.3:4444"
	email     = "X-Auth-Request-Email"
)

func TestOnlyTheProxySaysWhoSomebodyIs(t *testing.T) {
	f := behindProxy(t)
	for name, c := range map[string]struct {
		from    string
		headers []string
		want    host.UserID
	}{
		"the proxy":                   {proxyAddr, []string{email, "ann@example.com"}, "ann@example.com"},
		"the proxy, capitals":         {proxyAddr, []string{email, "Ann@Example.com"}, "ann@example.com"},
		"the proxy, IPv6":             {"[fd00:1::9]:1", []string{email, "ann@example.com"}, "ann@example.com"},
		"the proxy, IPv4 in IPv6":     {"[::ffff:10.1.2.3]:1", []string{email, "ann@example.com"}, "ann@example.com"},
		"somebody else":               {"10.2.2.3:4444", []string{email, "ann@example.com"}, ""},
		"loopback is not the proxy":   {"127.0.0.1:4444", []string{email, "ann@example.com"}, ""},
		"an address that is none":     {"@", []string{email, "ann@example.com"}, ""},
		"says nothing":                {proxyAddr, nil, ""},
		"says nobody":                 {proxyAddr, []string{email, ""}, ""},
		"says two":                    {proxyAddr, []string{email, "ann@example.com", email, "ben@example.com"}, ""},
		"a list":                      {proxyAddr, []string{email, "ann@example.com,ben@example.com"}, ""},
		"underscores":                 {proxyAddr, []string{"X_auth_request_email", "ann@example.com"}, ""},
		"some underscores":            {proxyAddr, []string{"X-Auth_request-Email", "ann@example.com"}, ""},
		"raw capitals":                {proxyAddr, []string{"X-AUTH-REQUEST-EMAIL", "ann@example.com"}, ""},
		"another proxy's name for it": {proxyAddr, []string{"X-Forwarded-User", "ann@example.com"}, ""},
		"the client's twin beside it": {proxyAddr, []string{"X_auth_request_email", "ben@example.com", email, "ann@example.com"}, "ann@example.com"},
		"not in the directory":        {proxyAddr, []string{email, "eve@example.com"}, ""},
		"system user":                 {proxyAddr, []string{email, "system:admin"}, ""},
		"with a space":                {proxyAddr, []string{email, "ann@example.com "}, ""},
		"very long":                   {proxyAddr, []string{email, strings.Repeat("a", 5000)}, ""},
	} {
		p, err := f.Resolve(f.via(c.from, c.headers...))
		if c.want == "" && (p != nil || host.KindOf(err) != host.Unauthenticated) || c.want != "" && (err != nil || p.User != c.want) {
			t.Errorf("%s: %+v, %v; want %q", name, p, err, c.want)
		}
	}
}

// Origin: kobs kept the first user's cookie when somebody switched accounts at
// the proxy, and split groups without trimming; an empty header was one team.
func TestTheProxysWordIsOfThisRequest(t *testing.T) {
	f := behindProxy(t, func(p *Proxy) {
		p.Unlisted = true
		p.Map = map[string]Belongs{"ops": {Roles: []string{"admin"}}}
	})
	assert := func(user, groups string) *host.Principal {
		t.Helper()
		p, err := f.Resolve(f.via(proxyAddr, email, user, "X-Auth-Request-Groups", groups))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	claims := func(p *host.Principal) []string { return texts(p.Claims[groupsClaim]) }
	ann := assert("ann@example.com", "payments, ops ,,")
	if !slices.Equal(claims(ann), []string{"payments", "ops"}) {
		t.Errorf("groups %q", claims(ann))
	}
	if got := claims(assert("ann@example.com", "")); len(got) != 0 {
		t.Errorf("an empty list of groups is %q", got)
	}
	r := f.via(proxyAddr, email, "ben@example.com")
	cookie, _ := f.signInBy(t, "ann@example.com")
	r.AddCookie(&http.Cookie{Name: "bulkhead", Value: cookie})
	if p, err := f.Resolve(r); err != nil || p.User != "ben@example.com" {
		t.Errorf("the proxy says ben, a cookie ann: %+v, %v", p, err)
	}
	m := f.hop.mapping.asserted(map[string]any{groupsClaim: []any{"ops", "payments"}})
	if !slices.Equal(m.Roles, []string{"admin"}) || !slices.Equal(m.Teams, []string{"payments"}) {
		t.Errorf("asserted %+v", m)
	}
	if again := assert("ann@example.com", "payments, ops ,,"); again != ann {
		t.Error("the same words made another principal")
	}
	if again := assert("ann@example.com", "x"); again.Login.ID != ann.Login.ID {
		t.Error("other groups made another login")
	}
}

// signInBy makes a login by the way that the fixture has.
func (f *fixture) signInBy(t testing.TB, user host.UserID) (string, *host.Principal) {
	t.Helper()
	raw, p, err := f.Issue(t.Context(), Identity{Issuer: "x", Subject: string(user), User: user, Method: f.hop.method})
	if err != nil {
		t.Fatal(err)
	}
	return raw, p
}

func TestLogoutBehindAProxyEndsWhatRuns(t *testing.T) {
	f := behindProxy(t, func(p *Proxy) { p.SignOut = "/oauth2/sign_out" })
	before, err := f.Resolve(f.via(proxyAddr, email, "ann@example.com"))
	if err != nil {
		t.Fatal(err)
	}
	post := func(headers ...string) (*httptest.ResponseRecorder, error) {
		r := f.via(proxyAddr, append([]string{email, "ann@example.com"}, headers...)...)
		r.Method = "POST"
		w := httptest.NewRecorder()
		return w, f.Logout(w, r)
	}
	// The proxy's cookie is as much the browser's doing as ours.
	if _, err := post("Content-Type", "application/x-www-form-urlencoded"); host.KindOf(err) != host.Forbidden {
		t.Errorf("a form: %v", err)
	}
	if _, err := post("X-Requested-With", "XMLHttpRequest", "Origin", "https://evil.example"); host.KindOf(err) != host.Forbidden {
		t.Errorf("a foreign page: %v", err)
	}
	w, err := post("X-Requested-With", "XMLHttpRequest")
	if err != nil || !strings.Contains(w.Body.String(), `"signOut":"/oauth2/sign_out"`) {
		t.Errorf("%s, %v", w.Body, err)
	}
	if err := f.store.Revoked(before); !errors.Is(err, host.ErrLoggedOut) {
		t.Errorf("what began before goes on: %v", err)
	}
	after, err := f.Resolve(f.via(proxyAddr, email, "ann@example.com"))
	if err != nil || after.Login.ID == before.Login.ID {
		t.Errorf("the proxy's next word: %+v, %v", after, err)
	}
	// A cookie would be good without the proxy; it is the proxy that renews.
	r := f.via(proxyAddr, email, "ann@example.com", "X-Requested-With", "XMLHttpRequest")
	r.Method = "POST"
	if err := f.Refresh(httptest.NewRecorder(), r); host.KindOf(err) != host.Invalid {
		t.Errorf("refresh: %v", err)
	}
}

func TestAUnixSocketMayBeTheProxy(t *testing.T) {
	f := behindProxy(t, func(p *Proxy) { p.From = []string{"unix"} })
	for network, want := range map[string]host.UserID{"unix": "ann@example.com", "tcp": ""} {
		var local net.Addr = &net.UnixAddr{Name: "/run/bulkhead.sock", Net: "unix"}
		if network == "tcp" {
			local = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80}
		}
		r := httptest.NewRequest("GET", "/", nil).WithContext(context.WithValue(t.Context(), http.LocalAddrContextKey, local))
		r.RemoteAddr = "@"
		r.Header.Set(email, "ann@example.com")
		f.Screen(r)
		p, err := f.Resolve(r)
		if (want == "") != (err != nil) || want != "" && p.User != want {
			t.Errorf("%s: %+v, %v", network, p, err)
		}
	}
}

// FuzzScreen: whatever header a client that is not the proxy sends, under no
// name that any server reads as one of the identity headers does it get past.
func FuzzScreen(f *testing.F) {
	service := &Service{hop: &hop{user: email, teams: "X-Auth-Request-Groups"}}
	for _, name := range []string{email, "x_auth_request_email", "X-Auth_Request-Email", "Remote-User", "IMPERSONATE-USER", "X-Forwarded-For", "", "İmpersonate-User"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		r := &http.Request{Header: http.Header{name: {"ann@example.com"}}, RemoteAddr: "192.0.2.1:1"}
		service.Screen(r)
		if strings.ContainsFunc(name, func(c rune) bool { return c > 0x7e }) {
			return // net/http accepts no such name
		}
		read := strings.ReplaceAll(strings.ToLower(name), "_", "-")
		if _, there := r.Header[name]; !there {
			return
		}
		for _, forbidden := range []string{"x-auth-request-email", "x-auth-request-groups", "x-forwarded-user", "x-remote-user", "remote-user", "impersonate-user", "impersonate-group"} {
			if read == forbidden || strings.HasPrefix(read, "impersonate-extra-") {
				t.Fatalf("%q gets through", name)
			}
		}
	})
}

// Origin: kobs with authentication off still knew for its log who somebody said
// they were.
func TestWithoutAuthenticationEverybodyMayAndIsNamed(t *testing.T) {
	f := setUp(t, func(c *Config) { c.Options = Options{Disabled: &Disabled{}} })
	f.people.everybody = true
	for said, want := range map[string]host.UserID{"": anonymous, "ann@example.com": "ann@example.com"} {
		r := f.via("127.0.0.1:5")
		if said != "" {
			r = f.via("127.0.0.1:5", email, said)
		}
		p, err := f.Resolve(r)
		if err != nil || p.User != want || !p.Unlisted || !slices.Equal(f.hop.mapping.asserted(nil).Roles, []string{"admin"}) {
			t.Errorf("%q: %+v, %v", said, p, err)
		}
	}
	// A page that somebody visits must not act through the browser on this machine.
	r := f.via("127.0.0.1:5", "Origin", "https://evil.example")
	r.Method = "POST"
	if err := f.CheckOrigin(r); host.KindOf(err) != host.Forbidden {
		t.Errorf("a foreign page: %v", err)
	}
}

func withBearer(t *testing.T) (*fixture, *idp) {
	f, p, _ := withIDP(t, func(c *OIDC) { c.Bearer, c.Audiences = true, []string{"cli"} })
	// The store began just now, and believes nothing issued before. Tokens say
	// when they were issued in whole seconds.
	began := time.Now().Unix()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for time.Now().Unix() == began {
		<-tick.C
	}
	return f, p
}

func bearing(raw string) *http.Request { return request("GET", "Bearer "+raw, "") }

func TestProgramsMaySendIDTokens(t *testing.T) {
	f, p := withBearer(t)
	past, future := time.Now().Add(-time.Minute).Unix(), time.Now().Add(time.Hour).Unix()
	for name, c := range map[string]struct {
		claims jwt.MapClaims
		ok     bool
	}{
		"for us":               {nil, true},
		"for a listed client":  {jwt.MapClaims{"aud": "cli"}, true},
		"for somebody else":    {jwt.MapClaims{"aud": "other"}, false},
		"for nobody":           {jwt.MapClaims{"aud": ""}, false},
		"of another client":    {jwt.MapClaims{"azp": "other"}, false},
		"expired":              {jwt.MapClaims{"exp": past}, false},
		"of the future":        {jwt.MapClaims{"iat": future}, false},
		"unverified address":   {jwt.MapClaims{"email_verified": false}, false},
		"foreign domain":       {jwt.MapClaims{"email": "ann@evil.example"}, false},
		"another issuer":       {jwt.MapClaims{"iss": "https://evil.example"}, false},
		"not in the directory": {jwt.MapClaims{"email": "eve@example.com"}, false},
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

// gitHub is its OAuth and API as an Enterprise server has them.
func gitHub(t *testing.T, teams ...string) (*httptest.Server, *string) {
	challenge := ""
	mux := http.NewServeMux()
	reply := func(v any) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer gho_x" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			json.NewEncoder(w).Encode(v)
		}
	}
	mux.HandleFunc("POST /login/oauth/access_token", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch { // GitHub answers errors with 200
		case r.PostFormValue("client_secret") != "shh":
			w.Write([]byte(`{"error":"incorrect_client_credentials"}`))
		case r.PostFormValue("code") != "good" || r.PostFormValue("code_verifier") == "":
			w.Write([]byte(`{"error":"bad_verification_code"}`))
		case !strings.HasSuffix(r.PostFormValue("redirect_uri"), "/auth/callback/github"):
			w.Write([]byte(`{"error":"redirect_uri_mismatch"}`))
		default:
			w.Write([]byte(`{"access_token":"gho_x","token_type":"bearer"}`))
		}
	})
	mux.HandleFunc("GET /api/v3/user", reply(map[string]any{"id": 583231, "login": "Octocat", "name": "Octo Cat"}))
	mux.HandleFunc("GET /api/v3/user/emails", reply([]map[string]any{
		{"email": "old@evil.example", "primary": false, "verified": true}, {"email": "octo@example.com", "primary": true, "verified": true}}))
	mux.HandleFunc("GET /api/v3/user/memberships/orgs/Example", reply(map[string]any{"state": "active"}))
	mux.HandleFunc("GET /api/v3/user/memberships/orgs/pending", reply(map[string]any{"state": "pending"}))
	var list []map[string]any
	for _, team := range teams {
		org, slug, _ := strings.Cut(team, "/")
		list = append(list, map[string]any{"slug": slug, "organization": map[string]any{"login": org}})
	}
	mux.HandleFunc("GET /api/v3/user/teams", reply(list))
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv, &challenge
}

func TestSignInAtGitHub(t *testing.T) {
	hub, _ := gitHub(t, "example/platform", "Elsewhere/admins")
	for name, c := range map[string]struct {
		github GitHub
		secret string
		code   string
		want   host.UserID
		failed string
	}{
		"by number":             {GitHub{}, "shh", "good", "github:583231", ""},
		"by address":            {GitHub{IDDomains: []string{"example.com"}}, "shh", "good", "octo@example.com", ""},
		"address elsewhere":     {GitHub{IDDomains: []string{"example.org"}}, "shh", "good", "", "not_allowed"},
		"by login":              {GitHub{User: "login", Organizations: []string{"Example"}}, "shh", "good", "github:octocat", ""},
		"of no organization":    {GitHub{Organizations: []string{"nowhere", "pending"}}, "shh", "good", "", "not_allowed"},
		"wrong secret":          {GitHub{}, "other", "good", "", "invalid_client"},
		"wrong code":            {GitHub{}, "shh", "bad", "", "exchange_failed"},
		"a member, with a team": {GitHub{Organizations: []string{"Example"}}, "shh", "good", "github:583231", ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := c.github
			g.ClientID, g.Secret, g.URL, g.Unlisted = "id", secretFile(t, c.secret), hub.URL, true
			f := setUp(t, func(cfg *Config) { cfg.Options = Options{GitHub: &g} })
			f.people.everybody = true
			b := f.browser(t, f.serve(t))
			page, _ := url.Parse(b.begin(""))
			if page.Path != "/login/oauth/authorize" || page.Query().Get("code_challenge") == "" {
				t.Errorf("sent to %s", page)
			}
			to := b.comeBack(&url.URL{Path: "/auth/callback/github", RawQuery: url.Values{"code": {c.code}, "state": page.Query()["state"]}.Encode()})
			if c.failed != "" {
				if to != "/login?error="+c.failed || b.who() != "" {
					t.Errorf("led to %q as %q", to, b.who())
				}
				return
			}
			if to != "/" || b.who() != string(c.want) {
				t.Fatalf("led to %q as %q", to, b.who())
			}
			p, err := f.Resolve(request("GET", "", b.cookie()))
			if err != nil || p.Subject != "583231" || p.Issuer != hub.URL || !p.Unlisted {
				t.Errorf("%+v, %v", p, err)
			}
			if len(g.Organizations) > 0 && !slices.Equal(texts(p.Claims[groupsClaim]), []string{"Example", "Example/platform"}) {
				t.Errorf("groups %v: of listed organizations only", p.Claims)
			}
		})
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
		_, err := newSecretKey(&Signing{Algorithm: "HS256", SecretFile: secretFile(t, secret).File})
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

// Nobody can use up what somebody else needs.
func TestNobodyCanLockOutAnother(t *testing.T) {
	f := setUp(t, func(c *Config) { c.Rates = Rates{Client: 1, Account: 2, ForwardedFrom: []string{"10.0.0.0/8"}} })
	valid, ann := f.signIn(t, "ann")
	_, ben := f.signIn(t, "ben")
	known := bearing(valid)
	if _, err := f.Resolve(known); err != nil {
		t.Fatal(err)
	}
	limited := 0
	for range 50 {
		if _, err := f.Resolve(bearing("x.y.z")); host.KindOf(err) == host.Limited {
			limited++
		}
	}
	if limited < 35 {
		t.Errorf("%d of 50 forgeries from one address were refused unlooked at", limited)
	}
	if _, err := f.Resolve(known); err != nil {
		t.Errorf("somebody signed in at the same address: %v", err)
	}
	from := func(addr, forwarded string) error {
		r := bearing("x.y.z")
		r.RemoteAddr = addr
		if forwarded != "" {
			r.Header.Set("X-Forwarded-For", forwarded)
		}
		_, err := f.Resolve(r)
		return err
	}
	for i, c := range []struct {
		addr, forwarded string
		limited         bool
	}{
		{"198.51.100.1:1", "", false},
		{"192.0.2.1:1", "198.51.100.2", true},           // httptest's own address, whatever it says
		{"10.0.0.1:1", "198.51.100.2", false},           // our proxy says so
		{"10.0.0.1:1", "198.51.100.2, 192.0.2.1", true}, // the last is what it saw
		{"10.0.0.1:1", "192.0.2.1, 10.9.9.9", true},     // two proxies of ours
		{"[2001:db8::1]:1", "", false},
	} {
		if err := from(c.addr, c.forwarded); (host.KindOf(err) == host.Limited) != c.limited {
			t.Errorf("%d: %v", i, err)
		}
	}
	for range 30 {
		from("[2001:db8::1]:1", "")
	}
	if err := from("[2001:db8::2]:1", ""); host.KindOf(err) != host.Limited {
		t.Errorf("the next address of the same /64: %v", err)
	}
	for range 30 {
		_ = f.AdmitAccount(ann)
	}
	if err := f.AdmitAccount(ann); host.KindOf(err) != host.Limited {
		t.Errorf("ann asks too much: %v", err)
	}
	if err := f.AdmitAccount(ben); err != nil {
		t.Errorf("ben does not: %v", err)
	}
}

func TestRateTablesAreBounded(t *testing.T) {
	b := newBuckets(1, 1)
	now := time.Now()
	for i := range 3 * maxBuckets {
		b.take(strings.Repeat("x", 1+i%7)+string(rune('0'+i%10))+time.Duration(i).String(), now)
	}
	if n := len(b.young) + len(b.old); n > maxBuckets {
		t.Errorf("%d buckets", n)
	}
	for range 20 {
		b.take("busy", now)
	}
	if b.take("busy", now) {
		t.Error("a bucket holds more than its burst")
	}
	if !b.take("busy", now.Add(3*time.Second)) {
		t.Error("a bucket does not fill again")
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
