package adapter

import (
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	sandbox.CompileChild()
	goleak.VerifyTestMain(m)
}
