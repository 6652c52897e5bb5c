package sandbox

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
)

// ErrBurst is the cause of an Error whose Fault is Exhausted, of a call under
// WithBurst.
var ErrBurst = errors.New("the guest computed too long at a time")

type burstKey struct{}

// WithBurst bounds the processor time of a guest that is called with the context: longest
// at a time, and in the long run one part in longRun of the elapsed time. Host functions
// count with their Cost; waiting and other load of the machine do not count. Unlike a
// deadline, it suits calls that last as long as their client listens.
func WithBurst(ctx context.Context, longest time.Duration) context.Context {
	return context.WithValue(ctx, burstKey{}, longest)
}

// longRun is the divisor of the elapsed time that a guest under WithBurst may compute in
// the long run.
const longRun = 10

// Rested resets the processor time of the guest that called a host function with ctx. It
// is for calls whose client has sent a message.
func Rested(ctx context.Context) { caller(ctx).meter.used = 0 }

const (
	// leastCost is the least cost of a host function.
	leastCost = time.Microsecond
	// perMoved is the number of bytes into or out of a guest's memory that cost one
	// nanosecond. Processing them is most of the cost.
	perMoved = 1
)

// burst measures the processor time of one call, if it is bounded. While the guest runs,
// its goroutine is locked to its thread, whose clock measures the time.
type burst struct {
	longest time.Duration // 0: no limit
	used    time.Duration // minus the time regained
	drained time.Time     // time up to which used has been reduced
	running bool          // whether the guest runs
	since   time.Duration // the thread's clock when it began
}

func (b *burst) start(ctx context.Context) {
	b.longest, _ = ctx.Value(burstKey{}).(time.Duration)
	if b.used = 0; b.longest > 0 {
		b.drained = time.Now()
	}
}

// enter is called immediately before the guest runs.
func (b *burst) enter() {
	if b.longest <= 0 {
		return
	}
	runtime.LockOSThread()
	b.running, b.since = true, threadTime()
}

// left is called immediately after the guest ran. It has no effect if it did not run.
func (b *burst) left() {
	if !b.running {
		return
	}
	b.used += threadTime() - b.since
	b.running = false
	runtime.UnlockOSThread()
}

// leave is left for a host function of this cost. It ends the guest if it has computed too
// much.
func (b *burst) leave(cost time.Duration) {
	if b.longest <= 0 {
		return
	}
	b.left()
	now := time.Now()
	b.used = max(0, b.used+cost-now.Sub(b.drained)/longRun)
	b.drained = now
	if b.used > b.longest {
		panic(&cut{Exhausted, fmt.Errorf("%w; at most %v is allowed at once, and a %dth of the time", ErrBurst, b.longest, longRun)})
	}
}

// moved counts n bytes that crossed.
func (b *burst) moved(n int) { b.used += time.Duration(n) / perMoved }
