package sandbox_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
)

// A hostile guest has to be gone this soon after its deadline. It is far more
// than it takes, because tests share their machine.
const patience = 5 * time.Second

// callTree is functions that each call the next twice and do not loop: 2^depth
// calls in 10 bytes of code each.
func callTree(depth int) handmade {
	bodies := make([][]byte, depth)
	bodies[0] = code(i32const(0), i32const(1), opI32Store, 2, 0)
	for d := 1; d < depth; d++ {
		bodies[d] = code(opCall, u(d-1), opCall, u(d-1))
	}
	return small(4, bodies...)
}

// fills is straight code that fills size bytes n times.
func fills(n, size int) handmade {
	var body []byte
	for range n {
		body = append(body, code(i32const(0), i32const(1), i32const(size), opBulk, 11, 0)...)
	}
	h := small(size>>16, body)
	h.memories = [][]byte{code(1, u(size>>16), u(size>>16))}
	return h
}

// hostCall is a loop around one import.
func hostCall(module, name string, params int, args ...[]byte) handmade {
	typ := code(0x60, u(params))
	for range params {
		typ = append(typ, typI32)
	}
	body := code(opLoop, opVoid)
	for _, a := range args {
		body = append(body, a...)
	}
	h := small(1, code(body, opCall, 0, opDrop, opBr, 0, opEnd))
	h.types = append(h.types, code(typ, 1, typI32))
	h.imports = [][]byte{code(module, name, 0, 1)}
	h.exports[1] = code("run", 0, 1)
	return h
}

const wasiName = "wasi_snapshot_preview1"

func TestHostileGuestsAreEnded(t *testing.T) {
	stop := heartbeat(t)
	defer stop()
	log := hostCall(wasiName, "fd_write", 4, i32const(1), i32const(0), i32const(1), i32const(16))
	log.data = [][]byte{code(0, i32const(0), opEnd, u(8), 32, 0, 0, 0, 0, 1, 0, 0)} // one buffer of 256 bytes
	sleep := hostCall(wasiName, "poll_oneoff", 4, i32const(0), i32const(64), i32const(1), i32const(128))
	sleep.data = [][]byte{code(0, i32const(24), opEnd, u(8), []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0})}
	for name, c := range map[string]struct {
		guest handmade
		fault sandbox.Fault
	}{
		"endless loop":      {small(1, code(opLoop, opVoid, opBr, 0, opEnd)), sandbox.Deadline},
		"call tree":         {callTree(33), sandbox.Deadline},
		"deep call tree":    {callTree(200), sandbox.Deadline},
		"memory.fill chain": {fills(200, 32<<20), sandbox.Deadline},
		"memory.fill loop":  {small(1, code(opLoop, opVoid, i32const(0), i32const(1), i32const(65536), opBulk, 11, 0, opBr, 0, opEnd)), sandbox.Deadline},
		"memory.grow loop":  {small(1024, code(opLoop, opVoid, i32const(1), opMemoryGrow, 0, opDrop, opBr, 0, opEnd)), sandbox.Deadline},
		"random_get flood":  {hostCall(wasiName, "random_get", 2, i32const(0), i32const(65536)), sandbox.Deadline},
		"log flood":         {log, sandbox.Deadline},
		"sleep":             {sleep, sandbox.Deadline},
		"recursion":         {small(1, code(opCall, 0)), sandbox.Trapped},
	} {
		t.Run(name, func(t *testing.T) {
			s := sandbox.Spec{Name: name, Exports: map[string]sandbox.Signature{"run": {}}}
			m := loadBytes(t, sandbox.Config{}, c.guest.bytes(), s)
			deadline := 100 * time.Millisecond
			if c.fault == sandbox.Trapped {
				deadline = time.Minute // it ends itself
			}
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			began := time.Now()
			_, err := call(ctx, m, "run")
			took := time.Since(began)
			if e, ok := errors.AsType[*sandbox.Error](err); !ok || e.Fault != c.fault {
				t.Fatalf("after %v: %v, want the fault %q", took, err, c.fault)
			}
			t.Logf("ended after %v: %v", took, err)
			if took > patience {
				t.Fatalf("ended after %v", took)
			}
		})
	}
}

// heartbeat collects garbage all the time and measures how long other
// goroutines do not run. A guest that cannot be paused stops both.
func heartbeat(t *testing.T) (stop func()) {
	var done atomic.Bool
	var wg sync.WaitGroup
	var worst time.Duration
	wg.Go(func() {
		for !done.Load() {
			runtime.GC()
		}
	})
	wg.Go(func() {
		last := time.Now()
		for tick := time.NewTicker(time.Millisecond); !done.Load(); {
			<-tick.C
			now := time.Now()
			worst, last = max(worst, now.Sub(last)), now
		}
	})
	return func() {
		done.Store(true)
		wg.Wait()
		t.Logf("longest gap between heartbeats: %v", worst)
		if worst > patience {
			t.Errorf("the host stood still for %v", worst)
		}
	}
}

