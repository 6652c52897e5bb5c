package authn

import (
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Login methods that are not named by the operator.
const (
	methodDev    = "dev"
	methodGitHub = "github"
	methodProxy  = "proxy"
	// MethodDisabled is the method of logins while authentication is disabled. Their
	// principal's Name is what the request says of itself.
	MethodDisabled = "disabled"
)

// reserved are names that no provider may have: ids that begin with "system:"
// belong to clusters.
var reserved = []string{methodDev, methodGitHub, methodProxy, MethodDisabled, "system"}

// groupsClaim is under which name ways in without claims keep groups.
const groupsClaim = "groups"

// mapper turns what a provider says about somebody into what counts here. It
// is asked whenever a principal is made, so that a mapping that changed counts
// for logins that began before.
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

// kept selects the claims that are remembered with the login, each under the name
// that the configuration gives it.
func (m *Mapping) kept(claims map[string]any) map[string]any {
	out := map[string]any{}
	for _, name := range m.keeps() {
		if v, ok := claimAt(claims, name); ok {
			out[name] = v
		}
	}
	return out
}

// userID is the id under which provider's word on somebody counts, or why it
// does not. An address needs a listed domain and a verified owner; anything
// else is kept apart from other providers' ids by a prefix.
func (m *Mapping) userID(provider string, claims map[string]any) (host.UserID, error) {
	source := sourceClaim(m.User)
	claim, _ := claimAt(claims, m.User)
	value, ok := claim.(string)
	if !ok || value == "" {
		return "", refuse(source, claim, "is not a text that could be a user id")
	}
	id, address := value, strings.Contains(value, "@")
	if !address {
		id = provider + ":" + value
	}
	if err := host.CheckUserID(id); err != nil {
		return "", refuse(source, value, "cannot be a user id: it %v", err)
	}
	if !address {
		return host.CanonicalID(host.UserID(id)), nil
	}
	if !inDomains(value, m.IDDomains) {
		return "", refuse(source, value, "is an address outside idDomains, which are %q", m.IDDomains)
	}
	// Some providers write the boolean as a string.
	if v := claims["email_verified"]; v != true && v != "true" {
		return "", refuse(source, value, "is an address that the provider has not verified: email_verified is %s (Microsoft Entra never says it; see entraAddresses)", shown(v))
	}
	if email, _ := claims["email"].(string); host.CanonicalID(email) != host.CanonicalID(value) {
		return "", refuse(source, value, "is an address, but not the verified one, which is that in claim \"email\": %s", shown(claims["email"]))
	}
	return host.CanonicalID(host.UserID(id)), nil
}

// inDomains compares the part after the only "@" (CVE-2026-40574 was two).
func inDomains(address string, domains []string) bool {
	local, domain, ok := strings.Cut(address, "@")
	return ok && local != "" && !strings.Contains(domain, "@") &&
		slices.ContainsFunc(domains, func(d string) bool { return strings.EqualFold(d, domain) })
}
