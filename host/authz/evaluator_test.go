package authz

import (
	"regexp"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// The shipped rules by another way: patterns as regular expressions, sets of
// permissions as they are written, prohibitions as a list of spellings. Nothing
// here is shared with directory, authz or policies.

// permits is what a role, a team or a user is given.
type permits struct {
	glass     bool
	actions   []string
	plugins   []plugin
	resources [][4][]string // clusters, namespaces, resources, verbs
}

type plugin struct {
	name    string
	triples []any // of Azure: map[string]any, or something malformed
}

// verdict is what a decision comes to.
type verdict struct {
	allow, broke bool
	within       string // what a list over all shows, "" for all of it
}

func judge(sets []permits, q *host.Question) verdict {
	if q.Capability != nil && forbidden(q.Capability) {
		return verdict{}
	}
	ordinary := slices.DeleteFunc(slices.Clone(sets), func(p permits) bool { return p.glass })
	if q.Reason != "" && slices.ContainsFunc(sets, func(p permits) bool { return p.glass && p.touches(q) }) {
		if ok, within := suffice(sets, q); ok {
			return verdict{true, true, within}
		}
	}
	ok, within := suffice(ordinary, q)
	return verdict{ok, false, within}
}

// touches reports whether anything in p is about q.
func (p permits) touches(q *host.Question) bool {
	return p.acts(q) || p.admits(q) || slices.ContainsFunc(p.resources, func(r [4][]string) bool { return reaches(r, q) })
}

func (p permits) acts(q *host.Question) bool {
	plugin, name, ok := strings.Cut(string(q.Route.Action), ":")
	return ok && slices.ContainsFunc(p.actions, func(pattern string) bool {
		first, second, _ := strings.Cut(pattern, ":")
		own := plugin != "admin" || first == "admin"
		return pattern == "*" || own && fits(plugin, first) && fits(name, second)
	})
}

func (p permits) admits(q *host.Question) bool {
	return slices.ContainsFunc(p.plugins, func(x plugin) bool { return fits(q.Route.Plugin, x.name) })
}

func suffice(sets []permits, q *host.Question) (ok bool, within string) {
	acts := slices.ContainsFunc(sets, func(p permits) bool { return p.acts(q) })
	admits := slices.ContainsFunc(sets, func(p permits) bool { return p.admits(q) })
	if c := q.Capability; c == nil || !acts || !admits {
		return acts && admits, ""
	}
	var places []string // of the permissions that cover the target
	for _, p := range sets {
		for _, r := range p.resources {
			if q.Capability.Name != "azure" && reaches(r, q) {
				places = append(places, r[1]...)
			}
		}
		for _, x := range p.plugins {
			if q.Capability.Name == "azure" && fits(q.Route.Plugin, x.name) {
				for _, triple := range x.triples {
					places = append(places, azure(triple, q.Capability)...)
				}
			}
		}
	}
	slices.Sort(places)
	if len(places) > 0 && q.Capability.Spans && !slices.Contains(places, "*") {
		within = strings.Join(slices.Compact(places), " ")
	}
	return len(places) > 0, within
}

// azure is the resource groups of a triple that covers c, none if it does not.
func azure(triple any, c *host.CapabilityCall) []string {
	m, _ := triple.(map[string]any)
	part := func(key string) []string { list, _ := m[key].([]string); return list }
	lower := func(s string, patterns []string) bool {
		return fits(s, strings.Split(strings.ToLower(strings.Join(patterns, "\n")), "\n")...)
	}
	if !lower(c.Resource, part("resources")) || !lower(c.Verb, part("verbs")) || !c.Spans && !lower(c.ResourceGroup, part("resourceGroups")) {
		return nil
	}
	return part("resourceGroups")
}

// reaches reports whether a resource permission covers q; of a route it knows
// the cluster at most.
func reaches(r [4][]string, q *host.Question) bool {
	c := q.Capability
	if c == nil {
		cluster, named := q.Resource["cluster"]
		return !named || fits(cluster, r[0]...)
	}
	kind, verb := c.GroupResource(), c.Verb
	switch c.Name {
	case "helm":
		kind = "releases.helm.sh"
	case "exec":
		verb = "create"
	case "kube":
	default:
		return false
	}
	return fits(c.Cluster, r[0]...) && (c.Spans || fits(c.Namespace, r[1]...)) && fits(kind, r[2]...) && fits(verb, r[3]...)
}

func forbidden(c *host.CapabilityCall) bool {
	kind := c.GroupResource()
	switch c.Name {
	case "kube":
		return fits(kind, "secrets", "secrets/*", "serviceaccounts/token", "serviceaccounts.*/token", "*/proxy", "*/exec", "*/attach", "*/portforward") || c.Verb == "proxy"
	case "exec":
		return !fits(kind, "pods/exec", "pods/attach", "pods/portforward")
	}
	return false
}

var expressions = map[string]*regexp.Regexp{}

// fits reports whether one of the patterns covers s.
func fits(s string, patterns ...string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		if expressions[p] == nil {
			expressions[p] = regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(p), `\*`, ".*") + "$")
		}
		return expressions[p].MatchString(s)
	})
}
