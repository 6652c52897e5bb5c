package authz

import (
	"cmp"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// part is a text or flag that the input has unchanged from the question, at
// input.OBJECT.NAME.
type part struct {
	object, name string
	key          *ast.Term
	matched      bool // whether the directory's matching depends on it
	text         func(*host.Question) string
	flag         func(*host.Question) bool
}

func textPart(object, name string, matched bool, text func(*host.Question) string) part {
	return part{object: object, name: name, key: ast.InternedTerm(name), matched: matched, text: text}
}

func flagPart(object, name string, matched bool, flag func(*host.Question) bool) part {
	return part{object: object, name: name, key: ast.InternedTerm(name), matched: matched, flag: flag}
}

// routeParts and capabilityParts are the parts of both key and input, so that the two always
// agree. The latter are for questions with a capability.
var (
	routeParts = []part{
		textPart("route", "plugin", true, func(q *host.Question) string { return q.Route.Plugin }),
		textPart("route", "name", false, func(q *host.Question) string { return q.Route.Name }),
		textPart("route", "action", true, func(q *host.Question) string { return string(q.Route.Action) }),
		textPart("route", "method", false, func(q *host.Question) string { return q.Route.Method }),
		textPart("route", "path", false, func(q *host.Question) string { return q.Route.Path }),
		flagPart("route", "mutates", false, func(q *host.Question) bool { return q.Route.Mutates }),
	}
	capabilityParts = []part{
		textPart("capability", "name", true, func(q *host.Question) string { return q.Capability.Name }),
		textPart("capability", "verb", true, func(q *host.Question) string { return q.Capability.Verb }),
		textPart("capability", "cluster", true, func(q *host.Question) string { return q.Capability.Cluster }),
		textPart("capability", "group", true, func(q *host.Question) string { return q.Capability.Group }),
		textPart("capability", "resource", true, func(q *host.Question) string { return q.Capability.Resource }),
		textPart("capability", "subresource", true, func(q *host.Question) string { return q.Capability.Subresource }),
		textPart("capability", "namespace", true, func(q *host.Question) string { return q.Capability.Namespace }),
		textPart("capability", "instance", false, func(q *host.Question) string { return q.Capability.Instance }),
		textPart("capability", "resourceGroup", false, func(q *host.Question) string { return q.Capability.ResourceGroup }),
		textPart("capability", "object", false, func(q *host.Question) string { return q.Capability.Object }),
		textPart("capability", "host", false, func(q *host.Question) string { return q.Capability.Host }),
		textPart("capability", "path", false, func(q *host.Question) string { return q.Capability.Path }),
		textPart("capability", "ref", false, func(q *host.Question) string { return q.Capability.Ref }),
		textPart("capability", "effect", false, func(q *host.Question) string { return string(q.Capability.Effect.Normal()) }),
		textPart("capability", "via", false, func(q *host.Question) string { return q.Capability.Via }),
		flagPart("capability", "spans", true, func(q *host.Question) bool { return q.Capability.Spans }),
	}
	// targetNames are the members of a route's resource on which the directory's matching
	// depends if the question has no capability.
	targetNames = []string{"cluster", "group", "namespace", "resource", "subresource", "verb"}
)

// members are the members of an object that a policy may read, sorted by name.
type members struct {
	all   bool
	names []string
}

func (m *members) with(names ...string) members {
	all := append(slices.Clone(m.names), names...)
	slices.Sort(all)
	return members{m.all, slices.Compact(all)}
}

// reads are the values on which a policy's decisions may depend. A value that it does not read
// is neither in its input nor in the key of the cache.
type reads struct {
	refs                     []Reading
	route, capability        []*part // these, and the parts on which matching depends
	params                   members
	resource, target         members // target is for questions without a capability
	claims, login, directory bool
}

// Reading is one reference of a policy.
type Reading struct {
	Ref ast.Ref
	At  *ast.Location
	// bare references are conditions by themselves, such as "not input.capability": they
	// depend on the existence of a value and not on its content.
	bare bool
}

// everything is for input documents that are shown or logged.
var everything = func() *reads {
	r := readsOf(nil)
	r.refs = append(r.refs, Reading{Ref: ast.InputRootRef}, Reading{Ref: ast.DefaultRootRef})
	return r.resolve()
}()

// readsOf collects the references in the deciding rules of c. A reference that ends above a
// part, or whose next step is computed, may read everything below it.
func readsOf(c *ast.Compiler) *reads {
	r := &reads{}
	if c != nil {
		for rule := range deciding(c) {
			r.refs = append(r.refs, ReadingsOf(rule)...)
		}
	}
	return r.resolve()
}

// ReadingsOf returns the references in a rule of a compiled policy.
func ReadingsOf(rule *ast.Rule) (found []Reading) {
	at := rule.Location
	var v *ast.GenericVisitor
	v = ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case *ast.Rule: // of else
			at = cmp.Or(x.Location, at)
		case *ast.Expr:
			at = cmp.Or(x.Location, at)
			t, ok := x.Terms.(*ast.Term)
			if !ok {
				return false
			}
			ref, ok := t.Value.(ast.Ref)
			if !ok || !ref.IsGround() {
				return false
			}
			found = append(found, Reading{ref, at, true})
			for _, w := range x.With {
				v.Walk(w)
			}
			return true
		case ast.Ref:
			found = append(found, Reading{x, at, false})
		}
		return false
	})
	v.Walk(rule)
	return found
}

