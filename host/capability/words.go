package capability

import (
	"fmt"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Words is how people write about calls of a kind and read about them.
type Words struct {
	// Form is how a question names what a call is about, and Example one of them:
	// "CLUSTER/NAMESPACE/RESOURCE[:NAME]" and "dev/shop/pods:web".
	Form, Example string
	// Verbs says which verb a question means that names none, as an object: "get,
	// or list without NAME".
	Verbs string
	// Claims reports whether a question that names no capability is about this
	// kind. An error says that it is not, and how to ask.
	Claims func(*Phrase) (bool, error)
	// Call returns the call that a question is about, as Classify would classify a
	// request for it, without the path, and what the route names. Errors say what
	// to change in the question.
	Call func(*Phrase) (host.CapabilityCall, host.Resource, error)
}

// Entries is how the shipped rules permit calls of a kind: by custom entries of
// plugin permissions.
type Entries struct {
	// Misses is the function of data.bulkhead.default that returns, for one entry,
	// in what it does not cover the call.
	Misses string
	// Describe says what an entry would have to be for: "get of monitor in resource
	// group rg1 of prod".
	Describe func(*host.CapabilityCall) string
}

// Phrase is what a question in words says that a plugin reaches for, written
// PLACE/PART/RESOURCE[/SUBRESOURCE][:OBJECT].
type Phrase struct {
	Place    string // a cluster, an instance of a cloud
	Part     string // a namespace, a resource group; empty: all
	Resource string // with "/SUBRESOURCE"
	Object   string // empty: none
	Verb     string // empty: the question does not name one
	Action   host.Action
}

// LastWord is what follows the last period of the action's name: "upgrade" of
// "gitops:helm.upgrade".
func (p *Phrase) LastWord() string {
	_, name, _ := p.Action.Split()
	return name[strings.LastIndex(name, ".")+1:]
}

// OfCluster returns a call of the named capability for a resource of a cluster,
// without its effect, and what the route names.
func (p *Phrase) OfCluster(capability, verb string) (host.CapabilityCall, host.Resource) {
	what, sub, _ := strings.Cut(p.Resource, "/")
	resource, group, _ := strings.Cut(what, ".")
	return host.CapabilityCall{
		Name: capability, Verb: verb, Cluster: p.Place, Namespace: p.Part,
		Group: group, Resource: resource, Subresource: sub, Object: p.Object,
	}, p.Route("cluster", "namespace")
}

// Route returns what a route names of the phrase, by the keys of the manifest.
func (p *Phrase) Route(place, part string) host.Resource {
	r := host.Resource{place: p.Place}
	if p.Part != "" {
		r[part] = p.Part
	}
	return r
}

// Call returns the call that a question is about and what the question's route
// names. The capability may be empty: the first kind that claims the phrase is
// meant. Errors say what to change in the question.
func (c *Catalog) Call(capability string, p *Phrase) (*host.CapabilityCall, host.Resource, error) {
	k := c.Kind(capability)
	if capability == "" {
		var err error
		if k, err = c.claiming(p); err != nil {
			return nil, nil, err
		}
	}
	if k == nil || k.Words.Call == nil {
		return nil, nil, fmt.Errorf("capability %q is not one of %s", capability, strings.Join(c.Names(), ", "))
	}
	call, route, err := k.Words.Call(p)
	if err != nil {
		return nil, nil, err
	}
	call.Spans = k.open(&call) != ""
	return &call, route, nil
}

func (c *Catalog) claiming(p *Phrase) (*Kind, error) {
	for _, k := range c.kinds {
		if k.Words.Claims == nil {
			continue
		}
		if claims, err := k.Words.Claims(p); claims || err != nil {
			return k, err
		}
	}
	return nil, nil
}

// Forms lists how questions name what a call is about, by capability.
func (c *Catalog) Forms() string {
	var all []string
	for _, k := range c.kinds {
		if k.Words.Form != "" {
			all = append(all, fmt.Sprintf("%s, such as %s (%s)", k.Words.Form, k.Words.Example, k.Name))
		}
	}
	return strings.Join(all, "; ")
}
