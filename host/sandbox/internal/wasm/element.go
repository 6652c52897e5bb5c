package wasm

// elements reads the element section; the eight forms are those of spec 5.5.12.
func (d *decoder) elements(r *reader) {
	for range r.count("element segments", d.limits.Elements) {
		flag := r.u32()
		if r.err == nil && flag > 7 {
			r.malformed("unknown form of element segment %d", flag)
		}
		passive, explicit, exprs := flag&1 != 0, flag&2 != 0, flag&4 != 0
		e := Element{Type: FuncRef}
		switch {
		case passive && explicit:
			e.Mode = Declarative
		case passive:
			e.Mode = Passive
		default:
			if explicit {
				e.Table = r.u32()
			}
			if r.err == nil && uint64(e.Table) >= uint64(d.total(KindTable)) {
				r.malformed("unknown table %d", e.Table)
			}
			e.Offset = d.constant(r)
		}
		if passive || explicit {
			e.Type = r.elementType(exprs)
		}
		d.entriesOf(r, &e, exprs)
		if r.err != nil {
			return
		}
		d.m.Elements = append(d.m.Elements, e)
	}
}

func (r *reader) elementType(exprs bool) ValueType {
	if exprs {
		return r.refType()
	}
	if kind := r.byte(); r.err == nil && kind != 0 {
		r.at--
		r.malformed("unknown kind of element %#x", kind)
	}
	return FuncRef
}

func (d *decoder) entriesOf(r *reader, e *Element, exprs bool) {
	n := r.count("elements", d.limits.ElementEntries)
	d.entries += n
	if r.err != nil || !r.within("elements of all segments", uint64(d.entries), d.limits.ElementEntries) {
		return
	}
	if exprs {
		e.Exprs = make([]Instr, 0, min(n, 1024))
		for k := 0; k < n && r.err == nil; k++ {
			e.Exprs = append(e.Exprs, d.constant(r))
		}
		return
	}
	e.Functions = make([]uint32, 0, n)
	for range n {
		e.Functions = append(e.Functions, r.index("function", d.total(KindFunction)))
	}
}
