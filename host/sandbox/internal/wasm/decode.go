package wasm

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/text"
)

type decoder struct {
	m         *Module
	limits    Limits
	imported  [4]int // by Kind
	names     map[string]bool
	codeSeen  bool
	dataSeen  bool
	dataCount uint32
	entries   int // of element segments
	locals    int // of all functions
	open      []Op
	instr     Instr
}

// total is the size of an index space.
func (d *decoder) total(k Kind) int {
	n := d.imported[k]
	switch k {
	case KindFunction:
		n += len(d.m.Functions)
	case KindTable:
		n += len(d.m.Tables)
	case KindMemory:
		n += len(d.m.Memories)
	case KindGlobal:
		n += len(d.m.Globals)
	}
	return n
}

// sections, by number, with the order that the format requires (spec 5.5.16).
var sections = [...]struct {
	name  string
	order int
	read  func(*decoder, *reader)
}{
	1:  {"type", 1, (*decoder).types},
	2:  {"import", 2, (*decoder).imports},
	3:  {"function", 3, (*decoder).functions},
	4:  {"table", 4, (*decoder).tables},
	5:  {"memory", 5, (*decoder).memories},
	6:  {"global", 6, (*decoder).globals},
	7:  {"export", 7, (*decoder).exports},
	8:  {"start", 8, (*decoder).start},
	9:  {"element", 9, (*decoder).elements},
	10: {"code", 11, (*decoder).code},
	11: {"data", 12, (*decoder).data},
	12: {"data count", 10, (*decoder).count},
}

// Decode reads a module. The error is an *Error. The Module shares memory with b.
func Decode(b []byte, l Limits) (*Module, error) {
	d := &decoder{m: &Module{}, limits: l.WithDefaults(), names: make(map[string]bool)}
	r := &reader{b: b, end: len(b), function: -1}
	if r.within("bytes", uint64(len(b)), d.limits.ModuleBytes) {
		d.module(r)
	}
	if r.err != nil {
		return nil, r.err
	}
	return d.m, nil
}

func (d *decoder) module(r *reader) {
	switch header := r.bytes(8); {
	case r.err != nil:
	case !bytes.Equal(header[:4], []byte("\x00asm")):
		r.refuseAt(0, ErrMalformed, "magic number missing")
	case bytes.Equal(header[4:], []byte{0x0d, 0, 1, 0}):
		r.refuseAt(4, ErrUnsupported, "component model")
	case !bytes.Equal(header[4:], []byte{1, 0, 0, 0}):
		r.refuseAt(4, ErrMalformed, "unknown version")
	}
	last := 0
	for r.err == nil && r.left() > 0 {
		last = d.section(r, last)
	}
	if r.err != nil {
		return
	}
	if !d.codeSeen && len(d.m.Functions) > 0 {
		r.malformed("%d functions without a code section", len(d.m.Functions))
	}
	if d.m.DataCount && !d.dataSeen && d.dataCount > 0 {
		r.malformed("data count without a data section")
	}
}

// section reads one section and returns its place in the order.
func (d *decoder) section(r *reader, last int) int {
	at := r.at
	id := int(r.byte())
	size := uint64(r.u32())
	start := r.at
	r.bytes(size)
	if r.err != nil {
		return last
	}
	body := reader{b: r.b, at: start, end: r.at, function: -1}
	switch {
	case id == 0:
		body.section = "custom"
		d.custom(&body)
	case id == 13:
		r.refuseAt(at, ErrUnsupported, "exception handling (tag section)")
	case id >= len(sections):
		r.refuseAt(at, ErrMalformed, fmt.Sprintf("unknown section %d", id))
	case sections[id].order <= last:
		r.refuseAt(at, ErrMalformed, sections[id].name+" section out of order or repeated")
	default:
		body.section, last = sections[id].name, sections[id].order
		sections[id].read(d, &body)
		if body.err == nil && body.left() > 0 {
			body.malformed("%d bytes after the section's content", body.left())
		}
	}
	if r.err == nil {
		r.err = body.err
	}
	return last
}

