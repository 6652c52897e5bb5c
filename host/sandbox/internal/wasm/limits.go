package wasm

import (
	"fmt"
	"reflect"
)

// Limits bound what a module may declare. A zero field takes its default, a
// negative one forbids the thing altogether.
type Limits struct {
	ModuleBytes    int // the whole file; default 32 MiB
	Types          int // default 10,000
	Params         int // of one type; default 256
	Results        int // of one type; default 64
	Imports        int // default 1,000
	Exports        int // default 4,096
	Functions      int // defined ones; default 60,000
	BodyBytes      int // of one function; default 1 MiB
	Locals         int // of one function, parameters included; default 2,048
	Nesting        int // blocks within each other; default 8,192
	BranchTargets  int // of one br_table; default 8,192
	AllTargets     int // of all br_tables; default 1,000,000
	Globals        int // default 4,096
	Tables         int // default 8
	TableEntries   int // a table's minimum, and the most it may grow to; default 200,000
	Elements       int // segments; default 10,000
	ElementEntries int // of all segments; default 400,000
	Memories       int // default and at most 1
	MemoryPages    int // the memory's minimum, in 64 KiB; default 1,024
	DataSegments   int // default 100,000
	CustomSections int // default 200
	NameBytes      int // of one import or export name, function names are cut there; default 4,096
	AllNameBytes   int // of all function names, the rest is dropped; default 8 MiB
	// ImportedState lets memories, tables and globals be imported. Their
	// owner is another module then. Default: refused.
	ImportedState bool
}

var defaults = Limits{
	ModuleBytes: 32 << 20, Types: 10_000, Params: 256, Results: 64, Imports: 1000, Exports: 4096,
	Functions: 60_000, BodyBytes: 1 << 20, Locals: 2048, Nesting: 8192, BranchTargets: 8192,
	AllTargets: 1_000_000, Globals: 4096, Tables: 8, TableEntries: 200_000, Elements: 10_000,
	ElementEntries: 400_000, Memories: 1, MemoryPages: 1024, DataSegments: 100_000,
	CustomSections: 200, NameBytes: 4096, AllNameBytes: 8 << 20,
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
	l.MemoryPages = min(l.MemoryPages, maxPages)
	return l
}

const maxPages = 1 << 16 // 4 GiB

// within reports n above max as a limit error at the reader's position.
func (r *reader) within(what string, n uint64, max int) bool {
	if max < 0 || n > uint64(max) {
		r.refuse(ErrLimit, fmt.Sprintf("%d %s, at most %d are allowed", n, what, maxZero(max)))
		return false
	}
	return true
}

func maxZero(n int) int { return max(n, 0) }
