package authn

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

const tenant = "11111111-2222-3333-4444-555555555555"

// entra makes the provider one of Entra's tenants: its issuer has the tenant in
// its path, its tokens say tid, and nothing of addresses being verified.
func (p *idp) entra(person jwt.MapClaims) (issuer string) {
	issuer = p.URL + "/" + tenant + "/v2.0"
	p.change(func() {
		p.meta = jwt.MapClaims{"issuer": issuer, "authorization_response_iss_parameter_supported": false}
		p.person = person
		person["iss"], person["sub"] = issuer, "u-1"
		if person["tid"] == nil {
			person["tid"] = tenant
		}
	})
	return issuer
}

// withProvider is withIDP for a provider whose people need not be listed.
func withProvider(t testing.TB, edit ...func(*OIDC, *idp)) (*fixture, *idp, *browser) {
	f, p, b := withIDP(t, func(c *OIDC) { c.Unlisted = true })
	cfg := f.Config
	c := cfg.Options.OIDC[0]
	for _, e := range edit {
		e(&c, p)
	}
	var bad complaints
	c.check(&bad, "auth.oidc[0]", map[string]bool{})
	for _, err := range bad {
		t.Error(err)
	}
	cfg.Options.OIDC = []OIDC{c}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	f.people.everybody = true
	f.Service = s
	b.server = f.serve(t)
	b.base, _ = url.Parse(b.server.URL)
	return f, p, b
}

// signInAnywhere goes through the flow of a provider that sends no "iss".
func (b *browser) signInAnywhere(p *idp) string {
	b.t.Helper()
	back := p.approve(b.t, b.begin("?method=corp"))
	q := back.Query()
	q.Del("iss")
	back.RawQuery = q.Encode()
	return b.comeBack(back)
}

func TestMembersOfAnEntraTenantSignInByAddress(t *testing.T) {
	address := func(claim, value string, more ...any) jwt.MapClaims {
		c := jwt.MapClaims{claim: value}
		for i := 0; i < len(more); i += 2 {
			c[more[i].(string)] = more[i+1]
		}
		return c
	}
	const upn, name, ann = "upn", "preferred_username", "Ann.Lee@example.com"
	for what, c := range map[string]struct {
		user   string
		person jwt.MapClaims
		off    bool   // entraAddresses
		rule   string // "" for those who get in
	}{
		"by upn":                      {upn, address(upn, ann), false, ""},
		"by preferred_username":       {name, address(name, ann), false, ""},
		"a member, it says":           {name, address(name, ann, "acct", 0), false, ""},
		"whom this tenant signed in":  {name, address(name, ann, "idp", "https://sts.windows.net/"+tenant+"/"), false, ""},
		"without the operator's word": {name, address(name, ann), true, "has not verified"},
		"of another tenant":           {name, address(name, ann, "tid", "99999999-2222-3333-4444-555555555555"), false, `claim \"tid\"`},
		"tenant of another type":      {name, address(name, ann, "tid", []string{tenant}), false, `claim \"tid\"`},
		"of another domain":           {name, address(name, "ann@evil.example"), false, "outside idDomains"},
		"a guest, by idp":             {name, address(name, ann, "idp", "https://sts.windows.net/99999999-2222-3333-4444-555555555555/"), false, "guest"},
		"a guest, by another service": {name, address(name, ann, "idp", "live.com"), false, "guest"},
		"a guest, by idp's type":      {name, address(name, ann, "idp", 7), false, "guest"},
		"a guest, by acct":            {name, address(name, ann, "acct", 1), false, "guest"},
		"a guest, by name":            {upn, address(upn, "ann_evil.example#EXT#@example.com"), false, "guest"},
		"email alone":                 {name, address("email", ann), false, "is not in the id_token"},
		"another's email, unverified": {upn, address(upn, "eve@evil.example", "email", ann), false, "outside idDomains"},
	} {
		t.Run(what, func(t *testing.T) {
			f, p, b := withProvider(t, func(o *OIDC, p *idp) {
				o.Issuer, o.User, o.EntraAddresses = p.entra(c.person), c.user, !c.off
			})
			log := f.keepLog()
			to := b.signInAnywhere(p)
			if c.rule == "" {
				if to != "/" || b.who() != "ann.lee@example.com" {
					t.Errorf("led to %q as %q: %s", to, b.who(), log.with("sign-in"))
				}
				return
			}
			if !strings.Contains(to, "error=") || b.who() != "" {
				t.Errorf("led to %q as %q", to, b.who())
			}
			if lines := log.with("sign-in failed", c.rule); len(lines) != 1 {
				t.Errorf("log: %q", lines)
			}
		})
	}
	// A program of the tenant, too.
	f, p, _ := withProvider(t, func(o *OIDC, p *idp) {
		o.Issuer, o.User, o.EntraAddresses, o.Bearer = p.entra(address(upn, ann)), upn, true, true
	})
	settle()
	if who, err := f.Resolve(bearing(p.token(nil))); err != nil || who.User != "ann.lee@example.com" {
		t.Errorf("%+v, %v", who, err)
	}
	if who, err := f.Resolve(bearing(p.token(jwt.MapClaims{"tid": "x"}))); host.KindOf(err) != host.Unauthenticated {
		t.Errorf("of another tenant: %+v, %v", who, err)
	}
}

