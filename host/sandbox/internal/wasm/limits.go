package wasm

import (
	"fmt"
	"reflect"
)

// Limits bound the declarations of a module. A zero field means its default, and a negative one
// forbids such declarations. An Error and the operator's configuration use the JSON names.
type Limits struct {
	ModuleBytes    int `json:"moduleBytes,omitempty"`    // the whole file; default 32 MiB
	Types          int `json:"types,omitempty"`          // default 10,000
	Params         int `json:"params,omitempty"`         // of one type; default 256
	Results        int `json:"results,omitempty"`        // of one type; default 64
	AllParams      int `json:"allParams,omitempty"`      // parameters and results of all types; default 100,000
	Imports        int `json:"imports,omitempty"`        // default 1,000
	Exports        int `json:"exports,omitempty"`        // default 4,096
	Functions      int `json:"functions,omitempty"`      // defined ones; default 60,000
	BodyBytes      int `json:"bodyBytes,omitempty"`      // of one function; default 1 MiB
	Locals         int `json:"locals,omitempty"`         // of one function, parameters included; default 2,048
	AllLocals      int `json:"allLocals,omitempty"`      // of all functions, parameters included; default 4,000,000
	Nesting        int `json:"nesting,omitempty"`        // nested blocks; default 8,192
	BranchTargets  int `json:"branchTargets,omitempty"`  // of one br_table; default 8,192
	BulkOperations int `json:"bulkOperations,omitempty"` // on memory or tables, of one function; default 4,096
	AllTargets     int `json:"allTargets,omitempty"`     // of all br_tables; default 1,000,000
	Globals        int `json:"globals,omitempty"`        // default 4,096
	Tables         int `json:"tables,omitempty"`         // default 8
	TableEntries   int `json:"tableEntries,omitempty"`   // of one table, at the start and after growing; default 200,000
	Elements       int `json:"elements,omitempty"`       // segments; default 10,000
	ElementEntries int `json:"elementEntries,omitempty"` // of all segments; default 400,000
	Memories       int `json:"memories,omitempty"`       // default and at most 1
	MemoryPages    int `json:"-"`                        // the memory's minimum, in 64 KiB; default 1,024, at most 65,535
	DataSegments   int `json:"dataSegments,omitempty"`   // default 100,000, the most that Go's linker makes
	CustomSections int `json:"customSections,omitempty"` // default 200
	NameBytes      int `json:"nameBytes,omitempty"`      // of one import or export name; longer function names are truncated; default 4,096
	AllNameBytes   int `json:"allNameBytes,omitempty"`   // of all function names; further names are dropped; default 8 MiB
	RewrittenBytes int `json:"rewrittenBytes,omitempty"` // of all functions, with the code that counts their work; default 96 MiB
	CodeBytes      int `json:"codeBytes,omitempty"`      // of machine code, which the host keeps in memory; default 128 MiB
	// ImportedState allows imports of memories, tables and globals, which belong to
	// another module. By default they are refused.
	ImportedState bool `json:"-"`
}

var defaults = Limits{
	ModuleBytes: 32 << 20, Types: 10_000, Params: 256, Results: 64, AllParams: 100_000, Imports: 1000, Exports: 4096,
	Functions: 60_000, BodyBytes: 1 << 20, Locals: 2048, AllLocals: 4_000_000, Nesting: 8192, BranchTargets: 8192, BulkOperations: 4096,
	AllTargets: 1_000_000, Globals: 4096, Tables: 8, TableEntries: 200_000, Elements: 10_000,
	ElementEntries: 400_000, Memories: 1, MemoryPages: 1024, DataSegments: 100_000,
	CustomSections: 200, NameBytes: 4096, AllNameBytes: 8 << 20, RewrittenBytes: 96 << 20, CodeBytes: 128 << 20,
}

// CheckSize returns an error if a module of this many bytes exceeds the limit. l has its defaults.
func (l Limits) CheckSize(bytes int) error {
	r := &reader{function: -1}
	if r.within("bytes", uint64(bytes), l.ModuleBytes) {
		return nil
	}
	return r.err
}

