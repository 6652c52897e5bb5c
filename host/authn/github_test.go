package authn

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// hub doubles the OAuth and API endpoints of a GitHub Enterprise server.
type hub struct {
	*httptest.Server
	// answer, if set, may answer a request to the API or the token endpoint; it
	// returns true if it did.
	answer func(w http.ResponseWriter, r *http.Request) bool
}

// fails writes an error as GitHub does.
func fails(w http.ResponseWriter, status int, message string, headers ...string) bool {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	for i := 0; i < len(headers); i += 2 {
		w.Header().Set(headers[i], headers[i+1])
	}
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]string{"message": message, "documentation_url": "https://docs.github.com/rest"})
	return true
}

// approve returns the callback after the user consents; it names the issuer, as
// GitHub does.
func (h *hub) approve(authorize *url.URL, code string) *url.URL {
	return &url.URL{Path: "/auth/callback/github", RawQuery: url.Values{
		"code": {code}, "state": authorize.Query()["state"], "iss": {h.URL + "/login/oauth"},
	}.Encode()}
}

func gitHub(t *testing.T, teams ...string) *hub {
	h := &hub{}
	mux := http.NewServeMux()
	reply := func(v any) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer gho_x" {
				fails(w, http.StatusUnauthorized, "Bad credentials")
				return
			}
			json.NewEncoder(w).Encode(v)
		}
	}
	mux.HandleFunc("GET /api/v3/", func(w http.ResponseWriter, _ *http.Request) { fails(w, http.StatusNotFound, "Not Found") })
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
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.answer == nil || !h.answer(w, r) {
			mux.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(h.Close)
	return h
}

