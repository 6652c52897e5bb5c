package authz

import (
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/directory"
)

// World is a random directory with questions, for tests of this package that use
// the tools, which import it.
type World struct{ w *world }

func NewWorld(t testing.TB, seed uint64) World { return World{newWorld(t, seed)} }

func (w World) Directory() *directory.Directory    { return w.w.directory }
func (w World) Question() *host.Question           { return w.w.question() }
func (w World) Some(prefix string, n int) []string { return w.w.some(prefix, n) }
