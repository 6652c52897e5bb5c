package wasm

import "fmt"

func (t ValueType) valid() bool {
	return t >= V128 && t <= I32 || t.Reference()
}

func (r *reader) valueType() ValueType {
	t := ValueType(r.byte())
	if r.err == nil && !t.valid() {
		r.at--
		r.refuseType(t)
	}
	return t
}

func (r *reader) refType() ValueType {
	t := ValueType(r.byte())
	if r.err == nil && !t.Reference() {
		r.at--
		r.refuseType(t)
	}
	return t
}

func (r *reader) refuseType(t ValueType) {
	switch {
	case t == 0x69 || t == 0x74:
		r.refuse(ErrUnsupported, "exception handling (type)")
	case t >= 0x63 && t <= 0x64:
		r.refuse(ErrUnsupported, "typed function references (type)")
	case t >= 0x6a && t <= 0x78 && !t.Reference():
		r.refuse(ErrUnsupported, "garbage collection (type)")
	default:
		r.malformed("unknown type %#x", byte(t))
	}
}

func (r *reader) valueTypes(what string, max int) []ValueType {
	n := r.count(what, max)
	if n == 0 {
		return nil
	}
	list := make([]ValueType, 0, n)
	for range n {
		list = append(list, r.valueType())
	}
	return list
}

func (r *reader) globalType() GlobalType {
	g := GlobalType{Type: r.valueType()}
	switch b := r.byte(); b {
	case 0:
	case 1:
		g.Mutable = true
	default:
		r.at--
		r.malformed("unknown mutability %#x", b)
	}
	return g
}

// size reads a range; what names it in errors.
func (r *reader) size(what string) (s Range) {
	at, flag := r.at, r.byte()
	switch {
	case r.err != nil || flag <= 1:
	case flag <= 3:
		r.refuseAt(at, ErrUnsupported, "threads (shared "+what+")")
	case flag <= 7:
		r.refuseAt(at, ErrUnsupported, "64-bit "+what)
	default:
		r.refuseAt(at, ErrMalformed, fmt.Sprintf("unknown form of range %#x", flag))
	}
	s.Min = r.u32()
	if flag == 1 {
		s.Max, s.HasMax = r.u32(), true
		if r.err == nil && s.Max < s.Min {
			r.malformed("%s with minimum %d above its maximum %d", what, s.Min, s.Max)
		}
	}
	return s
}

func (d *decoder) tableType(r *reader) TableType {
	t := TableType{}
	if r.err == nil && r.left() > 0 && r.b[r.at] == 0x40 {
		r.refuse(ErrUnsupported, "typed function references (table with initial value)")
	}
	t.Type = r.refType()
	t.Range = r.size("table")
	if r.err == nil {
		r.within("entries of a table", uint64(t.Min), d.limits.TableEntries)
	}
	return t
}

func (d *decoder) memoryType(r *reader) Range {
	s := r.size("memory")
	if r.err == nil && (s.Min > maxPages || s.HasMax && s.Max > maxPages) {
		r.malformed("memory of more than 65536 pages")
	}
	if r.err == nil {
		r.within("pages of memory", uint64(s.Min), d.limits.MemoryPages)
	}
	return s
}
