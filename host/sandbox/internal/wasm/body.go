package wasm

import "fmt"

// body reads one entry of the code section, which ends at r.end, and checks everything except
// operand types: structure, indices, limits.
func (d *decoder) body(r *reader, function int) Body {
	params := len(d.m.Types[d.m.Functions[function-d.imported[KindFunction]]].Params)
	locals, total := d.localsOf(r, params)
	c := bodyCheck{d: d, r: r, locals: total, open: append(d.open[:0], OpBlock)}
	start := r.at
	for len(c.open) > 0 && r.err == nil {
		c.next(&d.instr)
	}
	d.open = c.open[:0]
	if r.err == nil && r.left() > 0 {
		r.malformed("code after the end of the function")
	}
	return Body{Locals: locals, Code: r.b[start:r.at]}
}

// localsOf reads runs of locals without expanding them: five bytes can declare
// four billion.
func (d *decoder) localsOf(r *reader, params int) ([]Locals, int) {
	n := r.count("runs of locals", d.limits.Locals)
	runs := make([]Locals, 0, n)
	total := uint64(params)
	for range n {
		l := Locals{Count: r.u32(), Type: r.valueType()}
		if total += uint64(l.Count); r.err != nil || !r.within("locals", total, d.limits.Locals) {
			return nil, 0
		}
		runs = append(runs, l)
	}
	if d.locals += int(total); !r.within("locals of all functions", uint64(d.locals), d.limits.AllLocals) {
		return nil, 0
	}
	return runs, int(total)
}

type bodyCheck struct {
	d      *decoder
	r      *reader
	locals int
	bulk   int  // operations
	open   []Op // the kind of each open block; that of the function is a block
}

func (c *bodyCheck) next(i *Instr) {
	r, m := c.r, c.d.m
	at := r.at
	shape := r.read(i)
	if r.err != nil {
		return
	}
	if i.Op.bulk() {
		c.bulk++
		r.within("bulk operations", uint64(c.bulk), c.d.limits.BulkOperations)
	}
	check := func(what string, index uint64, n int) {
		if index >= uint64(n) {
			r.refuseAt(at, ErrMalformed, fmt.Sprintf("unknown %s %d", what, index))
		}
	}
	switch shape {
	case immNone:
		c.structure(at, i.Op)
	case immBlock:
		c.block(at, i)
	case immLabel:
		check("label", i.A, len(c.open))
	case immTargets:
		c.targets(at, i)
	case immFunction:
		check("function", i.A, c.d.total(KindFunction))
	case immIndirect:
		check("type", i.A, len(m.Types))
		check("table", i.B, c.d.total(KindTable))
	case immLocal:
		check("local", i.A, c.locals)
	case immGlobal:
		check("global", i.A, c.d.total(KindGlobal))
	case immTable:
		check("table", i.A, c.d.total(KindTable))
	case immTables:
		check("table", max(i.A, i.B), c.d.total(KindTable))
	case immElemTable:
		check("table", i.B, c.d.total(KindTable))
		check("element segment", i.A, len(m.Elements))
	case immElem:
		check("element segment", i.A, len(m.Elements))
	case immMemArg, immMemArgLane, immMemory, immMemories:
		check("memory", 0, c.d.total(KindMemory))
	case immDataMemory:
		check("memory", 0, c.d.total(KindMemory))
		c.data(at, i.A)
	case immData:
		c.data(at, i.A)
	case immTypes:
		if len(i.Types) != 1 {
			r.refuseAt(at, ErrMalformed, "select with other than one type")
		}
	case immBytes16:
		c.shuffle(at, i)
	}
}

// structure checks else and end.
func (c *bodyCheck) structure(at int, op Op) {
	top := len(c.open) - 1
	switch op {
	case OpEnd:
		c.open = c.open[:top]
	case OpElse:
		if c.open[top] != OpIf {
			c.r.refuseAt(at, ErrMalformed, "else without if")
		}
		c.open[top] = OpElse
	}
}

func (c *bodyCheck) block(at int, i *Instr) {
	switch t := int64(i.A); {
	case t >= int64(len(c.d.m.Types)):
		c.r.refuseAt(at, ErrMalformed, fmt.Sprintf("unknown type %d", t))
	case t < 0 && t != -64 && !ValueType(t&0x7f).valid():
		c.r.refuseAt(at, ErrMalformed, fmt.Sprintf("unknown block type %#x", t&0x7f))
	}
	c.open = append(c.open, i.Op)
	depth := len(c.open) - 1
	c.r.within("nested blocks", uint64(depth), c.d.limits.Nesting)
	c.d.m.MaxNesting = max(c.d.m.MaxNesting, depth)
}

func (c *bodyCheck) targets(at int, i *Instr) {
	for _, t := range i.Targets {
		if uint64(t) >= uint64(len(c.open)) {
			c.r.refuseAt(at, ErrMalformed, fmt.Sprintf("unknown label %d", t))
			return
		}
	}
	n := len(i.Targets) - 1
	c.d.m.BranchTargets += n
	c.r.within("targets of a br_table", uint64(n), c.d.limits.BranchTargets)
	c.r.within("targets of all br_tables", uint64(c.d.m.BranchTargets), c.d.limits.AllTargets)
}

// data checks a data segment's index against the data count section, which is required for it
// (spec 5.5.16).
func (c *bodyCheck) data(at int, index uint64) {
	if !c.d.m.DataCount {
		c.r.refuseAt(at, ErrMalformed, "data count section required")
	} else if index >= uint64(c.d.dataCount) {
		c.r.refuseAt(at, ErrMalformed, fmt.Sprintf("unknown data segment %d", index))
	}
}

func (c *bodyCheck) shuffle(at int, i *Instr) {
	if i.Op == opV128Const {
		return
	}
	for _, lane := range i.Bytes {
		if lane >= 32 {
			c.r.refuseAt(at, ErrMalformed, "shuffle lane out of range")
		}
	}
}
