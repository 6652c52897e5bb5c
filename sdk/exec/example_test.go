package exec_test

import (
	"fmt"

	"github.com/seed-a3fb47d6/bulkhead/sdk/exec"
	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/guesttest"
)

// The stream is for session.Splice, the last call of a handler.
func ExampleOpen() {
	defer guesttest.Answer("")()

	stream, err := exec.Open(exec.Target{
		Cluster: "dev", Namespace: "shop", Pod: "web", Command: []string{"/bin/sh"}, TTY: true, Cols: 80, Rows: 24,
	})
	fmt.Println(stream, err)
	// Output: 1 <nil>
}
