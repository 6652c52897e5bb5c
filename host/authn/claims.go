package authn

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
)

// claimAt returns the claim with a configured name. If no claim has exactly this
// name, the name is a path whose parts, separated by dots, lead through objects. In
// a part "\." is a dot and "\\" a backslash.
func claimAt(claims map[string]any, name string) (value any, ok bool) {
	if value, ok = claims[name]; ok || name == "" {
		return value, ok
	}
	value = claims
	for _, part := range pathParts(name) {
		object, isObject := value.(map[string]any)
		if value, ok = object[part]; !ok || !isObject {
			return nil, false
		}
	}
	return value, true
}

// pathParts splits a path; checkPath validates it.
func pathParts(name string) []string {
	var parts []string
	var part strings.Builder
	escaped := false
	for _, c := range name {
		switch {
		case escaped:
			part.WriteRune(c)
			escaped = false
		case c == '\\':
			escaped = true
		case c == '.':
			parts = append(parts, part.String())
			part.Reset()
		default:
			part.WriteRune(c)
		}
	}
	return append(parts, part.String())
}

const maxClaimName = 256

// checkPath refuses a name that no claim can have.
func checkPath(bad *config.Problems, field, name string) {
	rest := strings.NewReplacer(`\\`, "", `\.`, "").Replace(name)
	switch {
	case len(name) > maxClaimName:
		bad.Add(field, "has more than %d bytes", maxClaimName)
	case strings.Contains(rest, `\`):
		bad.Add(field, `%q has a backslash that is not part of \. (a dot in a claim's name) or \\`, name)
	case slices.Contains(pathParts(name), ""):
		bad.Add(field, "%q is a path with an empty part; write \\. for a dot in a claim's name", name)
	}
}

// reads lists the claims that m reads, without repetition.
func (m *Mapping) reads() []string {
	return slices.Compact(slices.Sorted(slices.Values(append(m.keeps(), m.User))))
}

// keeps lists the claims that are stored with a login.
func (m *Mapping) keeps() []string {
	names := append([]string{m.Teams, m.Roles}, m.Claims...)
	return slices.DeleteFunc(names, func(name string) bool { return name == "" })
}

func textsAt(claims map[string]any, name string) []string {
	claim, _ := claimAt(claims, name)
	return texts(claim)
}

// texts reads a claim that lists names: a string, a list of strings, or an object
// whose keys are the names. It leaves out empty strings and other types, which
// unusable reports.
func texts(claim any) []string {
	var out []string
	switch v := claim.(type) {
	case string:
		out = []string{v}
	case []string:
		out = slices.Clone(v)
	case []any:
		for _, x := range v {
			if s, ok := x.(string); ok {
				out = append(out, s)
			}
		}
	case map[string]any:
		out = slices.Sorted(maps.Keys(v))
	}
	return slices.DeleteFunc(out, func(s string) bool { return s == "" })
}

// unusable reports which parts of the group and role claims have no effect, and
// why. An absent claim is not reported: a user may have no groups.
func (m *Mapping) unusable(claims map[string]any) (why []error) {
	for _, name := range slices.Compact([]string{m.Teams, m.Roles}) {
		if name == "" {
			continue
		}
		claim, ok := claimAt(claims, name)
		if !ok {
			if at, value := blocked(claims, name); at != "" {
				why = append(why, refuse(sourceClaim(at), value, "is not an object, so it does not contain %q", name))
			}
			continue
		}
		if rule := wrongShape(claim); rule != "" {
			why = append(why, refuse(sourceClaim(name), claim, "%s", rule))
		}
	}
	return why
}

func wrongShape(claim any) string {
	switch v := claim.(type) {
	case nil, []string, map[string]any:
		return ""
	case string:
		if strings.ContainsAny(v, ",;") {
			return "is one string and counts as one name; have the provider send a list"
		}
		return ""
	case []any:
		for i, x := range v {
			if _, ok := x.(string); !ok {
				return fmt.Sprintf("has elements that are not strings, the first at index %d; they have no effect", i)
			}
		}
		return ""
	}
	return "is not a string, a list of strings, or an object whose keys are the names; it has no effect"
}

// blocked returns the part of the path whose value is not an object, and that
// value; "" if the path merely ends.
func blocked(claims map[string]any, name string) (at string, value any) {
	value = claims
	parts := pathParts(name)
	for i, part := range parts {
		object, ok := value.(map[string]any)
		if !ok {
			return strings.Join(parts[:i], "."), value
		}
		if value, ok = object[part]; !ok || value == nil {
			return "", nil
		}
	}
	return "", nil
}

// complete refuses claims that the provider sends incompletely (OpenID Connect
// Core 1.0, section 5.6.2; Entra's "groups overage"). Fetching the rest needs an
// access token for another service, which a sign-in does not request, and without
// it the user would have the wrong rights.
func (m *Mapping) complete(claims map[string]any) error {
	elsewhere, _ := claims["_claim_names"].(map[string]any)
	for _, name := range m.reads() {
		if _, ok := claimAt(claims, name); ok {
			continue
		}
		top := pathParts(name)[0]
		_, whole := elsewhere[name]
		_, part := elsewhere[top]
		// Entra's form of it in tokens that pass through a browser.
		groups := top == "groups" && (claims["hasgroups"] == true || claims["hasgroups"] == "true")
		if whole || part || groups {
			return &host.Error{Kind: host.TooLarge, Op: "authn.claims", Message: "the provider omitted claims", Err: refuse(sourceClaim(name), nil,
				"was omitted by the provider because it is too large; have it send fewer groups, in Entra those assigned to the application, or app roles")}
		}
	}
	return nil
}
