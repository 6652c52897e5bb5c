// Package random gives a handler random numbers of its own.
//
// The top-level functions of math/rand and math/rand/v2 are seeded when the
// plugin starts, and the host puts that state back before each request: they
// repeat the same numbers, in every request and for every person. Go has no way
// to seed them again. crypto/rand asks the host each time and is live.
package random

import (
	crand "crypto/rand"
	"math/rand/v2"
)

// New returns a generator that was seeded from crypto/rand. Make it in the
// handler: one that init or OnStart made repeats itself like the top-level
// functions. It is ChaCha8 and not for concurrent use. For keys and tokens use
// crypto/rand itself.
func New() *rand.Rand {
	var seed [32]byte
	crand.Read(seed[:]) // never fails
	return rand.New(rand.NewChaCha8(seed))
}
