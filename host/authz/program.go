package authz

import (
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Program is a policy's rules as they were compiled, for tools that judge them.
// It is shared and read-only.
type Program struct {
	Compiler *ast.Compiler
	// Deciding are the rules that the decision depends on.
	Deciding map[*ast.Rule]bool
	// Own are the operator's modules by the names of their files, as they were
	// parsed, Tests those of files with tests.
	Own, Tests map[string]*ast.Module
	// Unread names what looks like Rego at the source but is not read.
	Unread []string
	// Fails says why the policy decides nothing, whatever it is asked; nil if it may.
	Fails error

	c *compiled
}

// Program returns the rules of p, which was read by ReadPolicy, LoadPolicy or
// UnpackPolicy.
func (p *Policy) Program() *Program {
	own := map[string]*ast.Module{}
	for name := range p.own {
		own[name] = p.modules[name]
	}
	return &Program{
		Compiler: p.compiler, Deciding: deciding(p.compiler), Own: own, Tests: p.tests,
		Unread: p.content.Unread, Fails: p.fails, c: p.compiled,
	}
}

// Strict returns what OPA's strict mode finds, such as unused imports, arguments
// and variables.
func (p *Program) Strict() ast.Errors {
	c := newCompiler().WithStrict(true).WithPathConflictsCheck(p.c.hasData)
	c.Compile(p.c.all())
	return c.Errors
}

// IsTest reports whether r is a test: its name begins with test_.
func IsTest(r *ast.Rule) bool {
	name := r.Head.Ref()[0].Value.String()
	return strings.HasPrefix(strings.Trim(name, `"`), "test_")
}
