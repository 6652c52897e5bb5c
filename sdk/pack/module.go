package pack

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// module is the content of a plugin's import and export sections (WebAssembly Core 2.0,
// section 5.5).
type module struct {
	types     []string // "(i32 i32) -> i64"
	functions []uint32 // the type of each function, imported ones first
	imports   []string // modules, one for each import
	names     []string // MODULE.NAME, one for each import
	exports   map[string]string
}

// importModules returns the names of the imported modules, sorted, each once.
func (m *module) importModules() []string {
	return slices.Compact(slices.Sorted(slices.Values(m.imports)))
}

var header = []byte("\x00asm\x01\x00\x00\x00")

// maxCount is a limit on counts, far above those of a Go program. Every element takes at
// least a byte, so the module's size bounds them further.
const maxCount = 1 << 20

func readModule(data []byte) (*module, error) {
	if !bytes.HasPrefix(data, header) {
		return nil, fmt.Errorf("not a WebAssembly 1 core module")
	}
	m := &module{exports: map[string]string{}}
	r := &reader{b: data[len(header):]}
	for len(r.b) > 0 && r.err == nil {
		id := r.byte()
		section := &reader{b: r.bytes(r.u32())}
		switch id {
		case 1:
			section.each(func() { m.types = append(m.types, section.funcType()) })
		case 2:
			section.each(func() { m.readImport(section) })
		case 3:
			section.each(func() { m.functions = append(m.functions, section.u32()) })
		case 7:
			section.each(func() { m.readExport(section) })
		}
		if section.err != nil {
			return nil, fmt.Errorf("module: section %d: %w", id, section.err)
		}
	}
	if r.err != nil {
		return nil, fmt.Errorf("module: %w", r.err)
	}
	return m, nil
}

func (m *module) readImport(r *reader) {
	from, name := r.name(), r.name()
	m.imports, m.names = append(m.imports, from), append(m.names, from+"."+name)
	switch kind := r.byte(); kind {
	case 0:
		m.functions = append(m.functions, r.u32())
	case 1:
		r.byte()
		r.limits()
	case 2:
		r.limits()
	case 3:
		r.bytes(2)
	default:
		r.fail("import of unknown kind %d", kind)
	}
}

func (m *module) readExport(r *reader) {
	name, kind, index := r.name(), r.byte(), r.u32()
	switch kind {
	case 0:
		m.exports[name] = m.signature(index)
	case 2:
		m.exports[name] = "memory"
	default:
		m.exports[name] = "neither a function nor a memory"
	}
}

func (m *module) signature(function uint32) string {
	if int(function) >= len(m.functions) || int(m.functions[function]) >= len(m.types) {
		return "a function without a type"
	}
	return m.types[m.functions[function]]
}

// reader reads a section. It keeps the first error; reads after it return zero values.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
	r.b = nil
}

func (r *reader) bytes(n uint32) []byte {
	if uint64(n) > uint64(len(r.b)) {
		r.fail("runs past the end")
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.bytes(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (r *reader) u32() uint32 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 5 || v > 1<<32-1 {
		r.fail("bad integer")
		return 0
	}
	r.b = r.b[n:]
	return uint32(v)
}

func (r *reader) name() string { return string(r.bytes(r.u32())) }

func (r *reader) each(read func()) {
	n := r.u32()
	if n > maxCount {
		r.fail("counts %d elements", n)
	}
	for ; n > 0 && r.err == nil; n-- {
		read()
	}
}

func (r *reader) limits() {
	flags := r.byte()
	r.u32()
	if flags&1 != 0 {
		r.u32()
	}
}

var valueTypes = map[byte]string{0x7f: "i32", 0x7e: "i64", 0x7d: "f32", 0x7c: "f64", 0x7b: "v128", 0x70: "funcref", 0x6f: "externref"}

func (r *reader) funcType() string {
	if r.byte() != 0x60 {
		r.fail("is not a function type")
	}
	params, results := r.valueTypes(), r.valueTypes()
	return "(" + params + ") -> " + results
}

func (r *reader) valueTypes() string {
	var names []string
	for _, b := range r.bytes(r.u32()) {
		name, ok := valueTypes[b]
		if !ok {
			r.fail("unknown value type %#x", b)
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}
