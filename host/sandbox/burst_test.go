package sandbox_test

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wattest"
)

// bursts load a module whose run is called under WithBurst.
func bursts(t *testing.T, module []byte, imports ...sandbox.Import) *sandbox.Module {
	t.Helper()
	return loadBytes(t, sandbox.Config{}, module, sandbox.Spec{Name: "burst", Exports: runs, Imports: imports})
}

func wantBurst(t *testing.T, what string, err error) {
	t.Helper()
	e, ok := errors.AsType[*sandbox.Error](err)
	if !ok || e.Fault != sandbox.Exhausted || !errors.Is(err, sandbox.ErrBurst) || !strings.Contains(err.Error(), "at most 50ms is allowed at once") {
		t.Errorf("%s: %v, want Exhausted because of %v", what, err, sandbox.ErrBurst)
	}
}

// However a guest spends its time, it ends: calls of the host begin nothing anew.
func TestABurstIsBoundedWhateverTheGuestCalls(t *testing.T) {
	yield, err := os.ReadFile("testdata/hostile/host-calls/yield.wat")
	if err != nil {
		t.Fatal(err)
	}
	count := sandbox.Import{Module: "test", Name: "count", Call: func(context.Context, sandbox.Memory, []uint64) {}}
	costly := count
	costly.Cost = time.Millisecond
	calls := new(atomic.Int64)
	costly.Call = func(context.Context, sandbox.Memory, []uint64) { calls.Add(1) }
	random := `(module (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32))) (memory (export "memory") 160)
		(func (export "run") (loop (drop (call $random (i32.const 0) (i32.const 10000000))) (br 0))))`
	// After a long line without an end, buffers of no bytes.
	empty := `(module (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32))) (memory (export "memory") 1)
		(func (export "run")
			(i32.store (i32.const 20004) (i32.const 60000))
			(drop (call $write (i32.const 1) (i32.const 20000) (i32.const 1) (i32.const 16384)))
			(loop (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1024) (i32.const 16384))) (br 0))))`
	counting := `(module (import "test" "count" (func $count)) (memory (export "memory") 1)
		(func (export "run") (loop (call $count) (br 0))))`
	for name, m := range map[string]*sandbox.Module{
		"a loop":              bursts(t, wattest.Must(`(module (memory (export "memory") 1) (func (export "run") (loop (br 0))))`)),
		"yielding":            bursts(t, wattest.Must(string(yield))),
		"random bytes":        bursts(t, wattest.Must(random)),
		"empty buffers":       bursts(t, wattest.Must(empty)),
		"an import":           bursts(t, wattest.Must(counting), count),
		"an expensive import": bursts(t, wattest.Must(counting), costly),
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		_, err := call(sandbox.WithBurst(ctx, 50*time.Millisecond), m, "run")
		cancel()
		wantBurst(t, name, err)
	}
	if n := calls.Load(); n < 40 || n > 5000 {
		t.Errorf("%d calls at a millisecond each are 50 ms", n)
	}
}

// What the client asks for begins a new burst.
func TestABurstBeginsAnewWhereTheClientAsks(t *testing.T) {
	asked := 0
	m := bursts(t, wattest.Must(`(module (import "test" "ask" (func $ask (result i32))) (memory (export "memory") 1)
		(func (export "run") (loop (br_if 0 (call $ask)))))`), sandbox.Import{
		Module: "test", Name: "ask", Signature: sandbox.Signature{Results: i32}, Cost: 30 * time.Millisecond,
		Call: func(ctx context.Context, _ sandbox.Memory, stack []uint64) {
			sandbox.Rested(ctx)
			stack[0] = 1
			if asked++; asked == 10 {
				stack[0] = 0
			}
		},
	})
	if _, err := call(sandbox.WithBurst(t.Context(), 50*time.Millisecond), m, "run"); err != nil || asked != 10 {
		t.Errorf("asked %d times: %v", asked, err)
	}
}

// Neither waiting nor what the rest of the machine does is the guest's: here it
// computes for less than its burst while others keep all processors for far longer.
func TestABusyMachineEndsNoBurst(t *testing.T) {
	var done atomic.Bool
	var others sync.WaitGroup
	for range 8 * runtime.GOMAXPROCS(0) {
		others.Go(func() {
			for !done.Load() {
			}
		})
	}
	defer others.Wait()
	defer done.Store(true)
	m := bursts(t, wattest.Must(`(module (import "test" "wait" (func $wait)) (memory (export "memory") 1)
		(func (export "run") (local $k i32)
			(call $wait)
			(local.set $k (i32.const 20000000))
			(loop $compute (br_if $compute (local.tee $k (i32.sub (local.get $k) (i32.const 1)))))
			(call $wait)))`), sandbox.Import{
		Module: "test", Name: "wait", Call: func(context.Context, sandbox.Memory, []uint64) { time.Sleep(100 * time.Millisecond) },
	})
	const longest = 300 * time.Millisecond
	began := time.Now()
	if _, err := call(sandbox.WithBurst(t.Context(), longest), m, "run"); err != nil {
		t.Errorf("a guest that computes for less than %v in %v: %v", longest, time.Since(began), err)
	}
	if took := time.Since(began); took < longest {
		t.Errorf("the machine let it run for %v, which shows nothing", took)
	}
}
