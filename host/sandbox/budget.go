package sandbox

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/rewrite"
)

// ErrMemory means that Limits.TotalBytes leaves no room for another instance, or for an
// instance to grow.
var ErrMemory = errors.New("sandbox: the module's instances have reached their memory limit")

// ErrHolder means the same for the Budget that was given to Acquire.
var ErrHolder = errors.New("sandbox: the caller's instances have reached their memory limit")

// Budget bounds the memory of all instances of one holder, such as a user, in all
// modules. It is safe for concurrent use.
type Budget struct {
	limit int64
	used  atomic.Int64
}

// NewBudget returns a Budget of the given number of bytes.
func NewBudget(bytes uint64) *Budget { return &Budget{limit: int64(min(bytes, 1<<62))} }

// Used returns the bytes that the held instances use.
func (b *Budget) Used() int64 { return b.used.Load() }

// take charges delta bytes; if that exceeds the limit, it charges nothing and returns
// false. A negative delta releases bytes. A nil Budget has no limit.
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

// Account counts a caller's use of an instance: in its module, and in the Budget that was
// given to Acquire. It stays valid after Release. The zero value counts nothing.
type Account struct{ module, holder *Budget }

// Account returns the account of the caller.
func (i *Instance) Account() Account { return Account{i.module.budget, i.holder} }

// Hold counts n bytes of the host's memory that the guest needs, before they are
// allocated and until free is called. free may be called repeatedly. The error is
// ErrMemory or ErrHolder; then nothing is counted.
func (a Account) Hold(n int) (free func(), err error) {
	if err := a.take(int64(n)); err != nil {
		return nil, err
	}
	return (&held{account: a, bytes: int64(n)}).free, nil
}

// held is what Hold has counted.
type held struct {
	account Account
	bytes   int64
	freed   atomic.Bool
}

func (h *held) free() {
	if !h.freed.Swap(true) {
		_ = h.account.take(-h.bytes) // releasing cannot fail
	}
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

// charge counts every byte of an instance, including its tables and its stack, for the
// module and for the holder. It remembers a refusal, because a guest that is refused
// memory usually traps.
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

// hold counts the instance in b until unhold.
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

// shortage adds to the cause of a guest's failure that it was, or may have been, short of
// memory.
func (i *Instance) shortage(cause error) error {
	if i.refused != nil {
		return fmt.Errorf("%w, after it was refused memory: %w", cause, i.refused)
	}
	// The engine itself refuses growth beyond the instance's own limit.
	if size, limit := uint64(len(i.memory.Bytes())), i.module.spec.Limits.MemoryBytes; size+growth > limit {
		return fmt.Errorf("%w (its memory is %d of %d MiB)", cause, size>>20, limit>>20)
	}
	return cause
}

// growth is the least memory that Go's runtime requests at a time.
const growth = 4 << 20

// Sizes of what the engine keeps for an instance beside its memory, in bytes, rounded up.
const (
	entryBytes   = 8  // of a table
	elementBytes = 48 // the function's object, where the engine keeps that, and the segment's entry
	segmentBytes = 24 // of data or elements
	globalBytes  = 96 // the global, its place in the context, and a handle of the host's
)

// fixedBytes returns the bytes that the engine keeps for each instance of a module,
// beside its memory.
func fixedBytes(r *rewrite.Result) int64 {
	return int64(r.TableEntries)*entryBytes + int64(r.Elements)*elementBytes +
		int64(r.Segments)*segmentBytes + int64(r.GlobalCount)*globalBytes
}
