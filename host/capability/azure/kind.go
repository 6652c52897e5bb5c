package azure

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// NewKind describes the capability for the subscriptions of a configuration. A grant has
// instances, resources, resource groups and verbs. sealer may be nil; then Classify
// refuses requests for the state of a change.
func NewKind(list []Config, sealer Sealer) *capability.Kind {
	k := &kind{subscriptions: map[string]string{}, sealer: sealer}
	for i := range list {
		k.subscriptions[list[i].Name] = list[i].Subscription
	}
	return &capability.Kind{
		Name: name,
		Dimensions: []capability.Dimension{
			{Name: capability.Instances, Values: names(list), Noun: "instance of Azure"},
			{Name: capability.Resources, Values: resourceTypes},
			{Name: capability.ResourceGroups, Fold: true}, // not case-sensitive in Azure
			{Name: capability.Verbs, Values: verbs},
		},
		Classify: k.classify,
		// Lists and costs over all resource groups are narrowed; every other call
		// names a group.
		Spans:   func(*host.CapabilityCall) string { return capability.ResourceGroups },
		Entries: &capability.Entries{Misses: "azure_misses", Describe: describe},
		Words: capability.Words{
			Form: "INSTANCE/RESOURCEGROUP/TYPE[:NAME] with a TYPE of " + strings.Join(resourceTypes, ", "), Example: "prod/rg1/containerinstances:web",
			Verbs:  `what ACTION ends with, where "read" is get`,
			Claims: claims, Call: asked,
		},
	}
}

// kind is the data that parsing a request needs.
type kind struct {
	subscriptions map[string]string // ids, by the names of the instances
	sealer        Sealer
}

func (k *kind) classify(r *abi.Request) (capability.Prepared, error) {
	q, err := k.parse(r)
	if err != nil {
		return capability.Prepared{}, err
	}
	return capability.Prepared{Call: q.call(), Payload: q}, nil
}

// describe names the call that a custom entry would have to permit.
func describe(c *host.CapabilityCall) string {
	where := "resource group " + c.ResourceGroup
	if c.Spans {
		where = "any resource group"
	}
	return fmt.Sprintf("%s of %s in %s of %s", c.Verb, c.Resource, where, c.Instance)
}

// claims reports whether a question is about one of the types. It fails if the
// action is one of this capability's plugin and the resource is not.
func claims(p *capability.Phrase) (bool, error) {
	if slices.Contains(resourceTypes, strings.ToLower(p.Resource)) {
		return true, nil
	}
	plugin, action, _ := p.Action.Split()
	if about, _, _ := strings.Cut(action, "."); plugin == name || slices.Contains(resourceTypes, about) {
		return false, fmt.Errorf("azure has no resource %q; it has %s. For a resource of a cluster, name the capability",
			p.Resource, strings.Join(resourceTypes, ", "))
	}
	return false, nil
}

// asked returns the call that a question in words is about. Its names are in lower case,
// since Azure is not case-sensitive.
func asked(p *capability.Phrase) (host.CapabilityCall, host.Resource, error) {
	group, ok := lowerGroup(p.Part)
	c := host.CapabilityCall{
		Name: name, Verb: p.Verb, Instance: p.Place, Resource: strings.ToLower(p.Resource),
		ResourceGroup: group, Object: strings.ToLower(p.Object), Effect: host.EffectChange,
	}
	if last := p.LastWord(); c.Verb == "" && last == "read" {
		c.Verb = verbGet
	} else if c.Verb == "" && slices.Contains(verbs, last) {
		c.Verb = last
	}
	if c.Verb == verbGet {
		c.Effect = host.EffectRead
	}
	var err error
	switch {
	case p.Part != "" && !ok:
		err = fmt.Errorf("%q is not the name of a resource group", p.Part)
	case !slices.Contains(resourceTypes, c.Resource):
		err = fmt.Errorf("azure has no resource %q; it has %s", p.Resource, strings.Join(resourceTypes, ", "))
	case c.Verb == "":
		err = fmt.Errorf("the action does not name azure's verb; give one of %s", strings.Join(verbs, ", "))
	case !slices.Contains(verbs, c.Verb):
		err = fmt.Errorf("azure has no verb %q; it has %s", c.Verb, strings.Join(verbs, ", "))
	case p.Part == "" && p.Object != "":
		err = fmt.Errorf("%q needs a resource group: names in Azure belong to one", p.Resource+":"+p.Object)
	}
	return c, p.Route("instance", "resourceGroup"), err
}
