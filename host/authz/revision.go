package authz

import (
	"context"
	"fmt"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/seed-a3fb47d6/bulkhead/host/authz/internal/source"
)

// decisionRef is the one document that is asked for.
var (
	authzPackage = ast.MustParseRef("data.bulkhead.authz")
	decisionRef  = ast.MustParseRef("data.bulkhead.authz.decision")
)

// evaluation returns the decision document as JSON values. It fails if the
// document is undefined or the deadline is over. It is all that the rest of the
// engine knows of how Rego is run.
type evaluation func(ctx context.Context, input ast.Value, deadline time.Duration) (any, error)

// revision is a policy that compiled and whose tests passed. It is immutable.
type revision struct {
	content *source.Content
	eval    evaluation
	// cacheable is false if equal questions may get different answers.
	cacheable bool
	reads     reads
	tests     int
}

func newRevision(ctx context.Context, c *compiled, tests int) (*revision, error) {
	eval, err := prepare(ctx, c.compiler, newStore(c.content.Data))
	if err != nil {
		return nil, err
	}
	return &revision{
		content: c.content, eval: eval, tests: tests,
		cacheable: deterministic(c.compiler), reads: readsOf(c.compiler),
	}, nil
}

func newStore(data map[string]any) storage.Store {
	return inmem.NewFromObjectWithOpts(data, inmem.OptReturnASTValuesOnRead(true))
}

// prepare returns the evaluation of the decision document.
func prepare(ctx context.Context, c *ast.Compiler, store storage.Store) (evaluation, error) {
	query, err := rego.New(
		rego.ParsedQuery(ast.NewBody(ast.NewExpr(ast.NewTerm(decisionRef)))),
		rego.Compiler(c),
		rego.Capabilities(capabilities),
		rego.Store(store),
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
