package capability

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// Kind describes a capability: which requests it takes, what they are compared by
// and how people write and read about them. It has no effect: a Provider carries
// out what a Kind has prepared. It is not changed once a Catalog or a Broker has
// it, and its functions are safe for concurrent use.
type Kind struct {
	// Name is the name in manifests, grants, import modules and policy.
	Name string
	// Dimensions are what a grant must state and what a call is compared by.
	Dimensions []Dimension
	// Streams says that the capability's calls open streams; see Opener.
	Streams bool
	// Classify reads a request and has no effect. It fails with host.Invalid. A
	// call whose Effect it leaves empty counts as a change, which a route that is
	// declared to read cannot make.
	Classify func(*abi.Request) (Prepared, error)
	// Spans returns the dimension in which the provider narrows a call like this
	// to Permit.Within if the call names nothing there: Namespaced or
	// ResourceGroups; "" if none. Other calls that name nothing need a grant and a
	// permission for all of them. Nil: no call is narrowed.
	Spans func(*host.CapabilityCall) string
	// Permission returns the resource and the verb that a resource permission of
	// the directory must cover for a call, besides its cluster and namespace. Nil:
	// resource permissions are not about this capability.
	Permission func(*host.CapabilityCall) (resource, verb string)
	// Entries is set if the shipped rules permit calls by custom entries of plugin
	// permissions.
	Entries *Entries
	Words   Words
}

// Prepared is a classified request. Policy decides about Call, and the provider
// carries out Payload: both were read at once, so they agree.
type Prepared struct {
	Call host.CapabilityCall
	// Payload is the request as Kind.Classify read it, of a type that belongs to
	// the capability's package.
	Payload any
}

// open returns the dimension that the call spans and the provider narrows, "" if
// there is none.
func (k *Kind) open(call *host.CapabilityCall) string {
	if k.Spans == nil {
		return ""
	}
	if d := k.Spans(call); d != "" && value(call, d) == "" {
		return d
	}
	return ""
}

// dimension returns the dimension of that name, nil if the capability has none.
func (k *Kind) dimension(name string) *Dimension {
	for i := range k.Dimensions {
		if k.Dimensions[i].Name == name {
			return &k.Dimensions[i]
		}
	}
	return nil
}

// Catalog is the kinds of capabilities that a host has, in the order in which
// they were given. It is immutable and safe for concurrent use. The zero value has
// none.
type Catalog struct{ kinds []*Kind }

// NewCatalog makes a catalog. Two kinds of one name are a defect and panic.
func NewCatalog(kinds ...*Kind) *Catalog {
	for i, k := range kinds {
		if slices.ContainsFunc(kinds[:i], func(other *Kind) bool { return other.Name == k.Name }) {
			panic("capability: two kinds are named " + k.Name)
		}
	}
	return &Catalog{kinds: slices.Clone(kinds)}
}

// Kinds are all of them. Read-only.
func (c *Catalog) Kinds() []*Kind { return c.kinds }

// Kind returns the kind of that name, nil if there is none. A nil Catalog has none.
func (c *Catalog) Kind(name string) *Kind {
	if c == nil {
		return nil
	}
	for _, k := range c.kinds {
		if k.Name == name {
			return k
		}
	}
	return nil
}

// Names are those of all kinds, sorted.
func (c *Catalog) Names() []string {
	names := make([]string, len(c.kinds))
	for i, k := range c.kinds {
		names[i] = k.Name
	}
	slices.Sort(names)
	return names
}

// Widest writes the grant of all that the capability of that name can do, as an
// operator would; "" if there is no such capability.
func (c *Catalog) Widest(name string) string {
	k := c.Kind(name)
	if k == nil {
		return ""
	}
	return "[" + wanted(&host.CapabilityCall{}, k.Dimensions) + "]"
}

// Check reports everything wrong with a plugin's grants, each with its field
// below at: "grants.helm[0].actions".
func (c *Catalog) Check(at string, grants map[string][]Grant) error {
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(grants)) {
		field := at + "." + name
		k := c.Kind(name)
		if k == nil {
			problems = append(problems, fmt.Errorf("%s: there is no such capability; there are %s", field, strings.Join(c.Names(), ", ")))
			continue
		}
		for i := range grants[name] {
			problems = append(problems, grants[name][i].check(fmt.Sprintf("%s[%d]", field, i), k.Dimensions))
		}
	}
	return errors.Join(problems...)
}
