package plugin

import (
	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// View is what explanations of policy say about a plugin.
type View struct {
	Routes map[host.Action][]manifest.Kind // kinds of its routes by their action
	// Check returns why its grants, or obligations that cannot be met, keep the plugin
	// from making a call.
	Check func(host.CapabilityCall, host.Obligations) error
}

// View returns the view of g.
func (g *Generation) View() View { return view(g.routes, g.granted.Grants) }

// ReadView returns the view of a plugin of a configuration, by the manifest in its
// file. The plugin's code is not looked at.
func ReadView(catalog *capability.Catalog, c Config) (View, error) {
	_, m, err := open(c.Source, c.Limits)
	if err != nil {
		return View{}, err
	}
	granted, err := catalog.Grant(c.Name, asked(m, c.Grants))
	if err != nil {
		return View{}, err
	}
	return view(newRoutes(c.Name, m.Routes), granted), nil
}

func view(routes *routes, grants *capability.Grants) View {
	v := View{Routes: map[host.Action][]manifest.Kind{}, Check: grants.Check}
	for _, m := range routes.all() {
		v.Routes[m.Route.Action] = append(v.Routes[m.Route.Action], m.Kind)
	}
	return v
}