// resolve computes the parts from the references.
func (r *reads) resolve() *reads {
	choose := func(from []part) (out []*part) {
		for i := range from {
			if p := &from[i]; p.matched || r.input(p.object, p.name) {
				out = append(out, p)
			}
		}
		return out
	}
	r.route, r.capability = choose(routeParts), choose(capabilityParts)
	r.params, r.resource = r.members("route", "params"), r.members("resource")
	r.target = r.resource.with(targetNames...)
	r.claims, r.login = r.input("principal", "claims"), r.input("principal", "login")
	r.directory = slices.ContainsFunc(r.refs, func(x Reading) bool { return x.MayRead(ast.DefaultRootRef, "directory") })
	return r
}

// InputAt returns the origin of the part of the input at path if a question is asked again
// with a directory: directory is true if the directory makes it, matched if matching depends
// on it. Both are false for a part of the question that matching ignores.
func InputAt(path []string) (directory, matched bool) {
	if len(path) == 0 {
		return false, true
	}
	named := func(parts []part) bool {
		return len(path) == 1 || slices.ContainsFunc(parts, func(p part) bool { return p.name == path[1] && p.matched })
	}
	switch path[0] {
	case "permissions", "break_glass":
		return true, false
	case "principal":
		directory = len(path) > 1 && (path[1] == "roles" || path[1] == "teams")
		return directory, len(path) == 1 || path[1] == "user"
	case "route":
		return false, named(routeParts)
	case "capability":
		return false, named(capabilityParts)
	case "resource":
		return false, len(path) == 1 || slices.Contains(targetNames, path[1])
	}
	return false, false
}

// resourceOf returns the members of q's resource that are read.
func (r *reads) resourceOf(q *host.Question) *members {
	if q.Capability == nil {
		return &r.target
	}
	return &r.resource
}

// input reports whether a decision may depend on the part of the input at path.
func (r *reads) input(path ...string) bool {
	return slices.ContainsFunc(r.refs, func(x Reading) bool { return x.MayRead(ast.InputRootRef, path...) })
}

func (r *reads) members(path ...string) (m members) {
	for _, x := range r.refs {
		switch at := len(path) + 1; {
		case !x.MayRead(ast.InputRootRef, path...):
		case len(x.Ref) > at:
			if name, ok := x.Ref[at].Value.(ast.String); ok {
				m = m.with(string(name))
				continue
			}
			m.all = true
		case !x.bare:
			m.all = true
		}
	}
	return m
}

// MayRead reports whether x may read the value at path below root.
func (x *Reading) MayRead(root ast.Ref, path ...string) bool {
	if !x.Ref.HasPrefix(root) {
		return false
	}
	for i, want := range path {
		if i+1 >= len(x.Ref) {
			return !x.bare
		}
		if step, ok := x.Ref[i+1].Value.(ast.String); ok && string(step) != want {
			return false
		}
	}
	return true
}
