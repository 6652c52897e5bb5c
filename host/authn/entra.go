package authn

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host/config"
)

// Microsoft Entra does not send email_verified, and lets administrators of any
// tenant write any address into "email" (published as nOAuth). It does verify the
// domains of a tenant, and "upn" and "preferred_username" of the tenant's own
// members are in them. So an address counts if the issuer is one tenant, the token
// is from that tenant, the user is not a guest, the domain is listed, and the
// operator sets entraAddresses.

// entraClaims are the claims whose addresses count.
var entraClaims = []string{"upn", "preferred_username"}

var tenantID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// personalTenant is the tenant of all personal Microsoft accounts.
const personalTenant = "9188040d-6c67-4c5b-b112-36a304b66dad"

// issuerTenant returns the tenant of an issuer such as
// https://login.microsoftonline.com/TENANT/v2.0 or https://sts.windows.net/TENANT/,
// or "" if the issuer serves several tenants.
func issuerTenant(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil {
		return ""
	}
	path := strings.Trim(u.Path, "/")
	path = strings.TrimSuffix(path, "/v2.0")
	tenant := strings.ToLower(path[strings.LastIndexByte(path, '/')+1:])
	if !tenantID.MatchString(tenant) || tenant == personalTenant {
		return ""
	}
	return tenant
}

func (p *OIDC) checkEntra(bad *config.Problems) {
	if !p.EntraAddresses {
		return
	}
	if issuerTenant(p.Issuer) == "" {
		bad.Add("entraAddresses", "needs the issuer of one tenant by its id, such as https://login.microsoftonline.com/00000000-0000-0000-0000-000000000000/v2.0, not %q", p.Issuer)
	}
	if !slices.Contains(entraClaims, p.User) {
		bad.Add("entraAddresses", "needs user to be %s, whose domain the tenant verifies, not %q", strings.Join(entraClaims, " or "), p.User)
	}
	if len(p.IDDomains) == 0 {
		bad.Add("idDomains", "is required with entraAddresses; list the tenant's domains whose addresses count")
	}
}

// verified returns the claims of a member of the Entra tenant with email and
// email_verified set, as other providers send them. It refuses any other user
// whose id would be an address.
func (p *OIDC) verified(claims map[string]any) (map[string]any, error) {
	address, _ := claims[p.User].(string)
	if !p.EntraAddresses || !strings.Contains(address, "@") {
		return claims, nil
	}
	tenant := issuerTenant(p.Issuer)
	if tid, _ := claims["tid"].(string); tenant == "" || !strings.EqualFold(tid, tenant) {
		return nil, refuse(sourceClaim("tid"), claims["tid"], "is not the tenant of the issuer, %q", tenant)
	}
	if idp, ok := claims["idp"]; ok && !p.ownIDP(idp, tenant) {
		return nil, refuse(sourceClaim("idp"), claims["idp"], "says that the user is a guest; only members' addresses count")
	}
	if acct, ok := claims["acct"]; ok && acct != float64(0) && acct != "0" {
		return nil, refuse(sourceClaim("acct"), claims["acct"], "says that the user is a guest; only members' addresses count")
	}
	if strings.Contains(address, "#") {
		return nil, refuse(sourceClaim(p.User), address, "is the name of a guest; only members' addresses count")
	}
	out := maps.Clone(claims)
	out["email"], out["email_verified"] = address, true
	return out, nil
}

// ownIDP reports whether the tenant itself signed the user in.
func (p *OIDC) ownIDP(idp any, tenant string) bool {
	s, _ := idp.(string)
	return s == p.Issuer || issuerTenant(s) == tenant
}
