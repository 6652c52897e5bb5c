package rewrite

import "github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wasm"

// prepaid places further counts inside regions of more than Options.Ahead work. It follows the code
// once and knows before each instruction how much work is paid for at least. If that is less than
// the instruction's work, more is counted there. Branches can skip counts, so the code after a
// label has what the branch with the least has.
type prepaid struct {
	list    []function
	f       *function
	ahead   uint64       // the most that is counted at once
	free    uint64       // work of the callee of a call_indirect
	open    []openBlock  // the function's own first
	regions []openRegion // the function, then the open loops
	loops   int          // entered so far
	calls   int          // followed so far
}

type openBlock struct {
	loop   bool  // branches go to its head, which counts
	region int   // of the code around it, as an index of prepaid.regions
	start  int64 // paid where the else begins; unreached if there is none, or no more
	end    int64 // the least that is paid at the branches to its end
}

type openRegion struct {
	paid int64  // for what follows, at least
	left uint64 // work from here to the region's end
}

// unreached is what is paid where control does not get.
const unreached = 1 << 62

// newPrepaid returns nil if no region of f is longer than the heads count.
func (w *writer) newPrepaid(f *function) *prepaid {
	long := false
	for _, r := range f.regions {
		long = long || w.ahead(r.work) < r.work
	}
	if !long {
		return nil
	}
	p := &prepaid{f: f, list: w.functions, ahead: uint64(w.o.Ahead), free: uint64(max(w.o.Free, 0))}
	p.open = []openBlock{{start: unreached, end: unreached}}
	whole := f.regions[0].work
	p.regions = []openRegion{{int64(w.ahead(f.entry)), whole}}
	if f.entry == 0 { // counted by callers, or at the first loop's head
		p.regions[0].paid = int64(whole)
	}
	return p
}

// ahead returns what the head of a region of this much work counts.
func (w *writer) ahead(work uint64) uint64 { return min(work, uint64(w.o.Ahead)) }

// follow returns the work to count before an instruction, or 0.
func (p *prepaid) follow(i *wasm.Instr) (count uint64) {
	r := &p.regions[len(p.regions)-1]
	n := work(i.Op)
	switch i.Op {
	case wasm.OpCall:
		n += p.f.calls[p.calls].work(p.list)
		p.calls++
	case wasm.OpCallIndirect:
		n += p.free
	}
	// An end or else takes no time, and a count before it would follow a branch.
	if i.Op != wasm.OpEnd && i.Op != wasm.OpElse {
		if r.paid < int64(n) {
			count = max(n, min(p.ahead, r.left))
			r.paid += int64(count)
		}
		r.paid -= int64(n)
	}
	r.left -= min(n, r.left)
	p.control(i)
	return count
}

// control follows where control goes after an instruction.
func (p *prepaid) control(i *wasm.Instr) {
	r := &p.regions[len(p.regions)-1]
	top := &p.open[len(p.open)-1]
	switch i.Op {
	case wasm.OpBlock:
		p.open = append(p.open, openBlock{region: len(p.regions) - 1, start: unreached, end: unreached})
	case wasm.OpIf:
		p.open = append(p.open, openBlock{region: len(p.regions) - 1, start: r.paid, end: unreached})
	case wasm.OpElse:
		top.end = min(top.end, r.paid)
		r.paid, top.start = top.start, unreached
	case wasm.OpLoop:
		p.loops++
		n := p.f.regions[p.loops].work
		p.open = append(p.open, openBlock{loop: true, region: len(p.regions) - 1})
		p.regions = append(p.regions, openRegion{int64(min(n, p.ahead)), n})
	case wasm.OpEnd:
		if top.loop {
			p.regions = p.regions[:len(p.regions)-1]
		} else {
			r.paid = min(r.paid, top.start, top.end)
		}
		p.open = p.open[:len(p.open)-1]
	case wasm.OpBr:
		p.branch(i.A)
		r.paid = unreached
	case wasm.OpBrIf:
		p.branch(i.A)
	case wasm.OpBrTable:
		for _, label := range i.Targets {
			p.branch(uint64(label))
		}
		r.paid = unreached
	case wasm.OpReturn, wasm.OpUnreachable:
		r.paid = unreached
	}
}

// branch notes what is paid at a branch. What is paid of a region around open loops is as it was
// before the outermost of them.
func (p *prepaid) branch(label uint64) {
	if to := &p.open[len(p.open)-1-int(label)]; !to.loop {
		to.end = min(to.end, p.regions[to.region].paid)
	}
}
