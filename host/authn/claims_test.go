package authn

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/logtest"
)

// Without the omitted claims the user would have the wrong rights, without any
// message.
func TestOmittedClaimsFailTheSignIn(t *testing.T) {
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
			lines := log.Take("sign-in failed", "code=too_many_groups", "omitted by the provider", "claim ")
			_, err := f.Resolve(bearing(p.token(nil)))
			if c.ok != (to == "/pods?ns=shop") || c.ok != (len(lines) == 0) || c.ok != (err == nil) {
				t.Errorf("led to %q, log %q, as a program %v", to, lines, err)
			}
			if !c.ok && len(log.Take("bearer", "omitted by the provider")) != 1 {
				t.Error("the bearer token's refusal is not logged")
			}
		})
	}
	// The userinfo endpoint may have the claim.
	_, p, b := withProvider(t, func(_ *OIDC, p *idp) {
		p.change(func() {
			p.person = jwt.MapClaims{"sub": "1001", "email": "ann@example.com", "email_verified": true, "_claim_names": jwt.MapClaims{"groups": "s"}, "_claim_sources": sources}
			p.userinfo = jwt.MapClaims{"sub": "1001", "groups": []string{"x"}}
		})
	})
	if b.signInAt(p); b.who() != "ann@example.com" {
		t.Error("an omitted claim is not taken from userinfo")
	}
}

// asserted signs in with these claims and returns the mapped roles and teams, the
// stored claims and the log.
func asserted(t *testing.T, claims jwt.MapClaims, edit func(*OIDC)) (host.Membership, map[string]any, *logtest.Log) {
	t.Helper()
	f, p, b := withProvider(t, func(o *OIDC, p *idp) {
		o.Teams = ""
		edit(o)
		p.change(func() {
			p.person, p.userinfo = claims, jwt.MapClaims{"sub": "1001"}
			claims["sub"], claims["email"], claims["email_verified"] = "1001", "ann@example.com", true
		})
	})
	// The directory has all asserted roles and teams.
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
		"a name with dots in a path":    {jwt.MapClaims{"https://example.com/app": jwt.MapClaims{"roles": "admin"}}, `https://example\.com/app.roles`, []string{"admin"}},
		"a backslash in a path":         {jwt.MapClaims{`a\b`: jwt.MapClaims{"c": "admin"}}, `a\\b.c`, []string{"admin"}},
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
			if lines := log.Take("a claim is not used"); len(lines) != 0 {
				t.Errorf("warned: %q", lines)
			}
			got, _, _ = asserted(t, c.claims, func(o *OIDC) { o.Teams = c.name })
			if !slices.Equal(got.Teams, c.want) {
				t.Errorf("teams %q, want %q", got.Teams, c.want)
			}
		})
	}
	// Policies read the claim under its configured name, and userinfo may add the
	// part that the token lacks.
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

func TestAClaimOfTheWrongTypeIsLogged(t *testing.T) {
	for what, c := range map[string]struct {
		claim any
		rule  string
		want  []string
	}{
		"objects in the list":    {[]any{jwt.MapClaims{"name": "ops"}, "dev"}, "elements that are not strings", []string{"dev"}},
		"numbers in the list":    {[]any{7}, "elements that are not strings", nil},
		"one string with commas": {"payments@example.com,ops", "one string", []string{"payments@example.com,ops"}},
		"a number":               {7, "not a string, a list", nil},
		"a boolean":              {true, "not a string, a list", nil},
		"fine: a list":           {[]string{"a"}, "", []string{"a"}},
		"fine: one string":       {"a", "", []string{"a"}},
		"fine: an empty list":    {[]string{}, "", nil},
	} {
		for field, edit := range map[string]func(*OIDC){"teams": func(o *OIDC) { o.Teams = "it" }, "roles": func(o *OIDC) { o.Roles = "it" }} {
			got, _, log := asserted(t, jwt.MapClaims{"it": c.claim}, edit)
			names := got.Teams
			if field == "roles" {
				names = got.Roles
			}
			lines := log.Take("a claim is not used", `claim \"it\"`, c.rule, "user=ann@example.com", "method=oidc:corp", "level=WARN")
			if !slices.Equal(names, c.want) || (len(lines) == 1) != (c.rule != "") {
				t.Errorf("%s as %s: %q, log %q", what, field, names, lines)
			}
		}
	}
	_, _, log := asserted(t, jwt.MapClaims{"realm": "text"}, func(o *OIDC) { o.Roles = "realm.roles" })
	if lines := log.Take("a claim is not used", `claim \"realm\"`, "not an object"); len(lines) != 1 {
		t.Errorf("a path through a text: %q", lines)
	}
}

func TestInvalidClaimPathsAreConfigurationErrors(t *testing.T) {
	for name, ok := range map[string]bool{
		"roles": true, "a.b": true, "https://example.com/roles": true, `a\.b`: true, `a\\b`: true,
		"a..b": false, ".a": false, "a.": false, `a\b`: false, `a\`: false, strings.Repeat("a", maxClaimName+1): false,
	} {
		var bad config.Problems
		checkPath(&bad, "auth.oidc[0].roles", name)
		if (bad.Err() == nil) != ok {
			t.Errorf("%q: %v", name, bad.Err())
		}
	}
	var bad config.Problems
	o := OIDC{Name: "x", Issuer: "https://x.example", ClientID: "c", Secret: Secret{Env: "X"}, ClientAuth: "basic",
		Mapping: Mapping{User: "a..b", Teams: "a..b", Roles: "a..b", Display: "a..b", Claims: []string{"a", "a..b"}}}
	o.check(bad.At("auth.oidc[0]"), map[string]bool{})
	for _, field := range []string{"user", "teams", "roles", "display", "claims[1]", "clientAuth"} {
		if !strings.Contains(fmt.Sprint("\n", bad.Err()), "\nauth.oidc[0]."+field+": ") {
			t.Errorf("no error for %s: %v", field, bad.Err())
		}
	}
}
