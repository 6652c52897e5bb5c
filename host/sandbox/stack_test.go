package sandbox_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wattest"
)

// TestHonestDepth has a Go guest write and read JSON as deep as encoding/json
// takes it: reading ends at 10,000 levels, writing has no end.
func TestHonestDepth(t *testing.T) {
	module, err := buildGuest(t.TempDir(), "./testdata/deep")
	if err != nil {
		t.Fatal(err)
	}
	one := sandbox.Signature{Params: i32, Results: i32}
	s := sandbox.Spec{
		Name:    "deep",
		Exports: map[string]sandbox.Signature{"_initialize": {}, "marshal": one, "unmarshal": one},
		Init: func(ctx context.Context, i *sandbox.Instance) error {
			_, err := i.Call(ctx, "_initialize")
			return err
		},
	}
	m := loadBytes(t, sandbox.Config{}, module, s)
	for export, levels := range map[string]uint64{"marshal": 10_000, "unmarshal": 9_999} {
		if got, err := call(t.Context(), m, export, levels); err != nil || got != levels {
			t.Errorf("%s(%d) is %d, %v", export, levels, got, err)
		}
	}
}

// deepCall recurses and calls the host at the bottom.
var deepCall = wattest.Must(`(module
	(import "test" "bottom" (func $bottom)) (memory (export "memory") 1)
	(func $f (export "run") (param $n i32)
		(if (i32.eqz (local.get $n)) (then (call $bottom) (return)))
		(call $f (i32.sub (local.get $n) (i32.const 1)))))`)

// TestAStackIsCountedWhileItIsDeep looks at the budgets of module and holder from
// the bottom of a recursion, and after it.
func TestAStackIsCountedWhileItIsDeep(t *testing.T) {
	const levels = 20_000
	var m *sandbox.Module
	holder := sandbox.NewBudget(1 << 30)
	var inModule, inHolder int64
	s := sandbox.Spec{
		Name: "deep", Exports: map[string]sandbox.Signature{"run": {Params: i32}},
		Imports: []sandbox.Import{{Module: "test", Name: "bottom", Call: func(context.Context, sandbox.Memory, []uint64) {
			inModule, inHolder = m.Bytes(), holder.Used()
		}}},
	}
	m = loadBytes(t, sandbox.Config{}, deepCall, s)
	i, err := m.Acquire(t.Context(), holder)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Release(i)
	idle, held := m.Bytes(), holder.Used()
	if held < 320<<10 {
		t.Errorf("a page of memory and a stack of 256 KiB are counted as %d bytes", held)
	}
	before := settled()
	for range 3 {
		if _, err := i.Call(t.Context(), "run", levels); err != nil {
			t.Fatal(err)
		}
		// A frame is at least return address and frame pointer.
		if deeper := inModule - idle; deeper < levels*16 || deeper != inHolder-held {
			t.Errorf("at the bottom the module counts %d bytes more, the holder %d", deeper, inHolder-held)
		}
		if m.Bytes() != idle || holder.Used() != held {
			t.Errorf("afterwards the module counts %d bytes more, the holder %d", m.Bytes()-idle, holder.Used()-held)
		}
	}
	if grown := settled() - before; grown > 1<<20 {
		t.Errorf("%d KiB of an idle instance's stack stay", grown>>10)
	}
	// Who has no more gets no deeper.
	poor := sandbox.NewBudget(uint64(held) + 64<<10)
	j, err := m.Acquire(t.Context(), poor)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Release(j)
	_, err = j.Call(t.Context(), "run", levels)
	if err == nil || !strings.Contains(err.Error(), "nested too deep") || !strings.Contains(err.Error(), sandbox.ErrHolder.Error()) {
		t.Errorf("with a budget that is spent: %v", err)
	}
	if poor.Used() > held+64<<10 {
		t.Errorf("the holder counts %d bytes, and may have %d", poor.Used(), held+64<<10)
	}
}

// A guest that waits for its client gives back the stack that it has used before.
func TestAWaitingGuestGivesItsStackBack(t *testing.T) {
	var m *sandbox.Module
	var deep, waiting int64
	s := sandbox.Spec{
		Name: "deep", Exports: runs,
		Imports: []sandbox.Import{
			{Module: "test", Name: "bottom", Call: func(context.Context, sandbox.Memory, []uint64) { deep = m.Bytes() }},
			{Module: "test", Name: "wait", Call: func(ctx context.Context, _ sandbox.Memory, _ []uint64) {
				sandbox.Refuel(ctx)
				waiting = m.Bytes()
			}},
		},
	}
	m = loadBytes(t, sandbox.Config{}, wattest.Must(`(module
		(import "test" "bottom" (func $bottom)) (import "test" "wait" (func $wait)) (memory (export "memory") 1)
		(func $f (param $n i32)
			(if (i32.eqz (local.get $n)) (then (call $bottom) (return)))
			(call $f (i32.sub (local.get $n) (i32.const 1))))
		(func (export "run") (call $f (i32.const 20000)) (call $wait) (call $f (i32.const 20000))))`), s)
	idle := m.Bytes()
	if _, err := call(t.Context(), m, "run"); err != nil {
		t.Fatal(err)
	}
	if deep < idle+20_000*16 || waiting > idle+64<<10 {
		t.Errorf("idle it counts %d bytes, at the bottom %d, waiting %d", idle, deep, waiting)
	}
}

// What one of two budgets refuses, the other gets back; what is freed twice is
// given back once.
func TestWhatIsHeldCountsInBothBudgetsOrInNeither(t *testing.T) {
	m := loadBytes(t, sandbox.Config{}, deepCall, sandbox.Spec{
		Name: "held", Exports: map[string]sandbox.Signature{"run": {Params: i32}},
		Limits:  sandbox.Limits{TotalBytes: 8 << 20},
		Imports: []sandbox.Import{{Module: "test", Name: "bottom", Call: identity}},
	})
	holder := sandbox.NewBudget(4 << 20)
	i, err := m.Acquire(t.Context(), holder)
	if err != nil {
		t.Fatal(err)
	}
	account := i.Account()
	inModule, inHolder := m.Bytes(), holder.Used()
	same := func(when string) {
		t.Helper()
		if m.Bytes() != inModule || holder.Used() != inHolder {
			t.Errorf("%s: the module counts %d bytes more, the holder %d", when, m.Bytes()-inModule, holder.Used()-inHolder)
		}
	}
	if _, err := account.Hold(5 << 20); !errors.Is(err, sandbox.ErrHolder) {
		t.Errorf("more than the holder may: %v", err)
	}
	same("after the holder's refusal")
	if _, err := account.Hold(9 << 20); !errors.Is(err, sandbox.ErrMemory) {
		t.Errorf("more than the module may: %v", err)
	}
	same("after the module's refusal")
	free, err := account.Hold(1 << 20)
	if err != nil || m.Bytes() != inModule+1<<20 || holder.Used() != inHolder+1<<20 {
		t.Errorf("%v, the module counts %d bytes, the holder %d", err, m.Bytes(), holder.Used())
	}
	m.Release(i) // what is held outlives it
	if holder.Used() != 1<<20 {
		t.Errorf("after Release the holder counts %d bytes", holder.Used())
	}
	free()
	free()
	if holder.Used() != 0 {
		t.Errorf("at the end the holder counts %d bytes", holder.Used())
	}
}
