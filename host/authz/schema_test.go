package authz

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/policies"
)

func TestTheSchemaDescribesEveryInput(t *testing.T) {
	var schema any
	if err := json.Unmarshal(policies.InputSchema(), &schema); err != nil {
		t.Fatal(err)
	}
	check, err := rego.New(rego.Query("json.match_schema(input, data.schema)"), rego.Data(map[string]any{"schema": schema})).PrepareForEval(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	problems := func(input ast.Value) string {
		results, err := check.Eval(t.Context(), rego.EvalParsedInput(input))
		if err != nil || len(results) != 1 {
			t.Fatal(results, err)
		}
		answer := results[0].Expressions[0].Value.([]any)
		if answer[0] == true {
			return ""
		}
		text, _ := json.Marshal(answer[1])
		return string(text)
	}
	w := newWorld(t, 7)
	glass, capabilities := 0, 0
	for range 300 {
		q := w.question()
		q.Principal.Claims = map[string]any{"groups": []any{"a"}, "age": 7}
		q.Principal.Login = host.Login{ID: "l", Method: "dev", At: time.Now(), Until: time.Now()}
		m := w.directory.Match(q)
		input, err := newInput(q, &m, &terms{}, everything)
		if err != nil {
			t.Fatal(err)
		}
		if why := problems(input); why != "" {
			t.Fatalf("%v: %s", input, why)
		}
		if len(m.BreakGlass) > 0 {
			glass++
		}
		if q.Capability != nil {
			capabilities++
		}
		// It is strict, so that it finds what it does not describe.
		object := input.(ast.Object)
		object.Insert(ast.StringTerm("principle"), ast.StringTerm("x"))
		if problems(object) == "" {
			t.Fatal("a key that is not described passes")
		}
	}
	if glass == 0 || capabilities == 0 {
		t.Errorf("%d inputs with break_glass, %d with a capability", glass, capabilities)
	}
}

func TestAPolicyIsCheckedAgainstTheSchemaIfItSaysSo(t *testing.T) {
	const annotation = "# METADATA\n# schemas:\n#   - input: schema.input\n"
	const rules = `package bulkhead.authz

decision := {"allow": false, "reason": {"code": "no"}} if input.capability.%s == "x"
`
	policy := func(field string) string { return strings.Replace(rules, "%s", field, 1) }
	for _, c := range []struct{ text, problem string }{
		{annotation + policy("namespace"), ""},
		{annotation + policy("namspace"), "namspace"},
		{annotation + strings.Replace(policy("verb"), "capability.verb", "principle.user", 1), "principle"},
		{annotation + strings.Replace(policy("verb"), "capability.verb", "resource.anything", 1), ""},
		{annotation + strings.Replace(policy("verb"), "capability.verb", "principal.claims.department", 1), ""},
		{policy("namspace"), ""}, // it did not ask
	} {
		dir := t.TempDir()
		write(t, dir, "site.rego", c.text)
		e, err := Open(t.Context(), Config{Source: Source{Dir: dir}, Directory: staff(t)})
		if err == nil {
			e.Close()
		}
		if (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%s\n%v, want %q", c.text, err, c.problem)
		}
	}
}
