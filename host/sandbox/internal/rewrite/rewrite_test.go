package rewrite_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/rewrite"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wasm"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wattest"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// start rewrites and instantiates with this much fuel in all.
func start(t *testing.T, m []byte, budget int64) *instance {
	t.Helper()
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithMemoryLimitPages(1024))
	t.Cleanup(func() { r.Close(ctx) })
	meter := &meter{slice: 10_000, budget: budget}
	if err := meter.link(ctx, r); err != nil {
		t.Fatal(err)
	}
	i, err := instantiate(ctx, r, mustRewrite(t, m, wasm.Limits{}, rewrite.Options{}), "", meter)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func (i *instance) call(export string, args ...uint64) ([]uint64, error) {
	i.ready()
	return i.ExportedFunction(export).Call(context.Background(), args...)
}

const (
	memory64 = "\x05\x03\x01\x00\x40" // section: one memory of 64 pages
	nothing  = "\x60\x00\x00"
)

// callTree has 40 functions that each call the next twice, and no loop.
func callTree() []byte {
	const depth = 40
	kinds, bodies := make([]int, depth), make([]string, depth)
	for i := range depth - 1 {
		bodies[i] = "\x00\x10" + u(i+1) + "\x10" + u(i+1) + "\x0b"
	}
	bodies[depth-1] = "\x00\x0b"
	return module(types(nothing), functions(kinds...), exports("run", 0), code(bodies...))
}

// straightFills writes 4 MiB three hundred times without a loop.
func straightFills() []byte {
	fill := "\x41\x00\x41\x00\x41\x80\x80\x80\x02\xfc\x0b\x00"
	return module(types(nothing), functions(0), memory64, exports("run", 0),
		code("\x00"+strings.Repeat(fill, 300)+"\x0b"))
}

// TestFuelStops runs guests that would take from seconds to forever.
func TestFuelStops(t *testing.T) {
	table := section(4, "\x01\x70\x00\x01")
	guests := map[string][]byte{
		"loop":         module(types(nothing), functions(0), exports("run", 0), code("\x00\x03\x40\x0c\x00\x0b\x0b")),
		"nested loop":  module(types(nothing), functions(0), exports("run", 0), code("\x00\x02\x40\x03\x40\x03\x40\x0c\x01\x0b\x0b\x0b\x0b")),
		"call tree":    callTree(),
		"memory.fill":  straightFills(),
		"memory.copy":  module(types(nothing), functions(0), memory64, exports("run", 0), code("\x00\x03\x40\x41\x00\x41\x01\x41\x80\x80\x80\x01\xfc\x0a\x00\x00\x0c\x00\x0b\x0b")),
		"memory.grow":  module(types(nothing), functions(0), memory64, exports("run", 0), code("\x00\x03\x40\x41\x01\x40\x00\x1a\x0c\x00\x0b\x0b")),
		"table.grow":   module(types(nothing), functions(0), table, exports("run", 0), code("\x00\x03\x40\xd0\x70\x41\x7f\xfc\x0f\x00\x1a\x0c\x00\x0b\x0b")),
		"if in a loop": module(types(nothing), functions(0), exports("run", 0), code("\x00\x03\x40\x41\x01\x04\x40\x0c\x01\x0b\x0b\x0b")),
	}
	for name, m := range guests {
		t.Run(name, func(t *testing.T) {
			i := start(t, m, 20_000_000)
			if _, err := i.call("run"); !errors.Is(err, errSpent) {
				t.Fatalf("got %v", err)
			}
			if i.meter.pauses == 0 {
				t.Error("the host was never asked")
			}
		})
	}
}

