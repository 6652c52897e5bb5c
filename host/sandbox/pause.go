package sandbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/stack"
	"github.com/tetratelabs/wazero/api"
)

// slice is the fuel that a guest gets at a time. When it is used up, the guest calls the
// host; until then it can be neither stopped nor preempted, and a garbage collection waits
// for it. A unit is about one instruction, so a slice takes some microseconds, some
// milliseconds if every instruction misses the caches, and some tens of milliseconds if
// every few of them fault a page in, which is why it is not longer. The call costs a few
// hundredths of the slice.
const slice = 20_000

// ErrFuel is the cause of an Error whose Fault is Exhausted.
var ErrFuel = errors.New("the call's fuel is spent")

// Refuel gives the guest that called a host function with ctx all of its fuel again, and
// takes back the unused part of its stack. It is for the host functions in which calls
// that last as long as their client listens wait.
func Refuel(ctx context.Context) {
	i := caller(ctx)
	i.meter.spent = 0
	if err := i.stack.Shrink(i.charge); err != nil {
		Stop(err)
	}
	i.meter.stack.Set(uint64(i.meter.step)) // so that it requests its stack again
}

// meter counts the fuel of one call and its use of the native stack. Both counters are
// globals of the guest, because its code counts them down; the guest's own instructions
// cannot set them.
type meter struct {
	counter, stack api.MutableGlobal
	step           int64 // estimated bytes of stack that the guest gets at a time

	limit   uint64 // of the call; 0: none
	spent   uint64 // of the limit
	granted int64  // not settled yet

	burst
}

// start begins a call.
func (m *meter) start(ctx context.Context, limit uint64) {
	m.limit, m.spent = limit, 0
	m.burst.start(ctx)
	m.counter.Set(uint64(m.grant()))
	m.stack.Set(uint64(m.step))
}

// refill charges the used fuel, given what is left, and returns the next slice, or ErrFuel.
// left is negative; it is far below zero after an operation on much memory, which is
// charged at once.
func (m *meter) refill(left int64) (int64, error) {
	m.spent += uint64(max(0, m.granted-left))
	if m.limit > 0 && m.spent >= m.limit {
		return 0, ErrFuel
	}
	return m.grant(), nil
}

func (m *meter) grant() int64 {
	m.granted = slice
	if m.limit > 0 {
		m.granted = int64(min(slice, m.limit-m.spent))
	}
	return m.granted
}

// pause is the host function that a guest calls when its slice is used up. A computing
// guest can be stopped only here, and entering Go gives the thread to the scheduler and
// the garbage collector.
func pause(ctx context.Context, _ api.Module, values []uint64) {
	m := &caller(ctx).meter
	m.leave(0)
	checkContext(ctx)
	next, err := m.refill(int64(values[0]))
	if err != nil {
		panic(&cut{Exhausted, err})
	}
	values[0] = uint64(next)
	m.enter()
}

// deepen is the host function that a guest calls when it has used the stack that it was
// given, according to the rewriter's estimate. The estimate is good enough to call in time:
// ordinary code needs less, and gets room for several times as much. The host knows and
// counts the real size, which cannot be exceeded (package stack).
func deepen(ctx context.Context, _ api.Module, values []uint64) {
	i := caller(ctx)
	i.meter.leave(0)
	checkContext(ctx)
	missing := -int64(int32(uint32(values[0])))
	room := (missing + i.meter.step) * (stack.Base / i.meter.step)
	if err := i.stack.Room(int(room), i.charge); err != nil {
		panic(&cut{Trapped, err})
	}
	values[0] = uint64(i.meter.step)
	i.meter.enter()
}

// checkContext ends the guest if its call was cancelled or its deadline has passed. It also
// reads the clock, because the context's own timer can be late on a busy machine.
func checkContext(ctx context.Context) {
	if err := ctx.Err(); err != nil {
		panic(&cut{faultOf(err), context.Cause(ctx)})
	}
	if d, ok := ctx.Deadline(); ok && !time.Now().Before(d) {
		panic(&cut{Deadline, context.DeadlineExceeded})
	}
}

// Stop ends the guest from inside a host function and does not return. The error of the
// guest's call has err as its cause.
func Stop(err error) { panic(&cut{Stopped, err}) }

// cut is the panic with which the host ends a guest. A guest cannot raise it.
type cut struct {
	fault Fault
	cause error
}

func (c *cut) Error() string { return fmt.Sprintf("%s: %v", c.fault, c.cause) }
