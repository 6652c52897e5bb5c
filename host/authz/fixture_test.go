package authz

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-a3fb47d6/bulkhead/host/authz/authztest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	vic = authztest.Viewer
	eda = authztest.Editor
	ada = authztest.Admin
	pat = authztest.Payer

	apiVersion = authztest.APIVersion
	people     = authztest.People
	freeze     = authztest.Freeze
)

var (
	write         = authztest.Write
	openDirectory = authztest.OpenDirectory
	staff         = authztest.Staff
	await         = authztest.Await
	ask           = authztest.Ask
	call          = authztest.Call
)

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
