package random_test

import (
	"fmt"

	"github.com/seed-a3fb47d6/bulkhead/sdk/random"
)

// In the handler, so that each request has numbers of its own.
func ExampleNew() {
	r := random.New()
	die := r.IntN(6) + 1
	fmt.Println(die >= 1 && die <= 6)
	// Output: true
}