func TestSignInAtGitHub(t *testing.T) {
	hub := gitHub(t, "example/platform", "Elsewhere/admins")
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
			f.people.unlisted = true
			b := f.browser(t, f.serve(t))
			page, _ := url.Parse(b.begin(""))
			if page.Path != "/login/oauth/authorize" || page.Query().Get("code_challenge") == "" {
				t.Errorf("sent to %s", page)
			}
			to := b.comeBack(hub.approve(page, c.code))
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

// throughGitHub signs in at GitHub and returns the final redirect.
func throughGitHub(t *testing.T, h *hub, edit ...func(*GitHub)) (f *fixture, b *browser, to string) {
	t.Helper()
	g := GitHub{ClientID: "id", Secret: secretFile(t, "shh"), URL: h.URL, Unlisted: true}
	for _, e := range edit {
		e(&g)
	}
	f = setUp(t, func(cfg *Config) { cfg.Options = Options{GitHub: &g} })
	f.people.unlisted = true
	b = f.browser(t, f.serve(t))
	page, err := url.Parse(b.begin(""))
	if err != nil {
		t.Fatal(err)
	}
	return f, b, b.comeBack(h.approve(page, "good"))
}

// GitHub names its issuer in the callback (RFC 9207); older Enterprise servers do
// not. Another issuer is a mix-up attack.
func TestOnlyGitHubsIssuerIsAccepted(t *testing.T) {
	for name, c := range map[string]struct {
		iss []string
		ok  bool
	}{
		"GitHub's":          {[]string{"/login/oauth"}, true},
		"none":              {nil, true},
		"of another":        {[]string{"https://evil.example/login/oauth"}, false},
		"of github.com":     {[]string{"https://github.com/login/oauth"}, false},
		"the site alone":    {[]string{""}, false},
		"with a slash":      {[]string{"/login/oauth/"}, false},
		"twice":             {[]string{"/login/oauth", "/login/oauth"}, false},
		"and a foreign one": {[]string{"/login/oauth", "https://evil.example/login/oauth"}, false},
	} {
		h := gitHub(t)
		f := setUp(t, func(cfg *Config) {
			cfg.Options = Options{GitHub: &GitHub{ClientID: "id", Secret: secretFile(t, "shh"), URL: h.URL, Unlisted: true}}
		})
		f.people.unlisted = true
		b := f.browser(t, f.serve(t))
		page, _ := url.Parse(b.begin(""))
		back := h.approve(page, "good")
		q := back.Query()
		q.Del("iss")
		for _, iss := range c.iss {
			if !strings.HasPrefix(iss, "https:") {
				iss = h.URL + iss
			}
			q.Add("iss", iss)
		}
		back.RawQuery = q.Encode()
		to := b.comeBack(back)
		if c.ok && (to != "/" || b.who() != "github:583231") || !c.ok && (to != "/login?error=csrf_validation_failed" || b.who() != "") {
			t.Errorf("%s: led to %q as %q", name, to, b.who())
		}
	}
}

func TestGitHubsEndpointsFollowFromItsURL(t *testing.T) {
	for configured, want := range map[string][2]string{
		"":                                 {"https://github.com", "https://api.github.com"},
		"https://github.com/":              {"https://github.com", "https://api.github.com"},
		"https://GitHub.com":               {"https://github.com", "https://api.github.com"},
		"https://www.github.com":           {"https://github.com", "https://api.github.com"},
		"https://acme.ghe.com":             {"https://acme.ghe.com", "https://api.acme.ghe.com"},
		"https://Acme.GHE.com/":            {"https://acme.ghe.com", "https://api.acme.ghe.com"},
		"https://github.example.com":       {"https://github.example.com", "https://github.example.com/api/v3"},
		"https://github.example.com:8443/": {"https://github.example.com:8443", "https://github.example.com:8443/api/v3"},
		"https://notghe.com":               {"https://notghe.com", "https://notghe.com/api/v3"},
	} {
		g, err := newGitHub(GitHub{ClientID: "id", Secret: secretFile(t, "shh"), URL: configured}, &url.URL{Scheme: "https", Host: "x"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		issuer, _, _ := g.issuer(t.Context())
		if g.web != want[0] || g.api != want[1] || issuer != want[0]+"/login/oauth" || !strings.HasPrefix(g.oauth.Endpoint.AuthURL, want[0]+"/login/oauth/") {
			t.Errorf("%q: web %s, api %s, issuer %s", configured, g.web, g.api, issuer)
		}
	}
}

// If GitHub's API fails, the sign-in fails with another code than not_allowed, and
// the log has the cause.
func TestAFailureOfGitHubDoesNotRefuseTheUser(t *testing.T) {
	member := func(g *GitHub) { g.Organizations = []string{"Example"} }
	for name, c := range map[string]struct {
		path    string // whose answer is replaced
		status  int
		message string
		headers []string
		edit    func(*GitHub)
		code    string
	}{
		"primary rate limit":          {"/memberships/", 403, "API rate limit exceeded for user ID 583231.", []string{"X-RateLimit-Remaining", "0"}, member, "temporarily_unavailable"},
		"secondary rate limit":        {"/memberships/", 403, "You have exceeded a secondary rate limit.", []string{"Retry-After", "60"}, member, "temporarily_unavailable"},
		"rate limit, said alone":      {"/memberships/", 403, "You have exceeded a secondary Rate Limit.", nil, member, "temporarily_unavailable"},
		"too many requests":           {"/memberships/", 429, "Too many", nil, member, "temporarily_unavailable"},
		"GitHub is broken":            {"/memberships/", 502, "Server Error", nil, member, "temporarily_unavailable"},
		"the app may not look":        {"/memberships/", 403, "Although you appear to have the correct authorization credentials, the organization has enabled OAuth App access restrictions", []string{"X-RateLimit-Remaining", "4999"}, member, "user_fetch_failed"},
		"single sign-on is needed":    {"/memberships/", 403, "Resource protected by organization SAML enforcement.", []string{"X-GitHub-SSO", "required"}, member, "user_fetch_failed"},
		"the token was withdrawn":     {"/memberships/", 401, "Bad credentials", nil, member, "user_fetch_failed"},
		"user, rate limit":            {"/api/v3/user", 403, "API rate limit exceeded", []string{"X-RateLimit-Remaining", "0"}, nil, "temporarily_unavailable"},
		"user, unavailable":           {"/api/v3/user", 503, "Unicorn", nil, nil, "temporarily_unavailable"},
		"addresses, rate limit":       {"/emails", 429, "slow down", nil, func(g *GitHub) { g.IDDomains = []string{"example.com"} }, "temporarily_unavailable"},
		"teams, rate limit":           {"/teams", 403, "API rate limit exceeded", []string{"X-RateLimit-Remaining", "0"}, member, "temporarily_unavailable"},
		"teams, not found":            {"/teams", 404, "Not Found", nil, member, "user_fetch_failed"},
		"token endpoint, unavailable": {"/access_token", 503, "Unicorn", nil, nil, "temporarily_unavailable"},
		"token endpoint, rate limit":  {"/access_token", 429, "slow down", nil, nil, "temporarily_unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			h := gitHub(t)
			h.answer = func(w http.ResponseWriter, r *http.Request) bool {
				return (strings.HasSuffix(r.URL.Path, c.path) || strings.HasSuffix(c.path, "/") && strings.Contains(r.URL.Path, c.path)) &&
					fails(w, c.status, c.message, c.headers...)
			}
			g := GitHub{ClientID: "id", Secret: secretFile(t, "shh"), URL: h.URL, Unlisted: true}
			if c.edit != nil {
				c.edit(&g)
			}
			f := setUp(t, func(cfg *Config) { cfg.Options = Options{GitHub: &g} })
			f.people.unlisted = true
			log := f.keepLog()
			b := f.browser(t, f.serve(t))
			page, _ := url.Parse(b.begin(""))
			if to := b.comeBack(h.approve(page, "good")); to != "/login?error="+c.code || b.who() != "" {
				t.Errorf("led to %q as %q, want %s", to, b.who(), c.code)
			}
			status := strconv.Itoa(c.status)
			if lines := log.Take("sign-in failed", status); len(lines) != 1 || !strings.HasPrefix(c.path, "/access") && !strings.Contains(lines[0], strings.Fields(c.message)[0]) {
				t.Errorf("log %q, want the cause", lines)
			}
		})
	}
}

// An organization that hides its memberships does not count; membership in another
// one does.
func TestAnOrganizationThatHidesMembershipsIsSkipped(t *testing.T) {
	h := gitHub(t, "Example/platform")
	h.answer = func(w http.ResponseWriter, r *http.Request) bool {
		return strings.HasSuffix(r.URL.Path, "/orgs/closed") && fails(w, 403, "Resource protected by organization SAML enforcement.")
	}
	_, b, to := throughGitHub(t, h, func(g *GitHub) { g.Organizations = []string{"closed", "Example"} })
	if to != "/" || b.who() != "github:583231" {
		t.Errorf("led to %q as %q", to, b.who())
	}
	_, b, to = throughGitHub(t, h, func(g *GitHub) { g.Organizations = []string{"nowhere", "closed"} })
	if to != "/login?error=user_fetch_failed" || b.who() != "" {
		t.Errorf("led to %q as %q", to, b.who())
	}
}

// Only active membership in a listed organization counts, and teams are read to
// the last page.
func TestGitHubTeamsAreReadCompletelyOrTheSignInFails(t *testing.T) {
	page := func(n int, first string) []map[string]any {
		var list []map[string]any
		for i := range n {
			list = append(list, map[string]any{"slug": first + strconv.Itoa(i), "organization": map[string]any{"login": "example"}})
		}
		return list
	}
	for pages, code := range map[int]string{2: "", maxPages: "", maxPages + 1: "too_many_groups"} {
		h := gitHub(t)
		h.answer = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/teams") {
				return false
			}
			n, _ := strconv.Atoi(r.URL.Query().Get("page"))
			size := 100
			if n >= pages {
				size = 1
			}
			json.NewEncoder(w).Encode(page(size, "p"+strconv.Itoa(n)+"-"))
			return true
		}
		f, b, to := throughGitHub(t, h, func(g *GitHub) { g.Organizations = []string{"Example"} })
		if code != "" {
			if to != "/login?error="+code || b.who() != "" {
				t.Errorf("%d pages: led to %q as %q", pages, to, b.who())
			}
			continue
		}
		p, err := f.Resolve(request("GET", "", b.cookie()))
		if err != nil || len(texts(p.Claims[groupsClaim])) != 1+100*(pages-1)+1 {
			t.Errorf("%d pages: led to %q, %+v, %v", pages, to, p, err)
		}
	}
}

