package policytool

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/seed-a3fb47d6/bulkhead/host/authz"
)

// manyRules is the number of rules of one name, all evaluated for each question, above
// which a warning is given. A rule costs some 5 µs.
const manyRules = 5

// Warning is a location where a policy works but costs more than necessary, or is not
// checked although it could be.
type Warning struct {
	File string `json:"file"`
	Line int    `json:"line"` // 0: the whole file
	Code string `json:"code"` // "uncached", "per_login", "per_object", "directory", "scan", "unindexed", "schema", "unread", "strict", "fails"
	Text string `json:"text"`
}

func (w *Warning) String() string {
	if w.Line == 0 {
		return fmt.Sprintf("%s: %s: %s", w.File, w.Code, w.Text)
	}
	return fmt.Sprintf("%s:%d: %s: %s", w.File, w.Line, w.Code, w.Text)
}

// perObject are the parts of the input that differ between objects.
var perObject = [][]string{{"route", "path"}, {"route", "params"}, {"resource", "name"}, {"capability", "object"}, {"capability", "path"}}

// Warnings returns what makes p's own rules slow, which packages read the input unchecked,
// which files are not read, and what OPA's strict mode would refuse, sorted by file and
// line. It ignores the cost of rules on which the decision does not depend.
func Warnings(p *authz.Policy) []Warning {
	j := judge{p.Program()}
	var list []Warning
	add := func(l *ast.Location, code, format string, args ...any) {
		list = append(list, Warning{l.File, l.Row, code, fmt.Sprintf(format, args...)})
	}
	varying := authz.Nondeterministic()
	for rule := range j.Deciding {
		if j.Own[rule.Location.File] == nil {
			continue
		}
		bound := boundVars(rule)
		for _, x := range authz.ReadingsOf(rule) {
			read := j.written(x.Ref)
			if varying[x.Ref.String()] {
				add(x.At, "uncached", "%s may return a different value each time, so no decision of this policy is cached", read)
			}
			if x.MayRead(ast.InputRootRef, "principal", "login") {
				add(x.At, "per_login", "%s: each login has its own cached decisions", read)
			}
			if slices.ContainsFunc(perObject, func(path []string) bool { return x.MayRead(ast.InputRootRef, path...) }) {
				add(x.At, "per_object", "%s: each object has its own cached decisions", read)
			}
			if x.MayRead(ast.DefaultRootRef, "directory") {
				add(x.At, "directory", "%s: each change of the directory discards all cached decisions", read)
				if !namesOne(x.Ref, bound) {
					add(x.At, "scan", "%s iterates over all of them; select one: data.directory.teams[id]", read)
				}
			}
		}
	}
	for _, name := range j.Unread {
		list = append(list, Warning{File: name, Code: "unread", Text: "rules in subdirectories and in files with other names than *.rego are not read"})
	}
	if err := j.Fails; err != nil {
		list = append(list, Warning{File: p.Origin(), Code: "fails", Text: fmt.Sprintf("the decision fails for every question, so a host denies everything: %v", err)})
	}
	list = append(list, j.unindexed()...)
	list = append(list, j.unchecked()...)
	list = append(list, j.strict()...)
	slices.SortFunc(list, func(a, b Warning) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Text, b.Text))
	})
	return slices.Compact(list)
}

// judge finds warnings about one program.
type judge struct{ *authz.Program }

// written returns ref with the variables of the source text, and "_" for those without a
// name: the compiler has its own names for them.
func (j judge) written(ref ast.Ref) ast.Ref {
	out := slices.Clone(ref)
	for i, t := range out {
		v, ok := t.Value.(ast.Var)
		if !ok || !v.IsGenerated() {
			continue
		}
		if v, ok = j.Compiler.RewrittenVars[v]; !ok || v.IsGenerated() || v.IsWildcard() {
			v = "_"
		}
		out[i] = ast.VarTerm(string(v))
	}
	return out
}

