// Package sandboxtest gives the tests of packages that load modules what the
// sandbox's own tests have. It is in no binary.
package sandboxtest

import (
	"os"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wattest"
)

// Assemble reads a module in the text format of package wattest.
func Assemble(t testing.TB, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return AssembleText(string(text))
}

// AssembleText assembles a module in that format. It panics if the text is wrong.
func AssembleText(text string) []byte { return wattest.Must(text) }
