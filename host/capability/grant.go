package capability

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Grant is what an operator allows a plugin: every combination of its lists.
// Entries are patterns of host.Glob. An empty list allows nothing, so each
// dimension of the capability must be there.
type Grant struct {
	Clusters   []string `json:"clusters,omitempty"`   // names of clusters of the configuration, or "*"
	Namespaces []string `json:"namespaces,omitempty"` // "*" includes what is in no namespace
	Resources  []string `json:"resources,omitempty"`  // "pods", "applications.argoproj.io", "pods/log", or "*"
	Verbs      []string `json:"verbs,omitempty"`      // of kube: get, list, watch, create, update, patch, delete, or "*"
	Actions    []string `json:"actions,omitempty"`    // of helm: list, get, upgrade, rollback, uninstall, or "*"
	Instances  []string `json:"instances,omitempty"`  // of a cloud, by their names in the configuration
	// ResourceGroups are Azure's, or "*"; their case does not matter.
	ResourceGroups []string `json:"resourceGroups,omitempty"`
}

// Dimension is one list of a Grant.
type Dimension struct {
	Name   string
	Values []string // what exists; empty: anything
	// Noun is what one of Values is called, such as "instance of Azure", where
	// they are named in the host's configuration; empty: they are the kind's own.
	Noun string
	// Fold says that case does not matter: lists are compared in lower case, and
	// Classify writes calls in lower case.
	Fold bool
}

// Value is what a call names in the dimension, "" if nothing.
func (d *Dimension) Value(c *host.CapabilityCall) string { return value(c, d.Name) }

// fold returns a list as the dimension compares it.
func (d *Dimension) fold(list []string) []string {
	if !d.Fold {
		return list
	}
	return lower(list)
}

// The dimensions that grants know.
const (
	Clusters       = "clusters"
	Namespaced     = "namespaces"
	Resources      = "resources"
	Verbs          = "verbs"
	Actions        = "actions"
	Instances      = "instances"
	ResourceGroups = "resourceGroups"
)

var dimensionNames = []string{Clusters, Namespaced, Resources, Verbs, Actions, Instances, ResourceGroups}

func (g *Grant) list(d *Dimension) []string { return d.fold(g.written(d.Name)) }

// written is the list as the operator wrote it.
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
	}
	return nil
}

// value is what a call says in a dimension.
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
	}
	return ""
}

// check reports everything wrong with g, each line naming its field.
func (g *Grant) check(at string, dims []Dimension) error {
	var problems []error
	for _, name := range dimensionNames {
		list := g.written(name)
		i := slices.IndexFunc(dims, func(d Dimension) bool { return d.Name == name })
		switch {
		case i < 0 && len(list) > 0:
			problems = append(problems, fmt.Errorf("%s.%s: does not belong to this capability; remove it", at, name))
		case i >= 0 && len(list) == 0:
			problems = append(problems, fmt.Errorf(`%s.%s: is missing; ["*"] allows all`, at, name))
		case i >= 0:
			problems = append(problems, checkPatterns(at+"."+name, dims[i].fold(list), dims[i].Values))
		}
	}
	return errors.Join(problems...)
}

func checkPatterns(at string, patterns, values []string) error {
	for i, p := range patterns {
		if p == "" {
			return fmt.Errorf("%s[%d]: is empty", at, i)
		}
		matches := func(v string) bool { return host.Glob(p, v) }
		if len(values) > 0 && !slices.ContainsFunc(values, matches) {
			return fmt.Errorf("%s[%d]: %q matches none of %s", at, i, p, strings.Join(values, ", "))
		}
	}
	return nil
}

// covers reports whether g allows c, leaving out the dimension but.
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

// wanted writes the grant that c would need, as an operator would.
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

// Within is the namespaces or resource groups that a call may reach: those that
// match every one of its lists. The zero value reaches all.
type Within struct{ lists [][]string }

func (w Within) and(patterns []string) Within {
	if matchAny(patterns, "") {
		return w
	}
	return Within{append(slices.Clip(w.lists), patterns)}
}

// All reports whether nothing narrows the call.
func (w Within) All() bool { return len(w.lists) == 0 }

// Contains reports whether name may be reached. Resource groups are compared in
// lower case.
func (w Within) Contains(name string) bool {
	for _, list := range w.lists {
		if !matchAny(list, name) {
			return false
		}
	}
	return true
}

// Names returns the names that may be reached, sorted, if they can be told
// without asking which there are: when one of the lists has no pattern in it.
// Names become parts of paths; those that are not valid reach nothing and are
// left out.
func (w Within) Names(valid func(string) bool) (names []string, ok bool) {
	for _, list := range w.lists {
		if slices.ContainsFunc(list, func(p string) bool { return strings.Contains(p, "*") }) {
			continue
		}
		names = slices.DeleteFunc(slices.Clone(list), func(s string) bool { return !valid(s) || !w.Contains(s) })
		slices.Sort(names)
		return slices.Compact(names), true
	}
	return nil, false
}

// Among returns those of all that may be reached.
func (w Within) Among(all []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return !w.Contains(s) })
}
