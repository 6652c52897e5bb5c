package capability

import (
	"maps"
	"slices"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
)

// Grants are the grants of one plugin. They are immutable and safe for concurrent use.
type Grants struct {
	catalog *Catalog
	plugin  string
	by      map[string]granted
}

// granted is a kind with the plugin's grants of it.
type granted struct {
	*Kind
	grants []Grant
}

// Grant returns the Grants of a plugin. The error is that of Check.
func (c *Catalog) Grant(plugin string, grants map[string][]Grant) (*Grants, error) {
	var bad config.Problems
	if c.Check(bad.At("grants"), grants); bad.Err() != nil {
		return nil, bad.Err()
	}
	g := &Grants{catalog: c, plugin: plugin, by: map[string]granted{}}
	for name, list := range grants {
		if len(list) > 0 {
			g.by[name] = granted{Kind: c.Kind(name), grants: slices.Clone(list)}
		}
	}
	return g, nil
}

// Names returns the granted capabilities, sorted.
func (g *Grants) Names() []string { return slices.Sorted(maps.Keys(g.by)) }

// Streams reports whether the capability is granted and has streams.
func (g *Grants) Streams(name string) bool {
	entry, ok := g.by[name]
	return ok && entry.Kind.Streams
}

// Check returns why the host would refuse a call that policy allows with these
// obligations: the grants do not cover it, or the host cannot meet an obligation. It
// makes no call and needs no provider.
func (g *Grants) Check(call host.CapabilityCall, o host.Obligations) error {
	entry, ok := g.by[call.Name]
	if !ok {
		var dims []Dimension
		if k := g.catalog.Kind(call.Name); k != nil {
			dims = k.Dimensions
		}
		return notGranted(g.plugin, &call, dims)
	}
	call.Spans = entry.spanned(&call) != ""
	p := &Permit{Prepared: Prepared{Call: call}}
	if err := entry.admit(g.plugin, p); err != nil {
		return err
	}
	if streams := g.Streams(call.Name); !o.MetBy(!streams, streams) {
		return notPermitted(&call, unmet)
	}
	return entry.confine(p, &host.Obligations{}, &o)
}

// admit compares the call with the grants.
func (e *granted) admit(plugin string, p *Permit) error {
	for i := range e.grants {
		if e.grants[i].covers(&p.Call, e.Dimensions, "") {
			return nil
		}
	}
	spanned := e.dimension(e.spanned(&p.Call))
	var within []string
	for i := range e.grants {
		if spanned != nil && e.grants[i].covers(&p.Call, e.Dimensions, spanned.Name) {
			within = append(within, e.grants[i].list(spanned)...)
		}
	}
	if len(within) == 0 {
		return notGranted(plugin, &p.Call, e.Dimensions)
	}
	p.Narrowing = p.Narrowing.and(within)
	return nil
}

// confine limits the call to the namespaces and resource groups that the decisions about
// the route and the call list.
func (e *granted) confine(p *Permit, route, own *host.Obligations) error {
	if own.Namespaces != nil && e.dimension(Namespaced) == nil || own.ResourceGroups != nil && e.dimension(ResourceGroups) == nil {
		return notPermitted(&p.Call, unmet)
	}
	for _, o := range []*host.Obligations{route, own} {
		if err := e.narrow(p, Namespaced, o.Namespaces, "other_namespace"); err != nil {
			return err
		}
		if err := e.narrow(p, ResourceGroups, o.ResourceGroups, "other_resource_group"); err != nil {
			return err
		}
	}
	return nil
}

// narrow limits the call to the list of one decision in a dimension. A nil list does not
// limit it; an empty list permits nothing. A dimension that the capability does not have
// is ignored.
func (e *granted) narrow(p *Permit, dimension string, list []string, refusal string) error {
	d := e.dimension(dimension)
	if list == nil || d == nil {
		return nil
	}
	list = d.fold(list)
	switch {
	case e.spanned(&p.Call) == dimension:
		p.Narrowing = p.Narrowing.and(list)
	case !matchAny(list, value(&p.Call, dimension)):
		return notPermitted(&p.Call, refusal)
	}
	return nil
}