func TestEntraAddressesNeedOneTenantAndAVerifiedClaim(t *testing.T) {
	const at = "https://login.microsoftonline.com/"
	for issuer, ok := range map[string]bool{
		at + tenant + "/v2.0":                                  true,
		at + strings.ToUpper(tenant) + "/v2.0":                 true,
		"https://sts.windows.net/" + tenant + "/":              true,
		at + "common/v2.0":                                     false,
		at + "organizations/v2.0":                              false,
		at + "consumers/v2.0":                                  false,
		at + personalTenant + "/v2.0":                          false,
		at + "contoso.onmicrosoft.com/v2.0":                    false,
		at + "{tenantid}/v2.0":                                 false,
		"https://id.example.com":                               false,
		"https://id.example.com/" + tenant + "x/v2.0":          false,
		"https://id.example.com/" + tenant + "/v2.0/elsewhere": false,
	} {
		if got := issuerTenant(issuer) != ""; got != ok {
			t.Errorf("%s: of one tenant %v", issuer, got)
		}
	}
	good := OIDC{Name: "x", Issuer: at + tenant + "/v2.0", ClientID: "c", Secret: Secret{Env: "X"}, EntraAddresses: true,
		Mapping: Mapping{User: "upn", IDDomains: []string{"example.com"}}}
	for want, edit := range map[string]func(*OIDC){
		"": func(*OIDC) {},
		"auth.oidc[0].entraAddresses: needs the issuer": func(o *OIDC) { o.Issuer = at + "common/v2.0" },
		"auth.oidc[0].entraAddresses: needs user":       func(o *OIDC) { o.User = "email" },
		"auth.oidc[0].idDomains":                        func(o *OIDC) { o.IDDomains = nil },
	} {
		o := good
		edit(&o)
		var bad complaints
		o.check(&bad, "auth.oidc[0]", map[string]bool{})
		if want == "" && len(bad) > 0 || want != "" && (len(bad) == 0 || !strings.HasPrefix(bad[0].Error(), want)) {
			t.Errorf("%v, want %q", bad, want)
		}
	}
}

