package authz

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/authz/internal/source"
)

// Policy is a compiled policy, the shipped rules and an operator's own, for tools. It is safe
// for concurrent use.
type Policy struct {
	*published
}

// ReadPolicy compiles the directory or bundle file at path, without verifying a signature;
// "" is the shipped policy. Errors name file and line.
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

// LoadPolicy compiles the present content of s and verifies its signature, as a host with
// this configuration does at its start.
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

// UnpackPolicy compiles a packed bundle, without verifying its signature. origin names it in
// errors.
func UnpackPolicy(ctx context.Context, packed []byte, origin string) (*Policy, error) {
	content, err := source.Unpack(packed, origin)
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
	return &Policy{&published{revision: r}}, nil
}

// Serving returns the published policy.
func (e *Engine) Serving() *Policy { return &Policy{e.current.Load()} }

// Candidate returns the policy in the shadow, nil if no usable one is configured.
func (e *Engine) Candidate() *Policy {
	if e.shadow == nil {
		return nil
	}
	if p := e.shadow.current.Load(); p.number > 0 {
		return &Policy{p}
	}
	return nil
}

// Origin returns where p comes from.
func (p *Policy) Origin() string { return p.content.Origin }

// Digest returns the digest of p's content: "sha256:…".
func (p *Policy) Digest() string { return p.content.Digest }

// Shipped reports whether p is the shipped policy alone.
func (p *Policy) Shipped() bool { return p.content == source.Shipped() }

// Cacheable reports whether decisions of p may be cached.
func (p *Policy) Cacheable() bool { return p.cacheable }

// ReadsDirectory reports whether p reads data.directory.
func (p *Policy) ReadsDirectory() bool { return p.reads.directory }

// MayRead reports whether p may read the part of the input at path.
func (p *Policy) MayRead(path ...string) bool { return p.compiler == nil || p.reads.input(path...) }

// Signing is the key and algorithm with which a bundle is signed; Stamp protects it against
// replay.
type (
	Signing = source.Signing
	Stamp   = source.Stamp
)

// Pack writes p's own files as an OPA bundle, signed if s is not nil.
func (p *Policy) Pack(w io.Writer, revision string, s *Signing) error {
	return source.Pack(w, p.content, revision, s)
}

// Trial decides with a policy and a directory as an engine would, without logging. It is safe
// for concurrent use.
type Trial struct {
	decider
	policy *published
}

// Over returns a trial of p with d.
func (p *Policy) Over(d Directory) *Trial {
	t := &Trial{policy: p.published}
	t.init(d, defaultDeadline)
	return t
}

// Decide answers q from the cache or by an evaluation. A question that cannot be decided is
// denied with the reason code PolicyError.
func (t *Trial) Decide(ctx context.Context, q *host.Question) host.Decision {
	a, _, _ := t.decide(ctx, t.policy, q)
	return a.decision
}

// Evaluate answers q by an evaluation and returns the directory's matching. The error is the
// reason for which the policy could not decide. Each step is reported to trace unless that
// is nil.
func (t *Trial) Evaluate(ctx context.Context, q *host.Question, trace topdown.QueryTracer) (host.Decision, host.Matching, error) {
	m := t.directory.Match(q)
	var options []rego.EvalOption
	if trace != nil {
		options = append(options, rego.EvalQueryTracer(trace))
	}
	d, err := t.evaluate(ctx, t.policy, q, &m, options...)
	return d, m, err
}

// DecideInput decides an input document that contains the permissions. A question that cannot
// be decided, also because the policy reads data.directory, is denied with the reason code
// PolicyError.
func (p *Policy) DecideInput(ctx context.Context, input ast.Value) host.Decision {
	document, err := p.eval(ctx, input, defaultDeadline)
	if err == nil {
		var d host.Decision
		if d, err = ParseDecision(document); err == nil {
			return d
		}
	}
	return host.Decision{Reason: host.Reason{Code: PolicyError}}
}

// Query returns the values of a query for an input document, none if it is undefined. Its
// only deadline is that of ctx. The error for a query that does not compile is of kind
// host.Invalid.
func (p *Policy) Query(ctx context.Context, query string, input ast.Value) ([]any, error) {
	prepared, err := rego.New(
		rego.Query(query), rego.Compiler(p.compiler), rego.Capabilities(capabilities),
		rego.Store(newStore(p.content.Data)), rego.StrictBuiltinErrors(true), rego.SetRegoVersion(ast.RegoV1),
	).PrepareForEval(ctx)
	if err != nil {
		return nil, host.E(host.Invalid, "", "query: %w", err)
	}
	results, err := prepared.Eval(ctx, rego.EvalParsedInput(input))
	if err != nil {
		return nil, err
	}
	var values []any
	for _, r := range results {
		for _, x := range r.Expressions {
			values = append(values, x.Value)
		}
	}
	return values, nil
}

// maxInput bounds an input document, in bytes.
const maxInput = 16 << 20

// ReadInput reads an input document in JSON of at most 16 MiB. A record of the decision log
// is refused: it contains an input document, but as an input it would be a question without
// a user.
func ReadInput(r io.Reader) (ast.Value, error) {
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
		return nil, fmt.Errorf("must be an object, not %s", ast.ValueName(v))
	}
	if object.Get(ast.StringTerm("decision_id")) != nil && object.Get(ast.StringTerm("input")) != nil {
		return nil, errors.New("is a record of the decision log; give its input (jq .input)")
	}
	return v, nil
}

// Input returns the complete input document of q, including parts that a policy does not
// read. m is the directory's matching for q.
func Input(q *host.Question, m *host.Matching) (ast.Value, error) {
	return newInput(q, m, &terms{}, everything)
}
