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
var ErrBurst = errors.New("it computed too long at a time")

type burstKey struct{}

// WithBurst bounds how long a guest called with the context may compute at a time,
// in processor time: longest at once, and longRun of the time that passes. Host
// functions count with their Cost, waiting does not count, and what the rest of the
// machine does neither. Unlike a deadline it suits calls that live as long as
// somebody listens.
func WithBurst(ctx context.Context, longest time.Duration) context.Context {
	return context.WithValue(ctx, burstKey{}, longest)
}

// longRun is the part of the time, one in so many, that a guest under WithBurst
// may compute for ever.
const longRun = 10

// Rested forgives the guest that called a host function with ctx what it has
// computed. It is for calls whose client has asked for something.
func Rested(ctx context.Context) { caller(ctx).meter.used = 0 }

const (
	// leastCost of a host function.
	leastCost = time.Microsecond
	// perMoved is the cost of so many bytes that cross into or out of a guest's
	// memory in one nanosecond. What is done with them is most of it.
	perMoved = 1
)

// burst measures the processor time of one call, where that is bounded. While the
// guest runs, its goroutine keeps its thread, whose clock says how long that was.
type burst struct {
	longest time.Duration // 0: no limit
	used    time.Duration // less what has drained
	drained time.Time     // up to then
	running bool          // the guest is
	since   time.Duration // the thread's clock when it began
}

func (b *burst) start(ctx context.Context) {
	b.longest, _ = ctx.Value(burstKey{}).(time.Duration)
	if b.used = 0; b.longest > 0 {
		b.drained = time.Now()
	}
}

// enter is the last thing before the guest runs.
func (b *burst) enter() {
	if b.longest <= 0 {
		return
	}
	runtime.LockOSThread()
	b.running, b.since = true, threadTime()
}

// left is the first thing after it ran. It does nothing if it did not.
func (b *burst) left() {
	if !b.running {
		return
	}
	b.used += threadTime() - b.since
	b.running = false
	runtime.UnlockOSThread()
}

// leave is left in a host function of this cost, which ends the guest if that is
// too much.
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
