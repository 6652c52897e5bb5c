// Package authztest has a small directory and the questions that tests of the
// policy engine and of its tools share.
package authztest

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/all"
	"github.com/seed-a3fb47d6/bulkhead/host/directory"
	"github.com/seed-a3fb47d6/bulkhead/policies"
)

// Users of Staff, by their roles.
const (
	Viewer = "vic@example.com"
	Editor = "eda@example.com"
	Admin  = "ada@example.com"
	Payer  = "pat@example.com" // no role, a member of the team payments
)

// APIVersion begins each document of a directory.
const APIVersion = "apiVersion: bulkhead.internal/v1\n"

// People is the directory of Staff.
const People = APIVersion + `
kind: User
metadata: {name: vic}
spec: {id: vic@example.com, roles: [viewer]}
---
` + APIVersion + `
kind: User
metadata: {name: eda}
spec: {id: eda@example.com, roles: [editor]}
---
` + APIVersion + `
kind: User
metadata: {name: ada}
spec: {id: ada@example.com, roles: [admin]}
---
` + APIVersion + `
kind: User
metadata: {name: pat}
spec: {id: pat@example.com, teams: [payments]}
---
` + APIVersion + `
kind: User
metadata: {name: odd}
spec: {id: odd@example.com, roles: [boss]}
---
` + APIVersion + `
kind: Team
metadata: {name: payments}
spec:
  id: payments
  permissions:
    actions: ["pods:*"]
    plugins: [{name: pods}]
    resources: [{clusters: [dev], namespaces: [shop], resources: [pods], verbs: [get, delete]}]
`

// Freeze is a policy of an operator: the shipped rules with one exception, and a test.
const Freeze = `package bulkhead.authz

decision := {"allow": false, "reason": {"code": "freeze"}} if {
	input.route.mutates
} else := data.bulkhead.default.decision

test_reading_is_left_to_the_shipped_rules if {
	decision.reason.code == "nobody" with input as {"route": {"mutates": false}}
}
`

// Write replaces the file in one step.
func Write(t testing.TB, dir, name, text string) {
	t.Helper()
	tmp := filepath.Join(dir, ".next")
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

// OpenDirectory opens dir with the shipped roles until the test ends.
func OpenDirectory(t testing.TB, dir string) *directory.Directory {
	t.Helper()
	d, err := directory.Open(t.Context(), directory.Config{Dir: dir, Base: policies.Roles(), Kinds: new(all.Config).Catalog()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// Staff is a directory with users in every role.
func Staff(t testing.TB) *directory.Directory {
	t.Helper()
	dir := t.TempDir()
	Write(t, dir, "people.yaml", People)
	return OpenDirectory(t, dir)
}

// Await waits for an event of another goroutine.
func Await(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); {
		if time.Now().After(end) {
			t.Fatalf("%s did not happen", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// Ask is a question about a route.
func Ask(user host.UserID, plugin, action string) *host.Question {
	return &host.Question{
		Principal: &host.Principal{User: user},
		Route: host.Route{
			Plugin: plugin, Name: action, Action: host.Action(plugin + ":" + action), Method: "GET", Path: "/" + action,
		},
	}
}

// Call is a question about c within a route that each role may use.
func Call(user host.UserID, c host.CapabilityCall) *host.Question {
	q := Ask(user, "pods", "list.read")
	if c.Cluster == "" {
		c.Cluster, c.Namespace = "dev", "shop"
	}
	q.Capability = &c
	return q
}
