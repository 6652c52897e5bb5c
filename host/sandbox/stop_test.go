package sandbox_test

import (
	"context"
	"errors"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wattest"
)

var runs = map[string]sandbox.Signature{"run": {}}

func TestFuelBoundsACall(t *testing.T) {
	loop := wattest.Must(`(module (memory (export "memory") 1) (func (export "run") (loop (br 0))))`)
	for _, fuel := range []uint64{1, 1000, 400_000, 2_500_000} {
		s := sandbox.Spec{Name: "fuel", Limits: sandbox.Limits{Fuel: fuel}, Exports: runs}
		m := loadBytes(t, sandbox.Config{}, loop, s)
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
		Name: "calls", Exports: runs,
		Imports: []sandbox.Import{{
			Module: "test", Name: "count", Call: func(context.Context, sandbox.Memory, []uint64) {
				if calls++; calls == 3 {
					cancel(cause)
				}
			},
		}},
	}
	m := loadBytes(t, sandbox.Config{}, wattest.Must(`(module
		(import "test" "count" (func $count)) (memory (export "memory") 1)
		(func (export "run") (loop (call $count) (br 0))))`), s)
	_, err := call(ctx, m, "run")
	if e, ok := errors.AsType[*sandbox.Error](err); !ok || e.Fault != sandbox.Canceled || !errors.Is(err, cause) {
		t.Fatalf("error is %v", err)
	}
	if calls != 3 {
		t.Fatalf("%d host calls, and the third ended the context", calls)
	}
}