// Without these claims the person would have other rights than theirs, and nothing
// would say why.
func TestClaimsThatTheProviderLeftOutAreSaid(t *testing.T) {
	sources := jwt.MapClaims{"s": jwt.MapClaims{"endpoint": "https://graph.example/x"}}
	for what, c := range map[string]struct {
		claims jwt.MapClaims
		edit   func(*OIDC)
		ok     bool
	}{
		"groups":            {claims: jwt.MapClaims{"_claim_names": jwt.MapClaims{"groups": "s"}, "_claim_sources": sources}},
		"hasgroups":         {claims: jwt.MapClaims{"hasgroups": true}},
		"hasgroups as text": {claims: jwt.MapClaims{"hasgroups": "true"}},
		"roles":             {claims: jwt.MapClaims{"groups": []string{}, "_claim_names": jwt.MapClaims{"wids": "s"}, "_claim_sources": sources}, edit: func(o *OIDC) { o.Roles = "wids" }},
		"what policies read": {claims: jwt.MapClaims{"groups": []string{}, "_claim_names": jwt.MapClaims{"wids": "s"}, "_claim_sources": sources},
			edit: func(o *OIDC) { o.Claims = []string{"wids"} }},
		"part of an object": {claims: jwt.MapClaims{"groups": []string{}, "_claim_names": jwt.MapClaims{"realm": "s"}, "_claim_sources": sources},
			edit: func(o *OIDC) { o.Roles = "realm.roles" }},
		"what is not read": {claims: jwt.MapClaims{"groups": []string{}, "_claim_names": jwt.MapClaims{"wids": "s"}, "_claim_sources": sources}, ok: true},
		"what is there":    {claims: jwt.MapClaims{"groups": []string{"x"}, "hasgroups": true}, ok: true},
	} {
		t.Run(what, func(t *testing.T) {
			f, p, b := withProvider(t, func(o *OIDC, p *idp) {
				o.Bearer = true
				if c.edit != nil {
					c.edit(o)
				}
				p.change(func() {
					p.person = jwt.MapClaims{"sub": "1001", "email": "ann@example.com", "email_verified": true}
					for name, v := range c.claims {
						p.person[name] = v
					}
				})
			})
			settle()
			log := f.keepLog()
			to := b.signInAt(p)
			lines := log.with("sign-in failed", "code=too_many_groups", "left out by the provider", "claim ")
			_, err := f.Resolve(bearing(p.token(nil)))
			if c.ok != (to == "/pods?ns=shop") || c.ok != (len(lines) == 0) || c.ok != (err == nil) {
				t.Errorf("led to %q, log %q, as a program %v", to, lines, err)
			}
			if !c.ok && len(log.with("bearer", "left out by the provider")) != 1 {
				t.Error("nothing is said of the program's token")
			}
		})
	}
	// Userinfo may have it.
	_, p, b := withProvider(t, func(_ *OIDC, p *idp) {
		p.change(func() {
			p.person = jwt.MapClaims{"sub": "1001", "email": "ann@example.com", "email_verified": true, "_claim_names": jwt.MapClaims{"groups": "s"}, "_claim_sources": sources}
			p.userinfo = jwt.MapClaims{"sub": "1001", "groups": []string{"x"}}
		})
	})
	if b.signInAt(p); b.who() != "ann@example.com" {
		t.Error("what was left out is not taken from userinfo")
	}
}

// asserted signs in with these claims, which a mapping reads, and returns what
// counts of them.
func asserted(t *testing.T, claims jwt.MapClaims, edit func(*OIDC)) (host.Membership, map[string]any, *logLines) {
	t.Helper()
	f, p, b := withProvider(t, func(o *OIDC, p *idp) {
		o.Teams = ""
		edit(o)
		p.change(func() {
			p.person, p.userinfo = claims, jwt.MapClaims{"sub": "1001"}
			claims["sub"], claims["email"], claims["email_verified"] = "1001", "ann@example.com", true
		})
	})
	// The directory knows all roles and teams that are asserted.
	f.people.mu.Lock()
	f.people.mirror = true
	f.people.mu.Unlock()
	log := f.keepLog()
	b.signInAt(p)
	who, err := f.Resolve(request("GET", "", b.cookie()))
	if err != nil {
		t.Fatal(err)
	}
	return who.Asserted, who.Claims, log
}

