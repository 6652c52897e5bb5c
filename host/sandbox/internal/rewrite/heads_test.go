package rewrite_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/rewrite"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wasm"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wattest"
)

// inSlices rewrites a module and instantiates it with a host that gives so much fuel at a time.
func inSlices(t *testing.T, text string, slice int64) *instance {
	t.Helper()
	ctx := context.Background()
	r, m := runtimeFor(t, false), &meter{slice: slice}
	if err := m.link(ctx, r); err != nil {
		t.Fatal(err)
	}
	i, err := instantiate(ctx, r, mustRewrite(t, wattest.Must(text), wasm.Limits{}, rewrite.Options{}), "", m)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// used is what the calls so far have spent.
func (i *instance) used() int64 {
	return i.meter.spent + i.meter.pending - int64(i.ExportedGlobal(i.result.Fuel).Get())
}

// headsOfAllKinds has loops in loops, a recursion, calls in loops, and a loop at the beginning.
const headsOfAllKinds = `(module (global (mut i32) (i32.const 0))
	(func $leaf (param $n i32) (loop (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
	(func $fib (param $n i32) (result i32)
		(if (result i32) (i32.lt_u (local.get $n) (i32.const 2)) (then (local.get $n)) (else
			(i32.add (call $fib (i32.sub (local.get $n) (i32.const 1))) (call $fib (i32.sub (local.get $n) (i32.const 2)))))))
	(func (export "run") (result i32) (local $n i32) (local $m i32)
		(local.set $n (i32.const 20))
		(loop $outer
			(call $leaf (local.get $n))
			(local.set $m (i32.const 7))
			(loop $inner
				` + tick + `
				(br_if $inner (local.tee $m (i32.sub (local.get $m) (i32.const 1)))))
			(br_if $outer (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
		(i32.add (global.get 0) (call $fib (i32.const 10)))))`

// TestAPauseChargesNothing: a head that finds the fuel spent checks twice and pays once, so that a
// guest's work is the same in one slice and in thousands, down to slices that are smaller than
// what any head takes.
func TestAPauseChargesNothing(t *testing.T) {
	whole := inSlices(t, headsOfAllKinds, 1<<40)
	want, err := whole.call("run")
	if err != nil || whole.meter.pauses != 0 {
		t.Fatalf("%v, %d pauses", err, whole.meter.pauses)
	}
	for _, slice := range []int64{1, 2, 10, 1000} {
		i := inSlices(t, headsOfAllKinds, slice)
		got, err := i.call("run")
		if err != nil || got[0] != want[0] {
			t.Fatalf("in slices of %d: %v, %v; want %v", slice, got, err, want)
		}
		if i.used() != whole.used() || i.meter.pauses == 0 {
			t.Errorf("in slices of %d: %d units and %d pauses, in one %d", slice, i.used(), i.meter.pauses, whole.used())
		}
		// Each head asks at most once: with a slice of one it succeeds at the second try.
		if heads := whole.used() / 2; i.meter.pauses > heads {
			t.Errorf("in slices of %d: %d pauses for %d units", slice, i.meter.pauses, whole.used())
		}
		if i.stackLeft() != whole.stackLeft() {
			t.Errorf("in slices of %d: %d bytes of stack are left, in one %d", slice, i.stackLeft(), whole.stackLeft())
		}
	}
}

// TestAWaitingFunctionIsChargedAsStack has each call of a recursion wait in a stub, for the next
// slice. What the functions and their stubs take is charged, whether the functions count any
// stack themselves or not, and given back.
func TestAWaitingFunctionIsChargedAsStack(t *testing.T) {
	const levels = 50
	chain := "(func $f0 (local i64) (global.set 0 (i32.const 1)) " + strings.Repeat(tick, 30) + ")" // too long to be free
	for k := range levels {
		chain += fmt.Sprintf("(func $f%d (local i64) %s (call $f%d))", k+1, strings.Repeat(tick, 30), k)
	}
	for name, text := range map[string]string{
		"itself": `(func $f (export "run") (param $n i32) (if (local.get $n) (then (call $f (i32.sub (local.get $n) (i32.const 1))))) ` + strings.Repeat(tick, 30) + `)`,
		"chain":  chain + fmt.Sprintf(`(func (export "run") (param i32) (call $f%d))`, levels),
	} {
		var deepest [2]int32
		for k, slice := range []int64{1 << 40, 1} {
			i := inSlices(t, "(module (global (mut i32) (i32.const 0)) "+text+")", slice)
			deepest[k] = stackBudget
			i.meter.asked = func() { deepest[k] = min(deepest[k], i.stackLeft()) }
			if _, err := i.call("run", levels); err != nil {
				t.Fatal(err)
			}
			if i.stackLeft() != stackBudget {
				t.Errorf("%s: %d bytes are left afterwards", name, i.stackLeft())
			}
		}
		if charged := stackBudget - deepest[1]; charged < levels*(128+64) {
			t.Errorf("%s: %d functions that wait take %d bytes of stack", name, levels, charged)
		}
	}
}

// TestBranchesGoWhereTheyWent leaves nested blocks, loops and ifs of each kind by each label and
// each kind of branch, also out of a function that counts stack, whose own label a block has.
func TestBranchesGoWhereTheyWent(t *testing.T) {
	// Each label adds its digit when control arrives behind it, or at the head of its loop.
	digit := func(n int) string {
		return fmt.Sprintf("(global.set 0 (i32.add (i32.mul (global.get 0) (i32.const 10)) (i32.const %d)))", n)
	}
	branch := map[string]func(int) string{
		"br":       func(l int) string { return fmt.Sprintf("(br %d)", l) },
		"br_if":    func(l int) string { return fmt.Sprintf("(br_if %d (i32.const 1))", l) },
		"br_table": func(l int) string { return fmt.Sprintf("(br_table 0 %d 0 (i32.const 1))", l) },
		"default":  func(l int) string { return fmt.Sprintf("(br_table 0 0 %d (i32.const 9))", l) },
		"return":   func(int) string { return "(return)" },
	}
	for kind, to := range branch {
		results := map[uint64]bool{}
		for label := range 6 {
			for _, recursive := range []string{"", "(if (i32.const 0) (then (call $leave)))"} {
				// It happens once: if it leads back to the head of a loop, control falls through.
				once := "(if (i32.eqz (local.get 0)) (then (local.set 0 (i32.const 1)) " + to(label+1) + "))"
				text := "(module (global (mut i32) (i32.const 0)) (func $leave (local i32) " + recursive +
					"(loop " + digit(1) + "(block (if (i32.const 1) (then (loop " + digit(2) + "(block " + once + digit(3) + ")" +
					digit(4) + "))) " + digit(5) + ")" + digit(6) + ")" + digit(7) + `)
					(func (export "run") (result i32) (call $leave) (global.get 0)))`
				plain, err := runtimeFor(t, false).Instantiate(t.Context(), wattest.Must(text))
				if err != nil {
					t.Fatal(err)
				}
				want, err := plain.ExportedFunction("run").Call(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				results[want[0]] = true
				for _, slice := range []int64{1 << 40, 1} {
					if got, err := inSlices(t, text, slice).call("run"); err != nil || got[0] != want[0] {
						t.Errorf("%s to label %d, in slices of %d: %v, %v; want %v", kind, label, slice, got, err, want)
					}
				}
			}
		}
		if kind != "return" && len(results) != 6 {
			t.Errorf("%s: the labels are not told apart: %v", kind, results)
		}
	}
}
