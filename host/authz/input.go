package authz

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// terms caches permissions in the form of Rego. Equal pointers mean the same permission
// within one revision of the directory only.
type terms struct {
	revision uint64
	byMatch  sync.Map // *host.Matched → *ast.Term
}

// termsCache keeps the terms of the directory's newest revision. It is safe for
// concurrent use.
type termsCache struct{ newest atomic.Pointer[terms] }

func (c *termsCache) of(directory uint64) *terms {
	t := c.newest.Load()
	if t == nil || t.revision != directory {
		t = &terms{revision: directory}
		c.newest.Store(t)
	}
	return t
}

func (t *terms) of(m *host.Matched) (*ast.Term, error) {
	if term, ok := t.byMatch.Load(m); ok {
		return term.(*ast.Term), nil
	}
	term, err := permissionTerm(m)
	if err == nil {
		t.byMatch.Store(m, term)
	}
	return term, err
}

// object is an object of pairs of key and value.
type object [][2]*ast.Term

func (o *object) set(key string, value *ast.Term) {
	*o = append(*o, [2]*ast.Term{ast.InternedTerm(key), value})
}

func (o *object) text(key, value string) { o.set(key, ast.StringTerm(value)) }

func (o object) term() *ast.Term { return ast.ObjectTerm(o...) }

// newInput returns the input document of a question for a policy that reads r. It has every
// key that the policy may read, except capability in the decision about a route, and
// break_glass if no such permission matched.
func newInput(q *host.Question, m *host.Matching, t *terms, r *reads) (ast.Value, error) {
	principal, err := principalTerm(q.Principal, m, r)
	if err != nil {
		return nil, err
	}
	permissions, err := permissionsTerm(m.Matched, t)
	if err != nil {
		return nil, err
	}
	in := make(object, 0, 7)
	if len(m.BreakGlass) > 0 {
		glass, err := permissionsTerm(m.BreakGlass, t)
		if err != nil {
			return nil, err
		}
		in.set("break_glass", glass)
	}
	in.set("principal", principal)
	in.set("permissions", permissions)
	in.set("route", routeTerm(q, r))
	in.set("resource", textsTerm(q.Resource, r.resourceOf(q)))
	in.text("reason", q.Reason)
	if q.Capability != nil {
		in.set("capability", partsOf(q, r.capability).term())
	}
	return ast.NewObject(in...), nil
}

// principalTerm takes roles and teams from the directory's answer, so that
// they and the permissions are of one revision.
func principalTerm(p *host.Principal, m *host.Matching, r *reads) (*ast.Term, error) {
	o := make(object, 0, 5)
	o.text("user", string(p.User))
	o.set("roles", listTerm(m.Roles))
	o.set("teams", listTerm(m.Teams))
	if r.claims {
		claims := ast.Value(ast.NewObject())
		if len(p.Claims) > 0 {
			var err error
			if claims, err = ast.InterfaceToValue(p.Claims); err != nil {
				return nil, fmt.Errorf("claims: %w", err)
			}
		}
		o.set("claims", ast.NewTerm(claims))
	}
	if r.login {
		o.set("login", loginTerm(&p.Login))
	}
	return o.term(), nil
}

func loginTerm(l *host.Login) *ast.Term {
	o := make(object, 0, 4)
	o.text("id", string(l.ID))
	o.text("method", l.Method)
	o.text("at", l.At.UTC().Format(time.RFC3339))
	o.text("until", l.Until.UTC().Format(time.RFC3339))
	return o.term()
}

func routeTerm(q *host.Question, r *reads) *ast.Term {
	o := partsOf(q, r.route)
	o.set("params", textsTerm(q.Route.Params, &r.params))
	return o.term()
}

func partsOf(q *host.Question, parts []*part) object {
	o := make(object, 0, len(parts)+1)
	for _, p := range parts {
		if p.flag != nil {
			o = append(o, [2]*ast.Term{p.key, ast.InternedTerm(p.flag(q))})
		} else {
			o = append(o, [2]*ast.Term{p.key, ast.StringTerm(p.text(q))})
		}
	}
	return o
}

func originTerm(from host.Origin) *ast.Term {
	o := make(object, 0, 2)
	o.text("kind", string(from.Kind))
	o.text("id", from.ID)
	return o.term()
}

func textsTerm[M ~map[string]string](m M, read *members) *ast.Term {
	o := make(object, 0, len(m))
	for k, v := range m {
		if read.all || slices.Contains(read.names, k) {
			o = append(o, [2]*ast.Term{ast.StringTerm(k), ast.StringTerm(v)})
		}
	}
	return o.term()
}

func listTerm(list []string) *ast.Term {
	items := make([]*ast.Term, len(list))
	for i, s := range list {
		items[i] = ast.StringTerm(s)
	}
	return ast.ArrayTerm(items...)
}

// permissionsTerm sorts the matched permissions by kind, each list in the directory's order.
func permissionsTerm(matched []*host.Matched, t *terms) (*ast.Term, error) {
	var actions, plugins, resources []*ast.Term
	for _, match := range matched {
		term, err := t.of(match)
		if err != nil {
			return nil, err
		}
		switch {
		case match.Resource != nil:
			resources = append(resources, term)
		case match.Plugin != nil:
			plugins = append(plugins, term)
		default:
			actions = append(actions, term)
		}
	}
	o := make(object, 0, 3)
	o.set("actions", ast.ArrayTerm(actions...))
	o.set("plugins", ast.ArrayTerm(plugins...))
	o.set("resources", ast.ArrayTerm(resources...))
	return o.term(), nil
}

func permissionTerm(m *host.Matched) (*ast.Term, error) {
	o := object{}
	o.set("from", originTerm(m.From))
	if g := m.BreakGlass; g != nil {
		o.text("max_session", g.MaxSession.String())
		o.text("record", string(g.Record))
	}
	switch {
	case m.Resource != nil:
		o.set("clusters", listTerm(m.Resource.Clusters))
		o.set("namespaces", listTerm(m.Resource.Namespaces))
		o.set("resources", listTerm(m.Resource.Resources))
		o.set("verbs", listTerm(m.Resource.Verbs))
	case m.Plugin != nil:
		custom := make([]*ast.Term, len(m.Plugin.Custom))
		for i, raw := range m.Plugin.Custom {
			v, err := ast.ValueFromReader(bytes.NewReader(raw))
			if err != nil {
				return nil, fmt.Errorf("custom permission of %s %s: %w", m.From.Kind, m.From.ID, err)
			}
			custom[i] = ast.NewTerm(v)
		}
		o.text("name", m.Plugin.Name)
		o.set("custom", ast.ArrayTerm(custom...))
	default:
		o.text("action", m.Action)
	}
	return o.term(), nil
}
