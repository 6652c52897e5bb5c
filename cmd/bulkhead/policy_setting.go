package main

import (
	"fmt"
	"slices"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/authz"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/server"
)

// within adds to x, the explanation of q, what a host with this configuration makes
// of it. Nothing is opened but the plugin's file, for its manifest.
func within(config *server.Config, q *host.Question, x *authz.Explanation) {
	s := &authz.Setting{}
	i := slices.IndexFunc(config.Plugins, func(p plugin.Config) bool { return p.Name == q.Route.Plugin })
	if i >= 0 {
		known, err := plugin.ReadSetting(server.Capabilities(), config.Plugins[i])
		if err != nil {
			x.Warnings = append(x.Warnings, fmt.Sprintf("plugins[%d]: %v; its actions and grants are not looked at", i, err))
		} else {
			s = known
		}
	}
	for _, p := range config.Plugins {
		s.Plugins = append(s.Plugins, p.Name)
	}
	for _, c := range config.Clusters {
		s.Clusters = append(s.Clusters, c.Name)
	}
	for _, a := range config.Azure {
		s.Instances = append(s.Instances, a.Name)
	}
	x.Within(s, q)
}
