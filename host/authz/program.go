package authz

import (
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Program is the compiled rules of a policy, for tools that check them. It is shared and must
// not be modified.
type Program struct {
	Compiler *ast.Compiler
	// Deciding are the rules on which the decision depends.
	Deciding map[*ast.Rule]bool
	// Own are the operator's parsed modules by file name, Tests those of files with
	// tests.
	Own, Tests map[string]*ast.Module
	// Unread names files and directories that look like Rego but are not read.
	Unread []string
	// Fails is the reason for which the policy fails for every question; nil if it may
	// decide.
	Fails error

	c *compiled
}

// Program returns the rules of p, which must come from ReadPolicy, LoadPolicy or
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

// IsTest reports whether r is a test, whose name begins with test_.
func IsTest(r *ast.Rule) bool {
	name := r.Head.Ref()[0].Value.String()
	return strings.HasPrefix(strings.Trim(name, `"`), "test_")
}
