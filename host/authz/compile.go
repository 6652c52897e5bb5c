package authz

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/seed-a3fb47d6/bulkhead/host/authz/internal/source"
	"github.com/seed-a3fb47d6/bulkhead/policies"
)

// reserved are the roots of data that an operator's data must not have, because rules and
// the host fill them.
var reserved = []string{"bulkhead", "directory", "system"}

// compiled is the shipped rules and the rules of a source, compiled together.
type compiled struct {
	content  *source.Content
	modules  map[string]*ast.Module // without tests
	tests    map[string]*ast.Module
	own      map[string]bool // names of the source's modules
	compiler *ast.Compiler
}

// compile compiles the shipped rules and content. Its errors name file and line.
func compile(content *source.Content) (c *compiled, err error) {
	defer func() {
		if p := recover(); p != nil {
			c, err = nil, fmt.Errorf("the compiler failed: %v", p)
		}
	}()
	c = &compiled{content: content, tests: map[string]*ast.Module{}, own: map[string]bool{}}
	if c.modules, err = shippedModules(); err != nil {
		return nil, err
	}
	var errs []error
	for _, f := range content.Modules {
		m, err := parseModule(f.Name, f.Text)
		switch {
		case err != nil:
			errs = append(errs, err)
		case strings.HasSuffix(f.Name, "_test.rego"):
			c.tests[f.Name] = m
		default:
			c.replace(f.Name, m)
			if c.modules[f.Name] != nil { // in a bundle, only the later file would count
				errs = append(errs, fmt.Errorf("%s: another file has this name", f.Name))
			}
			c.modules[f.Name], c.own[f.Name] = m, true
		}
	}
	for _, root := range reserved {
		if _, ok := content.Data[root]; ok {
			errs = append(errs, fmt.Errorf("data.%s is not for data", root))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	c.compiler = newCompiler().WithPathConflictsCheck(c.hasData)
	if c.compiler.Compile(c.modules); c.compiler.Failed() {
		return nil, errors.Join(c.compiler.Errors, c.renamed())
	}
	return c, c.takesPart()
}

// replace removes the shipped files that the operator's m replaces: the file with its name
// and package, and the shim if m has the shim's package.
func (c *compiled) replace(name string, m *ast.Module) {
	same := shippedName(strings.TrimPrefix(name, "/"))
	if old := c.modules[same]; old != nil && old.Package.Equal(m.Package) {
		delete(c.modules, same)
	}
	if m.Package.Path.Equal(authzPackage) {
		delete(c.modules, shippedName(policies.Shim))
	}
}

// renamed returns a hint for duplicate declarations: the operator's file may be a fork of a
// shipped file, with another name.
func (c *compiled) renamed() error {
	if !strings.Contains(c.compiler.Errors.Error(), "redeclared") && !strings.Contains(c.compiler.Errors.Error(), "multiple default rules") {
		return nil
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(c.own)) {
		if c.modules[name].Package.Path.Equal(defaultPackage) {
			errs = append(errs, fmt.Errorf("%s: a fork of a shipped file replaces it only if it has the same name", name))
		}
	}
	return errors.Join(errs...)
}

// hasData reports whether the source has data at path, which a rule would hide.
func (c *compiled) hasData(path []string) (bool, error) {
	var at any = c.content.Data
	for _, key := range path {
		object, ok := at.(map[string]any)
		if !ok {
			return true, nil
		}
		if at, ok = object[key]; !ok {
			return false, nil
		}
	}
	return true, nil
}

// takesPart refuses a policy without effect: it does not define the decision, or no file of
// its source contributes to it, for example because the directory is empty or a package is
// misspelt. The shipped rules alone would decide instead.
func (c *compiled) takesPart() error {
	deciding := deciding(c.compiler)
	if len(deciding) == 0 {
		return fmt.Errorf("no file defines %s", decisionRef)
	}
	if c.content == source.Shipped() {
		return nil
	}
	for rule := range deciding {
		if c.own[rule.Location.File] {
			return nil
		}
	}
	why := "is a package misspelt?"
	switch unread := c.content.Unread; {
	case len(unread) > 0:
		why = "rules in subdirectories and in files with other names than *.rego are not read: " + strings.Join(unread, ", ")
	case len(c.own) == 0:
		why = "it contains no *.rego except tests; to use the shipped policy, configure no policy"
	}
	return fmt.Errorf("no file of %s contributes to %s; %s", c.content.Origin, decisionRef, why)
}

// deciding returns the rules on which the decision depends, which excludes tests. It uses
// the graph with which OPA detects recursion.
func deciding(c *ast.Compiler) map[*ast.Rule]bool {
	found := map[*ast.Rule]bool{}
	next := c.GetRulesWithPrefix(decisionRef)
	for len(next) > 0 {
		rule := next[len(next)-1]
		next = next[:len(next)-1]
		if found[rule] {
			continue
		}
		found[rule] = true
		if rule.Else != nil {
			next = append(next, rule.Else)
		}
		for x := range c.Graph.Dependencies(rule) {
			if r, ok := x.(*ast.Rule); ok {
				next = append(next, r)
			}
		}
	}
	return found
}

// all returns every module, including tests.
func (c *compiled) all() map[string]*ast.Module {
	all := maps.Clone(c.modules)
	maps.Copy(all, c.tests)
	return all
}

func shippedName(name string) string { return "shipped/" + name }

func shippedModules() (map[string]*ast.Module, error) {
	modules := map[string]*ast.Module{}
	var errs []error
	for name, text := range policies.Rules() {
		m, err := parseModule(shippedName(name), text)
		modules[shippedName(name)], errs = m, append(errs, err)
	}
	return modules, errors.Join(errs...)
}

func parseModule(name string, text []byte) (*ast.Module, error) {
	m, err := ast.ParseModuleWithOpts(name, string(text), ast.ParserOptions{
		RegoVersion: ast.RegoV1, Capabilities: capabilities, ProcessAnnotation: true,
	})
	if err == nil && m == nil {
		err = fmt.Errorf("%s: is empty", name)
	}
	if err == nil {
		err = tooDeep(m)
	}
	return m, err
}

// Limits on nesting. The compiler, which cannot be interrupted, takes twice as long for
// each level of closures, and disproportionately long for deep terms.
const (
	maxClosures = 8 // comprehensions and template strings
	maxTerms    = 300
)

func tooDeep(m *ast.Module) (err error) {
	closures, terms := 0, 0
	var v *ast.BeforeAfterVisitor
	step := func(x any, by int) bool {
		switch x := x.(type) {
		case *ast.ArrayComprehension, *ast.ObjectComprehension, *ast.SetComprehension:
			closures += by
		case *ast.TemplateString:
			closures += by
			for i := 0; by > 0 && i < len(x.Parts); i++ { // the visitor does not look into it
				v.Walk(x.Parts[i])
			}
		case *ast.Term:
			if terms += by; err == nil && (closures > maxClosures || terms > maxTerms) {
				err = fmt.Errorf("%s: comprehensions and template strings may be nested %d deep, and terms %d", x.Location, maxClosures, maxTerms)
			}
		}
		return err != nil
	}
	v = ast.NewBeforeAfterVisitor(func(x any) bool { return step(x, 1) }, func(x any) { step(x, -1) })
	v.Walk(m)
	return err
}

func newCompiler() *ast.Compiler {
	return ast.NewCompiler().WithCapabilities(capabilities).WithDefaultRegoVersion(ast.RegoV1).
		WithSchemas(schemas).WithUseTypeCheckAnnotations(true)
}

// schemas are the schemas for checking policies: a package with the annotation
// (schemas: [{input: schema.input}]) does not compile if it reads a path that the input
// never has.
var schemas = func() *ast.SchemaSet {
	var input any
	if err := json.Unmarshal(policies.InputSchema(), &input); err != nil {
		panic(err) // cannot happen: the file is embedded and tested
	}
	set := ast.NewSchemaSet()
	set.Put(ast.MustParseRef("schema.input"), input)
	return set
}()

// build compiles content, runs its tests and returns the revision.
func build(ctx context.Context, content *source.Content) (*revision, error) {
	c, err := compile(content)
	if err != nil {
		return nil, err
	}
	results, err := c.runTests(ctx, TestOptions{})
	if err != nil {
		return nil, err
	}
	var failed []error
	ran := 0
	for _, r := range results {
		if r.Failed() {
			failed = append(failed, errors.New(r.String()))
		}
		if !r.Skipped {
			ran++
		}
	}
	if err := errors.Join(failed...); err != nil {
		return nil, err
	}
	return newRevision(ctx, c, ran)
}
