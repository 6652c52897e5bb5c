package authn

import (
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Login methods whose names are fixed.
const (
	methodDev    = "dev"
	methodGitHub = "github"
	methodProxy  = "proxy"
	// MethodDisabled is the method of logins while authentication is disabled. The
	// Name of their principal is unverified: a header of the request sets it.
	MethodDisabled = "disabled"
)

// reserved are names that a provider may not have. "system" is one because
// clusters use ids that begin with "system:".
var reserved = []string{methodDev, methodGitHub, methodProxy, MethodDisabled, methodOperator, "system"}

// groupsClaim is the claim that holds the groups of login methods without claims.
const groupsClaim = "groups"

// mapper maps a provider's claims to roles and teams. It is called whenever a
// principal is built, so that a changed mapping applies to existing logins.
type mapper interface {
	asserted(claims map[string]any) host.Membership
	unlisted() bool
}

func (m *Mapping) unlisted() bool { return m.Unlisted }

func (m *Mapping) asserted(claims map[string]any) host.Membership {
	var out host.Membership
	if m.Roles != "" {
		out.Roles = textsAt(claims, m.Roles)
	}
	if m.Teams != "" {
		for _, g := range textsAt(claims, m.Teams) {
			if to, ok := m.Map[g]; ok {
				out.Roles, out.Teams = append(out.Roles, to.Roles...), append(out.Teams, to.Teams...)
			} else {
				out.Teams = append(out.Teams, g)
			}
		}
	}
	return host.Membership{Roles: set(out.Roles), Teams: set(out.Teams)}
}

func set(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// kept selects the claims that are stored with the login, each under its name in
// the configuration.
func (m *Mapping) kept(claims map[string]any) map[string]any {
	out := map[string]any{}
	for _, name := range m.keeps() {
		if v, ok := claimAt(claims, name); ok {
			out[name] = v
		}
	}
	return out
}

// userID returns the user id in claims, or a refusal. An e-mail address must be
// verified and in a listed domain. Any other value is prefixed with the provider's
// name, so that ids of different providers cannot be equal.
func (m *Mapping) userID(provider string, claims map[string]any) (host.UserID, error) {
	source := sourceClaim(m.User)
	claim, _ := claimAt(claims, m.User)
	value, ok := claim.(string)
	if !ok || value == "" {
		return "", refuse(source, claim, "is not a non-empty string, so it cannot be the user id")
	}
	id, address := value, strings.Contains(value, "@")
	if !address {
		id = provider + ":" + value
	}
	if err := host.CheckUserID(id); err != nil {
		return "", refuse(source, value, "is not a valid user id: it %v", err)
	}
	if !address {
		return host.CanonicalID(host.UserID(id)), nil
	}
	if !inDomains(value, m.IDDomains) {
		return "", refuse(source, value, "is an address outside idDomains, %q", m.IDDomains)
	}
	// Some providers write the boolean as a string.
	if v := claims["email_verified"]; v != true && v != "true" {
		return "", refuse(source, value, "is an address that the provider has not verified: email_verified is %s (Microsoft Entra never sends it; see entraAddresses)", shown(v))
	}
	if email, _ := claims["email"].(string); host.CanonicalID(email) != host.CanonicalID(value) {
		return "", refuse(source, value, "is not the verified address, which is in claim \"email\": %s", shown(claims["email"]))
	}
	return host.CanonicalID(host.UserID(id)), nil
}

// inDomains reports whether the part after the only "@" is a listed domain
// (CVE-2026-40574 was a bypass with two).
func inDomains(address string, domains []string) bool {
	local, domain, ok := strings.Cut(address, "@")
	return ok && local != "" && !strings.Contains(domain, "@") &&
		slices.ContainsFunc(domains, func(d string) bool { return strings.EqualFold(d, domain) })
}