func TestClaimsAreFoundByPaths(t *testing.T) {
	for what, c := range map[string]struct {
		claims jwt.MapClaims
		name   string
		want   []string
	}{
		"Keycloak": {jwt.MapClaims{"realm_access": jwt.MapClaims{"roles": []string{"admin", "viewer"}}}, "realm_access.roles", []string{"admin", "viewer"}},
		"deeper":   {jwt.MapClaims{"resource_access": jwt.MapClaims{"console": jwt.MapClaims{"roles": []string{"admin"}}}}, "resource_access.console.roles", []string{"admin"}},
		"Zitadel, an object whose keys are the roles": {jwt.MapClaims{"urn:zitadel:iam:org:project:roles": jwt.MapClaims{"viewer": jwt.MapClaims{"1": "x"}, "admin": jwt.MapClaims{}}},
			"urn:zitadel:iam:org:project:roles", []string{"admin", "viewer"}},
		"Auth0, a name with dots":       {jwt.MapClaims{"https://example.com/roles": []string{"admin"}}, "https://example.com/roles", []string{"admin"}},
		"a name with dots on the way":   {jwt.MapClaims{"https://example.com/app": jwt.MapClaims{"roles": "admin"}}, `https://example\.com/app.roles`, []string{"admin"}},
		"a backslash on the way":        {jwt.MapClaims{`a\b`: jwt.MapClaims{"c": "admin"}}, `a\\b.c`, []string{"admin"}},
		"the name itself before a path": {jwt.MapClaims{"a.b": "admin", "a": jwt.MapClaims{"b": "viewer"}}, "a.b", []string{"admin"}},
		"absent":                        {jwt.MapClaims{}, "realm_access.roles", nil},
		"absent within":                 {jwt.MapClaims{"realm_access": jwt.MapClaims{}}, "realm_access.roles", nil},
		"null":                          {jwt.MapClaims{"roles": nil}, "roles", nil},
	} {
		t.Run(what, func(t *testing.T) {
			got, claims, log := asserted(t, c.claims, func(o *OIDC) { o.Roles, o.Claims = c.name, []string{"email"} })
			if !slices.Equal(got.Roles, c.want) || claims["email"] != "ann@example.com" {
				t.Errorf("roles %q, want %q; claims %v", got.Roles, c.want, claims)
			}
			if lines := log.with("a claim is not used"); len(lines) != 0 {
				t.Errorf("warned: %q", lines)
			}
			got, _, _ = asserted(t, c.claims, func(o *OIDC) { o.Teams = c.name })
			if !slices.Equal(got.Teams, c.want) {
				t.Errorf("teams %q, want %q", got.Teams, c.want)
			}
		})
	}
	// Policies read it under the name that the configuration gives, and userinfo may
	// have the part that the token lacks.
	f, p, b := withProvider(t, func(o *OIDC, p *idp) {
		o.Claims = []string{"org.unit"}
		p.change(func() {
			p.person["org"] = jwt.MapClaims{"id": "7"}
			p.userinfo = jwt.MapClaims{"sub": "1001", "org": jwt.MapClaims{"unit": "payments", "id": "8"}}
		})
	})
	b.signInAt(p)
	who, err := f.Resolve(request("GET", "", b.cookie()))
	if err != nil || who.Claims["org.unit"] != "payments" || who.Claims["org"] != nil {
		t.Errorf("%+v, %v", who, err)
	}
}