// TestBulkPaysBefore has one operation that costs more than all there is: what
// is not paid for must be untouched.
func TestBulkPaysBefore(t *testing.T) {
	m := module(types(nothing), functions(0), memory64, exports("run", 0),
		code("\x00\x41\x00\x41\x2a\x41\x80\x80\x80\x02\xfc\x0b\x00\x0b"))
	const piece = 64 << 10
	for _, pieces := range []int64{0, 1, 5} {
		i := start(t, m, pieces*piece/4+10_000)
		if _, err := i.call("run"); !errors.Is(err, errSpent) {
			t.Fatalf("%d pieces: got %v", pieces, err)
		}
		all, _ := i.Memory().Read(0, i.Memory().Size())
		if n := bytes.Count(all, []byte{0x2a}); int64(n) != pieces*piece {
			t.Errorf("%d bytes were filled and %d pieces paid for", n, pieces)
		}
	}
}

// bulkModule has fill, copy and init of 300 bytes on one page of memory.
func bulkModule() []byte {
	three := "\x00\x20\x00\x20\x01\x20\x02"
	return module(types("\x60\x03\x7f\x7f\x7f\x00"), functions(0, 0, 0), section(5, "\x01\x00\x01"),
		section(7, vec(sized("memory")+"\x02\x00", sized("fill")+"\x00\x00", sized("copy")+"\x00\x01", sized("init")+"\x00\x02")),
		section(12, "\x01"),
		code(three+"\xfc\x0b\x00\x0b", three+"\xfc\x0a\x00\x00\x0b", three+"\xfc\x08\x00\x00\x0b"),
		section(11, vec("\x01"+sized(strings.Repeat("abcdefghijk", 300)[:300]))))
}

// TestPiecesDoWhatTheWholeDoes compares bulk operations in pieces with those of
// the engine: overlaps in both directions, ends of pieces, memory and segment,
// and sums beyond 32 bits, which all trap before anything has changed.
func TestPiecesDoWhatTheWholeDoes(t *testing.T) {
	ctx, m := context.Background(), bulkModule()
	plain, err := runtimeFor(t, false).InstantiateWithConfig(ctx, m, wazero.NewModuleConfig())
	if err != nil {
		t.Fatal(err)
	}
	r, meter := runtimeFor(t, false), &meter{slice: 1 << 40}
	if err := meter.link(ctx, r); err != nil {
		t.Fatal(err)
	}
	changed, err := instantiate(ctx, r, mustRewrite(t, m, wasm.Limits{}, rewrite.Options{Piece: 16}), "", meter)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plain.ExportedFunction("init").Call(ctx, 0, 0, 300); err != nil {
		t.Fatal(err)
	}
	if _, err := changed.call("init", 0, 0, 300); err != nil {
		t.Fatal(err)
	}
	const end = 64 << 10
	addresses := []uint64{0, 1, 15, 16, 17, 100, 133, 284, 300, end - 300, end - 17, end - 16, end, end + 1, 1<<32 - 1, 1<<32 - 300}
	traps := 0
	for _, op := range []string{"fill", "copy", "init"} {
		for _, to := range addresses {
			for _, from := range addresses {
				for _, size := range []uint64{0, 1, 15, 16, 17, 31, 32, 33, 200, 300, 301, end, 1<<32 - 1} {
					_, err := plain.ExportedFunction(op).Call(ctx, to, from, size)
					_, errToo := changed.call(op, to, from, size)
					if describe(nil, err) != describe(nil, errToo) {
						t.Fatalf("%s(%d, %d, %d): as it is %v, in pieces %v", op, to, from, size, err, errToo)
					}
					if err != nil {
						traps++
					}
					a, _ := plain.Memory().Read(0, end)
					b, _ := changed.Memory().Read(0, end)
					if !bytes.Equal(a, b) {
						t.Fatalf("%s(%d, %d, %d): the memories differ", op, to, from, size)
					}
				}
			}
		}
	}
	if traps == 0 {
		t.Error("nothing trapped")
	}
}

