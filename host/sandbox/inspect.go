package sandbox

import (
	"fmt"
	"slices"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/rewrite"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wasm"
)

// Inspection is what admission finds in a module. Counts are of what the module
// defines.
type Inspection struct {
	Imports        []string `json:"imports"` // MODULE.NAME, sorted
	Exports        []string `json:"exports"` // functions, sorted
	Functions      int      `json:"functions"`
	Instructions   int      `json:"instructions"`
	Loops          int      `json:"loops"`
	Nesting        int      `json:"nesting"` // blocks within each other, at most
	Globals        int      `json:"globals"`
	Tables         int      `json:"tables"`
	DataBytes      int      `json:"dataBytes"`
	MemoryBytes    int      `json:"memoryBytes"` // at the start
	RewrittenBytes int      `json:"rewrittenBytes"`
	// FreshBecause says why an instance cannot be put back after a call and
	// each call gets a new one. Empty: it is put back.
	FreshBecause []string `json:"freshBecause,omitempty"`
}

// Inspect admits and rewrites a module and reports on it, without compiling or
// running anything. An error says why it would be refused.
func Inspect(module []byte) (*Inspection, error) {
	m, err := wasm.Decode(module, wasm.Limits{})
	if err != nil {
		return nil, err
	}
	r, err := rewrite.Rewrite(module, wasm.Limits{}, rewrite.Options{})
	if err != nil {
		return nil, err
	}
	i := &Inspection{
		Functions: r.Report.Functions, Instructions: r.Report.Instructions, Loops: r.Report.Loops,
		Nesting: r.Report.Nesting, Globals: r.Report.Globals, Tables: r.Report.Tables,
		DataBytes: r.Report.DataBytes, MemoryBytes: r.Report.MemoryPages * pageSize,
		RewrittenBytes: r.Report.RewrittenBytes, FreshBecause: r.Fresh,
	}
	for _, x := range m.Imports {
		i.Imports = append(i.Imports, fmt.Sprintf("%s.%s", x.Module, x.Name))
	}
	for _, x := range m.Exports {
		if x.Kind == wasm.KindFunction {
			i.Exports = append(i.Exports, x.Name)
		}
	}
	slices.Sort(i.Imports)
	slices.Sort(i.Exports)
	return i, nil
}
