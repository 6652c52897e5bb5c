package policytool

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/seed-a3fb47d6/bulkhead/host/audit"
	"github.com/seed-a3fb47d6/bulkhead/host/authz"
	"github.com/seed-a3fb47d6/bulkhead/host/authz/authztest"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/all"
)

func TestMain(m *testing.M) {
	Child()
	goleak.VerifyTestMain(m)
}

const (
	vic = authztest.Viewer
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

	kinds = new(all.Config).Catalog()
)

func readPolicy(t testing.TB, path string) *authz.Policy {
	t.Helper()
	p, err := authz.ReadPolicy(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// withPolicy is a policy of an operator's policy.rego.
func withPolicy(t testing.TB, text string) *authz.Policy {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "policy.rego", text)
	return readPolicy(t, dir)
}

// logged opens an engine over Staff that logs to a file, and reads that after
// closing it.
func logged(t *testing.T) (*Tools, func() []byte) {
	t.Helper()
	tools := &Tools{Kinds: kinds, Directory: staff(t), Log: &audit.File{Path: filepath.Join(t.TempDir(), "decisions.jsonl")}}
	e, err := authz.Open(t.Context(), authz.Config{Directory: tools.Directory, Log: audit.Config{File: tools.Log}})
	if err != nil {
		t.Fatal(err)
	}
	tools.Engine = e
	return tools, func() []byte {
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(tools.Log.Path)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
}
