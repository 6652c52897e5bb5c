package authz

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// DecisionQuery is the one document that is evaluated.
const DecisionQuery = "data.bulkhead.authz.decision"

var (
	authzPackage   = ast.MustParseRef("data.bulkhead.authz")
	decisionRef    = ast.MustParseRef(DecisionQuery)
	defaultPackage = ast.MustParseRef("data.bulkhead.default")
)

// evaluation returns the decision document as JSON values. It fails if the document is
// undefined or the deadline has passed. The engine runs Rego only through it.
type evaluation func(ctx context.Context, input ast.Value, deadline time.Duration, o ...rego.EvalOption) (any, error)

// revision is a policy that compiled and whose tests passed. It is immutable except for its
// cache of the directory.
type revision struct {
	*compiled
	eval  evaluation
	facts atomic.Pointer[factual] // for policies that read data.directory
	// cacheable is false if equal questions may get different answers.
	cacheable bool
	reads     *reads
	passed    int   // how many tests ran
	fails     error // why it fails for every question; nil if it may decide
}

func newRevision(ctx context.Context, c *compiled, passed int) (*revision, error) {
	eval, err := prepare(ctx, c.compiler, newStore(c.content.Data))
	if err != nil {
		return nil, err
	}
	r := &revision{
		compiled: c, eval: eval, passed: passed,
		cacheable: deterministic(c.compiler), reads: readsOf(c.compiler),
	}
	r.fails = r.probe(ctx)
	return r, nil
}

// factual evaluates with one revision of the directory.
type factual struct {
	eval     evaluation
	revision uint64
}

// evaluator returns the evaluation for q, and stores the matching of d in m. If the policy
// reads data.directory, both are of one revision of the directory.
func (r *revision) evaluator(ctx context.Context, d Directory, q *host.Question, m *host.Matching) (evaluation, error) {
	if !r.reads.directory {
		return r.eval, nil
	}
	for range 10 {
		facts, number := d.Facts()
		f := r.facts.Load()
		if f == nil || f.revision != number {
			data := maps.Clone(r.content.Data)
			data["directory"] = facts
			// Values are converted when they are read, since few of many are.
			store := inmem.NewFromObjectWithOpts(data, inmem.OptRoundTripOnWrite(false))
			eval, err := prepare(ctx, r.compiler, store)
			if err != nil {
				return nil, err
			}
			f = &factual{eval, number}
			r.facts.Store(f)
		}
		if m.Revision == number {
			return f.eval, nil
		}
		*m = d.Match(q)
	}
	return nil, errors.New("the directory changes too fast to be read")
}

// Errors of an evaluation that need not apply to other questions.
var (
	errUndefined = fmt.Errorf("%s is undefined", decisionRef)
	errDeadline  = errors.New("took longer than")
)

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
	return func(ctx context.Context, input ast.Value, deadline time.Duration, o ...rego.EvalOption) (any, error) {
		// A timer costs less than a context with a deadline, for which OPA starts a
		// goroutine in each evaluation.
		over := topdown.NewCancel()
		timer := time.AfterFunc(deadline, over.Cancel)
		defer timer.Stop()
		options := append(o, rego.EvalParsedInput(input), rego.EvalExternalCancel(over))
		results, err := query.Eval(ctx, options...)
		switch {
		case over.Cancelled():
			return nil, fmt.Errorf("%w %v", errDeadline, deadline)
		case err != nil:
			return nil, err
		case len(results) != 1 || len(results[0].Expressions) != 1:
			return nil, errUndefined
		}
		return results[0].Expressions[0].Value, nil
	}, nil
}
