package rewrite

import "github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wasm"

// function is the result of analysing a defined function.
type function struct {
	regions  []region
	calls    []call
	indirect bool // has a call_indirect
	locals   int  // bytes of parameters and locals
	loops    int
	// headFirst: control reaches the first loop's head before any branch, call or long
	// operation, so that the count at that head can include the entry.
	headFirst bool

	free       uint64 // fuel that a caller pays, 0: the function counts itself
	entry      uint64 // fuel at entry, 0: none
	stack      int32  // stack at entry, 0: none
	instrs     int
	cost, path int64 // of the stack: own frame; with uncounted callees
}

// region is code that runs at most once between two counts: the function
// outside of its loops, or a loop outside of the loops in it.
type region struct{ work uint64 }

type call struct {
	callee int // index of the defined function, negative: imported
	region int
}

// work returns the approximate cost of an instruction, in simple instructions.
func work(op wasm.Op) uint64 {
	switch op {
	case wasm.OpCall:
		return 4
	case wasm.OpCallIndirect:
		return 8
	case wasm.OpMemoryGrow, wasm.OpMemoryCopy, wasm.OpMemoryFill, wasm.OpMemoryInit,
		wasm.OpTableCopy, wasm.OpTableFill, wasm.OpTableGrow, wasm.OpTableInit:
		return 32 // their cost regardless of size
	case wasm.OpBrTable:
		return 4
	}
	if op >= 0x6d && op <= 0x70 || op >= 0x7f && op <= 0x82 { // integer division
		return 8
	}
	return 1
}

// hostCall is the work of calling an imported function.
const hostCall = 64

// analyse analyses all bodies. free is the work that the callee of a call_indirect may do
// without counting it.
func analyse(m *wasm.Module, free int) []function {
	imported := m.Imported(wasm.KindFunction)
	list := make([]function, len(m.Code))
	for i := range list {
		for _, t := range m.Types[m.Functions[i]].Params {
			list[i].locals += bytesOf(t, 1)
		}
		for _, l := range m.Code[i].Locals {
			list[i].locals += bytesOf(l.Type, l.Count)
		}
		list[i].scan(&m.Code[i], imported, uint64(max(free, 0)))
	}
	return list
}

func bytesOf(t wasm.ValueType, n uint32) int {
	if t == wasm.V128 {
		return 16 * int(n)
	}
	return 8 * int(n)
}

// scan analyses a body in one pass. open has the region in which each open block began.
func (f *function) scan(body *wasm.Body, imported int, free uint64) {
	f.regions = make([]region, 1)
	current, open, straight := 0, []int(nil), true
	for i := range body.Instrs() {
		f.instrs++
		f.regions[current].work += work(i.Op)
		switch i.Op {
		case wasm.OpBlock:
			open = append(open, current)
		case wasm.OpIf:
			open, straight = append(open, current), false
		case wasm.OpLoop:
			if f.loops == 0 {
				f.headFirst = straight
			}
			f.loops++
			open = append(open, current)
			current = len(f.regions)
			f.regions = append(f.regions, region{})
		case wasm.OpEnd:
			if n := len(open); n > 0 {
				current, open = open[n-1], open[:n-1]
			}
			straight = false // a block's end can be reached by a branch
		case wasm.OpCall:
			f.calls = append(f.calls, call{int(i.A) - imported, current})
			straight = false
		case wasm.OpCallIndirect:
			f.indirect, straight = true, false
			f.regions[current].work += free
		default:
			straight = straight && !leaves(i.Op)
		}
	}
}

// leaves reports whether control may not continue after the instruction, or the instruction
// takes long.
func leaves(op wasm.Op) bool {
	return op == wasm.OpUnreachable || op >= wasm.OpBr && op <= wasm.OpReturn || work(op) > 8
}
