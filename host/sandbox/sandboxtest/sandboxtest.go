// Package sandboxtest has helpers of the sandbox's tests for the tests of other packages
// that load modules. No binary links it.
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
