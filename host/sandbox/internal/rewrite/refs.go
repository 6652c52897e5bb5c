package rewrite

import "github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wasm"

// refs replaces ref.func in bodies. The engine makes an object for each execution and keeps it as
// long as the instance, without any bound. So the module gets a table of the functions whose
// references its code takes, which the engine fills once for each instance, and reads them from
// there. Only declared functions are replaced (spec 3.4.10): any other makes the module invalid,
// which the engine must detect.
type refs struct {
	declared  map[uint32]bool
	entries   map[uint32]uint32 // of the table, by function
	functions []uint32          // in the order of the entries
}

// declare must run after the indices of functions outside of bodies were changed.
func (r *refs) declare(m *wasm.Module) {
	r.declared, r.entries = map[uint32]bool{}, map[uint32]uint32{}
	constant := func(i *wasm.Instr) {
		if i.Op == wasm.OpRefFunc {
			r.declared[uint32(i.A)] = true
		}
	}
	for i := range m.Exports {
		if e := &m.Exports[i]; e.Kind == wasm.KindFunction {
			r.declared[e.Index] = true
		}
	}
	for i := range m.Globals {
		constant(&m.Globals[i].Init)
	}
	for i := range m.Elements {
		for _, f := range m.Elements[i].Functions {
			r.declared[f] = true
		}
		for k := range m.Elements[i].Exprs {
			constant(&m.Elements[i].Exprs[k])
		}
	}
}

// entry returns the index of a function in the table, false if the function is not declared.
func (r *refs) entry(function uint32) (entry uint32, ok bool) {
	if !r.declared[function] {
		return 0, false
	}
	entry, ok = r.entries[function]
	if !ok {
		entry = uint32(len(r.functions))
		r.entries[function] = entry
		r.functions = append(r.functions, function)
	}
	return entry, true
}

// refTable returns the index of the table.
func (w *writer) refTable() uint32 {
	return uint32(w.m.Imported(wasm.KindTable) + len(w.m.Tables))
}

// addRefTable must run after the bodies were rewritten.
func (w *writer) addRefTable() {
	n := uint32(len(w.refs.functions))
	if n == 0 {
		return
	}
	table := w.refTable()
	w.m.Tables = append(w.m.Tables, wasm.TableType{Type: wasm.FuncRef, Range: wasm.Range{Min: n, Max: n, HasMax: true}})
	w.m.Elements = append(w.m.Elements, wasm.Element{
		Mode: wasm.Active, Table: table, Type: wasm.FuncRef,
		Offset: wasm.Instr{Op: wasm.OpI32Const}, Functions: w.refs.functions,
	})
	w.result.TableEntries += int(n)
	w.result.Elements += int(n)
	w.result.Segments++
}