func TestAStartFunctionThatDoesNotReturnRefusesTheModule(t *testing.T) {
	h := small(1, code(opLoop, opVoid, opBr, 0, opEnd))
	h.start = u(0)
	box, err := sandbox.New(sandbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = box.Load(t.Context(), h.bytes(), sandbox.Spec{
		Name: "start", Limits: sandbox.Limits{Init: 50 * time.Millisecond},
		Exports: map[string]sandbox.Signature{"run": {}},
	})
	if e, ok := errors.AsType[*sandbox.Error](err); !ok || e.Fault != sandbox.Deadline {
		t.Fatalf("error is %v", err)
	}
}

func TestFuelBoundsACall(t *testing.T) {
	for _, fuel := range []uint64{1, 1000, 400_000, 2_500_000} {
		h := small(1, code(opLoop, opVoid, opBr, 0, opEnd))
		s := sandbox.Spec{
			Name: "fuel", Limits: sandbox.Limits{Fuel: fuel},
			Exports: map[string]sandbox.Signature{"run": {}},
		}
		m := loadBytes(t, sandbox.Config{}, h.bytes(), s)
		for range 2 { // each call has its own
			_, err := call(t.Context(), m, "run")
			e, ok := errors.AsType[*sandbox.Error](err)
			if !ok || e.Fault != sandbox.Exhausted || !errors.Is(err, sandbox.ErrFuel) {
				t.Fatalf("%d units: error is %v", fuel, err)
			}
		}
	}
	s := spec(&lines{}, identity)
	s.Limits.Fuel = 100_000_000
	m := load(t, s)
	for range 20 {
		if got, err := call(t.Context(), m, "work", 10); err != nil || got != 10 {
			t.Fatalf("a call within its fuel: %d, %v", got, err)
		}
	}
}

// No host function is entered once the context has ended.
func TestNoHostCallAfterTheEnd(t *testing.T) {
	cause := errors.New("logged out")
	ctx, cancel := context.WithCancelCause(t.Context())
	calls := 0
	s := sandbox.Spec{
		Name: "calls", Exports: map[string]sandbox.Signature{"run": {}},
		Imports: []sandbox.Import{{
			Module: "test", Name: "v1", Signature: sandbox.Signature{Params: i32, Results: i32},
			Call: func(context.Context, sandbox.Memory, []uint64) {
				if calls++; calls == 3 {
					cancel(cause)
				}
			},
		}},
	}
	m := loadBytes(t, sandbox.Config{}, hostCall("test", "v1", 1, i32const(0)).bytes(), s)
	_, err := call(ctx, m, "run")
	if e, ok := errors.AsType[*sandbox.Error](err); !ok || e.Fault != sandbox.Canceled || !errors.Is(err, cause) {
		t.Fatalf("error is %v", err)
	}
	if calls != 3 {
		t.Fatalf("%d host calls, and the third ended the context", calls)
	}
}

// TestCancelWhileRunning cancels calls at random moments, while some of the
// modules that they run in are closed under them.
func TestCancelWhileRunning(t *testing.T) {
	totals := map[string]int{"native": 2500, "portable": 400, "fresh": 100}
	cause := errors.New("logged out")
	for name, config := range configs {
		t.Run(name, func(t *testing.T) {
			s := spec(&lines{}, func(ctx context.Context, _ sandbox.Memory, _ []uint64) {
				select {
				case <-ctx.Done():
				case <-time.After(time.Millisecond):
				}
			})
			m := loadWith(t, config, s)
			var left atomic.Int64
			left.Store(int64(totals[name]))
			var ended, finished atomic.Int64
			var wg sync.WaitGroup
			for g := range uint64(6) {
				wg.Go(func() {
					rng := rand.New(rand.NewPCG(g, 1))
					for left.Add(-1) >= 0 {
						switch err := cancelOnce(t.Context(), m, rng, cause); {
						case err == nil:
							finished.Add(1)
						case errors.Is(err, cause):
							ended.Add(1)
						default:
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			t.Logf("%d cancelled, %d finished before; %d instances idle", ended.Load(), finished.Load(), m.Idle())
			if live, idle := m.Live(), m.Idle(); name != "fresh" && live != idle {
				t.Errorf("%d instances live, %d idle, none in use", live, idle)
			}
			if ended.Load() == 0 {
				t.Error("nothing was cancelled")
			}
		})
	}
}

func cancelOnce(ctx context.Context, m *sandbox.Module, rng *rand.Rand, cause error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	i, err := m.Acquire(ctx)
	if err != nil {
		return err
	}
	defer m.Release(i)
	timer := time.AfterFunc(time.Duration(rng.IntN(2000))*time.Microsecond, func() { cancel(cause) })
	defer timer.Stop()
	switch rng.IntN(5) {
	case 0:
		_, err = i.Call(ctx, "spin")
	case 1:
		_, err = i.Call(ctx, "sleep", 60_000)
	case 2:
		_, err = i.Call(ctx, "call_host", 1)
	case 3:
		_, err = i.Call(ctx, "work", 500)
	case 4:
		_, err = i.Call(ctx, "add", 1, 2)
	}
	return err
}

// TestCloseWhileCallsAreCancelled closes modules whose callers were cancelled a
// moment before, as a swap does.
func TestCloseWhileCallsAreCancelled(t *testing.T) {
	cause := errors.New("swapped")
	for round := range 5 {
		m := load(t, spec(&lines{}, identity))
		ctx, cancel := context.WithCancelCause(t.Context())
		var wg sync.WaitGroup
		for g := range uint64(4) {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(g, uint64(round)))
				for {
					err := cancelOnce(ctx, m, rng, cause)
					if errors.Is(err, sandbox.ErrClosed) {
						return
					}
					if err != nil && !errors.Is(err, cause) {
						t.Error(err)
						return
					}
					if ctx.Err() != nil {
						return
					}
				}
			})
		}
		time.AfterFunc(time.Duration(rand.IntN(5000))*time.Microsecond, func() { cancel(cause) })
		<-ctx.Done()
		if err := m.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if m.Live() != 0 || m.Bytes() != 0 {
			t.Fatalf("%d instances and %d bytes are left", m.Live(), m.Bytes())
		}
	}
}
