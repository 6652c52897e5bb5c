package sandbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/stack"
	"github.com/tetratelabs/wazero/api"
)

// slice is the fuel that a guest gets at a time. When it is used up the guest
// calls back into Go: until then it can neither be stopped nor preempted, and
// a garbage collection waits for it. A unit is about an instruction, so that
// is some tens of microseconds, some milliseconds if every one misses the caches,
// and some tens of them if every few fault a page in. The call costs less than a
// hundredth of it, which was not to be seen beside ten times as many.
const slice = 50_000

// ErrFuel is the cause of an Error whose Fault is Exhausted.
var ErrFuel = errors.New("the call's fuel is spent")

// Refuel gives the guest that called a host function with ctx all of its fuel
// again, and takes back what it does not use of its stack. It is for calls that
// live as long as somebody listens, where they wait.
func Refuel(ctx context.Context) {
	i := caller(ctx)
	i.meter.spent = 0
	if err := i.stack.Shrink(i.charge); err != nil {
		Stop(err)
	}
	i.meter.stack.Set(uint64(i.meter.step)) // so that it asks again for what it had
}

// meter counts the fuel of one call and its use of the native stack. Both
// counters are globals of the guest, as its code counts them down; it has no
// instruction that could set them.
type meter struct {
	counter, stack api.MutableGlobal
	step           int64 // of stack, by estimate: what the guest gets at a time

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

// refill settles what was used, given what is left, and returns the next
// slice, or an error that is ErrFuel. What is left is negative, and far so after
// an operation on much memory, which is charged at once.
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

// pause is what a guest calls when its slice is used up. It is the only place
// where a computing guest can be stopped, and entering Go is what lets the
// scheduler and the garbage collector have the thread.
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

// deepen is what a guest calls when it has used as much stack as it was given, by
// the rewriter's estimate. That estimate is good enough to ask in time: code that
// people write takes less, and is given room for several times as much. What it
// really takes is known here, is counted, and cannot be exceeded (package stack).
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

// checkContext ends the guest if its call was cancelled or its deadline has
// passed. The clock is asked as well, because on a busy machine the context's
// own timer can be late.
func checkContext(ctx context.Context) {
	if err := ctx.Err(); err != nil {
		panic(&cut{faultOf(err), context.Cause(ctx)})
	}
	if d, ok := ctx.Deadline(); ok && !time.Now().Before(d) {
		panic(&cut{Deadline, context.DeadlineExceeded})
	}
}

// Stop ends the guest from inside a host function; the guest's call returns
// err as its cause. It does not return.
func Stop(err error) { panic(&cut{Stopped, err}) }

// cut is the panic with which the host ends a guest. Only the host can raise
// it, so what it says is true.
type cut struct {
	fault Fault
	cause error
}

func (c *cut) Error() string { return fmt.Sprintf("%s: %v", c.fault, c.cause) }
