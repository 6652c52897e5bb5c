package rewrite_test

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"slices"
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
// same result or trap and leaves the same memory, globals and tables. An input
// is a module, or bytes out of which generator makes one; testdata/fuzz has
// both.
func FuzzRewrite(f *testing.F) {
	f.Fuzz(func(t *testing.T, input []byte) {
		m := input
		if !bytes.HasPrefix(input, []byte("\x00asm")) {
			m = (&generator{input: input}).module()
		}
		res, err := rewrite.Rewrite(m, fuzzLimits, rewrite.Options{Piece: 8, Ahead: 5, Stack: stackBudget})
		if err != nil {
			if len(m) > 0 && !bytes.HasPrefix(input, []byte("\x00asm")) {
				t.Fatalf("a generated module was refused: %v\n%x", err, m)
			}
			return
		}
		if initsWritten(m) {
			return
		}
		(&comparison{T: t, ctx: context.Background(), module: m, result: res}).run()
	})
}

// initsWritten reports whether the module uses an active segment with
// memory.init. That segment is dropped once it was written (spec 4.5.4), and so
// it is in the rewritten module; wazero keeps it.
func initsWritten(module []byte) bool {
	m, err := wasm.Decode(module, fuzzLimits)
	if err != nil {
		return false
	}
	for k := range m.Code {
		for i := range m.Code[k].Instrs() {
			if i.Op == wasm.OpMemoryInit && m.Data[i.A].Mode == wasm.Active {
				return true
			}
		}
	}
	return false
}

// comparison is one module in three engines: as it is, as it is but with probes
// for its globals and tables, and rewritten with such probes.
type comparison struct {
	*testing.T
	ctx      context.Context
	module   []byte
	result   *rewrite.Result
	original api.Module
	probed   api.Module
	changed  *instance
}

func (c *comparison) failf(format string, args ...any) {
	c.Helper()
	c.Fatalf(format+"\n%x", append(args, c.module)...)
}

func (c *comparison) engine() wazero.Runtime {
	r := wazero.NewRuntimeWithConfig(c.ctx, wazero.NewRuntimeConfigCompiler().WithMemoryLimitPages(16))
	c.Cleanup(func() { r.Close(c.ctx) })
	return r
}

// run instantiates the rewritten module first. What ends within its budget is
// known to end, and can be run as it is.
func (c *comparison) run() {
	plain, probed, rewritten := c.engine(), c.engine(), c.engine()
	code, err := plain.CompileModule(c.ctx, c.module)
	_, errToo := rewritten.CompileModule(c.ctx, c.result.Wasm)
	if (err == nil) != (errToo == nil) {
		c.failf("as it is %v, rewritten %v", err, errToo)
	}
	if err != nil || !linkStubs(c.ctx, code, plain) || !linkStubs(c.ctx, code, probed) || !linkStubs(c.ctx, code, rewritten) {
		return
	}
	meter := &meter{slice: 1000, budget: 2_000_000}
	if err := meter.link(c.ctx, rewritten); err != nil {
		c.Fatal(err)
	}
	with := c.withProbes()
	c.changed, errToo = instantiate(c.ctx, rewritten, c.result, "", meter)
	if errors.Is(errToo, errSpent) || c.result.Start != "" && errToo != nil {
		return // it may not end, or not for the same reason
	}
	config := wazero.NewModuleConfig().WithStartFunctions()
	c.original, err = plain.InstantiateModule(c.ctx, code, config)
	if (err == nil) != (errToo == nil) {
		c.failf("instantiating: as it is %v, rewritten %v", err, errToo)
	}
	if err != nil {
		return
	}
	if c.probed, err = probed.InstantiateWithConfig(c.ctx, with, config); err != nil {
		c.failf("with probes: %v", err)
	}
	c.compareExports()
}

// withProbes adds probes to the result, and returns the module with the same.
func (c *comparison) withProbes() []byte {
	r := c.result.Report
	with, err := probe(c.module, r.Globals, r.Tables, fuzzLimits)
	if err == nil {
		c.result.Wasm, err = probe(c.result.Wasm, r.Globals, r.Tables, everything)
	}
	if err != nil {
		c.failf("adding probes: %v", err)
	}
	return with
}

func (c *comparison) compareExports() {
	for _, name := range sortedNames(c.original) {
		f := c.original.ExportedFunction(name)
		args := make([]uint64, width(f.Definition().ParamTypes()))
		for i := range args {
			args[i] = uint64(i + 3)
		}
		got, errToo := c.changed.call(name, args...)
		if errors.Is(errToo, errSpent) || c.changed.stackLeft() < 0 {
			return // as it is, it may not end
		}
		want, err := f.Call(c.ctx, args...)
		if _, errAgain := c.probed.ExportedFunction(name).Call(c.ctx, args...); (err == nil) != (errAgain == nil) {
			c.failf("%s: as it is %v, with probes %v", name, err, errAgain)
		}
		kinds := f.Definition().ResultTypes()
		if a, b := describe(normalOf(want, kinds), err), describe(normalOf(got, kinds), errToo); a != b {
			c.failf("%s: as it is %s, rewritten %s", name, a, b)
		}
		c.compareState(name)
		if errToo == nil && c.changed.stackLeft() != stackBudget {
			c.failf("%s: %d bytes of stack are left", name, c.changed.stackLeft())
		}
	}
}

func (c *comparison) compareState(after string) {
	// Without a memory, what the engine returns is an interface with nil in it.
	if a, b := c.original.Memory(), c.changed.Memory(); !reflect.ValueOf(a).IsNil() && a.Size() > 0 {
		was, _ := a.Read(0, a.Size())
		is, _ := b.Read(0, b.Size())
		if !bytes.Equal(was, is) {
			c.failf("%s: the memories differ", after)
		}
	}
	if a, b := observe(c.probed), observe(c.changed.Module); !slices.Equal(a, b) {
		c.failf("%s: as it is %q, rewritten %q", after, a, b)
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
	slices.Sort(names)
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
