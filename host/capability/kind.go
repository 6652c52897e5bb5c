package capability

import (
	"maps"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// Kind describes a capability: which requests it accepts, the dimensions in which they
// are compared, and the words for them. It has no effects: a Provider carries out what
// a Kind has prepared. It must not change once a Catalog or a Broker has it, and its
// functions are safe for concurrent use.
type Kind struct {
	// Name is the name in manifests, grants, import modules and policy.
	Name string
	// Dimensions are the lists that a grant must state and the values of a call that
	// are compared with them.
	Dimensions []Dimension
	// Streams is set if the capability's calls open streams; see Opener.
	Streams bool
	// Classify parses a request, without any effect. Its errors are of kind Invalid.
	// A call with an empty Effect counts as a change, which a route that is declared
	// to read cannot make.
	Classify func(*abi.Request) (Prepared, error)
	// Spans returns the dimension, Namespaced or ResourceGroups, in which the provider
	// limits a call like this to Permit.Narrowing if the call has no value there; ""
	// if none. Other calls without a value need a grant and a permission for all
	// values. Nil: no call is narrowed.
	Spans func(*host.CapabilityCall) string
	// Permission returns the resource and the verb that a resource permission of the
	// directory must cover for a call, besides its cluster and namespace. Nil: resource
	// permissions do not apply to this capability.
	Permission func(*host.CapabilityCall) (resource, verb string)
	// Entries is set if the shipped rules permit calls by custom entries of plugin
	// permissions.
	Entries *Entries
	Words   Words
}

// Prepared is a classified request. Policy decides about Call, and the provider carries
// out Payload; both come from one parse, so they agree.
type Prepared struct {
	Call host.CapabilityCall
	// Payload is the parsed request, of a type of the capability's package.
	Payload any
}

// spanned returns the dimension that the call spans and the provider narrows, or "".
func (k *Kind) spanned(call *host.CapabilityCall) string {
	if k.Spans == nil {
		return ""
	}
	if d := k.Spans(call); d != "" && value(call, d) == "" {
		return d
	}
	return ""
}

// dimension returns the dimension with this name, or nil.
func (k *Kind) dimension(name string) *Dimension {
	for i := range k.Dimensions {
		if k.Dimensions[i].Name == name {
			return &k.Dimensions[i]
		}
	}
	return nil
}

// Catalog is the list of the kinds of capabilities that a host has, in the given order.
// It is immutable and safe for concurrent use. The zero value is empty.
type Catalog struct{ kinds []*Kind }

// NewCatalog makes a catalog. It panics if two kinds have the same name.
func NewCatalog(kinds ...*Kind) *Catalog {
	for i, k := range kinds {
		if slices.ContainsFunc(kinds[:i], func(other *Kind) bool { return other.Name == k.Name }) {
			panic("capability: two kinds are named " + k.Name)
		}
	}
	return &Catalog{kinds: slices.Clone(kinds)}
}

// Kinds returns all kinds. The slice must not be modified.
func (c *Catalog) Kinds() []*Kind { return c.kinds }

// Kind returns the kind with this name, or nil. A nil Catalog is empty.
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

// Names returns the names of all kinds, sorted.
func (c *Catalog) Names() []string {
	names := make([]string, len(c.kinds))
	for i, k := range c.kinds {
		names[i] = k.Name
	}
	slices.Sort(names)
	return names
}

// Widest returns the grant of everything that the capability with this name can do, in
// the notation of the configuration; "" if the capability does not exist.
func (c *Catalog) Widest(name string) string {
	k := c.Kind(name)
	if k == nil {
		return ""
	}
	return "[" + wanted(&host.CapabilityCall{}, k.Dimensions) + "]"
}

// Check adds everything wrong with a plugin's grants to bad, which is at them.
func (c *Catalog) Check(bad *config.Problems, grants map[string][]Grant) {
	for _, name := range slices.Sorted(maps.Keys(grants)) {
		k := c.Kind(name)
		if k == nil {
			bad.Add(name, "the capability does not exist; the capabilities are %s", strings.Join(c.Names(), ", "))
			continue
		}
		for i := range grants[name] {
			grants[name][i].check(bad.Index(name, i), k.Dimensions)
		}
	}
}
