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
	labels  labels
	loop    int      // last region entered
	left    uint32   // local with the remaining fuel
	size    uint32   // local with the operand of a bulk operation
	sized   bool     // the second is used
	stub    int      // bytes of the function's stub
	prepaid *prepaid // nil: heads count everything
}

// rewriteBodies stops when the bodies have more than most bytes in total.
func (w *writer) rewriteBodies(most int) error {
	total := 0
	w.refill = w.imported + added + uint32(len(w.m.Functions))
	w.deeper, w.shallower = w.refill+1, w.refill+2
	w.hold, w.release = w.shallower+1, w.shallower+2
	w.firstStub = w.release + 1
	w.firstPiece = w.firstStub + w.entries()
	for i := range w.m.Code {
		t := w.m.Types[w.m.Functions[i]]
		old := &w.m.Code[i]
		b := body{w: w, f: &w.functions[i], labels: newLabels(), prepaid: w.newPrepaid(&w.functions[i])}
		b.left = uint32(len(t.Params))
		for _, l := range old.Locals {
			b.left += l.Count
		}
		b.size = b.left + 1
		b.code = make([]byte, 0, len(old.Code)+len(old.Code)/4+64)
		b.rewrite(old, uint32(i))
		old.Code = b.code
		old.Locals = append(old.Locals[:len(old.Locals):len(old.Locals)], wasm.Locals{Count: 1, Type: wasm.I64})
		if b.sized {
			old.Locals = append(old.Locals, wasm.Locals{Count: 1, Type: wasm.I32})
		}
		w.result.Report.Instructions += b.f.instrs
		w.result.Report.Loops += b.f.loops
		if total += len(b.code) + b.stub; total > most {
			return &wasm.Error{
				Section: "code", Function: int(w.imported) + i, Kind: wasm.ErrLimit, Limit: "rewrittenBytes",
				Reason: fmt.Sprintf("more than %d bytes of functions, including the code that counts their work", max(most, 0)),
			}
		}
	}
	w.result.Report.FunctionBytes = total
	return nil
}

func (b *body) rewrite(old *wasm.Body, index uint32) {
	if b.f.entry > 0 {
		b.enter(index)
	}
	if b.f.stack > 0 {
		b.takeStack(b.w, b.bytes(b.f.stack))
		b.imm(wasm.OpBlock, b.w.blockType(b.w.m.Types[b.w.m.Functions[index]].Results)) // its label is the function's
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
		b.labels.open(openLabel{})
	case wasm.OpLoop:
		b.beginLoop(i)
		return
	case wasm.OpEnd:
		b.end(i)
		return
	case wasm.OpBr, wasm.OpBrIf:
		i.A = uint64(b.labels.of(uint32(i.A)))
	case wasm.OpBrTable:
		for k, label := range i.Targets {
			i.Targets[k] = b.labels.of(label)
		}
	case wasm.OpReturn:
		if b.f.stack > 0 { // to the end of the block around the body
			i.Op, i.A = wasm.OpBr, uint64(b.labels.function())
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
		b.takeStack(b.w, b.bytes(b.w.indirect))
		b.keep(i)
		b.giveStack(b.w, b.bytes(b.w.indirect))
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
	closed := b.labels.close()
	if closed.loop {
		b.endLoop(closed.work)
	}
	if b.labels.any() {
		return
	}
	if b.f.stack > 0 {
		b.giveStack(b.w, b.bytes(b.f.stack))
		b.keep(i)
	}
}

// count takes a fixed amount of fuel in straight code and calls the host if that was too much.
func (b *body) count(n uint64) {
	b.op(wasm.OpGlobalGet, b.w.fuel)
	b.imm(wasm.OpI64Const, n)
	b.settle(b.w, b.left)
}

// settle subtracts the value on the stack from the fuel below it and calls the host if that was
// too much. left is a local for its use.
func (e *emitter) settle(w *writer, left uint32) {
	e.subtract(w, left)
	e.imm(wasm.OpIf, wasm.Empty)
	e.imm(wasm.OpI64Const, 0)
	e.op(wasm.OpCall, w.refill)
	e.ops(wasm.OpEnd)
}

// subtract subtracts the value on the stack from the fuel below it and leaves whether that was too
// much.
func (e *emitter) subtract(w *writer, left uint32) {
	e.ops(wasm.OpI64Sub)
	e.op(wasm.OpLocalTee, left)
	e.op(wasm.OpGlobalSet, w.fuel)
	e.op(wasm.OpLocalGet, left)
	e.imm(wasm.OpI64Const, 0)
	e.ops(wasm.OpI64LtS)
}

// bytes leaves a constant.
func (b *body) bytes(n int32) func() {
	return func() { b.imm(wasm.OpI32Const, uint64(n)) }
}

// takeStack takes what n leaves, and calls the host when the stack is used up, before any other call.
func (e *emitter) takeStack(w *writer, n func()) {
	e.op(wasm.OpGlobalGet, w.stack)
	n()
	e.ops(wasm.OpI32Sub)
	e.op(wasm.OpGlobalSet, w.stack)
	e.op(wasm.OpGlobalGet, w.stack)
	e.imm(wasm.OpI32Const, 0)
	e.ops(wasm.OpI32LtS)
	e.imm(wasm.OpIf, wasm.Empty)
	e.op(wasm.OpCall, w.deeper)
	e.ops(wasm.OpEnd)
}

// giveStack gives back what n leaves, and calls the host when a deep recursion has come back far
// enough. Functions have paid for what they do after a call, so a return from many of them would
// otherwise ask for nothing.
func (e *emitter) giveStack(w *writer, n func()) {
	e.op(wasm.OpGlobalGet, w.stack)
	n()
	e.ops(wasm.OpI32Add)
	e.op(wasm.OpGlobalSet, w.stack)
	e.op(wasm.OpGlobalGet, w.stack)
	e.imm(wasm.OpI32Const, 2*uint64(w.o.Stack))
	e.ops(wasm.OpI32GtS)
	e.imm(wasm.OpIf, wasm.Empty)
	e.op(wasm.OpCall, w.shallower)
	e.ops(wasm.OpEnd)
}
