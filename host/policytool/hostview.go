package authz

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// Setting is what a host has beside its policy, as far as one question is about
// it.
type Setting struct {
	Plugins   []string // names of instances
	Clusters  []string
	Instances []string // of Azure
	// Routes are those of the question's plugin; nil: they are not known.
	Routes []PluginRoute
	// Check is what else keeps a call of that plugin from being made: its grants,
	// and obligations that cannot be met. Nil: it is not known.
	Check func(host.CapabilityCall, host.Obligations) error
}

// PluginRoute is a route by its action.
type PluginRoute struct {
	Action host.Action
	Kind   manifest.Kind
}

// Within adds to x, the explanation of q, what there is of it in a host: names
// that it does not have, and why it refuses what policy allows.
func (x *Explanation) Within(s *Setting, q *host.Question) {
	x.unknown("plugin", q.Route.Plugin, append([]string{hostPlugin}, s.Plugins...))
	if c := q.Capability; c != nil {
		x.unknown("cluster", c.Cluster, s.Clusters)
		x.unknown("instance of Azure", c.Instance, s.Instances)
	}
	if o := &x.obligations; q.Route.Plugin == hostPlugin && (!o.MetBy(false, false) || o.Confines()) {
		x.Refused = append(x.Refused, "obligation_not_supported: the host's own routes meet max_session and idle alone")
	}
	x.onRoutes(s, q)
	if q.Capability == nil {
		return
	}
	if !q.Route.Mutates && q.Capability.Effect.Normal() == host.EffectChange {
		x.Refused = append(x.Refused, fmt.Sprintf("read_route: %s reads, and its plugin cannot make a change: %s", q.Route.Action, q.Capability))
	}
	if s.Check == nil {
		return
	}
	if err := s.Check(*q.Capability, x.obligations); err != nil {
		x.Refused = append(x.Refused, err.Error())
	}
}

// hostPlugin is the plugin of the host's own actions.
const hostPlugin = "admin"

func (x *Explanation) unknown(what, name string, all []string) {
	if name == "" || slices.Contains(all, name) {
		return
	}
	has := "there is none"
	if len(all) > 0 {
		has = "there are " + strings.Join(all, ", ")
	}
	x.Warnings = append(x.Warnings, fmt.Sprintf("this host has no %s %q; %s", what, name, has))
}

// onRoutes looks for the routes that the question is about, and whether they meet
// what policy obliges to.
func (x *Explanation) onRoutes(s *Setting, q *host.Question) {
	if s.Routes == nil {
		return
	}
	var actions, kinds, unmet []string
	for _, r := range s.Routes {
		actions = append(actions, string(r.Action))
		if r.Action != q.Route.Action {
			continue
		}
		kinds = append(kinds, string(r.Kind))
		if !x.obligations.MetBy(r.Kind == manifest.Unary, r.Kind == manifest.Socket) {
			unmet = append(unmet, string(r.Kind))
		}
	}
	slices.Sort(actions)
	switch {
	case len(kinds) == 0:
		x.unknown("action", string(q.Route.Action), slices.Compact(actions))
	case len(unmet) == 0 || q.Capability != nil || !x.Allow:
	case len(unmet) == len(kinds):
		x.Refused = append(x.Refused, unmetOn(unmet))
	default:
		x.Warnings = append(x.Warnings, unmetOn(unmet))
	}
}

func unmetOn(kinds []string) string {
	slices.Sort(kinds)
	return fmt.Sprintf("obligation_not_supported: nothing redacts or records so on a route of kind %s", strings.Join(slices.Compact(kinds), ", "))
}
