package rewrite

import (
	"fmt"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wasm"
)

// perByte is the fuel of a bulk operation on memory: the bytes per unit, as a power of two.
// Memory in the caches is moved faster; memory that was never accessed takes longer, since the
// kernel has to allocate it.
const perByte = 2

// bulk defines the fuel of the operand on top of the stack: a power of two by which it is
// divided, or multiplied if negative, and whether the operation fails without cost beyond a
// bound.
type bulk struct {
	shift int
	bound func(*writer) uint32
}

var bulkOps = map[wasm.Op]bulk{
	wasm.OpMemoryFill: {shift: perByte},
	wasm.OpMemoryCopy: {shift: perByte},
	wasm.OpMemoryInit: {shift: perByte},
	wasm.OpMemoryGrow: {shift: -10, bound: func(w *writer) uint32 { return w.maxPages }},
	wasm.OpTableFill:  {},
	wasm.OpTableCopy:  {},
	wasm.OpTableInit:  {},
	wasm.OpTableGrow:  {shift: -2, bound: func(w *writer) uint32 { return w.maxEntries }},
}

// countBulk pays for an operation by its size. The operand stays on the stack.
func (b *body) countBulk(op wasm.Op) {
	k, ok := bulkOps[op]
	if !ok {
		return
	}
	b.sized = true
	b.op(wasm.OpLocalTee, b.size)
	b.op(wasm.OpGlobalGet, b.w.fuel)
	b.op(wasm.OpLocalGet, b.size)
	if k.bound != nil {
		b.atMost(k.bound(b.w))
	}
	b.ops(wasm.OpI64ExtendU)
	switch {
	case k.shift > 0:
		b.imm(wasm.OpI64Const, uint64(k.shift))
		b.ops(wasm.OpI64ShrU)
	case k.shift < 0:
		b.imm(wasm.OpI64Const, uint64(-k.shift))
		b.ops(wasm.OpI64Shl)
	}
	b.settle(b.w, b.left)
}

func (b *body) atMost(n uint32) {
	bound := uint64(int64(int32(n)))
	b.imm(wasm.OpI32Const, bound)
	b.op(wasm.OpLocalGet, b.size)
	b.imm(wasm.OpI32Const, bound)
	b.ops(wasm.OpI32LtU, wasm.OpSelect)
}

// inPieces limits an operation on memory to one piece at a time. A longer operation is done by a
// function that pays before each piece, so that the host can stop it in between.
func (b *body) inPieces(i *wasm.Instr) {
	if i.Op == wasm.OpMemoryInit && len(b.w.m.Data[i.A].Bytes) <= b.w.o.Piece {
		b.countBulk(i.Op)
		b.keep(i) // an operation longer than its segment traps
		return
	}
	b.sized = true
	b.op(wasm.OpLocalTee, b.size)
	b.op(wasm.OpLocalGet, b.size)
	b.imm(wasm.OpI32Const, uint64(b.w.o.Piece))
	b.ops(wasm.OpI32LeU)
	b.imm(wasm.OpIf, uint64(b.w.typeOf(pieceType)))
	b.countBulk(i.Op)
	b.keep(i)
	b.ops(wasm.OpElse)
	b.op(wasm.OpCall, b.w.pieceFunction(i))
	b.ops(wasm.OpEnd)
}

// pieceType is that of the operations and of the functions in their place:
// destination; source or value; number of bytes.
var pieceType = wasm.FuncType{Params: []wasm.ValueType{wasm.I32, wasm.I32, wasm.I32}}

// pieceKey identifies a piece function: operation and, for memory.init, segment.
type pieceKey struct {
	op      wasm.Op
	segment uint64
}

// pieceFunction is the index of the function for an operation. They come after
// the stubs, in the order of their first use.
func (w *writer) pieceFunction(i *wasm.Instr) uint32 {
	k := pieceKey{op: i.Op}
	if i.Op == wasm.OpMemoryInit {
		k.segment = i.A
	}
	n, ok := w.pieceIndex[k]
	if !ok {
		if w.pieceIndex == nil {
			w.pieceIndex = make(map[pieceKey]uint32)
		}
		n = w.firstPiece + uint32(len(w.pieces))
		w.pieces = append(w.pieces, k)
		w.pieceIndex[k] = n
	}
	return n
}

func (w *writer) addPieceFunctions() {
	for n, k := range w.pieces {
		f := pieces{w: w, instr: wasm.Instr{Op: k.op, A: k.segment}}
		f.write()
		w.addFunction(fmt.Sprintf("%s/bulk%d", Reserved, n), pieceType, f.code, wasm.Locals{Count: 1, Type: wasm.I64})
	}
}

