package directory

import (
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
)

// hostPlugin is the plugin name in the host's own actions.
const hostPlugin = "admin"

// patterns is a list of patterns, grouped by how they are compared.
type patterns struct {
	all   bool     // contains "*"
	exact []string // without "*"
	globs []string
}

func newPatterns(list []string) patterns {
	var p patterns
	for _, s := range list {
		switch {
		case s == "*":
			p.all = true
		case strings.Contains(s, "*"):
			p.globs = append(p.globs, s)
		default:
			p.exact = append(p.exact, s)
		}
	}
	return p
}

func (p *patterns) empty() bool { return !p.all && len(p.exact) == 0 && len(p.globs) == 0 }

func (p *patterns) covers(s string) bool {
	if p.all {
		return true
	}
	for _, e := range p.exact {
		if e == s {
			return true
		}
	}
	for _, g := range p.globs {
		if host.Glob(g, s) {
			return true
		}
	}
	return false
}

// resource is a resource permission, prepared for matching.
type resource struct {
	match                                  *host.Matched
	clusters, namespaces, resources, verbs patterns
}

func newResource(m *host.Matched) resource {
	r := m.Resource
	return resource{m, newPatterns(r.Clusters), newPatterns(r.Namespaces), newPatterns(r.Resources), newPatterns(r.Verbs)}
}

// dimension is one part of a target. If it is not named, every list of patterns
// covers it; if it is named and empty, only "*" does.
type dimension struct {
	value string
	named bool
}

func (d *dimension) coveredBy(p *patterns) bool {
	if !d.named {
		return !p.empty()
	}
	return p.covers(d.value)
}

// target is the object of a question in terms of resource permissions.
type target struct {
	cluster, namespace, resource, verb dimension
	none                               bool // not a resource of a cluster
}

func (t *target) coveredBy(r *resource) bool {
	return t.namespace.coveredBy(&r.namespaces) && t.verb.coveredBy(&r.verbs) &&
		t.resource.coveredBy(&r.resources) && t.cluster.coveredBy(&r.clusters)
}

// targetOf returns what a permission must cover for q: none for calls that resource
// permissions are not about.
func targetOf(kinds *capability.Catalog, q *host.Question) target {
	c := q.Capability
	if c == nil {
		return routeTarget(q.Resource)
	}
	kind := kinds.Kind(c.Name)
	if kind == nil || kind.Permission == nil {
		return target{none: true}
	}
	resource, verb := kind.Permission(c)
	return target{
		cluster:   dimension{c.Cluster, true},
		namespace: dimension{c.Namespace, !c.Spans},
		resource:  dimension{resource, true},
		verb:      dimension{verb, true},
	}
}

func routeTarget(r host.Resource) target {
	var t target
	t.cluster.value, t.cluster.named = r["cluster"]
	t.namespace.value, t.namespace.named = r["namespace"]
	t.verb.value, t.verb.named = r["verb"]
	if resource, ok := r["resource"]; ok {
		c := host.CapabilityCall{Group: r["group"], Resource: resource, Subresource: r["subresource"]}
		t.resource = dimension{c.GroupResource(), true}
	}
	return t
}

// match returns the permissions that cover q, in the order of the user's sets and of
// the permissions in each.
func (s *snapshot) match(kinds *capability.Catalog, q *host.Question) host.Matching {
	m := host.Matching{Revision: s.revision}
	p := s.personOf(q.Principal)
	if p == nil {
		return m
	}
	m.Roles, m.Teams = p.Roles, p.Teams
	t := targetOf(kinds, q)
	for _, set := range p.sets {
		to := &m.Matched
		if set.glass {
			to = &m.BreakGlass
		}
		for _, a := range set.actions {
			if actionCovered(q.Route.Action, a.Action) {
				*to = append(*to, a)
			}
		}
		for _, pl := range set.plugins {
			if q.Route.Plugin != "" && host.Glob(pl.Plugin.Name, q.Route.Plugin) {
				*to = append(*to, pl)
			}
		}
		if t.none {
			continue
		}
		for i := range set.resources {
			if r := &set.resources[i]; t.coveredBy(r) {
				*to = append(*to, r.match)
			}
		}
	}
	return m
}

func actionCovered(a host.Action, pattern string) bool {
	if !a.Matches(pattern) {
		return false
	}
	plugin, _, _ := a.Split()
	return plugin != hostPlugin || pattern == "*" || strings.HasPrefix(pattern, hostPlugin+":")
}
