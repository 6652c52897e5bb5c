package stack

import (
	"context"
	"errors"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wattest"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// guest recurses n deep and calls the host at the bottom; wide does so with
// frames of more than a hundred kilobytes, which nothing in it announces.
var guest = wattest.Must(`(module
	(import "test" "bottom" (func $bottom)) (memory (export "memory") 1)
	(func $run (export "run") (param $n i32)
		(if (i32.eqz (local.get $n)) (then (call $bottom) (return)))
		(call $run (i32.sub (local.get $n) (i32.const 1))))
	(func $wide (export "wide") (param $n i32) (result v128)
		(if (i32.eqz (local.get $n)) (then (call $bottom) (return (i32x4.splat (i32.const 1)))))
		(repeat 8000 (i32x4.splat (i32.add (i32.load (i32.const 0)) (i32.const %))))
		(call $wide (i32.sub (local.get $n) (i32.const 1)))
		(repeat 8000 (i32x4.add))))`)

func start(t *testing.T, bottom func()) (run, wide api.Function) {
	t.Helper()
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler())
	t.Cleanup(func() { r.Close(ctx) })
	host := api.GoFunc(func(context.Context, []uint64) { bottom() })
	if _, err := r.NewHostModuleBuilder("test").NewFunctionBuilder().WithGoFunction(host, nil, nil).Export("bottom").Instantiate(ctx); err != nil {
		t.Fatal(err)
	}
	m, err := r.Instantiate(ctx, guest)
	if err != nil {
		t.Fatal(err)
	}
	return m.ExportedFunction("run"), m.ExportedFunction("wide")
}

func newStack(t *testing.T) *Stack {
	t.Helper()
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func function(t *testing.T, s *Stack, f api.Function) *Function {
	t.Helper()
	fn, err := s.Function(f)
	if err != nil {
		t.Fatal(err)
	}
	return fn
}

// A guest that does not ask gets no deeper than Base, however large its frames,
// and can be entered again.
func TestAStackDoesNotGrowByItself(t *testing.T) {
	reached := 0
	run, wide := start(t, func() { reached++ })
	s := newStack(t)
	fns := []*Function{function(t, s, run), function(t, s, wide)}
	for k, tt := range []struct{ fits, tooDeep uint64 }{{100, 1 << 20}, {1, 2}} {
		for range 2 {
			if err := fns[k].Call(t.Context(), []uint64{tt.fits, 0}); err != nil {
				t.Errorf("function %d, %d deep: %v", k, tt.fits, err)
			}
			if err := fns[k].Call(t.Context(), []uint64{tt.tooDeep, 0}); !errors.Is(err, ErrOverflow) {
				t.Errorf("function %d, %d deep: %v", k, tt.tooDeep, err)
			}
		}
	}
	if reached != 4 || s.Size() != Base {
		t.Errorf("the bottom was reached %d times; the stack has %d bytes", reached, s.Size())
	}
}

// What a stack grows by and shrinks by is asked and told exactly.
func TestRoomIsAskedForAndGivenBack(t *testing.T) {
	var s *Stack
	counted, limit, refusals := int64(Base), int64(4<<20), 0
	grow := func(delta int64) bool {
		if counted+delta > limit {
			refusals++
			return false
		}
		counted += delta
		return true
	}
	var want int
	var got error
	run, _ := start(t, func() { got = s.Room(want, grow) })
	s = newStack(t)
	f := function(t, s, run)
	ask := func(n int) error {
		t.Helper()
		want = n
		if err := f.Call(t.Context(), []uint64{1000}); err != nil {
			t.Fatal(err)
		}
		if counted != int64(s.Size()) {
			t.Fatalf("counted are %d bytes of %d", counted, s.Size())
		}
		return got
	}
	if err := ask(1 << 20); err != nil || s.Size() < 1<<20 || s.Size() > 1<<20+2*Base {
		t.Errorf("a mebibyte: %v, the stack has %d bytes", err, s.Size())
	}
	if err := f.Call(t.Context(), []uint64{10_000}); err != nil {
		t.Errorf("deeper than before, but no more than was asked for: %v", err)
	}
	if err := s.Shrink(grow); err != nil || s.Size() != Base || counted != Base {
		t.Errorf("given back: %v, the stack has %d bytes, counted are %d", err, s.Size(), counted)
	}
	if err := f.Call(t.Context(), []uint64{10_000}); !errors.Is(err, ErrOverflow) {
		t.Errorf("after it was given back: %v", err)
	}
	if err := ask(8 << 20); !errors.Is(err, ErrDeep) || refusals != 1 || s.Size() != Base {
		t.Errorf("more than the budget: %v, refused %d times, the stack has %d bytes", err, refusals, s.Size())
	}
	limit = 1 << 40
	if err := ask(Max); !errors.Is(err, ErrDeep) || refusals != 1 || s.Size() != Base {
		t.Errorf("more than there is: %v", err)
	}
	if err := ask(Max - Base - 200_000); err != nil {
		t.Errorf("nearly all there is: %v", err)
	}
}

// A guest that waits keeps what it uses.
func TestShrinkKeepsWhatAGuestUses(t *testing.T) {
	var s *Stack
	yes := func(int64) bool { return true }
	var inside int
	run, _ := start(t, func() {
		if err := s.Shrink(yes); err != nil {
			t.Error(err)
		}
		inside = s.Size()
	})
	s = newStack(t)
	f := function(t, s, run)
	if err := s.Room(8<<20, yes); err != nil {
		t.Fatal(err)
	}
	const levels = 40_000 // of two words, at least
	if err := f.Call(t.Context(), []uint64{levels}); err != nil {
		t.Fatal(err)
	}
	if inside < levels*16 || inside >= 8<<20 {
		t.Errorf("a guest %d deep keeps %d bytes", levels, inside)
	}
}

// Another engine is refused rather than written to.
func TestAnUnknownEngineIsRefused(t *testing.T) {
	type sameNames struct {
		api.Function
		stack    []uint64
		stackTop uintptr
		execCtx  struct {
			stackBottomPtr           *byte
			stackPointerBeforeGoCall *uint64
		}
	}
	s := newStack(t)
	for _, f := range []api.Function{struct{ api.Function }{}, &struct{ api.Function }{}, &sameNames{}} {
		if _, err := s.Function(f); err == nil {
			t.Errorf("a %T was attached", f)
		}
	}
	run, _ := start(t, func() {})
	function(t, s, run) // is still known
}
