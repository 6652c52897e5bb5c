package rewrite_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"reflect"
	"sort"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/rewrite"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wasm"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// fuzzLimits keep one input small.
var fuzzLimits = wasm.Limits{
	ModuleBytes: 1 << 16, MemoryPages: 16, TableEntries: 1000, BranchTargets: 200, Nesting: 200, Locals: 200,
}

// FuzzRewrite runs each module as it is and rewritten: what is valid stays
// valid, what is not stays invalid, and every exported function comes to the
// same result or trap and leaves the same memory.
func FuzzRewrite(f *testing.F) {
	for _, m := range [][]byte{tightLoop, fibonacci, callTree(), straightFills()} {
		f.Add(m)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		input := make([]byte, 40+random.IntN(400))
		for i := range input {
			input[i] = byte(random.Uint32())
		}
		f.Add(input)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		m := input
		if !bytes.HasPrefix(input, []byte("\x00asm")) {
			m = (&generator{input: input}).module()
		}
		res, err := rewrite.Rewrite(m, fuzzLimits, rewrite.Options{})
		if err != nil {
			if len(m) > 0 && !bytes.HasPrefix(input, []byte("\x00asm")) {
				t.Fatalf("a generated module was refused: %v\n%x", err, m)
			}
			return
		}
		compareRuns(t, m, res)
	})
}

// compareRuns runs the rewritten module first. What ends within its budget is
// known to end, and can be run as it is.
func compareRuns(t *testing.T, m []byte, res *rewrite.Result) {
	ctx := context.Background()
	runtime := func() wazero.Runtime {
		r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithMemoryLimitPages(16))
		t.Cleanup(func() { r.Close(ctx) })
		return r
	}
	plain, rewritten := runtime(), runtime()
	code, err := plain.CompileModule(ctx, m)
	_, errToo := rewritten.CompileModule(ctx, res.Wasm)
	if (err == nil) != (errToo == nil) {
		t.Fatalf("as it is %v, rewritten %v\n%x", err, errToo, m)
	}
	if err != nil || !linkStubs(ctx, code, plain) || !linkStubs(ctx, code, rewritten) {
		return
	}
	meter := &meter{slice: 1000, budget: 2_000_000}
	if err := meter.link(ctx, rewritten); err != nil {
		t.Fatal(err)
	}
	changed, errToo := instantiate(ctx, rewritten, res, "", meter)
	if errors.Is(errToo, errSpent) || res.Start != "" && errToo != nil {
		return // it may not end, or not for the same reason
	}
	original, err := plain.InstantiateModule(ctx, code, wazero.NewModuleConfig().WithStartFunctions())
	if (err == nil) != (errToo == nil) {
		t.Fatalf("instantiating: as it is %v, rewritten %v\n%x", err, errToo, m)
	}
	if err == nil {
		compareExports(t, m, original, changed)
	}
}

func compareExports(t *testing.T, m []byte, original api.Module, changed *instance) {
	ctx := context.Background()
	for _, name := range sortedNames(original) {
		f := original.ExportedFunction(name)
		args := make([]uint64, width(f.Definition().ParamTypes()))
		for i := range args {
			args[i] = uint64(i + 3)
		}
		got, errToo := changed.call(name, args...)
		if errors.Is(errToo, errSpent) || changed.stackLeft() < 0 {
			return // as it is, it may not end
		}
		want, err := f.Call(ctx, args...)
		kinds := f.Definition().ResultTypes()
		a, b := describe(normalOf(want, kinds), err), describe(normalOf(got, kinds), errToo)
		if a != b {
			t.Fatalf("%s: as it is %s, rewritten %s\n%x", name, a, b, m)
		}
		compareState(t, m, original, changed)
		if errToo == nil && changed.stackLeft() != stackBudget {
			t.Fatalf("%s: %d bytes of stack are left\n%x", name, changed.stackLeft(), m)
		}
	}
}

func compareState(t *testing.T, m []byte, original api.Module, changed *instance) {
	// Without a memory, what the engine returns is an interface with nil in it.
	if a, b := original.Memory(), changed.Memory(); !reflect.ValueOf(a).IsNil() && a.Size() > 0 {
		was, _ := a.Read(0, a.Size())
		is, _ := b.Read(0, b.Size())
		if !bytes.Equal(was, is) {
			t.Fatalf("the memories differ\n%x", m)
		}
	}
}

func normalOf(results []uint64, types []api.ValueType) []uint64 {
	if results == nil {
		return nil
	}
	return normal(results, types)
}

func width(types []api.ValueType) int {
	n := len(types)
	for _, t := range types {
		if t == 0x7b {
			n++
		}
	}
	return n
}

func sortedNames(m api.Module) []string {
	var names []string
	for name := range m.ExportedFunctionDefinitions() {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// linkStubs gives a module's imports functions that leave their stack as it
// is, except for references, which become null.
func linkStubs(ctx context.Context, code wazero.CompiledModule, r wazero.Runtime) bool {
	builders := make(map[string]wazero.HostModuleBuilder)
	for _, def := range code.ImportedFunctions() {
		module, name, _ := def.Import()
		if builders[module] == nil {
			builders[module] = r.NewHostModuleBuilder(module)
		}
		n := width(def.ResultTypes())
		stub := api.GoFunc(func(_ context.Context, stack []uint64) { clear(stack[:n]) })
		builders[module].NewFunctionBuilder().WithGoFunction(stub, def.ParamTypes(), def.ResultTypes()).Export(name)
	}
	for _, b := range builders {
		if _, err := b.Instantiate(ctx); err != nil {
			return false // two imports of one name with different types
		}
	}
	return true
}
