package policytool

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/azurename"
)

// Ask is a question in the words of people.
type Ask struct {
	User   string `json:"user"`
	Action string `json:"action"` // PLUGIN:NAME
	// Resource is what the route's plugin reaches for; empty asks about the route
	// alone. In a cluster it is CLUSTER/NAMESPACE/RESOURCE[:NAME], in Azure
	// INSTANCE/RESOURCEGROUP/KIND[:NAME]. An empty NAMESPACE or RESOURCEGROUP means
	// all.
	Resource string `json:"resource,omitempty"`
	// Capability is "azure" for a KIND of Azure, "exec" for pods/exec, "helm" for
	// releases.helm.sh and "kube" otherwise, unless it is given.
	Capability string `json:"capability,omitempty"`
	// Verb, unless it is given, is the end of Action for azure, where "read" is
	// "get" and another that Azure does not have is an error, and for helm, where
	// "read" is "list"; for exec "create"; for kube "get", and "list" without NAME.
	Verb   string `json:"verb,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Roles and Teams are what an identity provider asserts of the person, who is
	// Unlisted if it vouches for people whom the directory does not list.
	Roles    []string `json:"roles,omitempty"`
	Teams    []string `json:"teams,omitempty"`
	Unlisted bool     `json:"unlisted,omitempty"`
}

// Bounds on what is asserted: how many roles, and teams, and bytes of each.
const (
	maxAsserted     = 100
	maxAssertedName = 256
)

// Question is what policy is asked. Of the route it has what follows from the
// action, not its path and parameters; of the call all but the path. Errors say
// what is missing.
func (a *Ask) Question() (*host.Question, error) {
	plugin, name, ok := host.Action(a.Action).Split()
	if a.User == "" || !ok {
		return nil, errors.New("a question needs a user and an action PLUGIN:NAME, such as gitops:helm.upgrade")
	}
	roles, err := asserted("roles", a.Roles)
	if err != nil {
		return nil, err
	}
	teams, err := asserted("teams", host.CanonicalIDs(a.Teams))
	if err != nil {
		return nil, err
	}
	reason := ""
	if a.Reason != "" {
		if reason, err = host.ParseReason(a.Reason); err != nil {
			return nil, err
		}
	}
	read := name == "read" || strings.HasSuffix(name, ".read")
	q := &host.Question{
		Principal: &host.Principal{
			User: host.CanonicalID(host.UserID(a.User)), Asserted: host.Membership{Roles: roles, Teams: teams}, Unlisted: a.Unlisted,
		},
		Reason: reason,
		Route:  host.Route{Plugin: plugin, Name: name, Action: host.Action(a.Action), Mutates: !read},
	}
	if a.Resource == "" {
		if a.Capability+a.Verb != "" {
			return nil, errors.New("capability and verb are about a resource, and none is given")
		}
		return q, nil
	}
	parts := strings.SplitN(a.Resource, "/", 3)
	if len(parts) != 3 || parts[0] == "" || !wellFormed(parts[2]) {
		return nil, fmt.Errorf("resource %q is neither CLUSTER/NAMESPACE/RESOURCE[:NAME], such as dev/shop/pods:web, "+
			"nor INSTANCE/RESOURCEGROUP/KIND[:NAME] of Azure, such as prod/rg1/containerinstances:web", a.Resource)
	}
	what, object, _ := strings.Cut(parts[2], ":")
	last := name[strings.LastIndex(name, ".")+1:]
	capability := a.Capability
	if capability == "" {
		capability = capabilityOf(what)
		if capability == "kube" && aboutAzure(plugin, name) {
			return nil, fmt.Errorf("azure has no %q; it has %s. As a resource of a cluster it takes the capability kube",
				what, strings.Join(azurename.Kinds, ", "))
		}
	}
	switch capability {
	case "azure":
		q.Resource = host.Resource{"instance": parts[0]}
		set(q.Resource, "resourceGroup", parts[1])
		verb := a.Verb
		if verb == "" {
			verb = azureVerb(last)
		}
		q.Capability, err = azureCall(parts[0], parts[1], what, object, verb)
	case "kube", "exec", "helm":
		q.Resource = host.Resource{"cluster": parts[0]}
		set(q.Resource, "namespace", parts[1])
		q.Capability = clusterCall(capability, what, last, &host.CapabilityCall{
			Name: capability, Verb: a.Verb, Cluster: parts[0], Namespace: parts[1], Object: object,
		})
	default:
		err = fmt.Errorf("capability %q is none of azure, exec, helm and kube", capability)
	}
	return q, err
}

// asserted is list sorted, each once, as principals have it.
func asserted(what string, list []string) ([]string, error) {
	if len(list) > maxAsserted {
		return nil, fmt.Errorf("%s: over %d are given", what, maxAsserted)
	}
	for _, s := range list {
		if s == "" || len(s) > maxAssertedName {
			return nil, fmt.Errorf("%s: one is empty or over %d bytes", what, maxAssertedName)
		}
	}
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list), nil
}

func set(r host.Resource, key, value string) {
	if value != "" {
		r[key] = value
	}
}

// releases is the resource that stands for Helm's.
const releases = "releases.helm.sh"

func capabilityOf(what string) string {
	switch {
	case slices.Contains(azurename.Kinds, strings.ToLower(what)):
		return "azure"
	case what == "pods/exec":
		return "exec"
	case what == releases:
		return "helm"
	}
	return "kube"
}

// wellFormed reports whether what is RESOURCE[/SUBRESOURCE][:NAME].
func wellFormed(what string) bool {
	what, object, named := strings.Cut(what, ":")
	resource, sub, below := strings.Cut(what, "/")
	return resource != "" && (sub != "") == below && (object != "") == named && !strings.Contains(sub+object, "/")
}

// aboutAzure reports whether an action is one of plugins/azure, by the plugin's
// name or its own.
func aboutAzure(plugin, name string) bool {
	kind, _, _ := strings.Cut(name, ".")
	return plugin == "azure" || slices.Contains(azurename.Kinds, kind)
}

// azureVerb is the verb of an action of plugins/azure, "containerinstances.stop",
// empty if it does not say.
func azureVerb(last string) string {
	switch {
	case last == "read":
		return azurename.Get
	case slices.Contains(azurename.Verbs, last):
		return last
	}
	return ""
}

// azureCall is the call as the capability classifies it: names in lower case,
// since Azure does not tell cases apart.
func azureCall(instance, group, kind, object, verb string) (*host.CapabilityCall, error) {
	lower, ok := azurename.Group(group)
	c := &host.CapabilityCall{
		Name: "azure", Verb: verb, Instance: instance, Resource: strings.ToLower(kind),
		ResourceGroup: lower, Object: strings.ToLower(object), Spans: group == "",
	}
	if c.Effect = host.EffectChange; verb == azurename.Get {
		c.Effect = host.EffectRead
	}
	switch {
	case group != "" && !ok:
		return nil, fmt.Errorf("%q is not the name of a resource group", group)
	case !slices.Contains(azurename.Kinds, c.Resource):
		return nil, fmt.Errorf("azure has no %q; it has %s", kind, strings.Join(azurename.Kinds, ", "))
	case verb == "":
		return nil, fmt.Errorf("the action does not tell azure's verb; give one of %s", strings.Join(azurename.Verbs, ", "))
	case !slices.Contains(azurename.Verbs, verb):
		return nil, fmt.Errorf("azure has no verb %q; it has %s", verb, strings.Join(azurename.Verbs, ", "))
	case group == "" && object != "":
		return nil, fmt.Errorf("%q needs a resource group, since Azure's names are of one", kind+":"+object)
	}
	return c, nil
}

// clusterCall completes c as its capability classifies it.
func clusterCall(capability, what, last string, c *host.CapabilityCall) *host.CapabilityCall {
	if capability == "helm" {
		what = releases
	}
	what, c.Subresource, _ = strings.Cut(what, "/")
	c.Resource, c.Group, _ = strings.Cut(what, ".")
	switch {
	case c.Verb != "":
	case capability == "exec":
		c.Verb = "create"
	case capability == "helm" && last != "read":
		c.Verb = last
	case capability == "kube" && c.Object != "":
		c.Verb = "get"
	default:
		c.Verb = "list"
	}
	c.Spans = c.Namespace == "" && c.Verb == "list" && capability != "exec"
	c.Effect = host.EffectChange
	if slices.Contains([]string{"get", "list", "watch", "history", "values"}, c.Verb) {
		c.Effect = host.EffectRead
	}
	return c
}
