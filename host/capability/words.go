package capability

import (
	"fmt"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Words are the words for calls of a kind, in questions and explanations.
type Words struct {
	// Form is the syntax of the resource in a question, and Example an example of it:
	// "CLUSTER/NAMESPACE/RESOURCE[:NAME]" and "dev/shop/pods:web".
	Form, Example string
	// Verbs is the verb of a question that names none, as the end of "The verb is":
	// "get, or list without NAME".
	Verbs string
	// Claims reports whether a question that names no capability is about this kind.
	// Its error says that it is not, and how to ask.
	Claims func(*Phrase) (bool, error)
	// Call returns the call that a question is about, and the resource of the route.
	// The call is what Classify would return for such a request, without the path.
	// Errors say what to change in the question.
	Call func(*Phrase) (host.CapabilityCall, host.Resource, error)
}

// Entries describes custom entries of plugin permissions, with which the shipped rules
// permit the calls of a kind.
type Entries struct {
	// Misses is the function of data.bulkhead.default that returns, for one entry, the
	// parts of the call that it does not cover.
	Misses string
	// Describe names the call that an entry would have to permit: "get of monitor in
	// resource group rg1 of prod".
	Describe func(*host.CapabilityCall) string
}

// Phrase is the resource of a question in words, written
// PLACE/PART/RESOURCE[/SUBRESOURCE][:OBJECT].
type Phrase struct {
	Place    string // a cluster, an instance of a cloud
	Part     string // a namespace, a resource group; empty: all
	Resource string // with "/SUBRESOURCE"
	Object   string // empty: none
	Verb     string // empty: the question names none
	Action   host.Action
}

// LastWord returns what follows the last period of the action's name, such as "upgrade"
// of "gitops:helm.upgrade".
func (p *Phrase) LastWord() string {
	_, name, _ := p.Action.Split()
	return name[strings.LastIndex(name, ".")+1:]
}

// OfCluster returns a call of the named capability for a resource of a cluster, without
// its effect, and the resource of the route.
func (p *Phrase) OfCluster(capability, verb string) (host.CapabilityCall, host.Resource) {
	what, sub, _ := strings.Cut(p.Resource, "/")
	resource, group, _ := strings.Cut(what, ".")
	return host.CapabilityCall{
		Name: capability, Verb: verb, Cluster: p.Place, Namespace: p.Part,
		Group: group, Resource: resource, Subresource: sub, Object: p.Object,
	}, p.Route("cluster", "namespace")
}

// Route returns the resource of the route, with the given keys of the manifest.
func (p *Phrase) Route(place, part string) host.Resource {
	r := host.Resource{place: p.Place}
	if p.Part != "" {
		r[part] = p.Part
	}
	return r
}

// Call returns the call that a question is about, and the resource of its route. If
// capability is empty, the first kind that claims the phrase is used. Errors say what
// to change in the question.
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
	call.Spans = k.spanned(&call) != ""
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

// Forms returns the syntax of the resource in questions, by capability.
func (c *Catalog) Forms() string {
	var all []string
	for _, k := range c.kinds {
		if k.Words.Form != "" {
			all = append(all, fmt.Sprintf("%s, such as %s (%s)", k.Words.Form, k.Words.Example, k.Name))
		}
	}
	return strings.Join(all, "; ")
}
