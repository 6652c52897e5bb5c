package rewrite

import (
	"fmt"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wasm"
)

// emitter writes instructions.
type emitter struct{ code []byte }

func (e *emitter) op(op wasm.Op, a uint32) { e.imm(op, uint64(a)) }

func (e *emitter) imm(op wasm.Op, a uint64) {
	i := wasm.Instr{Op: op, A: a}
	e.code = i.Append(e.code)
}

func (e *emitter) ops(list ...wasm.Op) {
	for _, op := range list {
		e.imm(op, 0)
	}
}

// body rewrites one function.
type body struct {
	emitter
	w       *writer
	f       *function
	depth   uint32   // open blocks of the guest, its function's not counted
	loop    int      // last region entered
	results uint32   // type of the wrapping block, as block type
	left    uint32   // local with the remaining fuel
	size    uint32   // local with the operand of a bulk operation
	sized   bool     // the second is used
	prepaid *prepaid // nil: heads count everything
}

// rewriteBodies stops when the bodies have more than most bytes in total.
func (w *writer) rewriteBodies(most int) error {
	total := 0
	w.refill = w.imported + added + uint32(len(w.m.Functions))
	w.deeper, w.shallower = w.refill+1, w.refill+2
	for i := range w.m.Code {
		t := w.m.Types[w.m.Functions[i]]
		old := &w.m.Code[i]
		b := body{w: w, f: &w.functions[i], prepaid: w.newPrepaid(&w.functions[i])}
		b.left = uint32(len(t.Params))
		for _, l := range old.Locals {
			b.left += l.Count
		}
		b.size = b.left + 1
		b.code = make([]byte, 0, len(old.Code)+len(old.Code)/4+64)
		b.rewrite(old, t.Results)
		old.Code = b.code
		old.Locals = append(old.Locals[:len(old.Locals):len(old.Locals)], wasm.Locals{Count: 1, Type: wasm.I64})
		if b.sized {
			old.Locals = append(old.Locals, wasm.Locals{Count: 1, Type: wasm.I32})
		}
		w.result.Report.Instructions += b.f.instrs
		w.result.Report.Loops += b.f.loops
		if total += len(b.code); total > most {
			return &wasm.Error{
				Section: "code", Function: int(w.imported) + i, Kind: wasm.ErrLimit, Limit: "rewrittenBytes",
				Reason: fmt.Sprintf("more than %d bytes of functions, including the code that counts their work", max(most, 0)),
			}
		}
	}
	w.result.Report.FunctionBytes = total
	return nil
}

func (b *body) rewrite(old *wasm.Body, results []wasm.ValueType) {
	if b.f.entry > 0 {
		b.count(b.w.ahead(b.f.entry))
		b.w.result.Report.FuelEntries++
	}
	if b.f.stack > 0 {
		b.takeStack(b.f.stack)
		b.imm(wasm.OpBlock, b.w.blockType(results))
		b.w.result.Report.StackFunctions++
	}
	for i := range old.Instrs() {
		if b.prepaid != nil {
			if n := b.prepaid.follow(i); n > 0 {
				b.count(n)
			}
		}
		b.instr(i)
	}
}

// blockType returns the type of a block without parameters.
func (w *writer) blockType(results []wasm.ValueType) uint64 {
	switch len(results) {
	case 0:
		return wasm.Empty
	case 1:
		return uint64(int64(results[0]) - 128) // a negative s7
	}
	return uint64(w.typeOf(wasm.FuncType{Results: results}))
}

func (b *body) instr(i *wasm.Instr) {
	switch i.Op {
	case wasm.OpBlock, wasm.OpIf:
		b.depth++
	case wasm.OpLoop:
		b.depth++
		b.loop++
		b.keep(i)
		b.count(b.w.ahead(b.f.regions[b.loop].work))
		b.w.result.Report.FuelLoops++
		return
	case wasm.OpEnd:
		b.end(i)
		return
	case wasm.OpReturn:
		if b.f.stack > 0 { // to the end of the block around the body
			i.Op, i.A = wasm.OpBr, uint64(b.depth)
		}
	case wasm.OpCall:
		i.A = uint64(b.w.function(uint32(i.A)))
	case wasm.OpRefFunc:
		i.A = uint64(b.w.function(uint32(i.A)))
		if entry, ok := b.w.refs.entry(uint32(i.A)); ok {
			b.op(wasm.OpI32Const, entry)
			b.op(wasm.OpTableGet, b.w.refTable())
			return
		}
	case wasm.OpCallIndirect:
		b.takeStack(b.w.indirect)
		b.keep(i)
		b.giveStack(b.w.indirect)
		b.w.result.Report.StackCalls++
		return
	case wasm.OpMemoryFill, wasm.OpMemoryCopy, wasm.OpMemoryInit:
		b.inPieces(i)
		return
	default:
		b.countBulk(i.Op)
	}
	b.keep(i)
}

func (b *body) keep(i *wasm.Instr) { b.code = i.Append(b.code) }

func (b *body) end(i *wasm.Instr) {
	b.keep(i)
	if b.depth > 0 {
		b.depth--
		return
	}
	if b.f.stack > 0 {
		b.giveStack(b.f.stack)
		b.keep(i)
	}
}

// count takes a fixed amount of fuel and calls the host if that was too much.
func (b *body) count(n uint64) {
	b.op(wasm.OpGlobalGet, b.w.fuel)
	b.imm(wasm.OpI64Const, n)
	b.settle(b.w, b.left)
}

// settle subtracts the value on the stack from the fuel below it. left is a local for its use.
func (e *emitter) settle(w *writer, left uint32) {
	e.ops(wasm.OpI64Sub)
	e.op(wasm.OpLocalTee, left)
	e.op(wasm.OpGlobalSet, w.fuel)
	e.op(wasm.OpLocalGet, left)
	e.imm(wasm.OpI64Const, 0)
	e.ops(wasm.OpI64LtS)
	e.imm(wasm.OpIf, wasm.Empty)
	e.op(wasm.OpLocalGet, left)
	e.op(wasm.OpCall, w.refill)
	e.ops(wasm.OpEnd)
}

// takeStack calls the host when the stack is used up, before any other call.
func (b *body) takeStack(n int32) {
	b.op(wasm.OpGlobalGet, b.w.stack)
	b.imm(wasm.OpI32Const, uint64(n))
	b.ops(wasm.OpI32Sub)
	b.op(wasm.OpGlobalSet, b.w.stack)
	b.op(wasm.OpGlobalGet, b.w.stack)
	b.imm(wasm.OpI32Const, 0)
	b.ops(wasm.OpI32LtS)
	b.imm(wasm.OpIf, wasm.Empty)
	b.op(wasm.OpCall, b.w.deeper)
	b.ops(wasm.OpEnd)
}

// giveStack calls the host when a deep recursion has come back far enough. Functions have paid for
// what they do after a call, so a return from many of them would otherwise ask for nothing.
func (b *body) giveStack(n int32) {
	b.op(wasm.OpGlobalGet, b.w.stack)
	b.imm(wasm.OpI32Const, uint64(n))
	b.ops(wasm.OpI32Add)
	b.op(wasm.OpGlobalSet, b.w.stack)
	b.op(wasm.OpGlobalGet, b.w.stack)
	b.imm(wasm.OpI32Const, 2*uint64(b.w.o.Stack))
	b.ops(wasm.OpI32GtS)
	b.imm(wasm.OpIf, wasm.Empty)
	b.op(wasm.OpCall, b.w.shallower)
	b.ops(wasm.OpEnd)
}