// namesOne reports whether ref selects one user, team or role.
func namesOne(ref ast.Ref, bound map[ast.Var]bool) bool {
	const id = 3 // data.directory.teams[id]
	if len(ref) <= id {
		return false
	}
	v, ok := ref[id].Value.(ast.Var)
	return !ok || bound[v]
}

// boundVars returns the variables in rule whose values do not come from an iteration over
// all keys: the compiler has made an equation of each.
func boundVars(rule *ast.Rule) map[ast.Var]bool {
	bound := map[ast.Var]bool{}
	ast.WalkExprs(rule, func(e *ast.Expr) bool {
		if e.IsEquality() {
			for _, t := range e.Operands() {
				if v, ok := t.Value.(ast.Var); ok {
					bound[v] = true
				}
			}
		}
		return false
	})
	return bound
}

// unindexed finds names whose rules are all evaluated for each question, because none
// compares a part of the input with a constant.
func (j judge) unindexed() []Warning {
	seen := map[string]bool{}
	var list []Warning
	for rule := range j.Deciding {
		path := rule.Ref().GroundPrefix()
		if seen[path.String()] {
			continue
		}
		seen[path.String()] = true
		index := j.Compiler.RuleIndex(path)
		if index == nil {
			continue
		}
		found, err := index.Lookup(nowhere{})
		if err != nil {
			continue
		}
		tried := slices.DeleteFunc(slices.Clone(found.Rules), func(r *ast.Rule) bool { return j.Own[r.Location.File] == nil })
		if len(tried) < manyRules {
			continue
		}
		slices.SortFunc(tried, func(a, b *ast.Rule) int { return a.Location.Row - b.Location.Row })
		list = append(list, Warning{tried[0].Location.File, tried[0].Location.Row, "unindexed", fmt.Sprintf(
			"%d rules of %s are evaluated for each question; compare a part of the input with a constant (==) in each, so that OPA evaluates only those that match",
			len(tried), path)})
	}
	return list
}

// nowhere resolves every reference to a value that no rule compares with.
type nowhere struct{}

func (nowhere) Resolve(ast.Ref) (ast.Value, error) { return ast.String("\x00"), nil }

// unchecked finds packages that read the input without a schema, each once: a misspelt
// path is undefined there instead of an error.
func (j judge) unchecked() (list []Warning) {
	known := j.Compiler.GetAnnotationSet()
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(j.Own)) {
		m := j.Compiler.Modules[name]
		for _, rule := range m.Rules {
			hasSchema := func(a *ast.AnnotationsRef) bool { return a.Annotations != nil && len(a.Annotations.Schemas) > 0 }
			pkg := m.Package.Path.String()
			if seen[pkg] || authz.IsTest(rule) || !readsInput(rule) || slices.ContainsFunc(known.Chain(rule), hasSchema) {
				continue
			}
			seen[pkg] = true
			at := m.Package.Location
			list = append(list, Warning{at.File, at.Row, "schema",
				"a misspelt path of the input is undefined here instead of an error; add an annotation with schemas: [{input: schema.input}] above the package"})
		}
	}
	return list
}

func readsInput(rule *ast.Rule) (reads bool) {
	ast.WalkRefs(rule, func(r ast.Ref) bool {
		reads = reads || len(r) > 1 && r.HasPrefix(ast.InputRootRef)
		return reads
	})
	return reads
}

// CountTests returns the number of tests that a host runs before it publishes p.
func CountTests(p *authz.Policy) (n int) {
	program := p.Program()
	for _, modules := range []map[string]*ast.Module{program.Own, program.Tests} {
		for _, m := range modules {
			for _, rule := range m.Rules {
				if authz.IsTest(rule) {
					n++
				}
			}
		}
	}
	return n
}

// strict returns what OPA's strict mode finds: unused imports, arguments, variables.
func (j judge) strict() []Warning {
	var list []Warning
	for _, e := range j.Strict() {
		if e.Location != nil && (j.Own[e.Location.File] != nil || j.Tests[e.Location.File] != nil) {
			list = append(list, Warning{e.Location.File, e.Location.Row, "strict", e.Message})
		}
	}
	return list
}
