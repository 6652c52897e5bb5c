package random_test

import (
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/sdk/random"
)

// That two requests differ is shown where requests are restored: host/sandbox.
func TestTwoGeneratorsDiffer(t *testing.T) {
	if a, b := random.New().Uint64(), random.New().Uint64(); a == b {
		t.Fatalf("both begin with %#x", a)
	}
}