func TestAClaimOfTheWrongShapeIsWarnedOf(t *testing.T) {
	for what, c := range map[string]struct {
		claim any
		rule  string
		want  []string
	}{
		"objects in the list":  {[]any{jwt.MapClaims{"name": "ops"}, "dev"}, "elements that are not texts", []string{"dev"}},
		"numbers in the list":  {[]any{7}, "elements that are not texts", nil},
		"one text with commas": {"payments@example.com,ops", "one text", []string{"payments@example.com,ops"}},
		"a number":             {7, "not a text, a list", nil},
		"a boolean":            {true, "not a text, a list", nil},
		"fine: a list":         {[]string{"a"}, "", []string{"a"}},
		"fine: one text":       {"a", "", []string{"a"}},
		"fine: an empty list":  {[]string{}, "", nil},
	} {
		for field, edit := range map[string]func(*OIDC){"teams": func(o *OIDC) { o.Teams = "it" }, "roles": func(o *OIDC) { o.Roles = "it" }} {
			got, _, log := asserted(t, jwt.MapClaims{"it": c.claim}, edit)
			names := got.Teams
			if field == "roles" {
				names = got.Roles
			}
			lines := log.with("a claim is not used", `claim \"it\"`, c.rule, "user=ann@example.com", "method=oidc:corp", "level=WARN")
			if !slices.Equal(names, c.want) || (len(lines) == 1) != (c.rule != "") {
				t.Errorf("%s as %s: %q, log %q", what, field, names, lines)
			}
		}
	}
	_, _, log := asserted(t, jwt.MapClaims{"realm": "text"}, func(o *OIDC) { o.Roles = "realm.roles" })
	if lines := log.with("a claim is not used", `claim \"realm\"`, "not an object"); len(lines) != 1 {
		t.Errorf("a path through a text: %q", lines)
	}
}

func TestPathsThatLeadNowhereAreMistakes(t *testing.T) {
	for name, ok := range map[string]bool{
		"roles": true, "a.b": true, "https://example.com/roles": true, `a\.b`: true, `a\\b`: true,
		"a..b": false, ".a": false, "a.": false, `a\b`: false, `a\`: false, strings.Repeat("a", maxClaimName+1): false,
	} {
		var bad complaints
		checkPath(&bad, "auth.oidc[0].roles", name)
		if (len(bad) == 0) != ok {
			t.Errorf("%q: %v", name, bad)
		}
	}
	var bad complaints
	o := OIDC{Name: "x", Issuer: "https://x.example", ClientID: "c", Secret: Secret{Env: "X"}, ClientAuth: "basic",
		Mapping: Mapping{User: "a..b", Teams: "a..b", Roles: "a..b", Display: "a..b", Claims: []string{"a", "a..b"}}}
	o.check(&bad, "auth.oidc[0]", map[string]bool{})
	for _, field := range []string{"user", "teams", "roles", "display", "claims[1]", "clientAuth"} {
		if !slices.ContainsFunc(bad, func(err error) bool { return strings.HasPrefix(err.Error(), "auth.oidc[0]."+field+": ") }) {
			t.Errorf("nothing is said of %s: %v", field, bad)
		}
	}
}

func TestSignOutTellsTheProviderWhoseItIs(t *testing.T) {
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
	// It is kept with the login, through a refresh and a restart.
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
	// Not every token fits into a URL, and a big record is one without it.
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
			if to := b.begin("?method=corp"); to != "/login?error=provider_unavailable" || len(log.with(field)) != 1 {
				t.Errorf("%s %s: led to %q", field, bad, to)
			}
		}
	}
}

func TestUserinfoIsOptionalForWhoIsKnownWithoutIt(t *testing.T) {
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
		if lines := log.with("userinfo_endpoint", "status"); ok && len(lines) != 1 {
			t.Errorf("%d: log %q", status, lines)
		}
	}
	// Who it is must be said.
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

// A refused program finds in the host's log why.
func TestARefusedIDTokenNamesTheClaim(t *testing.T) {
	f, p := withBearer(t)
	for claim, c := range map[string]jwt.MapClaims{
		"aud": {"aud": "other"},
		"azp": {"aud": []string{"console", "other"}, "azp": "other"},
		"iat": {"iat": 4102444800, "exp": 4102448400},
	} {
		log := f.keepLog()
		w := httptest.NewRecorder()
		if err := f.Me(w, bearing(p.token(c))); host.KindOf(err) != host.Unauthenticated || w.Code != http.StatusOK {
			t.Errorf("%s: %v", claim, err)
		}
		if lines := log.with(`claim \"`+claim+`\"`, "level=WARN"); len(lines) != 1 {
			t.Errorf("%s: log %q", claim, lines)
		}
	}
}
