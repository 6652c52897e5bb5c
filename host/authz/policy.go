package authz

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/format"
	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/authz/internal/source"
)

// Policy is a policy on the bench: compiled with the shipped rules as the host
// does it, and serving nobody. It is safe for concurrent use.
type Policy struct {
	*compiled
	published *published // with number 0
}

// ReadPolicy compiles the directory or bundle file at path, whose signature is
// not looked at; "" is the shipped policy. Errors name file and line.
func ReadPolicy(ctx context.Context, path string) (*Policy, error) {
	if path == "" {
		return newPolicy(ctx, source.Shipped())
	}
	content, err := source.Read(path)
	if err != nil {
		return nil, err
	}
	return newPolicy(ctx, content)
}

// LoadPolicy compiles what is at s now, as a host with this configuration would
// at its start, signature included.
func LoadPolicy(ctx context.Context, s Source) (_ *Policy, err error) {
	src, err := source.Open(s, "", slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	content, err := src.Load(ctx)
	if err != nil {
		return nil, err
	}
	return newPolicy(ctx, content)
}

func newPolicy(ctx context.Context, content *source.Content) (*Policy, error) {
	c, err := compile(content)
	if err != nil {
		return nil, err
	}
	r, err := newRevision(ctx, c, 0)
	if err != nil {
		return nil, err
	}
	return &Policy{c, &published{revision: r}}, nil
}

// Origin says where p is from.
func (p *Policy) Origin() string { return p.content.Origin }

// Digest names p's content: "sha256:…".
func (p *Policy) Digest() string { return p.content.Digest }

// TestReport is the outcome of a policy's tests.
type TestReport struct {
	Results  []TestResult  `json:"results"`
	Failed   int           `json:"failed"`
	Coverage *cover.Report `json:"coverage,omitempty"`
}

// Test runs p's own tests. They may take a minute.
func (p *Policy) Test(ctx context.Context, o TestOptions) (*TestReport, error) {
	results, coverage, err := p.testsAndCoverage(ctx, o)
	if err != nil {
		return nil, err
	}
	r := &TestReport{Results: results}
	for i := range results {
		if results[i].Failed() {
			r.Failed++
		}
	}
	if coverage != nil {
		for name := range coverage.Files {
			if !p.own[name] {
				delete(coverage.Files, name)
			}
		}
		r.Coverage = coverage
	}
	return r, nil
}

// Eval returns the value of a query, by default the decision, for an input
// document in JSON; ok is false if it is undefined. What is wrong with query or
// input is of kind host.Invalid.
func (p *Policy) Eval(ctx context.Context, query string, input io.Reader) (value any, ok bool, err error) {
	v, err := readInput(input)
	if err != nil {
		return nil, false, host.E(host.Invalid, "", "input: %w", err)
	}
	if query == "" {
		query = decisionRef.String()
	}
	prepared, err := rego.New(
		rego.Query(query), rego.Compiler(p.compiler), rego.Capabilities(capabilities),
		rego.Store(newStore(p.content.Data)), rego.StrictBuiltinErrors(true), rego.SetRegoVersion(ast.RegoV1),
	).PrepareForEval(ctx)
	if err != nil {
		return nil, false, host.E(host.Invalid, "", "query: %w", err)
	}
	results, err := prepared.Eval(ctx, rego.EvalParsedInput(v))
	if err != nil {
		return nil, false, err
	}
	var values []any
	for _, r := range results {
		for _, x := range r.Expressions {
			values = append(values, x.Value)
		}
	}
	switch len(values) {
	case 0:
		return nil, false, nil
	case 1:
		return values[0], true, nil
	}
	return values, true, nil
}

// maxInput bounds an input document, in bytes.
const maxInput = 16 << 20

// readInput reads an input document. A record of the decision log has one and is
// none: to a policy it would be somebody without a name.
func readInput(r io.Reader) (ast.Value, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	if err != nil {
		return nil, err
	}
	var document any
	if err := source.DecodeJSON(text, &document); err != nil {
		return nil, err
	}
	v, err := ast.InterfaceToValue(document)
	if err != nil {
		return nil, err
	}
	object, ok := v.(ast.Object)
	if !ok {
		return nil, fmt.Errorf("is %s and not an object", ast.ValueName(v))
	}
	if object.Get(ast.StringTerm("decision_id")) != nil && object.Get(ast.StringTerm("input")) != nil {
		return nil, errors.New("is a record of the decision log; give what it has in input (jq .input)")
	}
	return v, nil
}

// Format returns a Rego file as "opa fmt" writes it.
func Format(name string, text []byte) ([]byte, error) {
	return format.SourceWithOpts(name, text, format.Opts{RegoVersion: ast.RegoV1})
}

// Signing is what a bundle is signed with, Stamp what it says against being
// replayed.
type (
	Signing = source.Signing
	Stamp   = source.Stamp
)

// Pack writes p's own files as an OPA bundle, signed if s is not nil.
func (p *Policy) Pack(w io.Writer, revision string, s *Signing) error {
	return source.Pack(w, p.content, revision, s)
}
