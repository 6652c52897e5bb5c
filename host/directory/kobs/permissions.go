package kobs

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

type permissions struct {
	Actions   []string     `yaml:"actions,omitempty,flow"`
	Plugins   []plugin     `yaml:"plugins,omitempty"`
	Resources []permission `yaml:"resources,omitempty"`
}

type plugin struct {
	Name   string       `yaml:"name"`
	Custom []*yaml.Node `yaml:"custom,omitempty"`
}

type permission struct {
	Clusters   []string `yaml:"clusters,flow"`
	Namespaces []string `yaml:"namespaces,flow"`
	Resources  []string `yaml:"resources,flow"`
	Verbs      []string `yaml:"verbs,flow"`
}

func (c *converter) permissions(m *manifest, n *yaml.Node) *permissions {
	fields, ok := mapping(n)
	if !ok {
		return nil
	}
	c.unknown(m, fields, "spec.permissions", "plugins", "resources")
	p := &permissions{}
	for _, item := range items(fields["plugins"]) {
		f, _ := mapping(item)
		c.unknown(m, f, "spec.permissions.plugins[]", "name", "permissions")
		name := text(f["name"])
		if name == "" || strings.Contains(name, ":") {
			c.note(m, item.Line, true, "a plugin without a valid name was left out")
			continue
		}
		p.Actions = append(p.Actions, name+":*")
		p.Plugins = append(p.Plugins, plugin{name, custom(f["permissions"])})
		if name == "*" && f["permissions"] != nil {
			c.note(m, item.Line, false, "permissions of the plugin * count for every plugin here; in kobs they count for none")
			p.Plugins[len(p.Plugins)-1].Custom = nil
		}
	}
	for _, item := range items(fields["resources"]) {
		p.Resources = append(p.Resources, c.resources(m, item)...)
	}
	return p
}

// custom is a plugin's own permissions as a list, without aliases.
func custom(n *yaml.Node) []*yaml.Node {
	if n == nil || n.ShortTag() == "!!null" {
		return nil
	}
	if n.Kind == yaml.SequenceNode {
		return n.Content
	}
	return []*yaml.Node{n}
}

// verbs maps the verbs of kobs, which are HTTP methods, to those of Kubernetes.
var verbs = map[string][]string{
	"get": {"get", "list", "watch"}, "patch": {"patch"}, "post": {"create"}, "delete": {"delete"}, "*": {"*"},
}

// resources converts one permission, into several if it covers terminals or logs,
// which have their own verbs.
func (c *converter) resources(m *manifest, n *yaml.Node) (out []permission) {
	f, _ := mapping(n)
	c.unknown(m, f, "spec.permissions.resources[]", "clusters", "namespaces", "resources", "verbs")
	p := permission{Clusters: texts(f["clusters"]), Namespaces: texts(f["namespaces"])}
	if len(p.Clusters) == 0 || len(p.Namespaces) == 0 || len(texts(f["resources"])) == 0 {
		c.note(m, n.Line, true, "a resource permission without clusters, namespaces or resources allows nothing and was left out")
		return nil
	}
	given := texts(f["verbs"])
	if len(given) == 0 {
		c.note(m, n.Line, false, "a resource permission has no verbs, which allowed everything before kobs had them; it became %s", strings.Join(c.options.Verbs, ", "))
	}
	all := slices.Contains(given, "*") || len(given) == 0 && slices.Contains(c.options.Verbs, "*")
	read := all || slices.Contains(given, "get") || len(given) == 0 && slices.Contains(c.options.Verbs, "get")
	p.Verbs = c.verbs(m, n, given)
	for _, r := range texts(f["resources"]) {
		switch {
		case r == "pods/exec" && all:
			out = append(out, p.of("pods/exec", "create"))
		case r == "pods/exec":
			c.note(m, n.Line, true, "pods/exec was left out: not all verbs are allowed; a terminal needs the verb create")
		case (r == "pods/logs" || r == "pods/log") && read:
			out = append(out, p.of("pods/log", "get"))
		case r == "pods/logs" || r == "pods/log":
			c.note(m, n.Line, true, "pods/logs was left out: get is not allowed")
		default:
			p.Resources = append(p.Resources, c.group(m, n, r))
		}
	}
	if len(p.Resources) > 0 && len(p.Verbs) > 0 {
		out = append([]permission{p}, out...)
	}
	return out
}

func (p permission) of(resource, verb string) permission {
	p.Resources, p.Verbs = []string{resource}, []string{verb}
	return p
}

func (c *converter) verbs(m *manifest, n *yaml.Node, given []string) (out []string) {
	if len(given) == 0 {
		return c.options.Verbs
	}
	for _, v := range given {
		ours, ok := verbs[strings.ToLower(v)]
		if !ok {
			c.note(m, n.Line, true, "the verb %q has no counterpart", v)
		}
		for _, x := range ours {
			if !slices.Contains(out, x) {
				out = append(out, x)
			}
		}
	}
	return out
}

// group adds the API group, which kobs does not have.
func (c *converter) group(m *manifest, n *yaml.Node, resource string) string {
	if name, _, ok := strings.Cut(resource, "/"); ok && strings.Contains(name, ".") {
		return name // a custom resource, written NAME.GROUP/VERSION
	}
	if group, ok := groups[resource]; ok && group != "" {
		return resource + "." + group
	} else if !ok && resource != "*" && !strings.ContainsAny(resource, "./") {
		c.note(m, n.Line, false, "the API group of %q is not known; if it has one, write %s.GROUP", resource, resource)
	}
	return resource
}

// groups maps the built-in resources that kobs shows to their API groups.
var groups = map[string]string{
	"pods": "", "services": "", "configmaps": "", "secrets": "", "serviceaccounts": "", "nodes": "", "namespaces": "",
	"events": "", "endpoints": "", "persistentvolumes": "", "persistentvolumeclaims": "", "limitranges": "", "resourcequotas": "",
	"replicationcontrollers": "", "podtemplates": "",
	"deployments": "apps", "statefulsets": "apps", "daemonsets": "apps", "replicasets": "apps", "controllerrevisions": "apps",
	"jobs": "batch", "cronjobs": "batch",
	"ingresses": "networking.k8s.io", "ingressclasses": "networking.k8s.io", "networkpolicies": "networking.k8s.io",
	"horizontalpodautoscalers": "autoscaling", "poddisruptionbudgets": "policy",
	"roles": "rbac.authorization.k8s.io", "rolebindings": "rbac.authorization.k8s.io",
	"clusterroles": "rbac.authorization.k8s.io", "clusterrolebindings": "rbac.authorization.k8s.io",
	"storageclasses": "storage.k8s.io", "volumeattachments": "storage.k8s.io", "leases": "coordination.k8s.io",
	"priorityclasses": "scheduling.k8s.io", "endpointslices": "discovery.k8s.io",
	"customresourcedefinitions": "apiextensions.k8s.io",
}
