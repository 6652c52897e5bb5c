package wasm

import (
	"encoding/binary"
	"iter"
)

// Instr is one instruction. The meaning of A and B depends on Op:
//
//	block, loop, if            A: block type as int64: -64 empty, other negatives a value type, else a type index
//	br, br_if                  A: label
//	call, ref.func             A: function
//	call_indirect              A: type, B: table
//	local.*, global.*          A: index
//	table.*, elem.*, data.*    A: first index of the binary format, B: second
//	loads and stores           A: alignment exponent, B: offset
//	i32.const, i64.const       A: the value, sign-extended
//	f32.const, f64.const       A: the bits
//	ref.null                   A: the type
type Instr struct {
	Op      Op
	Lane    byte
	A, B    uint64
	Bytes   [16]byte    // v128.const and i8x16.shuffle
	Targets []uint32    // br_table, the default last; reused by the iterator
	Types   []ValueType // select with types; reused by the iterator
}

// Empty is the block type without parameters and results.
const Empty = ^uint64(63) // -64

// read reads the next instruction into i, its indices still unchecked.
func (r *reader) read(i *Instr) immediate {
	op, shape := r.opcode()
	i.Op, i.A, i.B = op, 0, 0
	switch shape {
	case immBlock:
		i.A = uint64(r.signed(33))
	case immLabel, immFunction, immLocal, immGlobal, immTable, immData, immElem:
		i.A = uint64(r.u32())
	case immIndirect, immElemTable, immTables:
		i.A, i.B = uint64(r.u32()), uint64(r.u32())
	case immTargets:
		r.readTargets(i)
	case immMemArg, immMemArgLane:
		r.readMemArg(i)
		if shape == immMemArgLane {
			i.Lane = r.byte()
		}
	case immMemory:
		r.zero("more than one memory")
	case immMemories:
		r.zero("more than one memory")
		r.zero("more than one memory")
	case immDataMemory:
		i.A = uint64(r.u32())
		r.zero("more than one memory")
	case immTypes:
		i.Types = i.Types[:0]
		for range r.count("types of a select", 1) {
			i.Types = append(i.Types, r.valueType())
		}
	case immLane:
		i.Lane = r.byte()
	case immRefType:
		i.A = uint64(r.refType())
	default:
		r.readConst(i, shape)
	}
	return shape
}

func (r *reader) readConst(i *Instr, shape immediate) {
	switch shape {
	case immI32:
		i.A = uint64(r.signed(32))
	case immI64:
		i.A = uint64(r.signed(64))
	case immF32:
		if b := r.bytes(4); b != nil {
			i.A = uint64(binary.LittleEndian.Uint32(b))
		}
	case immF64:
		if b := r.bytes(8); b != nil {
			i.A = binary.LittleEndian.Uint64(b)
		}
	case immBytes16:
		copy(i.Bytes[:], r.bytes(16))
	}
}

func (r *reader) readTargets(i *Instr) {
	i.Targets = i.Targets[:0]
	n := r.u32()
	if r.err == nil && uint64(n) >= uint64(r.left()) {
		r.malformed("br_table of %d targets in %d bytes", n, r.left())
	}
	for k := uint32(0); k <= n && r.err == nil; k++ {
		i.Targets = append(i.Targets, r.u32())
	}
}

func (r *reader) readMemArg(i *Instr) {
	at := r.at
	i.A, i.B = uint64(r.u32()), uint64(r.u32())
	switch {
	case r.err != nil || i.A <= 4:
	case i.A >= 0x40 && i.A < 0x80:
		r.refuseAt(at, ErrUnsupported, "more than one memory")
	default:
		r.refuseAt(at, ErrMalformed, "alignment larger than natural")
	}
}

// Append appends the instruction in its shortest encoding.
func (i *Instr) Append(b []byte) []byte {
	b, shape := appendOp(b, i.Op)
	switch shape {
	case immBlock, immI32, immI64:
		return appendSigned(b, int64(i.A))
	case immLabel, immFunction, immLocal, immGlobal, immTable, immData, immElem:
		return appendU32(b, uint32(i.A))
	case immIndirect, immElemTable, immTables:
		return appendU32(appendU32(b, uint32(i.A)), uint32(i.B))
	case immTargets:
		b = appendU32(b, uint32(len(i.Targets)-1))
		for _, t := range i.Targets {
			b = appendU32(b, t)
		}
	case immMemArg:
		return appendU32(appendU32(b, uint32(i.A)), uint32(i.B))
	case immMemArgLane:
		return append(appendU32(appendU32(b, uint32(i.A)), uint32(i.B)), i.Lane)
	case immMemory:
		return append(b, 0)
	case immMemories:
		return append(b, 0, 0)
	case immDataMemory:
		return append(appendU32(b, uint32(i.A)), 0)
	case immF32:
		return binary.LittleEndian.AppendUint32(b, uint32(i.A))
	case immF64:
		return binary.LittleEndian.AppendUint64(b, i.A)
	case immRefType:
		return append(b, byte(i.A))
	case immTypes:
		b = appendU32(b, uint32(len(i.Types)))
		for _, t := range i.Types {
			b = append(b, byte(t))
		}
	case immLane:
		return append(b, i.Lane)
	case immBytes16:
		return append(b, i.Bytes[:]...)
	}
	return b
}

func appendOp(b []byte, op Op) ([]byte, immediate) {
	switch op >> 8 {
	case 0xfc:
		return append(b, 0xfc, byte(op)), bulk[byte(op)]
	case 0xfd:
		return appendU32(append(b, 0xfd), uint32(op&0xff)), vector[byte(op)]
	}
	return append(b, byte(op)), plain[byte(op)]
}

// Instrs iterates over the body's instructions. The Instr is valid until the next step; it may be
// modified.
func (b *Body) Instrs() iter.Seq[*Instr] {
	return func(yield func(*Instr) bool) {
		r := reader{b: b.Code, end: len(b.Code)}
		var i Instr
		for r.left() > 0 && r.err == nil {
			if r.read(&i); !yield(&i) {
				return
			}
		}
		if r.err != nil {
			panic(r.err) // Code did not come from Decode or Append
		}
	}
}
