package sandbox_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wattest"
)

var configs = map[string]sandbox.Config{
	"native": {}, "scanning": sandbox.Config{}.Scanning(), "portable": sandbox.Config{}.Portable(), "fresh": sandbox.Config{}.NeverReuse(),
}

const secret = 0x5ec2e75ec2e7a11

// TestNothingSurvivesARequest hides a secret wherever a guest can and looks for
// it as the next caller, with the guest's own means and in all of its memory.
func TestNothingSurvivesARequest(t *testing.T) {
	for name, config := range configs {
		t.Run(name, func(t *testing.T) {
			s := spec(&lines{}, identity)
			s.Limits.Instances = 1 // the next caller gets the instance that was hidden in
			m := loadWith(t, config, s)
			for place := range uint64(6) {
				for range 3 {
					if _, err := call(t.Context(), m, "hide", place, secret); err != nil {
						t.Fatal(err)
					}
					lookFor(t, m, place)
				}
			}
		})
	}
}

func lookFor(t *testing.T, m *sandbox.Module, place uint64) {
	t.Helper()
	i, err := m.Acquire(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Release(i)
	memory := i.Memory()
	for size := uint32(32 << 20); size > 0; size -= 64 << 10 {
		all, ok := memory.Copy(0, size)
		if !ok {
			continue
		}
		if at := bytes.Index(all, binary.LittleEndian.AppendUint64(nil, secret)); at >= 0 {
			t.Fatalf("place %d: the secret is at %#x", place, at)
		}
		break
	}
	if got, err := i.Call(t.Context(), "seek", place); err != nil || got == secret {
		t.Fatalf("place %d: the next caller reads %#x, %v", place, got, err)
	}
}

// TestWhatCannotBeRestoredIsFresh uses modules by hand, because no language
// that compiles to WebAssembly exposes its globals and tables.
func TestWhatCannotBeRestoredIsFresh(t *testing.T) {
	modules := map[string]string{
		"global": `(module (memory (export "memory") 1)
			(global $g (mut i32) (i32.const 7))
			(func (export "hide") (param i32) (global.set $g (local.get 0)))
			(func (export "seek") (result i32) (global.get $g)))`,
		// The table's entry is null, or a function after hide.
		"table": `(module (memory (export "memory") 1) (table 1 funcref) (elem declare func $seek)
			(func (export "hide") (param i32) (table.set 0 (i32.const 0) (ref.func $seek)))
			(func $seek (export "seek") (result i32) (i32.eqz (ref.is_null (table.get 0 (i32.const 0))))))`,
	}
	want := map[string]uint64{"global": 7, "table": 0}
	for name, source := range modules {
		for kind, config := range configs {
			t.Run(name+"/"+kind, func(t *testing.T) {
				m := loadBytes(t, config, wattest.Must(source), sandbox.Spec{
					Name:   name,
					Limits: sandbox.Limits{Instances: 1},
					Exports: map[string]sandbox.Signature{
						"hide": {Params: i32}, "seek": {Results: i32},
					},
				})
				if fresh := len(m.Fresh()) > 0; fresh != (name == "table") {
					t.Fatalf("reasons for fresh instances: %v", m.Fresh())
				}
				for range 3 {
					if _, err := call(t.Context(), m, "hide", 1234); err != nil {
						t.Fatal(err)
					}
					if got, err := call(t.Context(), m, "seek"); err != nil || got != want[name] {
						t.Fatalf("the next caller reads %d, %v", got, err)
					}
				}
			})
		}
	}
}

// TestRestoredEqualsFresh runs the same random calls on instances of each
// kind; several calls share an instance, then it goes back.
func TestRestoredEqualsFresh(t *testing.T) {
	modules := map[string]*sandbox.Module{}
	for name, config := range configs {
		modules[name] = loadWith(t, config, spec(&lines{}, identity))
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for round := range 60 {
		var calls [][3]uint64
		for range 1 + rng.IntN(6) {
			calls = append(calls, [3]uint64{rng.Uint64N(4), rng.Uint64N(5), rng.Uint64N(1000)})
		}
		results := map[string][]string{}
		for name, m := range modules {
			results[name] = run(t, m, calls)
		}
		for name, got := range results {
			if !slices.Equal(got, results["fresh"]) {
				t.Fatalf("round %d, %v: %s says %v, fresh %v", round, calls, name, got, results["fresh"])
			}
		}
	}
}

func run(t *testing.T, m *sandbox.Module, calls [][3]uint64) (out []string) {
	t.Helper()
	i, err := m.Acquire(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Release(i)
	for _, c := range calls {
		var v uint64
		switch c[0] {
		case 0:
			v, err = i.Call(t.Context(), "visit")
		case 1:
			_, err = i.Call(t.Context(), "hide", c[1], c[2])
		case 2:
			v, err = i.Call(t.Context(), "seek", c[1])
		case 3:
			v, err = i.Call(t.Context(), "work", c[2])
		}
		out = append(out, fmt.Sprint(v, err))
	}
	return out
}

// TestWhatIsLiveAfterARestore keeps the README of the SDK true.
func TestWhatIsLiveAfterARestore(t *testing.T) {
	m := load(t, spec(&lines{}, identity))
	values := func(export string) (list []uint64) {
		for range 8 {
			v, err := call(t.Context(), m, export)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, v)
		}
		slices.Sort(list)
		return slices.Compact(list)
	}
	for _, live := range []string{"crypto_random", "seeded_random", "now"} {
		if got := values(live); len(got) != 8 {
			t.Errorf("%s repeats: %x", live, got)
		}
	}
	for _, kept := range []string{"math_random", "math_random_v1", "map_hash", "map_order"} {
		if got := values(kept); len(got) != 1 {
			t.Errorf("%s is %x: it is the template's no more, correct the README", kept, got)
		}
	}
}

func TestIdleInstancesAreFreed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := spec(&lines{}, identity)
		s.Limits.Idle = time.Minute
		m := load(t, s)
		var held []*sandbox.Instance
		for range 3 {
			i, err := m.Acquire(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, i)
		}
		for _, i := range held {
			m.Release(i)
		}
		if m.Idle() != 3 || m.Live() != 3 {
			t.Fatalf("%d idle of %d", m.Idle(), m.Live())
		}
		// One is used all the time, the others are not.
		for range 3 {
			time.Sleep(25 * time.Second)
			if _, err := call(t.Context(), m, "add", 1, 1); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if m.Idle() != 1 || m.Live() != 1 {
			t.Fatalf("after 75 s: %d idle of %d", m.Idle(), m.Live())
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if m.Live() != 0 || m.Bytes() != m.Held() {
			t.Fatalf("after two minutes: %d instances, %d bytes", m.Live(), m.Bytes())
		}
		if got, err := call(t.Context(), m, "add", 1, 1); err != nil || got != 2 {
			t.Fatalf("after a pause: %d, %v", got, err)
		}
	})
}

func TestTheMemoryOfAllInstancesIsBounded(t *testing.T) {
	for name, config := range configs {
		t.Run(name, func(t *testing.T) {
			s := spec(&lines{}, identity)
			s.Limits.TotalBytes = 12 << 20
			s.Limits.Instances = 64
			s.Limits.Warm = 1
			m := loadWith(t, config, s)
			var held []*sandbox.Instance
			defer func() {
				for _, i := range held {
					m.Release(i)
				}
			}()
			for {
				i, err := m.Acquire(t.Context(), nil)
				if errors.Is(err, sandbox.ErrMemory) {
					break
				}
				if err != nil || len(held) == 64 {
					t.Fatalf("%d instances, then %v", len(held), err)
				}
				held = append(held, i)
			}
			if m.Bytes() > 12<<20 || len(held) < 2 {
				t.Fatalf("%d instances have %d bytes", len(held), m.Bytes())
			}
			// A guest that grows meets the same limit.
			if _, err := held[0].Call(t.Context(), "grow"); err == nil || m.Bytes() > 12<<20 {
				t.Fatalf("growing: %v, %d bytes", err, m.Bytes())
			}
		})
	}
}

// A person's budget counts what they hold in all modules, as it grows, and
// nothing of what they have given back.
func TestAHoldersBudgetCountsAllThatTheyHold(t *testing.T) {
	for name, config := range configs {
		t.Run(name, func(t *testing.T) {
			one, other := loadWith(t, config, spec(&lines{}, identity)), loadWith(t, config, spec(&lines{}, identity))
			ann, bob := sandbox.NewBudget(12<<20), sandbox.NewBudget(1<<30)
			var held []*sandbox.Instance
			for _, m := range []*sandbox.Module{one, other, one, other} {
				i, err := m.Acquire(t.Context(), ann)
				if errors.Is(err, sandbox.ErrHolder) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				held = append(held, i)
				defer m.Release(i)
			}
			if len(held) < 2 || len(held) == 4 || ann.Used() > 12<<20 {
				t.Fatalf("%d instances of %d bytes are held", len(held), ann.Used())
			}
			if _, err := one.Acquire(t.Context(), ann); !errors.Is(err, sandbox.ErrHolder) {
				t.Fatalf("one more: %v", err)
			}
			// A guest that grows meets the same limit, and says so.
			_, err := held[0].Call(t.Context(), "grow")
			if e, ok := errors.AsType[*sandbox.Error](err); !ok || e.Fault != sandbox.Trapped || !errors.Is(err, sandbox.ErrHolder) {
				t.Fatalf("growing: %v", err)
			}
			if ann.Used() > 12<<20 {
				t.Fatalf("%d bytes are held", ann.Used())
			}
			i, err := one.Acquire(t.Context(), bob)
			if err != nil {
				t.Fatalf("somebody else: %v", err)
			}
			one.Release(i)
			if bob.Used() != 0 {
				t.Fatalf("%d bytes are held by who gave back everything", bob.Used())
			}
		})
	}
}

func TestAFailedInstanceIsNotEnteredAgain(t *testing.T) {
	m := load(t, spec(&lines{}, identity))
	i, err := m.Acquire(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Release(i)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := i.Call(ctx, "add", 1, 1); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if got, err := i.Call(t.Context(), "add", 1, 1); err != nil || got != 2 { // nothing was entered
		t.Fatal(got, err)
	}
	if _, err := i.Call(t.Context(), "crash"); err == nil {
		t.Fatal("crash returned")
	}
	_, err = i.Call(t.Context(), "add", 1, 1)
	if e, ok := errors.AsType[*sandbox.Error](err); !ok || e.Fault != sandbox.Broken {
		t.Fatalf("error is %v", err)
	}
}
