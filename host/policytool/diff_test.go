package policytool

import (
	"bytes"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

func TestDiffListsWhatWouldChange(t *testing.T) {
	tools, read := logged(t)
	e := tools.Engine
	c := host.CapabilityCall{Name: "helm", Verb: "upgrade", Cluster: "prod", Namespace: "shop", Object: "web"}
	for range 3 {
		e.Decide(t.Context(), call(ada, c))
	}
	e.Decide(t.Context(), ask(vic, "gitops", "helm.read"))
	var lines bytes.Buffer
	lines.Write(read())
	lines.WriteString(`{"path": "another", "input": {}}` + "\n")
	lines.WriteString(`{"path": "bulk`) // being written
	frozen := withPolicy(t, `package bulkhead.authz

decision := {"allow": false, "reason": {"code": "frozen"}} if {
	input.capability.cluster == "prod"
} else := data.bulkhead.default.decision
`)
	report, err := Diff(t.Context(), nil, frozen, nil, bytes.NewReader(lines.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if report.Decisions != 4 || report.Questions != 2 || report.Changed != 3 || report.Other != 2 || len(report.Changes) != 1 {
		t.Fatalf("%+v", report)
	}
	if d := report.Changes[0]; d.What != "denies" || d.Count != 3 || d.User != string(ada) || d.New != "frozen" || !strings.Contains(d.Capability, "prod/shop/web") {
		t.Errorf("%+v", d)
	}
	// What a policy reads and the log lacks is not guessed.
	claims := withPolicy(t, `package bulkhead.authz

decision := {"allow": input.principal.claims.dep == "ops", "reason": {"code": "dep"}}
`)
	report, err = Diff(t.Context(), frozen, claims, nil, bytes.NewReader(lines.Bytes()))
	if err != nil || report.Masked != 4 || report.Changed != 0 {
		t.Errorf("%+v, %v", report, err)
	}
}
