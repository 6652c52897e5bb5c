package plugin

import (
	"github.com/seed-a3fb47d6/bulkhead/host/authz"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
)

// Setting is what explanations of policy say of g: its routes and its grants.
func (g *Generation) Setting() *authz.Setting { return setting(g.routes, g.granted.Grants) }

// ReadSetting is the Setting of a plugin of a configuration, by the manifest in its
// file. Its code is not looked at.
func ReadSetting(catalog *capability.Catalog, c Config) (*authz.Setting, error) {
	_, m, err := open(c.Source, c.Limits)
	if err != nil {
		return nil, err
	}
	granted, err := catalog.Grant(c.Name, asked(m, c.Grants))
	if err != nil {
		return nil, err
	}
	return setting(newRoutes(c.Name, m.Routes), granted), nil
}

func setting(routes *routes, grants *capability.Grants) *authz.Setting {
	s := &authz.Setting{Routes: []authz.PluginRoute{}, Check: grants.Check}
	for _, m := range routes.all() {
		s.Routes = append(s.Routes, authz.PluginRoute{Action: m.Route.Action, Kind: m.Kind})
	}
	return s
}
