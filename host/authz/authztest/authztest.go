package authz

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/all"
	"github.com/seed-a3fb47d6/bulkhead/host/directory"
	"github.com/seed-a3fb47d6/bulkhead/policies"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const apiVersion = "apiVersion: bulkhead.internal/v1\n"

const people = apiVersion + `
kind: User
metadata: {name: vic}
spec: {id: vic@example.com, roles: [viewer]}
---
` + apiVersion + `
kind: User
metadata: {name: eda}
spec: {id: eda@example.com, roles: [editor]}
---
` + apiVersion + `
kind: User
metadata: {name: ada}
spec: {id: ada@example.com, roles: [admin]}
---
` + apiVersion + `
kind: User
metadata: {name: pat}
spec: {id: pat@example.com, teams: [payments]}
---
` + apiVersion + `
kind: User
metadata: {name: odd}
spec: {id: odd@example.com, roles: [boss]}
---
` + apiVersion + `
kind: Team
metadata: {name: payments}
spec:
  id: payments
  permissions:
    actions: ["pods:*"]
    plugins: [{name: pods}]
    resources: [{clusters: [dev], namespaces: [shop], resources: [pods], verbs: [get, delete]}]
`

func write(t testing.TB, dir, name, text string) {
	t.Helper()
	tmp := filepath.Join(dir, ".next")
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func openDirectory(t testing.TB, dir string) *directory.Directory {
	t.Helper()
	d, err := directory.Open(t.Context(), directory.Config{Dir: dir, Base: policies.Roles(), Kinds: new(all.Config).Catalog()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// staff is a directory of people in every role.
func staff(t testing.TB) *directory.Directory {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "people.yaml", people)
	return openDirectory(t, dir)
}

func openEngine(t testing.TB, policyDir string, d Directory) *Engine {
	t.Helper()
	// The machine may be slow; what is cut at the deadline has a test of its own.
	e, err := Open(t.Context(), Config{Source: Source{Dir: policyDir}, Directory: d, Deadline: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// withPolicy is an engine over the staff with an operator's policy.rego.
func withPolicy(t testing.TB, text string) (*Engine, string) {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "policy.rego", text)
	return openEngine(t, dir, staff(t)), dir
}

func await(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); {
		if time.Now().After(end) {
			t.Fatalf("%s did not happen", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func ask(user host.UserID, plugin, action string) *host.Question {
	return &host.Question{
		Principal: &host.Principal{User: user},
		Route: host.Route{
			Plugin: plugin, Name: action, Action: host.Action(plugin + ":" + action), Method: "GET", Path: "/" + action,
		},
	}
}

// call is a question about c within a route that everybody with any role may use.
func call(user host.UserID, c host.CapabilityCall) *host.Question {
	q := ask(user, "pods", "list.read")
	if c.Cluster == "" {
		c.Cluster, c.Namespace = "dev", "shop"
	}
	q.Capability = &c
	return q
}
