package rewrite

import (
	"fmt"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wasm"
)

// lasting names the instructions whose changes the host cannot undo: the engine cannot write a
// table or restore a dropped segment.
var lasting = map[wasm.Op]string{
	wasm.OpTableSet:  "table.set",
	wasm.OpTableGrow: "table.grow",
	wasm.OpTableFill: "table.fill",
	wasm.OpTableCopy: "table.copy",
	wasm.OpTableInit: "table.init",
	wasm.OpElemDrop:  "elem.drop",
	wasm.OpDataDrop:  "data.drop",
}

// freshReasons returns the reasons for which an instance cannot be restored, each once, in the
// order of the module.
func freshReasons(m *wasm.Module) (reasons []string) {
	for _, i := range m.Imports {
		if i.Kind == wasm.KindMemory || i.Kind == wasm.KindTable || i.Kind == wasm.KindGlobal && i.Global.Mutable {
			reasons = append(reasons, fmt.Sprintf("imports the %s %s.%s", i.Kind, i.Module, i.Name))
		}
	}
	imported := m.Imported(wasm.KindGlobal)
	for i, g := range m.Globals {
		if g.Mutable && (g.Type == wasm.V128 || g.Type.Reference()) {
			reasons = append(reasons, fmt.Sprintf("global %d is mutable and of type %s", imported+i, g.Type))
		}
	}
	seen := make(map[wasm.Op]bool)
	first := m.Imported(wasm.KindFunction)
	for f := range m.Code {
		for i := range m.Code[f].Instrs() {
			if name, ok := lasting[i.Op]; ok && !seen[i.Op] {
				seen[i.Op] = true
				reasons = append(reasons, fmt.Sprintf("function %d uses %s", first+f, name))
			}
		}
	}
	return reasons
}