// The locals of a piece function.
const (
	pieceTo = iota
	pieceFrom
	pieceSize
	pieceLeft // fuel
)

// pieces writes the function that runs one operation in pieces.
type pieces struct {
	emitter
	w     *writer
	instr wasm.Instr
}

func (p *pieces) write() {
	p.trapFirst(pieceTo)
	switch p.instr.Op {
	case wasm.OpMemoryFill:
		p.loop(pieceTo)
	case wasm.OpMemoryInit:
		p.trapFirst(pieceFrom)
		p.loop(pieceTo, pieceFrom)
	case wasm.OpMemoryCopy:
		p.trapFirst(pieceFrom)
		// The direction depends on the addresses, so that no piece overwrites the
		// source of a later one.
		p.op(wasm.OpLocalGet, pieceTo)
		p.op(wasm.OpLocalGet, pieceFrom)
		p.ops(wasm.OpI32GtU)
		p.imm(wasm.OpIf, wasm.Empty)
		p.loopDown()
		p.ops(wasm.OpElse)
		p.loop(pieceTo, pieceFrom)
		p.ops(wasm.OpEnd)
	}
	p.pay(func() { p.op(wasm.OpLocalGet, pieceSize) })
	p.run(pieceSize)
	p.ops(wasm.OpEnd)
}

// trapFirst runs the whole operation if it will trap because of an address and the size, so that
// it traps before anything is changed (spec 4.4.7).
func (p *pieces) trapFirst(address uint32) {
	for _, local := range []uint32{address, pieceSize} {
		p.op(wasm.OpLocalGet, local)
		p.ops(wasm.OpI64ExtendU)
	}
	p.ops(wasm.OpI64Add)
	if p.instr.Op == wasm.OpMemoryInit && address == pieceFrom {
		p.imm(wasm.OpI64Const, uint64(len(p.w.m.Data[p.instr.A].Bytes)))
	} else {
		p.ops(wasm.OpMemorySize, wasm.OpI64ExtendU)
		p.imm(wasm.OpI64Const, 16)
		p.ops(wasm.OpI64Shl)
	}
	p.ops(wasm.OpI64GtU)
	p.imm(wasm.OpIf, wasm.Empty)
	p.run(pieceSize)
	p.ops(wasm.OpUnreachable, wasm.OpEnd)
}

// loop runs pieces from the front, and advances these locals, until at most one piece is left.
func (p *pieces) loop(moving ...uint32) {
	p.imm(wasm.OpLoop, wasm.Empty)
	p.pay(p.piece)
	p.op(wasm.OpLocalGet, pieceTo)
	p.op(wasm.OpLocalGet, pieceFrom)
	p.piece()
	p.keep()
	for _, local := range moving {
		p.op(wasm.OpLocalGet, local)
		p.piece()
		p.ops(wasm.OpI32Add)
		p.op(wasm.OpLocalSet, local)
	}
	p.shrink()
	p.again()
}

// loopDown is loop from the end.
func (p *pieces) loopDown() {
	p.imm(wasm.OpLoop, wasm.Empty)
	p.pay(p.piece)
	p.shrink()
	for _, local := range []uint32{pieceTo, pieceFrom} {
		p.op(wasm.OpLocalGet, local)
		p.op(wasm.OpLocalGet, pieceSize)
		p.ops(wasm.OpI32Add)
	}
	p.piece()
	p.keep()
	p.again()
}

func (p *pieces) shrink() {
	p.op(wasm.OpLocalGet, pieceSize)
	p.piece()
	p.ops(wasm.OpI32Sub)
	p.op(wasm.OpLocalSet, pieceSize)
}

// again ends a loop.
func (p *pieces) again() {
	p.op(wasm.OpLocalGet, pieceSize)
	p.piece()
	p.ops(wasm.OpI32GtU)
	p.op(wasm.OpBrIf, 0)
	p.ops(wasm.OpEnd)
}

func (p *pieces) piece() { p.imm(wasm.OpI32Const, uint64(p.w.o.Piece)) }

// pay takes the fuel for the number of bytes that size leaves on the stack.
func (p *pieces) pay(size func()) {
	p.op(wasm.OpGlobalGet, p.w.fuel)
	size()
	p.ops(wasm.OpI64ExtendU)
	p.imm(wasm.OpI64Const, perByte)
	p.ops(wasm.OpI64ShrU)
	p.settle(p.w, pieceLeft)
}

// run is the operation on the number of bytes in a local.
func (p *pieces) run(size uint32) {
	p.op(wasm.OpLocalGet, pieceTo)
	p.op(wasm.OpLocalGet, pieceFrom)
	p.op(wasm.OpLocalGet, size)
	p.keep()
}

func (p *pieces) keep() { p.code = p.instr.Append(p.code) }