// WithDefaults returns l with its zero fields filled in.
func (l Limits) WithDefaults() Limits {
	v, d := reflect.ValueOf(&l).Elem(), reflect.ValueOf(defaults)
	for i := range v.NumField() {
		if f := v.Field(i); f.IsZero() {
			f.Set(d.Field(i))
		}
	}
	l.Memories = min(l.Memories, 1)
	l.MemoryPages = min(l.MemoryPages, usablePages)
	return l
}

// Counts returns the module's use of each limit; size is its bytes. A limit on single objects, such
// as functions, counts the largest one. Names, and the results of rewriting and compiling, are not
// counted.
func (m *Module) Counts(size int) Limits {
	l := Limits{
		ModuleBytes: size, Types: len(m.Types), Imports: len(m.Imports), Exports: len(m.Exports),
		Functions: len(m.Functions), Nesting: m.MaxNesting, AllTargets: m.BranchTargets, Globals: len(m.Globals),
		Tables: len(m.Tables), Elements: len(m.Elements), Memories: len(m.Memories),
		DataSegments: len(m.Data), CustomSections: len(m.Customs),
	}
	for _, t := range m.Types {
		l.AllParams += len(t.Params) + len(t.Results)
		l.Params, l.Results = max(l.Params, len(t.Params)), max(l.Results, len(t.Results))
	}
	for _, t := range m.Tables {
		l.TableEntries = max(l.TableEntries, int(t.Min))
	}
	for _, r := range m.Memories {
		l.MemoryPages = max(l.MemoryPages, int(r.Min))
	}
	for _, e := range m.Elements {
		l.ElementEntries += len(e.Functions) + len(e.Exprs)
	}
	for k, b := range m.Code {
		l.BodyBytes = max(l.BodyBytes, len(b.Code))
		locals := len(m.Types[m.Functions[k]].Params)
		for _, run := range b.Locals {
			locals += int(run.Count)
		}
		l.Locals, l.AllLocals = max(l.Locals, locals), l.AllLocals+locals
		bulk := 0
		for i := range b.Instrs() {
			if i.Op == OpBrTable {
				l.BranchTargets = max(l.BranchTargets, len(i.Targets)-1)
			}
			if i.Op.bulk() {
				bulk++
			}
		}
		l.BulkOperations = max(l.BulkOperations, bulk)
	}
	return l
}

const (
	maxPages = 1 << 16 // 4 GiB, what a module may declare (spec 4.2.8)
	// usablePages is one less, because wazero's machine code and its API have a memory's
	// length in 32 bits, in which 4 GiB is zero.
	usablePages = maxPages - 1
)

// names are the limits by the nouns that within and count use.
var names = map[string]string{
	"bytes": "moduleBytes", "types": "types", "parameters": "params", "results": "results", "parameters and results of all types": "allParams",
	"imports": "imports", "exports": "exports", "functions": "functions", "function bodies": "functions",
	"bytes of a function": "bodyBytes", "locals": "locals", "runs of locals": "locals", "locals of all functions": "allLocals", "nested blocks": "nesting",
	"targets of a br_table": "branchTargets", "bulk operations": "bulkOperations", "targets of all br_tables": "allTargets",
	"globals": "globals", "tables": "tables", "entries of a table": "tableEntries",
	"element segments": "elements", "elements": "elementEntries", "elements of all segments": "elementEntries",
	"memories": "memories", "pages of memory": "memory", "data segments": "dataSegments",
	"custom sections": "customSections", "bytes of a name": "nameBytes",
}

// within reports n above max as a limit error at the reader's position.
func (r *reader) within(what string, n uint64, max int) bool {
	if max < 0 || n > uint64(max) {
		r.refuse(ErrLimit, fmt.Sprintf("%d %s, at most %d are allowed", n, what, maxZero(max)))
		if r.err.Kind == ErrLimit && r.err.Limit == "" {
			r.err.Limit = names[what]
		}
		return false
	}
	return true
}

func maxZero(n int) int { return max(n, 0) }
