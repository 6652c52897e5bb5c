package sandbox

import (
	"fmt"
	"slices"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/image"
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
	// Counts is the module's use of each limit, except those of names and machine
	// code.
	Counts ModuleLimits `json:"counts"`
	// FreshBecause has the reasons for which an instance cannot be restored after a
	// call, so that each call gets a new one. Empty: instances are restored.
	FreshBecause []string `json:"freshBecause,omitempty"`
}

// Inspect admits and rewrites a module as Load does with these limits, and describes it,
// without compiling or running it. Unlike Load it works in this process, so it is for a
// tool and not for a host. The error is the reason for which Load would refuse the module.
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

// Kernel reports what the kernel offers for restoring instances: memory that is mapped
// copy-on-write, and marks of written pages (userfaultfd, Linux 6.7). Without the first
// each restore copies the memory; without the second it scans it.
func Kernel() (copyOnWrite, marks bool) { return image.Kernel() }
