package sandbox

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/rewrite"
)

// ErrMemory says that Limits.TotalBytes leaves no room, for another instance or
// for one that wants to grow.
var ErrMemory = errors.New("sandbox: the module's instances use all the memory they may")

// ErrHolder says the same of a Budget that Acquire was given.
var ErrHolder = errors.New("sandbox: the caller's instances use all the memory they may")

// Budget bounds the memory of all instances that somebody holds, in whatever
// modules. It is safe for concurrent use.
type Budget struct {
	limit int64
	used  atomic.Int64
}

// NewBudget returns a Budget of so many bytes.
func NewBudget(bytes uint64) *Budget { return &Budget{limit: int64(min(bytes, 1<<62))} }

// Used is how many bytes the held instances have.
func (b *Budget) Used() int64 { return b.used.Load() }

// take charges delta bytes; it reports false, and charges nothing, if they are
// too many. A negative delta gives back. A nil Budget is boundless.
func (b *Budget) take(delta int64) bool {
	if b == nil {
		return true
	}
	if b.used.Add(delta) > b.limit && delta > 0 {
		b.used.Add(-delta)
		return false
	}
	return true
}

// Account is where a caller's use of an instance is counted: in its module, and
// in the Budget that Acquire was given. It stays valid after Release. The zero
// value counts nothing.
type Account struct{ module, holder *Budget }

// Account is the caller's.
func (i *Instance) Account() Account { return Account{i.module.budget, i.holder} }

// Hold counts n bytes of the host's own memory that are needed for the guest,
// before they are allocated, until free is called, which may be repeated. The
// error is ErrMemory or ErrHolder; nothing is counted then.
func (a Account) Hold(n int) (free func(), err error) {
	if err := a.take(int64(n)); err != nil {
		return nil, err
	}
	return sync.OnceFunc(func() { _ = a.take(-int64(n)) }), nil // giving back cannot fail
}

// take charges delta bytes to both or to neither.
func (a Account) take(delta int64) error {
	if !a.module.take(delta) {
		return ErrMemory
	}
	if !a.holder.take(delta) {
		a.module.take(-delta)
		return ErrHolder
	}
	return nil
}

// charge is where every byte of an instance is counted, its tables and its stack
// included: by the module, and by who holds it. A refusal is remembered, because a
// guest that is refused memory mostly traps.
func (i *Instance) charge(delta int64) bool {
	if err := i.Account().take(delta); err != nil {
		i.refused = err
		return false
	}
	if i.holder != nil {
		i.charged += delta
	}
	i.bytes += delta
	return true
}

// hold lets b count the instance, until unhold.
func (i *Instance) hold(b *Budget) error {
	if !b.take(i.bytes) {
		return fmt.Errorf("module %s: %w", i.module.spec.Name, ErrHolder)
	}
	i.holder, i.charged = b, i.bytes
	return nil
}

func (i *Instance) unhold() {
	i.holder.take(-i.charged)
	i.holder, i.charged, i.refused = nil, 0, nil
}

// shortage adds to why a guest failed that it was, or may have been, short of
// memory.
func (i *Instance) shortage(cause error) error {
	if i.refused != nil {
		return fmt.Errorf("%w, after it was refused memory: %w", cause, i.refused)
	}
	// The engine refuses what is beyond the instance's own limit without asking.
	if size, limit := uint64(len(i.memory.Bytes())), i.module.spec.Limits.MemoryBytes; size+growth > limit {
		return fmt.Errorf("%w (its memory is %d of %d MiB)", cause, size>>20, limit>>20)
	}
	return cause
}

// growth is what Go's runtime asks for at a time, at least.
const growth = 4 << 20

// What an instance has in the engine beside its memory, in bytes, rounded up.
const (
	entryBytes   = 8  // of a table
	elementBytes = 48 // the function's object, where the engine keeps that, and the segment's entry
	segmentBytes = 24 // of data or elements
	globalBytes  = 96 // the global, its place in the context, and a handle of the host's
)

// fixedBytes is what all instances of a module have in the engine.
func fixedBytes(r *rewrite.Result) int64 {
	return int64(r.TableEntries)*entryBytes + int64(r.Elements)*elementBytes +
		int64(r.Segments)*segmentBytes + int64(r.GlobalCount)*globalBytes
}
