package directory

import (
	"encoding/json"
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// permissions reads a permission set and leaves out malformed permissions.
func (r *reader) permissions(n *yaml.Node) host.Permissions {
	var p host.Permissions
	if n == nil {
		return p
	}
	const at = "spec.permissions"
	m, _ := r.fields(n, at, "actions", "plugins", "resources")
	actions, _ := r.items(m["actions"], at+".actions")
	for i, item := range actions {
		if a, ok := r.action(item, fmt.Sprintf("%s.actions[%d]", at, i)); ok {
			p.Actions = append(p.Actions, a)
		}
	}
	plugins, _ := r.items(m["plugins"], at+".plugins")
	for i, item := range plugins {
		if v, ok := r.plugin(item, fmt.Sprintf("%s.plugins[%d]", at, i)); ok {
			p.Plugins = append(p.Plugins, v)
		}
	}
	resources, _ := r.items(m["resources"], at+".resources")
	for i, item := range resources {
		if v, ok := r.resource(item, fmt.Sprintf("%s.resources[%d]", at, i)); ok {
			p.Resources = append(p.Resources, v)
		}
	}
	return p
}

func (r *reader) action(n *yaml.Node, at string) (string, bool) {
	s, ok := r.text(n, at)
	if !ok {
		return "", false
	}
	if _, _, ok := host.Action(s).Split(); !ok && s != "*" {
		r.bad(n.Line, "%s %q must be PLUGIN:NAME or *", at, s)
		return "", false
	}
	return s, true
}

func (r *reader) plugin(n *yaml.Node, at string) (host.PluginPermission, bool) {
	m, ok := r.fields(n, at, "name", "custom")
	name, named := r.text(m["name"], at+".name")
	if ok && named && name == "" {
		r.bad(n.Line, "%s.name is missing", at)
		named = false
	}
	items, listed := r.items(m["custom"], at+".custom")
	custom := make([]json.RawMessage, 0, len(items))
	for i, item := range items {
		data, good := r.json(item, fmt.Sprintf("%s.custom[%d]", at, i))
		ok = ok && good
		custom = append(custom, data)
	}
	return host.PluginPermission{Name: name, Custom: custom}, ok && named && listed
}

func (r *reader) resource(n *yaml.Node, at string) (host.ResourcePermission, bool) {
	var p host.ResourcePermission
	m, ok := r.fields(n, at, "clusters", "namespaces", "resources", "verbs")
	if !ok {
		return p, false
	}
	for _, list := range []struct {
		key string
		to  *[]string
	}{{"clusters", &p.Clusters}, {"namespaces", &p.Namespaces}, {"resources", &p.Resources}, {"verbs", &p.Verbs}} {
		values, good := r.texts(m[list.key], at+"."+list.key)
		if good && len(values) == 0 {
			r.bad(n.Line, "%s.%s is missing or empty; without it the permission allows nothing", at, list.key)
			good = false
		}
		ok = ok && good
		*list.to = values
	}
	return p, ok
}
