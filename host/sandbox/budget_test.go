package sandbox_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wattest"
)

// TestARefusalForThePersonGivesTheModulesMemoryBack: both budgets count a growth,
// or neither does.
func TestARefusalForThePersonGivesTheModulesMemoryBack(t *testing.T) {
	module := wattest.Must(`(module (memory (export "memory") 1) (func (export "grow") (result i32) (memory.grow (i32.const 16))))`)
	m := loadBytes(t, sandbox.Config{}, module, sandbox.Spec{
		Name: "growing", Exports: map[string]sandbox.Signature{"grow": {Results: i32}},
	})
	idle := m.Bytes()
	ann := sandbox.NewBudget(uint64(idle) + 64<<10)
	i, err := m.Acquire(t.Context(), ann)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if n, err := i.Call(t.Context(), "grow"); err != nil || int32(n) != -1 {
			t.Fatalf("growing beyond the person's budget: %d, %v", int32(n), err)
		}
		if m.Bytes() != idle || ann.Used() != idle {
			t.Errorf("after the refusal the module counts %d bytes, the person %d; both had %d", m.Bytes(), ann.Used(), idle)
		}
	}
	m.Release(i)
	if m.Bytes() != idle || ann.Used() != 0 {
		t.Errorf("after Release the module counts %d bytes, the person %d", m.Bytes(), ann.Used())
	}
}

// TestARefusedHolderLeavesTheInstanceToOthers: it is idle again, not lost, and
// its slot is free.
func TestARefusedHolderLeavesTheInstanceToOthers(t *testing.T) {
	m := loadBytes(t, sandbox.Config{}, wattest.Must(`(module (memory (export "memory") 1))`), sandbox.Spec{
		Name: "small", Limits: sandbox.Limits{Instances: 1},
	})
	poor := sandbox.NewBudget(1)
	for range 3 {
		if _, err := m.Acquire(t.Context(), poor); !errors.Is(err, sandbox.ErrHolder) {
			t.Fatalf("error is %v", err)
		}
		if i := m.TryAcquire(poor); i != nil {
			t.Fatal("it was given an instance")
		}
		if m.Idle() != 1 || m.Live() != 1 || poor.Used() != 0 {
			t.Fatalf("%d instances, %d idle, %d bytes held", m.Live(), m.Idle(), poor.Used())
		}
	}
	i, err := m.Acquire(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	m.Release(i)
}

// TestWhatAnInstanceHasBesideItsMemoryCounts: tables, the functions in element
// segments, segments and globals, for each instance, and until it is freed.
func TestWhatAnInstanceHasBesideItsMemoryCounts(t *testing.T) {
	counted := func(fields string) int64 {
		m := loadBytes(t, sandbox.Config{}, wattest.Must(`(module (memory (export "memory") 1) (func $f) `+fields+`)`), sandbox.Spec{Name: "counted"})
		one := m.Bytes()
		var held []*sandbox.Instance
		for range 3 {
			i, err := m.Acquire(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, i)
		}
		if m.Bytes() != 3*one {
			t.Errorf("%s: one instance counts %d bytes, three count %d", fields, one, m.Bytes())
		}
		for _, i := range held {
			m.Release(i)
		}
		if err := m.Close(context.Background()); err != nil || m.Bytes() != 0 {
			t.Errorf("%s: %d bytes are counted after Close (%v)", fields, m.Bytes(), err)
		}
		return one
	}
	plain := counted("")
	for fields, want := range map[string]int64{
		`(table 1000 funcref)`:                                 8_000,
		`(elem func (repeat 1000 $f))`:                         48_024,
		`(table 1000 funcref) (elem (i32.const 0) func $f $f)`: 8_120,
		`(elem declare func $f)`:                               24,
		`(repeat 100 (data "passive"))`:                        2_400,
		`(repeat 100 (global i64 (i64.const 1)))`:              9_600,
	} {
		if got := counted(fields) - plain; got != want {
			t.Errorf("%s counts %d bytes, want %d", fields, got, want)
		}
	}
}

// TestAModuleThatIsRefusedIsNotReturned: a caller who keeps the result would keep
// the memory of its first instance.
func TestAModuleThatIsRefusedIsNotReturned(t *testing.T) {
	box, err := sandbox.New(sandbox.Config{CacheDir: cacheDir()})
	if err != nil {
		t.Fatal(err)
	}
	for name, spec := range map[string]sandbox.Spec{
		"no room for a second": {Limits: sandbox.Limits{TotalBytes: 100 << 10}},
		"init fails":           {Init: func(context.Context, *sandbox.Instance) error { return errors.New("no") }},
		"no export":            {Exports: map[string]sandbox.Signature{"missing": {}}},
	} {
		m, err := box.Load(t.Context(), wattest.Must(`(module (memory (export "memory") 1))`), spec)
		if err == nil || m != nil {
			t.Errorf("%s: got %v, %v", name, m, err)
		}
	}
}

// TestTheStateOfAllInstancesCounts, once for the module and not for a holder, until the module
// is closed: the image that instances share or, where each is new, the data segments.
func TestTheStateOfAllInstancesCounts(t *testing.T) {
	const written = 40 * 65536
	text := func(fields string) []byte {
		return wattest.Must(`(module (memory (export "memory") 64) ` + fields + `)`)
	}
	spec := func(total uint64) sandbox.Spec {
		return sandbox.Spec{Name: "state", Limits: sandbox.Limits{TotalBytes: total}}
	}
	filled := text(`(func $s (memory.fill (i32.const 0) (i32.const 1) (i32.const 2621440))) (start $s)`)
	empty := loadBytes(t, sandbox.Config{}, text(``), spec(0)).Used()
	m := loadBytes(t, sandbox.Config{}, filled, spec(0))
	if n := m.Used() - empty; n != written {
		t.Errorf("an image of %d bytes counts %d", written, n)
	}
	ann := sandbox.NewBudget(1 << 30)
	i, err := m.Acquire(t.Context(), ann)
	if err != nil {
		t.Fatal(err)
	}
	if ann.Used() != empty {
		t.Errorf("the holder of one instance counts %d bytes, and an instance has %d", ann.Used(), empty)
	}
	m.Release(i)
	if err := m.Close(context.Background()); err != nil || m.Used() != 0 {
		t.Errorf("after Close %d bytes are counted (%v)", m.Used(), err)
	}
	fresh := loadBytes(t, sandbox.Config{}.NeverReuse(), text(`(data (i32.const 0) "`+strings.Repeat("x", 10_000)+`")`), spec(0))
	if n := fresh.Used() - empty; n != 10_000 {
		t.Errorf("10,000 bytes of data count %d", n)
	}
	box, err := sandbox.New(sandbox.Config{CacheDir: cacheDir()})
	if err != nil {
		t.Fatal(err)
	}
	_, err = box.Load(t.Context(), filled, spec(uint64(empty)+written-1))
	if !errors.Is(err, sandbox.ErrMemory) || !strings.Contains(err.Error(), "2621440 bytes of the state after its start") {
		t.Errorf("without room for the image: %v", err)
	}
}
