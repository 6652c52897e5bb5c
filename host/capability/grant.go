package capability

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
)

// Grant is what the operator allows a plugin: every combination of its lists. Entries
// are patterns of host.Glob. An empty list allows nothing, so each dimension of the
// capability is required.
type Grant struct {
	Clusters   []string `json:"clusters,omitempty"`   // names of clusters of the configuration, or "*"
	Namespaces []string `json:"namespaces,omitempty"` // "*" includes cluster-scoped objects
	Resources  []string `json:"resources,omitempty"`  // "pods", "applications.argoproj.io", "pods/log", or "*"
	Verbs      []string `json:"verbs,omitempty"`      // of kube: get, list, watch, create, update, patch, delete, or "*"
	Actions    []string `json:"actions,omitempty"`    // of helm: list, history, values, notes, manifest, upgrade, rollback, uninstall, test, cancel, or "*"
	Instances  []string `json:"instances,omitempty"`  // of a cloud, by their names in the configuration
	// ResourceGroups are Azure's, or "*"; they are not case-sensitive.
	ResourceGroups []string `json:"resourceGroups,omitempty"`
	Repositories   []string `json:"repositories,omitempty"` // of git, as SERVER/PATH without ".git": "git.example.com/shop/*", or "*"
}

// Dimension is one list of a Grant.
type Dimension struct {
	Name   string
	Values []string // the values that exist; empty: any value
	// Noun is the noun for one of Values, such as "instance of Azure", if the host's
	// configuration defines them; empty if the kind does.
	Noun string
	// Fold means that the dimension is not case-sensitive: lists are compared in
	// lower case, and Classify writes calls in lower case.
	Fold bool
}

// Value returns the value of a call in the dimension, "" if it has none.
func (d *Dimension) Value(c *host.CapabilityCall) string { return value(c, d.Name) }

// fold returns a list in the form in which the dimension is compared.
func (d *Dimension) fold(list []string) []string {
	if !d.Fold {
		return list
	}
	return lower(list)
}

// The dimensions of grants.
const (
	Clusters       = "clusters"
	Namespaced     = "namespaces"
	Resources      = "resources"
	Verbs          = "verbs"
	Actions        = "actions"
	Instances      = "instances"
	ResourceGroups = "resourceGroups"
	Repositories   = "repositories"
)

var dimensionNames = []string{Clusters, Namespaced, Resources, Verbs, Actions, Instances, ResourceGroups, Repositories}

func (g *Grant) list(d *Dimension) []string { return d.fold(g.written(d.Name)) }

// written returns the list as the operator wrote it.
func (g *Grant) written(dimension string) []string {
	switch dimension {
	case Clusters:
		return g.Clusters
	case Namespaced:
		return g.Namespaces
	case Resources:
		return g.Resources
	case Verbs:
		return g.Verbs
	case Actions:
		return g.Actions
	case Instances:
		return g.Instances
	case ResourceGroups:
		return g.ResourceGroups
	case Repositories:
		return g.Repositories
	}
	return nil
}

// value returns the value of a call in a dimension.
func value(c *host.CapabilityCall, dimension string) string {
	switch dimension {
	case Clusters:
		return c.Cluster
	case Namespaced:
		return c.Namespace
	case Resources:
		return c.GroupResource()
	case Verbs, Actions:
		return c.Verb
	case Instances:
		return c.Instance
	case ResourceGroups:
		return c.ResourceGroup
	case Repositories:
		return c.Host + c.Path
	}
	return ""
}

// check adds everything wrong with g to bad.
func (g *Grant) check(bad *config.Problems, dims []Dimension) {
	for _, name := range dimensionNames {
		list := g.written(name)
		i := slices.IndexFunc(dims, func(d Dimension) bool { return d.Name == name })
		switch {
		case i < 0 && len(list) > 0:
			bad.Add(name, "this capability has no such list; remove it")
		case i >= 0 && len(list) == 0:
			bad.Add(name, `is missing; ["*"] allows all`)
		case i >= 0:
			checkPatterns(bad.At(name), dims[i].fold(list), dims[i].Values)
		}
	}
}

func checkPatterns(bad *config.Problems, patterns, values []string) {
	for i, p := range patterns {
		bad := bad.Index("", i)
		if p == "" {
			bad.Add("", "is empty; write a name, or remove it")
			continue
		}
		matches := func(v string) bool { return host.Glob(p, v) }
		if len(values) > 0 && !slices.ContainsFunc(values, matches) {
			bad.Add("", "%q matches none of %s", p, strings.Join(values, ", "))
		}
	}
}

// covers reports whether g allows c in all dimensions except but.
func (g *Grant) covers(c *host.CapabilityCall, dims []Dimension, but string) bool {
	for i := range dims {
		if d := &dims[i]; d.Name != but && !matchAny(g.list(d), value(c, d.Name)) {
			return false
		}
	}
	return len(dims) > 0
}

// Covers reports whether have allows every call that want allows: whether each grant
// of want lies within one of have. A pattern lies within another that matches its text.
func (k *Kind) Covers(have, want []Grant) bool {
	within := func(g, by *Grant) bool {
		for i := range k.Dimensions {
			d := &k.Dimensions[i]
			if slices.ContainsFunc(g.list(d), func(p string) bool { return !matchAny(by.list(d), p) }) {
				return false
			}
		}
		return true
	}
	for i := range want {
		if !slices.ContainsFunc(have, func(h Grant) bool { return within(&want[i], &h) }) {
			return false
		}
	}
	return true
}

func matchAny(patterns []string, v string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return host.Glob(p, v) })
}

func lower(list []string) []string {
	out := slices.Clone(list)
	for i := range out {
		out[i] = strings.ToLower(out[i])
	}
	return out
}

// wanted returns the grant that c needs, in the notation of the configuration.
func wanted(c *host.CapabilityCall, dims []Dimension) string {
	var fields []string
	for _, d := range dims {
		v := value(c, d.Name)
		if v == "" {
			v = `"*"`
		}
		fields = append(fields, fmt.Sprintf("%s: [%s]", d.Name, v))
	}
	return "{" + strings.Join(fields, ", ") + "}"
}

// Narrowing limits a call to the namespaces or resource groups that match every one of
// its lists. The zero value does not limit it.
type Narrowing struct{ lists [][]string }

func (n Narrowing) and(patterns []string) Narrowing {
	if matchAny(patterns, "") {
		return n
	}
	return Narrowing{append(slices.Clip(n.lists), patterns)}
}

// All reports whether the call is not limited.
func (n Narrowing) All() bool { return len(n.lists) == 0 }

// Contains reports whether the call may reach name. Resource groups are compared in
// lower case.
func (n Narrowing) Contains(name string) bool {
	for _, list := range n.lists {
		if !matchAny(list, name) {
			return false
		}
	}
	return true
}

// Names returns the names that the call may reach, sorted. ok is false if every list
// contains a pattern, since the names then depend on what exists. Names become parts of
// paths, so invalid ones are left out.
func (n Narrowing) Names(valid func(string) bool) (names []string, ok bool) {
	for _, list := range n.lists {
		if slices.ContainsFunc(list, func(p string) bool { return strings.Contains(p, "*") }) {
			continue
		}
		names = slices.DeleteFunc(slices.Clone(list), func(s string) bool { return !valid(s) || !n.Contains(s) })
		slices.Sort(names)
		return slices.Compact(names), true
	}
	return nil, false
}

// Among returns the elements of all that the call may reach.
func (n Narrowing) Among(all []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return !n.Contains(s) })
}
