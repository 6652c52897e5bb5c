package policytool

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// HostView is what the tools know of a host beside its policy, for one question.
type HostView struct {
	Plugins  []string // names of instances
	Clusters []string
	// Routes are the kinds of the routes of the question's plugin, by action; nil if
	// they are unknown.
	Routes map[host.Action][]manifest.Kind
	// Check returns why the host refuses a call of that plugin: its grants do not cover
	// it, or obligations cannot be met. Nil if that is unknown.
	Check func(host.CapabilityCall, host.Obligations) error
}

// Against compares x, the explanation of q, with a host: it adds the names that the host
// does not have, and the reasons for which it refuses what policy allows.
func (x *Explanation) Against(v *HostView, q *host.Question) {
	x.unknown("plugin", q.Route.Plugin, append([]string{hostPlugin}, v.Plugins...))
	if c := q.Capability; c != nil {
		x.unknown("cluster", c.Cluster, v.Clusters)
	}
	if x.kind != nil {
		for _, d := range x.kind.Dimensions {
			if d.Noun != "" {
				x.unknown(d.Noun, d.Value(q.Capability), d.Values)
			}
		}
	}
	if o := &x.obligations; q.Route.Plugin == hostPlugin && (!o.MetBy(false, false) || o.Confines()) {
		x.Refused = append(x.Refused, "obligation_not_supported: the host's own routes can meet max_session and idle, but no other obligation")
	}
	x.compareRoutes(v, q)
	if q.Capability == nil {
		return
	}
	if !q.Route.Mutates && q.Capability.Effect.Normal() == host.EffectChange {
		x.Refused = append(x.Refused, fmt.Sprintf("read_route: %s is declared to read, so its plugin cannot make a change: %s", q.Route.Action, q.Capability))
	}
	if v.Check == nil {
		return
	}
	if err := v.Check(*q.Capability, x.obligations); err != nil {
		x.Refused = append(x.Refused, err.Error())
	}
}

// hostPlugin is the plugin of the host's own actions.
const hostPlugin = "admin"

func (x *Explanation) unknown(what, name string, all []string) {
	if name == "" || slices.Contains(all, name) {
		return
	}
	has := "it has none"
	if len(all) > 0 {
		has = "it has " + strings.Join(all, ", ")
	}
	x.Warnings = append(x.Warnings, fmt.Sprintf("this host has no %s %q; %s", what, name, has))
}

// compareRoutes checks that the plugin has routes with the question's action, and
// that they can meet the obligations.
func (x *Explanation) compareRoutes(v *HostView, q *host.Question) {
	if v.Routes == nil {
		return
	}
	kinds := v.Routes[q.Route.Action]
	var unmet []string
	for _, kind := range kinds {
		if !x.obligations.MetBy(kind == manifest.Unary, kind == manifest.Socket) {
			unmet = append(unmet, string(kind))
		}
	}
	switch {
	case len(kinds) == 0:
		var actions []string
		for _, a := range slices.Sorted(maps.Keys(v.Routes)) {
			actions = append(actions, string(a))
		}
		x.unknown("action", string(q.Route.Action), actions)
	case len(unmet) == 0 || q.Capability != nil || !x.Allow:
	case len(unmet) == len(kinds):
		x.Refused = append(x.Refused, unmetOn(unmet))
	default:
		x.Warnings = append(x.Warnings, unmetOn(unmet))
	}
}

func unmetOn(kinds []string) string {
	slices.Sort(kinds)
	return fmt.Sprintf("obligation_not_supported: a route of kind %s cannot redact or record as policy requires", strings.Join(slices.Compact(kinds), " or "))
}
