package rewrite_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/rewrite"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wasm"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wattest"
)

// tick is a statement of four units that can be counted from outside.
const (
	tick     = "(global.set 0 (i32.add (global.get 0) (i32.const 1)))"
	tickWork = 4
)

// ticker writes random code of ticks: blocks, loops and branches that leave them early, so
// that what one path counts another one skips.
type ticker struct {
	*rand.Rand
	open []bool // open blocks: whether a branch goes forward
	left int    // statements
}

func (t *ticker) block(kind string, forward bool) string {
	t.open = append(t.open, forward)
	s := t.statements()
	if !forward { // at most so many iterations of all loops together
		s += fmt.Sprintf(" (br_if 0 (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const %d)))", t.IntN(40))
	}
	t.open = t.open[:len(t.open)-1]
	return "(" + kind + " " + s + ")"
}

func (t *ticker) statements() string {
	var b strings.Builder
	for range 1 + t.IntN(12) {
		if t.left--; t.left < 0 {
			break
		}
		b.WriteString(t.statement())
	}
	return b.String()
}

func (t *ticker) statement() string {
	nested := len(t.open) < 6
	switch n := t.IntN(12); {
	case n == 0 && nested:
		return t.block("block", true)
	case n == 1 && nested && !slices.Contains(t.open, false):
		return t.block("loop", false)
	case n == 2 && nested:
		return fmt.Sprintf("(if (i32.const %d) %s %s)", t.IntN(2), t.block("then", true), t.block("else", true))
	case n == 3 && nested:
		return fmt.Sprintf("(if (i32.const %d) %s)", t.IntN(2), t.block("then", true))
	case n == 4:
		return "(call $free)"
	case n == 5:
		if to := t.IntN(len(t.open) + 1); to < len(t.open) && t.open[len(t.open)-1-to] {
			switch t.IntN(6) {
			case 0:
				return fmt.Sprintf("(br %d)", to)
			case 1:
				return fmt.Sprintf("(br_table %d %d (i32.const %d))", to, to, t.IntN(3))
			default:
				return fmt.Sprintf("(br_if %d (i32.const %d))", to, t.IntN(2))
			}
		}
	}
	return strings.Repeat(tick, 1+t.IntN(20))
}

// TestNothingRunsThatIsNotPaidFor has random code count its own work: whatever the path,
// between two pauses is no more than a slice and what may be paid for at once, by the function
// and by a loop in it.
func TestNothingRunsThatIsNotPaidFor(t *testing.T) {
	const slice, ahead = 100, 50
	ctx := context.Background()
	most, pauses := 0, int64(0)
	for seed := range uint64(25) {
		g := &ticker{Rand: rand.New(rand.NewPCG(seed, 1)), left: 120}
		var body strings.Builder
		for g.left > 0 {
			body.WriteString(g.statements())
		}
		text := "(module (global (mut i32) (i32.const 0)) (func $free " + strings.Repeat(tick, 5) + ") (func (export \"run\") (local i32) " + body.String() + "))"
		r, m := runtimeFor(t, false), &meter{slice: slice}
		if err := m.link(ctx, r); err != nil {
			t.Fatal(err)
		}
		i, err := instantiate(ctx, r, mustRewrite(t, wattest.Must(text), wasm.Limits{}, rewrite.Options{Ahead: ahead}), "", m)
		if err != nil {
			t.Fatal(err)
		}
		ticks, last := i.ExportedGlobal(i.result.Globals[0].Export), 0
		m.asked = func() {
			now := int(ticks.Get())
			most, last = max(most, now-last), now
		}
		if _, err := i.call("run"); err != nil {
			t.Fatal(err)
		}
		m.asked()
		// A pause can be in the middle of a tick.
		if pauses += m.pauses; most*tickWork > slice+2*ahead+tickWork {
			t.Fatalf("seed %d: %d units ran between two pauses, with slices of %d and %d paid for at once\n%s", seed, most*tickWork, slice, ahead, text)
		}
		r.Close(ctx)
	}
	t.Logf("%d pauses; at most %d units between two", pauses, most*tickWork)
	if most*tickWork < slice/2 {
		t.Error("no path was long enough to show it")
	}
}

// TestStraightCodeCostsItsWork: no more because it is counted in parts.
func TestStraightCodeCostsItsWork(t *testing.T) {
	m := wattest.Must("(module (global (mut i32) (i32.const 0)) (func (export \"run\") (repeat 5000 " + tick + ")))")
	i := start(t, m, 0)
	ticks, done := i.ExportedGlobal(i.result.Globals[0].Export), uint64(0)
	i.meter.asked = func() { done = ticks.Get() }
	if _, err := i.call("run"); err != nil {
		t.Fatal(err)
	}
	if done == 0 {
		t.Error("all of it was paid for before any of it ran")
	}
	spent := i.meter.spent + i.meter.pending - int64(i.ExportedGlobal(i.result.Fuel).Get())
	if spent != 5000*tickWork+1 { // and the end
		t.Errorf("%d units for %d", spent, 5000*tickWork)
	}
	if i.meter.pauses != 1 { // 10,000 at a time, and 4,096 ahead
		t.Errorf("%d pauses", i.meter.pauses)
	}
}

// TestTheWayBackAsks: functions that call each other deeply have paid for what they do after
// their calls, and still ask the host while they return.
func TestTheWayBackAsks(t *testing.T) {
	const step, levels, each = 4096, 2000, 100
	work := "(repeat 100 " + tick + ")"
	for name, text := range map[string]string{
		"itself":   `(func $f (export "run") (param $n i32) (if (local.get $n) (then (call $f (i32.sub (local.get $n) (i32.const 1))))) ` + work + `)`,
		"by table": `(table 1 funcref) (elem (i32.const 0) func $f) (func $f (export "run") (param $n i32) (if (local.get $n) (then (call_indirect (param i32) (i32.sub (local.get $n) (i32.const 1)) (i32.const 0)))) ` + work + `)`,
	} {
		ctx := context.Background()
		r, m := runtimeFor(t, false), &meter{slice: 1 << 40, step: step}
		if err := m.link(ctx, r); err != nil {
			t.Fatal(err)
		}
		module := wattest.Must("(module (global (mut i32) (i32.const 0)) " + text + ")")
		i, err := instantiate(ctx, r, mustRewrite(t, module, wasm.Limits{}, rewrite.Options{Stack: step}), "", m)
		if err != nil {
			t.Fatal(err)
		}
		ticks, last, most := i.ExportedGlobal(i.result.Globals[0].Export), 0, 0
		m.asked = func() {
			now := int(ticks.Get())
			most, last = max(most, now-last), now
		}
		if _, err := i.call("run", levels); err != nil {
			t.Fatal(err)
		}
		m.asked()
		if last != (levels+1)*each {
			t.Fatalf("%s: %d ticks", name, last)
		}
		// An instruction is estimated at two bytes of stack, and a frame may lie between.
		if atMost := 2*step/(2*tickWork) + each; most > atMost {
			t.Errorf("%s: %d ticks without a pause, at most %d are allowed; %d pauses", name, most, atMost, m.pauses)
		}
		if left := i.stackLeft(); left < step || left > 2*step {
			t.Errorf("%s: the stack is at %d afterwards", name, left)
		}
	}
}
