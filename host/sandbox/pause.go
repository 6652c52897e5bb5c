package sandbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tetratelabs/wazero/api"
)

// slice is the fuel that a guest gets at a time. When it is used up the guest
// calls back into Go: until then it can neither be stopped nor preempted, and
// a garbage collection waits for it. A unit is about an instruction, so that
// is a fraction of a millisecond, or some tens of them if every one misses the
// caches; the call costs less than a thousandth of it.
const slice = 500_000

// ErrFuel is the cause of an Error whose Fault is Exhausted.
var ErrFuel = errors.New("the call's fuel is spent")

// ErrBurst is the cause of an Error whose Fault is Exhausted, of a call under
// WithBurst.
var ErrBurst = errors.New("it computed too long between two calls of the host")

type burstKey struct{}

// WithBurst bounds how long a guest called with the context may compute between
// two of its host calls, in wall-clock time. Unlike a deadline it suits calls
// that live as long as somebody listens.
func WithBurst(ctx context.Context, longest time.Duration) context.Context {
	return context.WithValue(ctx, burstKey{}, longest)
}

// Refuel gives the guest that called a host function with ctx all of its fuel
// again. It is for calls that live as long as somebody listens.
func Refuel(ctx context.Context) { caller(ctx).meter.spent = 0 }

var errStack = errors.New("calls are nested too deep")

// meter counts the fuel of one call, and its use of the native stack. Both
// counters are globals of the guest, as its code counts them down; it has no
// instruction that could set them.
type meter struct {
	counter, stack api.MutableGlobal
	depth          uint64 // what stack starts with in each call

	limit   uint64 // of the call; 0: none
	spent   uint64 // of the limit
	granted int64  // not settled yet

	burst time.Duration // between two host calls; 0: no limit
	since time.Time     // of the last one
}

// start begins a call.
func (m *meter) start(ctx context.Context, limit uint64) {
	m.limit, m.spent = limit, 0
	m.burst, _ = ctx.Value(burstKey{}).(time.Duration)
	m.returned()
	m.counter.Set(uint64(m.grant()))
	m.stack.Set(m.depth)
}

// returned begins a burst: the guest computes from now on.
func (m *meter) returned() {
	if m.burst > 0 {
		m.since = time.Now()
	}
}

// refill settles what was used, given what is left, and returns the next
// slice, or an error that is ErrFuel or ErrBurst. What is left is negative, and far
// so after an operation on much memory, which is charged at once.
func (m *meter) refill(left int64) (int64, error) {
	m.spent += uint64(max(0, m.granted-left))
	if m.limit > 0 && m.spent >= m.limit {
		return 0, ErrFuel
	}
	if m.burst > 0 && time.Since(m.since) > m.burst {
		return 0, fmt.Errorf("%w; at most %v is allowed", ErrBurst, m.burst)
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

// overflowed reports whether the guest trapped because of its stack.
func (m *meter) overflowed() bool { return int32(uint32(m.stack.Get())) < 0 }

// pause is what a guest calls when its slice is used up. It is the only place
// where a computing guest can be stopped, and entering Go is what lets the
// scheduler and the garbage collector have the thread.
func pause(ctx context.Context, _ api.Module, stack []uint64) {
	checkContext(ctx)
	next, err := caller(ctx).meter.refill(int64(stack[0]))
	if err != nil {
		panic(&cut{Exhausted, err})
	}
	stack[0] = uint64(next)
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
