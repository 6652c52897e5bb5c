// Package random gives each request its own random numbers.
//
// The top-level functions of math/rand and math/rand/v2 are seeded when the plugin starts,
// and the host restores that state before each request: they return the same numbers in
// every request and for every user. Go cannot seed them again. crypto/rand asks the host
// each time and is live.
package random

import (
	crand "crypto/rand"
	"math/rand/v2"
)

// New returns a generator seeded from crypto/rand. Call it in the handler: a generator that
// init or OnStart made repeats its numbers like the top-level functions. The generator is
// ChaCha8 and not safe for concurrent use. For keys and tokens use crypto/rand itself.
func New() *rand.Rand {
	var seed [32]byte
	crand.Read(seed[:]) // never fails
	return rand.New(rand.NewChaCha8(seed))
}
