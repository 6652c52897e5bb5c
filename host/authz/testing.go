package authz

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// Bounds on the tests of a policy, for each test and all together.
const (
	testDeadline  = 5 * time.Second
	testsDeadline = time.Minute
)

// TestOptions select the tests to run, and may trace them.
type TestOptions struct {
	Run   string              // a regular expression that names must match; empty: all
	Trace topdown.QueryTracer // gets every step; nil: none
}

// TestResult is the result of one test.
type TestResult struct {
	Name     string        `json:"name"` // with its package: "data.bulkhead.authz_test.test_x"
	File     string        `json:"file"`
	Line     int           `json:"line"`
	Pass     bool          `json:"pass"`
	Skipped  bool          `json:"skipped,omitempty"`
	Why      string        `json:"why,omitempty"`    // reason of a failure
	Output   string        `json:"output,omitempty"` // of print
	Duration time.Duration `json:"duration_ns"`
}

// Failed reports whether r prevents the policy from being published.
func (r *TestResult) Failed() bool { return !r.Pass && !r.Skipped }

func (r *TestResult) String() string {
	s := fmt.Sprintf("%s:%d: %s", r.File, r.Line, r.Name)
	if r.Failed() {
		s += ": " + r.Why
	}
	return s
}

// RunTests runs the tests in p's own files, for at most a minute, and returns the results by
// file and line. It does not run the tests of the shipped rules.
func (p *Policy) RunTests(ctx context.Context, o TestOptions) ([]TestResult, error) {
	return p.runTests(ctx, o)
}

func (c *compiled) runTests(ctx context.Context, o TestOptions) (_ []TestResult, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("running the tests failed: %v", p)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, testsDeadline)
	defer cancel()
	runner := tester.NewRunner().
		SetCompiler(newCompiler().WithEnablePrintStatements(true).WithPathConflictsCheck(c.hasData)).
		SetStore(inmem.NewFromObject(c.content.Data)).SetTimeout(testDeadline).SetParallel(1).
		RaiseBuiltinErrors(true). // as in decisions
		CapturePrintOutput(true).SetModules(c.all()).Filter(o.Run)
	if o.Trace != nil {
		runner.SetCoverageQueryTracer(o.Trace)
	}
	events, err := runner.RunTests(ctx, nil)
	if err != nil {
		return nil, err
	}
	var results []TestResult
	for r := range events {
		results = append(results, TestResult{
			Name: r.Package + "." + r.Name, File: r.Location.File, Line: r.Location.Row,
			Pass: r.Pass(), Skipped: r.Skip, Why: failure(r), Output: string(r.Output), Duration: r.Duration,
		})
	}
	slices.SortFunc(results, func(a, b TestResult) int {
		if n := strings.Compare(a.File, b.File); n != 0 {
			return n
		}
		return a.Line - b.Line
	})
	return results, ctx.Err()
}

func failure(r *tester.Result) string {
	switch {
	case r.Error != nil:
		return r.Error.Error()
	case r.Fail && r.FailedAt != nil && r.FailedAt.Location != nil:
		return fmt.Sprintf("failed at line %d: %s", r.FailedAt.Location.Row, r.FailedAt)
	case r.Fail:
		return "the test failed"
	}
	return ""
}
