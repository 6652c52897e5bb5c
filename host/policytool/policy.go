package policytool

import (
	"context"
	"io"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/format"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/authz"
)

// TestOptions are the options of a test run.
type TestOptions struct {
	Run      string // a regular expression that names must match; empty: all
	Coverage bool
}

// TestReport is the outcome of a policy's tests.
type TestReport struct {
	Results  []authz.TestResult `json:"results"`
	Failed   int                `json:"failed"`
	Coverage *cover.Report      `json:"coverage,omitempty"` // of the policy's own files
}

// Test runs p's own tests. They may take a minute.
func Test(ctx context.Context, p *authz.Policy, o TestOptions) (*TestReport, error) {
	options := authz.TestOptions{Run: o.Run}
	covered := cover.New()
	if o.Coverage {
		options.Trace = covered
	}
	results, err := p.RunTests(ctx, options)
	if err != nil {
		return nil, err
	}
	r := &TestReport{Results: results}
	for i := range results {
		if results[i].Failed() {
			r.Failed++
		}
	}
	if o.Coverage {
		report := covered.Report(p.Program().Own)
		r.Coverage = &report
	}
	return r, nil
}

// Eval returns the value of a query, by default the decision, for an input
// document in JSON; ok is false if it is undefined. An invalid query or input is
// an error of kind host.Invalid.
func Eval(ctx context.Context, p *authz.Policy, query string, input io.Reader) (value any, ok bool, err error) {
	v, err := authz.ReadInput(input)
	if err != nil {
		return nil, false, host.E(host.Invalid, "", "input: %w", err)
	}
	if query == "" {
		query = authz.DecisionQuery
	}
	values, err := p.Query(ctx, query, v)
	switch {
	case err != nil || len(values) == 0:
		return nil, false, err
	case len(values) == 1:
		return values[0], true, nil
	}
	return values, true, nil
}

// Format returns a Rego file in the format of "opa fmt".
func Format(name string, text []byte) ([]byte, error) {
	return format.SourceWithOpts(name, text, format.Opts{RegoVersion: ast.RegoV1})
}