// TestRecursionAsks covers each way to recurse, in both directions: what exceeds
// the stack asks for more with the global negative, what does not comes back with
// the global as it was.
func TestRecursionAsks(t *testing.T) {
	count := types("\x60\x01\x7f\x01\x7f")
	// f(n) = n == 0 ? 0 : 1 + g(n-1)
	down := func(call string) string {
		return "\x00\x20\x00\x45\x04\x40\x41\x00\x0f\x0b\x20\x00\x41\x01\x6b" + call + "\x41\x01\x6a\x0b"
	}
	table := section(4, "\x01\x70\x00\x01")
	elements := section(9, "\x01\x00\x41\x00\x0b\x01\x00")
	wide := "\x01" + u(500) + "\x7e" + down("\x10\x00")[1:]
	guests := map[string][]byte{
		"itself":       module(count, functions(0), exports("run", 0), code(down("\x10\x00"))),
		"each other":   module(count, functions(0, 0), exports("run", 0), code(down("\x10\x01"), down("\x10\x00"))),
		"by table":     module(count, functions(0), table, exports("run", 0), elements, code(down("\x41\x00\x11\x00\x00"))),
		"wide frames":  module(count, functions(0), exports("run", 0), code(wide)),
		"spills":       module(count, functions(0), exports("run", 0), code(spilling())),
		"long circles": longCircle(count, down),
	}
	const levels = 300 // the largest frame is 16 KiB, and every third call waits in a stub
	for name, m := range guests {
		t.Run(name, func(t *testing.T) {
			i := start(t, m, 0)
			got, err := i.call("run", levels)
			if err != nil || uint32(got[0]) != levels || i.stackLeft() != stackBudget {
				t.Fatalf("got %v, %v with %d bytes left", got, err, i.stackLeft())
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err = i.call("run", 1<<31)
			runtime.ReadMemStats(&after)
			// The engine's stack grows by doubling, so all of it together took twice
			// the last one.
			if n := after.TotalAlloc - before.TotalAlloc; n > 3*stackBudget {
				t.Errorf("%d bytes were allocated for a stack of %d", n, stackBudget)
			}
			if !errors.Is(err, errDeep) || i.stackLeft() >= 0 {
				t.Fatalf("got %v with %d bytes left", err, i.stackLeft())
			}
		})
	}
}

// spilling keeps a thousand values alive across its call. They add up to
// nothing: half of them are the negatives of the other half.
func spilling() string {
	s := "\x00\x20\x00\x45\x04\x40\x41\x00\x0f\x0b"
	for n := range 500 {
		s += "\x20\x00\x41" + u(n%60) + "\x6a" + "\x41" + u(n%60) + "\x20\x00\x6b\x41\x00\x41" + u(n%60) + "\x6b\x41" + u(n%60) + "\x6b\x6a"
	}
	s += "\x20\x00\x41\x01\x6b\x10\x00\x41\x01\x6a"
	return s + strings.Repeat("\x6a", 1000) + "\x0b"
}

func longCircle(count string, down func(string) string) []byte {
	const n = 300
	kinds, bodies := make([]int, n), make([]string, n)
	for i := range n {
		bodies[i] = down("\x10" + u((i+1)%n))
	}
	return module(count, functions(kinds...), exports("run", 0), code(bodies...))
}

// TestLongChainsCountStack has a chain of calls without a cycle, deeper than
// what may go uncounted.
func TestLongChainsCountStack(t *testing.T) {
	const n = 2000
	kinds, bodies := make([]int, n), make([]string, n)
	for i := range n - 1 {
		bodies[i] = "\x00\x10" + u(i+1) + "\x0b"
	}
	bodies[n-1] = "\x00\x0b"
	i := start(t, module(types(nothing), functions(kinds...), exports("run", 0), code(bodies...)), 0)
	if n := i.result.Report.StackFunctions; n < 30 {
		t.Errorf("only %d functions of the chain count", n)
	}
	if _, err := i.call("run"); err != nil || i.stackLeft() != stackBudget {
		t.Errorf("got %v with %d bytes left", err, i.stackLeft())
	}
}

func TestFreshReasons(t *testing.T) {
	table := section(4, "\x01\x70\x00\x01")
	passive := section(9, "\x01\x01\x00\x01\x00")
	with := func(body string) []byte {
		return module(types(nothing), functions(0), table, memory64, exports("run", 0), passive,
			section(12, "\x01"), code("\x00"+body+"\x0b"), section(11, "\x01\x01\x01a"))
	}
	three := "\x41\x00\x41\x00\x41\x00"
	tests := []struct {
		module []byte
		reason string
	}{
		{with("\xd0\x70\x1a"), ""},
		{with(three + "\xfc\x08\x00\x00"), ""}, // memory.init changes memory only
		{with("\x41\x00\xd0\x70\x26\x00"), "table.set"},
		{with("\xd0\x70\x41\x00\xfc\x0f\x00\x1a"), "table.grow"},
		{with("\x41\x00\xd0\x70\x41\x00\xfc\x11\x00"), "table.fill"},
		{with(three + "\xfc\x0e\x00\x00"), "table.copy"},
		{with(three + "\xfc\x0c\x00\x00"), "table.init"},
		{with("\xfc\x0d\x00"), "elem.drop"},
		{with("\xfc\x09\x00"), "data.drop"},
		{module(section(6, "\x01\x7b\x01\xfd\x0c"+strings.Repeat("\x00", 16)+"\x0b")), "v128"},
		{module(section(6, "\x01\x70\x01\xd0\x70\x0b")), "funcref"},
		{module(section(6, "\x01\x6f\x00\xd0\x6f\x0b")), ""}, // immutable
	}
	for _, tt := range tests {
		res := mustRewrite(t, tt.module, wasm.Limits{}, rewrite.Options{})
		got := strings.Join(res.Fresh, "; ")
		if tt.reason == "" && got != "" || !strings.Contains(got, tt.reason) {
			t.Errorf("got %q, want %q", got, tt.reason)
		}
	}
}

// TestReservedNames keeps guests from what the rewriter adds.
func TestReservedNames(t *testing.T) {
	refused := [][]byte{
		module(types(nothing), section(2, vec(sized(rewrite.Reserved)+sized("pause")+"\x00\x00"))),
		module(types(nothing), functions(0), exports(rewrite.Reserved+"/fuel", 0), code("\x00\x0b")),
		// The fuel global would be the next one.
		module(types(nothing), functions(0), exports("run", 0), code("\x00\x42\x00\x24\x00\x0b")),
		module(types(nothing), functions(0), exports("run", 0), code("\x00\x20\x00\x1a\x0b")),
		module(types(nothing), functions(0), exports("run", 0), code("\x00\x42\x00\x10\x01\x0b")),
	}
	for i, m := range refused {
		if _, err := rewrite.Rewrite(m, wasm.Limits{}, rewrite.Options{}); err == nil {
			t.Errorf("module %d was accepted", i)
		}
	}
}

// TestStartAndData checks that the host's steps are all that is missing.
func TestStartAndData(t *testing.T) {
	m := module(types(nothing, "\x60\x01\x7f\x01\x7f"), functions(0, 1), memory64,
		section(6, "\x01\x7f\x01\x41\x07\x0b"),
		exports("load", 1), section(8, "\x00"),
		section(12, "\x02"),
		code("\x00\x41\x01\x41\x00\x2d\x00\x00\x3a\x00\x00\x0b", "\x00\x20\x00\x2d\x00\x00\x0b"), // mem[1] = mem[0]
		section(11, vec("\x00\x41\x00\x0b\x01a", "\x02\x00\x41\x05\x0b\x02bc")))
	res := mustRewrite(t, m, wasm.Limits{}, rewrite.Options{})
	if res.Start == "" || len(res.Data) != 2 || res.Data[1].Offset != 5 || string(res.Data[1].Bytes) != "bc" {
		t.Fatalf("got start %q, data %v", res.Start, res.Data)
	}
	if len(res.Globals) != 1 || res.Globals[0].Type != wasm.I32 {
		t.Fatalf("got globals %v", res.Globals)
	}
	i := start(t, m, 0)
	for at, want := range map[uint64]uint64{0: 'a', 1: 'a', 5: 'b', 6: 'c'} {
		if got, err := i.call("load", at); err != nil || got[0] != want {
			t.Errorf("at %d: got %v, %v", at, got, err)
		}
	}
	if g := i.ExportedGlobal(res.Globals[0].Export); g.Get() != 7 {
		t.Errorf("the global is %d", g.Get())
	}
	bad := module(types("\x60\x00\x01\x7f"), functions(0), section(8, "\x00"), code("\x00\x41\x00\x0b"))
	if _, err := rewrite.Rewrite(bad, wasm.Limits{}, rewrite.Options{}); err == nil {
		t.Error("a start function with a result was accepted")
	}
	bad = module(memory64, section(11, "\x01\x00\x42\x00\x0b\x01a"))
	if _, err := rewrite.Rewrite(bad, wasm.Limits{}, rewrite.Options{}); err == nil {
		t.Error("data at an i64 was accepted")
	}
}

func TestDeterministic(t *testing.T) {
	m, err := goGuest()
	if err != nil {
		t.Fatal(err)
	}
	before := bytes.Clone(m)
	first := mustRewrite(t, m, wasm.Limits{}, rewrite.Options{})
	second := mustRewrite(t, m, wasm.Limits{}, rewrite.Options{})
	if !bytes.Equal(first.Wasm, second.Wasm) {
		t.Error("the same module gave different bytes")
	}
	if !bytes.Equal(m, before) {
		t.Error("the module was changed")
	}
}

// TestGoGuest runs the sandbox's own guest: it works, its panics name its
// functions, its endless loop ends, and so does its endless recursion.
func TestGoGuest(t *testing.T) {
	m, err := goGuest()
	if err != nil {
		t.Fatal(err)
	}
	i := startGo(t, m)
	if len(i.result.Fresh) > 0 {
		t.Errorf("a Go guest cannot be restored: %v", i.result.Fresh)
	}
	if got, err := i.call("add", 2, 3); err != nil || uint32(got[0]) != 5 {
		t.Errorf("got %v, %v", got, err)
	}
	t.Logf("%+v", i.result.Report)
	_, err = startGo(t, m).call("crash")
	if err == nil || !strings.Contains(err.Error(), "main.crash") {
		t.Errorf("the stack trace does not name the function: %v", err)
	}
	i.meter.budget = i.meter.spent + 50_000_000
	if _, err := i.call("spin"); !errors.Is(err, errSpent) {
		t.Errorf("got %v", err)
	}
}

func startGo(t *testing.T, m []byte) *instance {
	t.Helper()
	ctx := context.Background()
	r, meter := runtimeFor(t, false), &meter{slice: slice}
	if err := meter.link(ctx, r); err != nil {
		t.Fatal(err)
	}
	i32 := []api.ValueType{api.ValueTypeI32}
	echo := api.GoFunc(func(context.Context, []uint64) {})
	if _, err := r.NewHostModuleBuilder("test").NewFunctionBuilder().WithGoFunction(echo, i32, i32).Export("v1").Instantiate(ctx); err != nil {
		t.Fatal(err)
	}
	i, err := instantiate(ctx, r, mustRewrite(t, m, wasm.Limits{}, rewrite.Options{}), "", meter)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.call("_initialize"); err != nil {
		t.Fatal(err)
	}
	return i
}

// TestPaddedOpcode is a module that means something else to the engine than to
// the specification; rewritten it means what it says.
func TestPaddedOpcode(t *testing.T) {
	// i32x4.extract_lane of i8x16.splat(1), the splat's number padded.
	body := "\x00\x41\x01\xfd\x8f\x80\x00\xfd\x1b\x00\x0b"
	m := module(types("\x60\x00\x01\x7f"), functions(0), exports("run", 0), code(body))
	i := start(t, m, 0)
	if got, err := i.call("run"); err != nil || uint32(got[0]) != 0x01010101 {
		t.Errorf("got %#x, %v", got, err)
	}
}

// TestNamesCannotCollide has a guest name functions that are not its own.
func TestNamesCannotCollide(t *testing.T) {
	names := section(0, sized("name")+"\x01"+sized(vec("\x00\x01a", "\x01\x01b", "\x02\x01c")))
	m := module(types(nothing), functions(0), exports("run", 0), code("\x00\x00\x0b"), names)
	i := start(t, m, 0)
	_, err := i.call("run")
	if err == nil || !strings.Contains(err.Error(), ".a()") {
		t.Errorf("got %v", err)
	}
}

// TestRewrittenBytesAreBounded: the sum over all functions, as what counts their
// work has made them.
func TestRewrittenBytesAreBounded(t *testing.T) {
	m := module(types(nothing), functions(0, 0, 0), exports("run", 0), code("\x00\x0b", "\x00\x03\x40\x0b\x0b", "\x00\x03\x40\x0b\x0b"))
	r := mustRewrite(t, m, wasm.Limits{}, rewrite.Options{})
	most := r.Report.FunctionBytes
	if got := mustRewrite(t, m, wasm.Limits{RewrittenBytes: most}, rewrite.Options{}); !bytes.Equal(got.Wasm, r.Wasm) {
		t.Error("the limit changes the module")
	}
	_, err := rewrite.Rewrite(m, wasm.Limits{RewrittenBytes: most - 1}, rewrite.Options{})
	if e, ok := errors.AsType[*wasm.Error](err); !ok || e.Kind != wasm.ErrLimit || e.Limit != "rewrittenBytes" || e.Function != 2 {
		t.Errorf("a byte more: %v (%+v)", err, e)
	}
}

// TestStubsCountAsCode: what the heads of functions add is part of the limit.
func TestStubsCountAsCode(t *testing.T) {
	body := "\x00" + strings.Repeat("\x01", 100) + "\x0b" // too much work to be free
	r := mustRewrite(t, module(types(nothing), functions(0, 0), exports("run", 0), code(body, body)), wasm.Limits{}, rewrite.Options{})
	m, err := wasm.Decode(r.Wasm, everything)
	if err != nil {
		t.Fatal(err)
	}
	want, stubs := 0, 0
	for _, n := range m.FuncNames {
		if n.Name == rewrite.Again {
			want, stubs = want+len(m.Code[int(n.Function)-m.Imported(wasm.KindFunction)].Code), stubs+1
		}
	}
	want += len(m.Code[0].Code) + len(m.Code[1].Code)
	if got := r.Report.FunctionBytes; stubs != 2 || got != want {
		t.Errorf("%d bytes count, %d stubs and the functions have %d", got, stubs, want)
	}
}

// TestWhatAnInstanceHolds: what of its tables, segments and globals is counted.
func TestWhatAnInstanceHolds(t *testing.T) {
	m := wattest.Must(`(module (memory 1) (table 3 funcref) (table 5 funcref) (global i32 (i32.const 0)) (global (mut i64) (i64.const 0))
		(elem (i32.const 0) func $f $f) (elem func $f) (elem declare func $f $f $f $f)
		(data "passive") (data (i32.const 0) "active")
		(func $f (drop (table.grow 1 (ref.null func) (i32.const 1))) (data.drop 0)))`)
	r := mustRewrite(t, m, wasm.Limits{TableEntries: 100}, rewrite.Options{})
	if r.TableEntries != 103 || r.Elements != 3 || r.Segments != 5 || r.GlobalCount != 4 {
		t.Errorf("%d entries, %d elements, %d segments, %d globals; want 103, 3, 5 and, with the rewriter's two, 4",
			r.TableEntries, r.Elements, r.Segments, r.GlobalCount)
	}
}

// TestAStubHasTheInterfaceAndNoCode: an engine finds everything in it but what
// functions do, and no other module's stub is the same.
func TestAStubHasTheInterfaceAndNoCode(t *testing.T) {
	of := func(value string) (whole, stub *wasm.Module, r *rewrite.Result) {
		r = mustRewrite(t, wattest.Must(`(module (import "a" "b" (func (param i64))) (memory (export "memory") 1) (table 2 funcref)
			(global (mut i32) (i32.const 3)) (elem (i32.const 0) func $f) (data "passive")
			(func $f (export "f") (result i32) (local i64 i64) (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 1)) (i32.const `+value+`)))`),
			wasm.Limits{}, rewrite.Options{})
		var err error
		if whole, err = wasm.Decode(r.Wasm, wasm.Limits{}); err != nil {
			t.Fatal(err)
		}
		if stub, err = wasm.Decode(r.Stub, wasm.Limits{}); err != nil {
			t.Fatal(err)
		}
		return whole, stub, r
	}
	whole, stub, r := of("1")
	if len(stub.Code) != len(whole.Code) {
		t.Fatalf("%d functions of %d", len(stub.Code), len(whole.Code))
	}
	for i, b := range stub.Code {
		if len(b.Locals) != 0 || string(b.Code) != "\x00\x0b" {
			t.Errorf("function %d is %x with %d runs of locals", i, b.Code, len(b.Locals))
		}
	}
	if len(stub.Customs) != 2 || !strings.Contains(stub.Customs[1].Name, "stub") { // beside the names
		t.Errorf("custom sections: %+v", stub.Customs)
	}
	stub.Code, stub.Customs, whole.Customs = whole.Code, nil, nil
	if !bytes.Equal(stub.Encode(), whole.Encode()) {
		t.Error("it differs in more than the functions")
	}
	if _, _, other := of("2"); bytes.Equal(other.Stub, r.Stub) {
		t.Error("another module has the same stub")
	}
}

// TestReferencesComeFromATable has a module take references: what is left to the
// engine is a table, which is counted, and never ref.func.
func TestReferencesComeFromATable(t *testing.T) {
	m := module(types(nothing), functions(0, 0, 0), exports("run", 2),
		section(9, "\x01\x03\x00\x02\x00\x01"), // declares the first two
		code("\x00\x0b", "\x00\x0b", "\x00\xd2\x00\x1a\xd2\x01\x1a\xd2\x00\x1a\xd2\x02\x1a\x0b"))
	res := mustRewrite(t, m, wasm.Limits{}, rewrite.Options{})
	d, err := wasm.Decode(res.Wasm, everything)
	if err != nil {
		t.Fatal(err)
	}
	taken := 0
	for k := range d.Code {
		for i := range d.Code[k].Instrs() {
			if i.Op == wasm.OpRefFunc {
				t.Errorf("function %d still has a ref.func", k)
			}
			if i.Op == wasm.OpTableGet {
				taken++
			}
		}
	}
	if taken != 4 || res.TableEntries != 3 || res.Elements != 3 {
		t.Errorf("%d references come from a table of %d entries; %d elements", taken, res.TableEntries, res.Elements)
	}
	// A function that is not declared may not be referred to: the engine has to see it.
	bad := module(types(nothing), functions(0), code("\x00\xd2\x00\x1a\x0b"))
	if _, err := runtimeFor(t, false).CompileModule(context.Background(), mustRewrite(t, bad, wasm.Limits{}, rewrite.Options{}).Wasm); err == nil {
		t.Error("a reference to a function that is not declared became valid")
	}
}
