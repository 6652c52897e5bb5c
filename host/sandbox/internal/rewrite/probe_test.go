package rewrite_test

import (
	"context"
	"fmt"
	"slices"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wasm"
	"github.com/tetratelabs/wazero/api"
)

const probePrefix = "probe/"

// probe adds functions that read a module's own globals and tables, of which
// there are tables and globals, to the end of m: none of the module's own code
// can refer to them. The rewritten module has more globals; they come last.
func probe(m []byte, globals, tables int, l wasm.Limits) ([]byte, error) {
	d, err := wasm.Decode(m, l)
	if err != nil {
		return nil, err
	}
	add := func(name string, param, result []wasm.ValueType, code ...wasm.Instr) {
		var body []byte
		for _, i := range append(code, wasm.Instr{Op: wasm.OpEnd}) {
			body = i.Append(body)
		}
		d.Types = append(d.Types, wasm.FuncType{Params: param, Results: result})
		d.Exports = append(d.Exports, wasm.Export{
			Name: probePrefix + name, Index: uint32(d.Imported(wasm.KindFunction) + len(d.Functions)),
		})
		d.Functions = append(d.Functions, uint32(len(d.Types)-1))
		d.Code = append(d.Code, wasm.Body{Code: body})
	}
	i32 := []wasm.ValueType{wasm.I32}
	for k := range globals {
		add(fmt.Sprint("global/", k), nil, []wasm.ValueType{d.Globals[k].Type}, wasm.Instr{Op: wasm.OpGlobalGet, A: uint64(k)})
	}
	for k := range tables {
		add(fmt.Sprint("size/", k), nil, i32, wasm.Instr{Op: wasm.OpTableSize, A: uint64(k)})
		add(fmt.Sprint("null/", k), i32, i32, wasm.Instr{Op: wasm.OpLocalGet},
			wasm.Instr{Op: wasm.OpTableGet, A: uint64(k)}, wasm.Instr{Op: opRefIsNull})
	}
	return d.Encode(), nil
}

const opRefIsNull wasm.Op = 0xd1

// observe describes the globals and tables of a module with probes: values,
// sizes, and which entries are null.
func observe(m api.Module) []string {
	ctx := context.Background()
	var out []string
	for name, f := range exported(m) {
		if len(f.Definition().ParamTypes()) > 0 {
			continue
		}
		results, err := f.Call(ctx)
		out = append(out, fmt.Sprint(name, " ", describe(normalOf(results, f.Definition().ResultTypes()), err)))
		var k int
		if n, _ := fmt.Sscanf(name, probePrefix+"size/%d", &k); n == 0 {
			continue
		}
		null, entries := m.ExportedFunction(fmt.Sprint(probePrefix, "null/", k)), []uint64{}
		for at := range min(uint32(results[0]), 1000) {
			is, err := null.Call(ctx, uint64(at))
			if err != nil {
				panic(err) // within the table
			}
			entries = append(entries, is[0])
		}
		out = append(out, fmt.Sprint("entries of table ", k, " that are null: ", entries))
	}
	slices.Sort(out)
	return out
}

// exported are the probes of m.
func exported(m api.Module) map[string]api.Function {
	out := map[string]api.Function{}
	for name := range m.ExportedFunctionDefinitions() {
		if len(name) > len(probePrefix) && name[:len(probePrefix)] == probePrefix {
			out[name] = m.ExportedFunction(name)
		}
	}
	return out
}
