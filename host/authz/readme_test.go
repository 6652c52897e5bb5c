package authz

import (
	"fmt"
	"os"
	"regexp"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

func TestTheExampleInTheReadmeWorks(t *testing.T) {
	text, err := os.ReadFile("../../policies/README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```rego\n(.*?)```").FindAllSubmatch(text, -1)
	if len(blocks) != 2 {
		t.Fatalf("%d examples, want a policy and its test", len(blocks))
	}
	dir := t.TempDir()
	for i, b := range blocks {
		write(t, dir, fmt.Sprintf("site%s.rego", []string{"", "_test"}[i]), string(b[1]))
	}
	e := openEngine(t, dir, staff(t))
	if n := e.current.Load().tests; n != 2 {
		t.Errorf("%d tests ran", n)
	}
	c := host.CapabilityCall{Name: "helm", Verb: "upgrade", Cluster: "prod", Namespace: "shop"}
	if d := e.Decide(t.Context(), call(ada, c)); d.Allow || d.Reason.Code != "production_is_frozen" {
		t.Errorf("decided %+v", d)
	}
	c.Cluster = "dev"
	if d := e.Decide(t.Context(), call(ada, c)); !d.Allow {
		t.Errorf("decided %+v", d)
	}
}
