package authn

import (
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
)

// entra makes the provider a tenant of Entra: its issuer has the tenant in the path,
// and its tokens have tid and no email_verified.
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
		"signed in by this tenant":    {name, address(name, ann, "idp", "https://sts.windows.net/"+tenant+"/"), false, ""},
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
					t.Errorf("led to %q as %q: %s", to, b.who(), log.Take("sign-in"))
				}
				return
			}
			if !strings.Contains(to, "error=") || b.who() != "" {
				t.Errorf("led to %q as %q", to, b.who())
			}
			if lines := log.Take("sign-in failed", c.rule); len(lines) != 1 {
				t.Errorf("log: %q", lines)
			}
		})
	}
	// The same holds for bearer tokens of the tenant.
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
		var bad config.Problems
		o.check(bad.At("auth.oidc[0]"), map[string]bool{})
		if err := bad.Err(); want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
