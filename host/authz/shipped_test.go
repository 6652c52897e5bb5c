package authz

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/format"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"

	"github.com/seed-a3fb47d6/bulkhead/policies"
)

// shippedFiles are the rules and their tests as they are in the repository.
func shippedFiles(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	names, err := filepath.Glob("../../policies/*.rego")
	if err != nil || len(names) == 0 {
		t.Fatalf("no shipped Rego: %v", err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(name)] = data
	}
	return files
}

func TestEveryRuleIsInTheProgram(t *testing.T) {
	files := shippedFiles(t)
	maps.DeleteFunc(files, func(name string, _ []byte) bool { return strings.HasSuffix(name, "_test.rego") })
	if rules := policies.Rules(); !reflect.DeepEqual(rules, files) {
		t.Errorf("the program has %v, policies %v", slices.Sorted(maps.Keys(rules)), slices.Sorted(maps.Keys(files)))
	}
}

func TestShippedPolicyPassesItsOwnTests(t *testing.T) {
	modules := map[string]*ast.Module{}
	for name, data := range shippedFiles(t) {
		m, err := parseModule(name, data)
		if err != nil {
			t.Fatal(err)
		}
		modules[name] = m
	}
	covered := cover.New()
	results, err := tester.NewRunner().
		SetCompiler(newCompiler().WithStrict(true)).SetStore(inmem.New()).
		SetModules(modules).SetCoverageQueryTracer(covered).RunTests(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for r := range results {
		n++
		if why := failure(r); why != "" {
			t.Errorf("%s:%d: %s.%s: %s", r.Location.File, r.Location.Row, r.Package, r.Name, why)
		}
	}
	if n < 20 {
		t.Errorf("only %d tests ran", n)
	}
	for name, file := range covered.Report(modules).Files {
		if !strings.HasSuffix(name, "_test.rego") && file.Coverage < 95 {
			t.Errorf("tests cover %.0f %% of %s, want 95; not %v", file.Coverage, name, file.NotCovered)
		}
	}
}

func TestShippedPolicyIsFormatted(t *testing.T) {
	for name, data := range shippedFiles(t) {
		want, err := format.SourceWithOpts(name, data, format.Opts{RegoVersion: ast.RegoV1})
		if err != nil {
			t.Fatal(err)
		}
		if string(want) != string(data) {
			t.Errorf("%s is not as opa fmt writes it:\n%s", name, want)
		}
	}
}