func (d *decoder) custom(r *reader) {
	name := r.name(d.limits.NameBytes)
	if r.err != nil || !r.within("custom sections", uint64(len(d.m.Customs)+1), d.limits.CustomSections) {
		return
	}
	d.m.Customs = append(d.m.Customs, Custom{Name: name, Bytes: r.b[r.at:r.end]})
	if name == "name" {
		d.debugNames(*r)
	}
}

func (d *decoder) types(r *reader) {
	n, values := r.count("types", d.limits.Types), 0
	for range n {
		switch b := r.byte(); b {
		case 0x60:
		case 0x4e, 0x4f, 0x50, 0x5e, 0x5f:
			r.refuseAt(r.at-1, ErrUnsupported, "garbage collection types")
		default:
			r.at--
			r.malformed("unknown form of type %#x", b)
		}
		t := FuncType{
			Params:  r.valueTypes("parameters", d.limits.Params),
			Results: r.valueTypes("results", d.limits.Results),
		}
		if values += len(t.Params) + len(t.Results); !r.within("parameters and results of all types", uint64(values), d.limits.AllParams) {
			return
		}
		d.m.Types = append(d.m.Types, t)
	}
}

func (d *decoder) imports(r *reader) {
	for range r.count("imports", d.limits.Imports) {
		i := Import{Module: r.name(d.limits.NameBytes), Name: r.name(d.limits.NameBytes)}
		at := r.at
		i.Kind = Kind(r.byte())
		switch i.Kind {
		case KindFunction:
			i.Function = r.index("type", len(d.m.Types))
		case KindTable:
			i.Table = d.tableType(r)
		case KindMemory:
			i.Memory = d.memoryType(r)
		case KindGlobal:
			i.Global = r.globalType()
		case 4:
			r.refuseAt(at, ErrUnsupported, "exception handling (imported tag)")
		default:
			r.refuseAt(at, ErrMalformed, "unknown kind of import")
		}
		if r.err == nil && i.Kind != KindFunction && !d.limits.ImportedState {
			r.refuseAt(at, ErrUnsupported, fmt.Sprintf("imported %s %s.%s: a guest defines its own", i.Kind, text.Short(i.Module), text.Short(i.Name)))
		}
		if r.err != nil {
			return
		}
		d.m.Imports = append(d.m.Imports, i)
		d.imported[i.Kind]++
	}
	d.countTablesAndMemories(r)
}

func (d *decoder) countTablesAndMemories(r *reader) {
	r.within("tables", uint64(d.total(KindTable)), d.limits.Tables)
	if n := d.total(KindMemory); n > 1 {
		r.refuse(ErrUnsupported, "more than one memory")
	} else {
		r.within("memories", uint64(n), d.limits.Memories)
	}
}

func (d *decoder) functions(r *reader) {
	n := r.count("functions", d.limits.Functions)
	d.m.Functions = make([]uint32, 0, n)
	for range n {
		d.m.Functions = append(d.m.Functions, r.index("type", len(d.m.Types)))
	}
}

func (d *decoder) tables(r *reader) {
	n := r.count("tables", d.limits.Tables)
	for range n {
		d.m.Tables = append(d.m.Tables, d.tableType(r))
	}
	d.countTablesAndMemories(r)
}

func (d *decoder) memories(r *reader) {
	n := r.count("memories", 1<<16)
	for range n {
		d.m.Memories = append(d.m.Memories, d.memoryType(r))
		d.countTablesAndMemories(r)
		if r.err != nil {
			return
		}
	}
}

func (d *decoder) globals(r *reader) {
	for range r.count("globals", d.limits.Globals) {
		g := Global{GlobalType: r.globalType()}
		g.Init = d.constant(r)
		if r.err != nil {
			return
		}
		d.m.Globals = append(d.m.Globals, g)
	}
}