func TestOnlyThePrimaryVerifiedAddressOfGitHubCounts(t *testing.T) {
	for name, c := range map[string]struct {
		emails []map[string]any
		want   string
	}{
		"primary and verified":  {[]map[string]any{{"email": "Octo@Example.com", "primary": true, "verified": true}}, "octo@example.com"},
		"primary, not verified": {[]map[string]any{{"email": "octo@example.com", "primary": true, "verified": false}}, ""},
		"verified, not primary": {[]map[string]any{{"email": "octo@example.com", "primary": false, "verified": true}}, ""},
		"another is both":       {[]map[string]any{{"email": "boss@example.com", "primary": false, "verified": true}, {"email": "octo@example.com", "primary": true, "verified": true}}, "octo@example.com"},
		"none":                  {[]map[string]any{}, ""},
	} {
		h := gitHub(t)
		h.answer = func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/emails") {
				json.NewEncoder(w).Encode(c.emails)
				return true
			}
			return false
		}
		_, b, to := throughGitHub(t, h, func(g *GitHub) { g.IDDomains = []string{"example.com"} })
		if b.who() != c.want || c.want == "" && to != "/login?error=not_allowed" {
			t.Errorf("%s: led to %q as %q", name, to, b.who())
		}
	}
	// An answer without an id is refused.
	h := gitHub(t)
	h.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/user") {
			json.NewEncoder(w).Encode(map[string]any{"login": "octocat"})
			return true
		}
		return false
	}
	if _, b, to := throughGitHub(t, h); to != "/login?error=user_fetch_failed" || b.who() != "" {
		t.Errorf("led to %q as %q", to, b.who())
	}
}

// The host requests only the scopes that its configuration needs.
func TestGitHubScopesAreMinimal(t *testing.T) {
	for want, g := range map[string]GitHub{
		"read:user":            {},
		"read:user user:email": {IDDomains: []string{"example.com"}},
		"read:user read:org":   {Organizations: []string{"Example"}},
	} {
		g.ClientID, g.Secret = "id", secretFile(t, "shh")
		p, err := newGitHub(g, &url.URL{Scheme: "https", Host: "x"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		page, err := p.begin(t.Context(), "state", secrets{verifier: "v"})
		if err != nil {
			t.Fatal(err)
		}
		if u, _ := url.Parse(page); u.Query().Get("scope") != want || u.Query().Get("code_challenge_method") != "S256" {
			t.Errorf("asked for %q, want %q", u.Query().Get("scope"), want)
		}
	}
}
