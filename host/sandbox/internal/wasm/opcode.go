package wasm

import "fmt"

// Op is an instruction: its byte, or prefix<<8 | number.
type Op uint16

// The instructions that other packages name.
const (
	OpUnreachable  Op = 0x00
	OpBlock        Op = 0x02
	OpLoop         Op = 0x03
	OpIf           Op = 0x04
	OpElse         Op = 0x05
	OpEnd          Op = 0x0b
	OpBr           Op = 0x0c
	OpBrIf         Op = 0x0d
	OpBrTable      Op = 0x0e
	OpReturn       Op = 0x0f
	OpCall         Op = 0x10
	OpCallIndirect Op = 0x11
	OpSelect       Op = 0x1b
	OpLocalGet     Op = 0x20
	OpLocalSet     Op = 0x21
	OpLocalTee     Op = 0x22
	OpGlobalGet    Op = 0x23
	OpGlobalSet    Op = 0x24
	OpTableGet     Op = 0x25
	OpTableSet     Op = 0x26
	OpMemorySize   Op = 0x3f
	OpMemoryGrow   Op = 0x40
	OpI32Const     Op = 0x41
	OpI64Const     Op = 0x42
	OpI32LtS       Op = 0x48
	OpI32LtU       Op = 0x49
	OpI32GtS       Op = 0x4a
	OpI32GtU       Op = 0x4b
	OpI32LeU       Op = 0x4d
	OpI64LtS       Op = 0x53
	OpI64GtU       Op = 0x56
	OpI32Add       Op = 0x6a
	OpI32Sub       Op = 0x6b
	OpI64Add       Op = 0x7c
	OpI64Sub       Op = 0x7d
	OpI64Shl       Op = 0x86
	OpI64ShrU      Op = 0x88
	OpI64ExtendU   Op = 0xad
	OpRefNull      Op = 0xd0
	OpRefFunc      Op = 0xd2
	OpMemoryInit   Op = 0xfc08
	OpDataDrop     Op = 0xfc09
	OpMemoryCopy   Op = 0xfc0a
	OpMemoryFill   Op = 0xfc0b
	OpTableInit    Op = 0xfc0c
	OpElemDrop     Op = 0xfc0d
	OpTableCopy    Op = 0xfc0e
	OpTableGrow    Op = 0xfc0f
	OpTableSize    Op = 0xfc10
	OpTableFill    Op = 0xfc11

	opF32Const  Op = 0x43
	opF64Const  Op = 0x44
	opV128Const Op = 0xfd0c
)

// bulk reports whether the work depends on an operand, so that counting it needs additional code.
func (op Op) bulk() bool {
	return op >= OpMemoryInit && op <= OpTableFill && op != OpDataDrop && op != OpElemDrop && op != OpTableSize
}

// immediate is the form of an opcode's immediates.
type immediate byte

const (
	immUnknown immediate = iota
	immNone
	immBlock
	immLabel
	immTargets
	immFunction
	immIndirect // type, table
	immLocal
	immGlobal
	immTable
	immMemArg
	immMemArgLane
	immMemory
	immMemories
	immDataMemory
	immData
	immElemTable
	immElem
	immTables
	immI32
	immI64
	immF32
	immF64
	immRefType
	immTypes
	immLane
	immBytes16
)

var (
	plain  [256]immediate
	bulk   [18]immediate
	vector [256]immediate
)

func fill(t []immediate, from, to int, k immediate) {
	for i := from; i <= to; i++ {
		t[i] = k
	}
}

// Numbers and shapes follow section 5.4 of the specification, version 2.0.
func init() {
	fill(plain[:], 0x00, 0x01, immNone)
	fill(plain[:], 0x02, 0x04, immBlock)
	plain[0x05], plain[0x0b] = immNone, immNone
	fill(plain[:], 0x0c, 0x0d, immLabel)
	plain[0x0e], plain[0x0f] = immTargets, immNone
	plain[0x10], plain[0x11] = immFunction, immIndirect
	fill(plain[:], 0x1a, 0x1b, immNone)
	plain[0x1c] = immTypes
	fill(plain[:], 0x20, 0x22, immLocal)
	fill(plain[:], 0x23, 0x24, immGlobal)
	fill(plain[:], 0x25, 0x26, immTable)
	fill(plain[:], 0x28, 0x3e, immMemArg)
	fill(plain[:], 0x3f, 0x40, immMemory)
	plain[0x41], plain[0x42], plain[0x43], plain[0x44] = immI32, immI64, immF32, immF64
	fill(plain[:], 0x45, 0xc4, immNone)
	plain[0xd0], plain[0xd1], plain[0xd2] = immRefType, immNone, immFunction

	fill(bulk[:], 0, 7, immNone)
	bulk[8], bulk[9], bulk[10], bulk[11] = immDataMemory, immData, immMemories, immMemory
	bulk[12], bulk[13], bulk[14] = immElemTable, immElem, immTables
	fill(bulk[:], 15, 17, immTable)

	fill(vector[:], 0x00, 0xff, immNone)
	fill(vector[:], 0x00, 0x0b, immMemArg)
	fill(vector[:], 0x0c, 0x0d, immBytes16)
	fill(vector[:], 0x15, 0x22, immLane)
	fill(vector[:], 0x54, 0x5b, immMemArgLane)
	fill(vector[:], 0x5c, 0x5d, immMemArg)
	for _, hole := range []int{
		0x9a, 0xa2, 0xa5, 0xa6, 0xaf, 0xb0, 0xb2, 0xb3, 0xb4, 0xbb,
		0xc2, 0xc5, 0xc6, 0xcf, 0xd0, 0xd2, 0xd3, 0xd4, 0xe2, 0xee,
	} {
		vector[hole] = immUnknown
	}
}

// opcode reads an instruction's number and the shape of its immediates.
func (r *reader) opcode() (Op, immediate) {
	at := r.at
	b := r.byte()
	if r.err != nil {
		return 0, immUnknown
	}
	op, shape := Op(b), plain[b]
	if b == 0xfc || b == 0xfd {
		n := r.u32()
		table := bulk[:]
		if b == 0xfd {
			table = vector[:]
		}
		if n >= uint32(len(table)) {
			r.refuseAt(at, ErrUnsupported, prefixed(b, n))
			return 0, immUnknown
		}
		op, shape = Op(b)<<8|Op(n), table[n]
	}
	if shape == immUnknown && r.err == nil {
		kind, reason := unknown(op)
		r.refuseAt(at, kind, reason)
	}
	return op, shape
}

func prefixed(prefix byte, n uint32) string {
	if prefix == 0xfd && n < 0x120 {
		return fmt.Sprintf("relaxed SIMD (instruction %#x %#x)", prefix, n)
	}
	return fmt.Sprintf("instruction %#x %#x", prefix, n)
}

func unknown(op Op) (kind error, reason string) {
	feature := ""
	switch {
	case op >= 0x06 && op <= 0x0a || op == 0x18 || op == 0x19 || op == 0x1f:
		feature = "exception handling"
	case op == 0x12 || op == 0x13:
		feature = "tail calls"
	case op == 0x14 || op == 0x15 || op >= 0xd3 && op <= 0xd6:
		feature = "typed function references"
	case op == 0xfb:
		feature = "garbage collection"
	case op == 0xfe:
		feature = "threads and atomics"
	default:
		return ErrMalformed, fmt.Sprintf("unknown instruction %#x", uint16(op))
	}
	return ErrUnsupported, fmt.Sprintf("%s (instruction %#x)", feature, uint16(op))
}