func (d *decoder) exports(r *reader) {
	for range r.count("exports", d.limits.Exports) {
		e := Export{Name: r.name(d.limits.NameBytes)}
		at := r.at
		if e.Kind = Kind(r.byte()); e.Kind > KindGlobal {
			r.refuseAt(at, ErrMalformed, "unknown kind of export")
			return
		}
		e.Index = r.index(e.Kind.String(), d.total(e.Kind))
		if r.err == nil && d.names[e.Name] {
			r.refuseAt(at, ErrMalformed, fmt.Sprintf("duplicate export %q", text.Short(e.Name)))
		}
		if r.err != nil {
			return
		}
		d.names[e.Name] = true
		d.m.Exports = append(d.m.Exports, e)
	}
}

func (d *decoder) start(r *reader) {
	i := r.index("function", d.total(KindFunction))
	d.m.Start = &i
}

func (d *decoder) count(r *reader) {
	d.dataCount, d.m.DataCount = r.u32(), true
	r.within("data segments", uint64(d.dataCount), d.limits.DataSegments)
}

func (d *decoder) code(r *reader) {
	d.codeSeen = true
	n := r.count("function bodies", d.limits.Functions)
	if r.err == nil && n != len(d.m.Functions) {
		r.malformed("%d bodies for %d functions", n, len(d.m.Functions))
	}
	d.m.Code = make([]Body, 0, n)
	for k := range n {
		function := d.imported[KindFunction] + k
		r.function = function
		size := uint64(r.u32())
		if r.err != nil || !r.within("bytes of a function", size, d.limits.BodyBytes) {
			return
		}
		start := r.at
		r.bytes(size)
		if r.err != nil {
			return
		}
		body := reader{b: r.b, at: start, end: r.at, section: r.section, function: function}
		d.m.Code = append(d.m.Code, d.body(&body, function))
		if r.err = body.err; r.err != nil {
			return
		}
	}
	r.function = -1
}

func (d *decoder) data(r *reader) {
	d.dataSeen = true
	n := r.count("data segments", d.limits.DataSegments)
	if d.m.DataCount && r.err == nil && n != int(d.dataCount) {
		r.malformed("%d data segments, but the data count is %d", n, d.dataCount)
	}
	for range n {
		var s Data
		switch flag := r.u32(); flag {
		case 0, 2:
			if at := r.at; flag == 2 && r.u32() != 0 {
				r.refuseAt(at, ErrUnsupported, "more than one memory")
			}
			if r.err == nil && d.total(KindMemory) == 0 {
				r.malformed("unknown memory 0")
			}
			s.Offset = d.constant(r)
		case 1:
			s.Mode = Passive
		default:
			r.malformed("unknown form of data segment %d", flag)
		}
		s.Bytes = r.bytes(uint64(r.u32()))
		if r.err != nil {
			return
		}
		d.m.Data = append(d.m.Data, s)
	}
}

// constant reads a constant expression of Wasm 2.0: one instruction and its end.
func (d *decoder) constant(r *reader) Instr {
	at := r.at
	var i Instr
	r.read(&i)
	if r.err != nil {
		return i
	}
	switch i.Op {
	case OpI32Const, OpI64Const, opF32Const, opF64Const, opV128Const, OpRefNull:
	case OpRefFunc:
		if i.A >= uint64(d.total(KindFunction)) {
			r.refuseAt(at, ErrMalformed, fmt.Sprintf("unknown function %d", i.A))
		}
	case OpGlobalGet:
		if i.A >= uint64(d.imported[KindGlobal]) {
			r.refuseAt(at, ErrMalformed, fmt.Sprintf("constant refers to global %d, which is not imported", i.A))
		}
	case OpEnd:
		r.refuseAt(at, ErrMalformed, "empty constant expression")
	default:
		r.refuseAt(at, ErrUnsupported, fmt.Sprintf("extended constant expressions (instruction %#x)", uint16(i.Op)))
	}
	extended := []byte{0x6a, 0x6b, 0x6c, 0x7c, 0x7d, 0x7e}
	at = r.at
	if end := r.byte(); r.err == nil && end != byte(OpEnd) {
		if next := slices.Contains(extended, end); next || plain[end] == immI32 || plain[end] == immI64 {
			r.refuseAt(at, ErrUnsupported, "extended constant expressions")
		}
		r.refuseAt(at, ErrMalformed, "constant expression of more than one instruction")
	}
	return i
}
