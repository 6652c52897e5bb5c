package authz

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/dirwatch"
	"github.com/seed-a3fb47d6/bulkhead/policies"
)

// Bounds on the tests of an operator's policy.
const (
	testDeadline  = 5 * time.Second
	testsDeadline = time.Minute
)

// decisionRef is the one document that is asked for.
var (
	authzPackage = ast.MustParseRef("data.bulkhead.authz")
	decisionRef  = ast.MustParseRef("data.bulkhead.authz.decision")
)

type evaluation func(ctx context.Context, input ast.Value, deadline time.Duration) (any, error)

// revision is a policy that compiled and whose tests passed. It is immutable.
type revision struct {
	// eval returns the decision document as JSON values. It fails if the
	// document is undefined or the deadline is over.
	eval evaluation
	// cacheable is false if equal questions may get different answers.
	cacheable bool
	reads     reads
	tests     int
}

// build makes a revision of the shipped rules and the operator's files. Its
// errors name file and line.
func build(ctx context.Context, files []dirwatch.File) (r *revision, err error) {
	defer func() {
		if p := recover(); p != nil {
			r, err = nil, fmt.Errorf("the compiler failed: %v", p)
		}
	}()
	modules, err := shippedModules()
	if err != nil {
		return nil, err
	}
	tests := map[string]*ast.Module{}
	var errs []error
	for _, f := range files {
		m, err := parseFile(f)
		switch {
		case err != nil:
			errs = append(errs, err)
		case strings.HasSuffix(f.Name, "_test.rego"):
			tests[f.Name] = m
		default:
			modules[f.Name] = m
			if m.Package.Path.Equal(authzPackage) {
				delete(modules, shippedName(policies.Shim))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	c := newCompiler()
	if c.Compile(modules); c.Failed() {
		return nil, c.Errors
	}
	if len(c.GetRulesExact(decisionRef)) == 0 {
		return nil, fmt.Errorf("no file defines %s", decisionRef)
	}
	n, err := runTests(ctx, modules, tests)
	if err != nil {
		return nil, err
	}
	r = &revision{tests: n, reads: readsOf(c), cacheable: deterministic(c)}
	r.eval, err = prepare(ctx, c)
	return r, err
}

func shippedName(name string) string { return "shipped/" + name }

func shippedModules() (map[string]*ast.Module, error) {
	modules := map[string]*ast.Module{}
	names, err := fs.Glob(policies.FS(), "*.rego")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.rego") {
			continue
		}
		text, err := fs.ReadFile(policies.FS(), name)
		if err != nil {
			return nil, err
		}
		if modules[shippedName(name)], err = parseModule(shippedName(name), text); err != nil {
			return nil, err
		}
	}
	return modules, nil
}

func parseFile(f dirwatch.File) (*ast.Module, error) {
	if f.Err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name, f.Err)
	}
	return parseModule(f.Name, f.Data)
}

func parseModule(name string, text []byte) (*ast.Module, error) {
	m, err := ast.ParseModuleWithOpts(name, string(text), ast.ParserOptions{
		RegoVersion: ast.RegoV1, Capabilities: capabilities, ProcessAnnotation: true,
	})
	if err == nil && m == nil {
		err = fmt.Errorf("%s: is empty", name)
	}
	return m, err
}

func newCompiler() *ast.Compiler {
	return ast.NewCompiler().WithCapabilities(capabilities).WithDefaultRegoVersion(ast.RegoV1)
}

// runTests runs the rules named test_ of the operator's files and returns how
// many there were. The shipped rules' own tests do not run here.
func runTests(ctx context.Context, modules, tests map[string]*ast.Module) (int, error) {
	all := map[string]*ast.Module{}
	for _, from := range []map[string]*ast.Module{modules, tests} {
		for name, m := range from {
			all[name] = m
		}
	}
	ctx, cancel := context.WithTimeout(ctx, testsDeadline)
	defer cancel()
	results, err := tester.NewRunner().
		SetCompiler(newCompiler().WithEnablePrintStatements(true)).
		SetStore(inmem.New()).SetTimeout(testDeadline).SetParallel(1).
		SetModules(all).RunTests(ctx, nil)
	if err != nil {
		return 0, err
	}
	n := 0
	var failed []error
	for r := range results {
		n++
		if why := failure(r); why != "" {
			failed = append(failed, fmt.Errorf("%s:%d: %s.%s: %s", r.Location.File, r.Location.Row, r.Package, r.Name, why))
		}
	}
	return n, errors.Join(append(failed, ctx.Err())...)
}

func failure(r *tester.Result) string {
	switch {
	case r.Error != nil:
		return r.Error.Error()
	case r.Fail:
		return "the test failed"
	}
	return ""
}

// prepare returns the evaluation of the decision document.
func prepare(ctx context.Context, c *ast.Compiler) (evaluation, error) {
	query, err := rego.New(
		rego.ParsedQuery(ast.NewBody(ast.NewExpr(ast.NewTerm(decisionRef)))),
		rego.Compiler(c),
		rego.Capabilities(capabilities),
		rego.Store(inmem.NewWithOpts(inmem.OptReturnASTValuesOnRead(true))),
		rego.StrictBuiltinErrors(true),
	).PrepareForEval(ctx)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, input ast.Value, deadline time.Duration) (any, error) {
		// A timer costs less than a context with a deadline, which OPA follows
		// with a goroutine for each evaluation.
		over := topdown.NewCancel()
		timer := time.AfterFunc(deadline, over.Cancel)
		defer timer.Stop()
		results, err := query.Eval(ctx, rego.EvalParsedInput(input), rego.EvalExternalCancel(over))
		switch {
		case over.Cancelled():
			return nil, fmt.Errorf("took longer than %v", deadline)
		case err != nil:
			return nil, err
		case len(results) != 1 || len(results[0].Expressions) != 1:
			return nil, fmt.Errorf("%s is undefined", decisionRef)
		}
		return results[0].Expressions[0].Value, nil
	}, nil
}

// digestOf names the content of files.
func digestOf(files []dirwatch.File) (sum [32]byte) {
	h := sha256.New()
	part := func(s string) {
		var n [8]byte
		binary.LittleEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	for _, f := range files {
		part(f.Name)
		part(string(f.Data))
		part(fmt.Sprint(f.Err))
	}
	h.Sum(sum[:0])
	return sum
}
