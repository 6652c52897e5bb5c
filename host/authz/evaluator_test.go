package authz

import (
	"regexp"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// The shipped rules by another way: one survey of permissions as they are
// written, patterns as regular expressions, prohibitions as a list of spellings.
// Nothing here is shared with directory, authz or policies.

func judge(sets []permits, q *host.Question) verdict {
	glass := slices.DeleteFunc(slices.Clone(sets), func(p permits) bool { return !p.glass })
	ordinary := slices.DeleteFunc(slices.Clone(sets), func(p permits) bool { return p.glass })
	g, all := survey(glass, q), survey(sets, q)
	if q.Reason != "" && (g.acts || g.admits || g.reaches) && all.suffices(q) {
		return verdict{true, true, all.within(q)}
	}
	o := survey(ordinary, q)
	return verdict{o.suffices(q), false, o.within(q)}
}

// found is what some sets have for a question.
type found struct {
	acts, admits, reaches bool
	places                []string // namespaces or resource groups of what reaches it
}

func survey(sets []permits, q *host.Question) (f found) {
	for _, p := range sets {
		for _, pattern := range p.actions {
			own := !strings.HasPrefix(string(q.Route.Action), "admin:") || pattern == "*" || strings.HasPrefix(pattern, "admin:")
			f.acts = f.acts || own && strings.Contains(string(q.Route.Action), ":") && fits(string(q.Route.Action), pattern)
		}
		for _, x := range p.plugins {
			if fits(q.Route.Plugin, x.name) {
				f.admits = true
				for _, triple := range x.triples {
					f.places = append(f.places, azure(triple, q.Capability)...)
				}
			}
		}
		for _, r := range p.resources {
			if reaches(r, q) {
				f.reaches, f.places = true, append(f.places, r[1]...)
			}
		}
	}
	return f
}

func (f *found) suffices(q *host.Question) bool {
	c := q.Capability
	return f.acts && f.admits && (c == nil || len(f.places) > 0 && !forbidden(c))
}

func (f *found) within(q *host.Question) string {
	if !f.suffices(q) || q.Capability == nil || !q.Capability.Spans || slices.Contains(f.places, "*") {
		return ""
	}
	slices.Sort(f.places)
	return strings.Join(slices.Compact(f.places), " ")
}

// azure is the resource groups of a triple that covers c, none if it does not.
func azure(triple any, c *host.CapabilityCall) []string {
	m, _ := triple.(map[string]any)
	covers := func(key, s string) bool {
		list, _ := m[key].([]string)
		return slices.ContainsFunc(list, func(p string) bool { return fits(s, strings.ToLower(p)) })
	}
	groups, _ := m["resourceGroups"].([]string)
	switch _, some := m["instances"]; {
	case c == nil || c.Name != "azure" || m["instance"] != nil: // a slip
	case !covers("resources", c.Resource) && c.Resource != "resourcegroups":
	case !covers("verbs", c.Verb) && !(covers("verbs", "put") && fits(c.Verb, "restart", "start", "stop")):
	case !covers("resourceGroups", c.ResourceGroup) && !c.Spans, some && !covers("instances", c.Instance):
	default:
		return groups
	}
	return nil
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
	if c.Name == "helm" {
		kind = "releases.helm.sh"
	} else if c.Name == "exec" {
		verb = "create"
	}
	return fits(c.Name, "kube", "helm", "exec", "pods") && fits(c.Cluster, r[0]...) && (c.Spans || fits(c.Namespace, r[1]...)) && fits(kind, r[2]...) && fits(verb, r[3]...)
}

func forbidden(c *host.CapabilityCall) bool {
	kind := c.GroupResource()
	if c.Via == "helm" && fits(kind, "secrets", "secrets/*") && fits(c.Verb, "get", "create", "update", "patch", "delete") && !fits(c.Subresource, "proxy", "exec", "attach", "portforward") {
		return false
	}
	return c.Name == "kube" && (c.Verb == "proxy" || fits(kind, "secrets", "secrets/*", "serviceaccounts/token", "serviceaccounts.*/token", "*/proxy", "*/exec", "*/attach", "*/portforward") || fits(kind, "*/ephemeralcontainers") && !fits(c.Verb, "get", "list", "watch")) ||
		c.Name == "pods" && !fits(kind, "pods/exec", "pods/attach", "pods/portforward", "pods/log", "pods/copy", "pods/ephemeralcontainers") ||
		c.Name == "exec" && !fits(kind, "pods/exec", "pods/attach", "pods/portforward")
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
