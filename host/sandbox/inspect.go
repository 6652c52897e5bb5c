package sandbox

import (
	"fmt"
	"slices"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/rewrite"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wasm"
)

// Inspection is what admission finds in a module.
type Inspection struct {
	Imports        []string `json:"imports"` // MODULE.NAME, sorted
	Exports        []string `json:"exports"` // functions, sorted
	Instructions   int      `json:"instructions"`
	Loops          int      `json:"loops"`
	DataBytes      int      `json:"dataBytes"`
	MemoryBytes    int      `json:"memoryBytes"` // at the start
	RewrittenBytes int      `json:"rewrittenBytes"`
	// Counts is how much of what a limit is about there is in the module, except
	// for names and machine code.
	Counts ModuleLimits `json:"counts"`
	// FreshBecause says why an instance cannot be put back after a call and
	// each call gets a new one. Empty: it is put back.
	FreshBecause []string `json:"freshBecause,omitempty"`
}

// Inspect admits and rewrites a module as Load would with these limits, and
// reports on it, without compiling or running anything. Unlike Load it does so in
// this process: it is for a tool, not for a host. An error says why it
// would be refused.
func Inspect(module []byte, l Limits) (*Inspection, error) {
	limits := l.withDefaults().Module
	m, err := wasm.Decode(module, limits)
	if err != nil {
		return nil, err
	}
	counts := m.Counts(len(module))
	r, err := rewrite.Rewrite(module, limits, rewrite.Options{})
	if err != nil {
		return nil, err
	}
	counts.RewrittenBytes = r.Report.FunctionBytes
	i := &Inspection{
		Instructions: r.Report.Instructions, Loops: r.Report.Loops,
		DataBytes: r.Report.DataBytes, MemoryBytes: r.Report.MemoryPages * pageSize,
		RewrittenBytes: r.Report.RewrittenBytes, Counts: counts, FreshBecause: r.Fresh,
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
