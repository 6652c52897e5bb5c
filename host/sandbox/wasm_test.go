package sandbox_test

import (
	"encoding/binary"
	"slices"
)

// A WebAssembly module by hand (core specification, section 5): each section's
// entries are given in binary form. Empty sections are left out.
type handmade struct {
	types, imports, funcs, tables, memories, globals, exports, elements, data [][]byte

	start  []byte
	bodies [][]byte // instructions without the final end; no locals
}

const (
	typI32, typI64 = 0x7f, 0x7e

	opUnreachable = 0x00
	opLoop        = 0x03
	opEnd         = 0x0b
	opBr          = 0x0c
	opCall        = 0x10
	opDrop        = 0x1a
	opLocalGet    = 0x20
	opGlobalGet   = 0x23
	opGlobalSet   = 0x24
	opI32Load     = 0x28
	opI32Store    = 0x36
	opMemorySize  = 0x3f
	opMemoryGrow  = 0x40
	opI32Const    = 0x41
	opI64Const    = 0x42
	opI32Add      = 0x6a
	opBulk        = 0xfc
	opVoid        = 0x40
)

func u(n int) []byte { return binary.AppendUvarint(nil, uint64(n)) }

// s is a signed LEB128.
func s(n int64) (out []byte) {
	for {
		b := byte(n & 0x7f)
		n >>= 7
		if n == 0 && b&0x40 == 0 || n == -1 && b&0x40 != 0 {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}

// code joins bytes, byte slices and numbers below 128.
func code(parts ...any) (out []byte) {
	for _, p := range parts {
		switch p := p.(type) {
		case []byte:
			out = append(out, p...)
		case int:
			out = append(out, byte(p))
		case string:
			out = append(append(out, u(len(p))...), p...)
		}
	}
	return out
}

func i32const(n int) []byte { return code(opI32Const, s(int64(n))) }

func vector(items [][]byte) []byte { return append(u(len(items)), slices.Concat(items...)...) }

func (h handmade) bytes() []byte {
	out := []byte("\x00asm\x01\x00\x00\x00")
	section := func(id byte, content []byte) {
		out = append(append(append(out, id), u(len(content))...), content...)
	}
	bodies := make([][]byte, len(h.bodies))
	for i, b := range h.bodies {
		body := code(0, b, opEnd)
		bodies[i] = append(u(len(body)), body...)
	}
	for id, items := range [][][]byte{
		1: h.types, 2: h.imports, 3: h.funcs, 4: h.tables, 5: h.memories, 6: h.globals, 7: h.exports,
		8: nil, 9: h.elements, 10: bodies, 11: h.data,
	} {
		if id == 8 && h.start != nil {
			section(8, h.start)
		}
		if len(items) > 0 {
			section(byte(id), vector(items))
		}
	}
	return out
}

// small is a module with one memory page (at most max), whose functions are
// all () -> () and of which the last is exported as "run".
func small(max int, bodies ...[]byte) handmade {
	h := handmade{
		types:    [][]byte{code(0x60, 0, 0)},
		memories: [][]byte{code(1, 1, u(max))},
		exports:  [][]byte{code("memory", 2, 0), code("run", 0, u(len(bodies)-1))},
		bodies:   bodies,
	}
	for range bodies {
		h.funcs = append(h.funcs, u(0))
	}
	return h
}
