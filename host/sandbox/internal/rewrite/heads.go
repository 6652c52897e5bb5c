package rewrite

import "github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wasm"

// The heads of functions and loops count fuel, and the code that calls the host when it is spent
// stays out of the way: a call inside of the loop or function, even one that almost never happens,
// makes the engine spill all values and forget what it knows about memory. So a loop leaves to
// code outside of it, which goes back to the head, and a function calls a stub, which calls the
// function again. The head then takes its fuel a second time; refill adds it, so that it is paid
// for once and the second check always succeeds.

// A loop of type T with parameters P becomes
//
//	block $out T
//	  loop $again T
//	    block $spent (P)->P
//	      take fuel, br_if $spent
//	      block $body T
//	        the guest's instructions
//	      end
//	      br $out
//	    end
//	    call refill, br $again
//	  end
//	end
//
// The innermost block checks that the guest's instructions leave exactly the results: br would
// drop more.
const (
	loopLabels = 4 // that are open inside
	againLabel = 1 // the one that the guest's branches to the loop go to, from the outside
)

// labels maps the guest's labels to those of the rewritten function, which has more.
type labels struct {
	blocks []openLabel // of the guest, the function's first
	count  uint32      // labels that are open in the rewritten function
}

// openLabel is an open block of the guest.
type openLabel struct {
	loop bool
	work uint64 // that the head of a loop counts
	at   uint32 // the label that branches go to, counted from the outside
}

func newLabels() labels {
	var l labels
	l.open(openLabel{})
	return l
}

func (l *labels) open(b openLabel) {
	b.at = l.count
	if b.loop {
		b.at += againLabel
	}
	l.count += b.width()
	l.blocks = append(l.blocks, b)
}

func (l *labels) close() openLabel {
	last := len(l.blocks) - 1
	b := l.blocks[last]
	l.blocks, l.count = l.blocks[:last], l.count-b.width()
	return b
}

// any reports whether a block is open, the function's included.
func (l *labels) any() bool { return len(l.blocks) > 0 }

// of returns the label for one of the guest's.
func (l *labels) of(label uint32) uint32 {
	return l.count - 1 - l.blocks[len(l.blocks)-1-int(label)].at
}

// function returns the label of the function itself, or of the block around its body.
func (l *labels) function() uint32 { return l.count - 1 }

func (b openLabel) width() uint32 {
	if b.loop {
		return loopLabels
	}
	return 1
}

// beginLoop writes the head of a loop.
func (b *body) beginLoop(i *wasm.Instr) {
	b.loop++
	work := b.w.ahead(b.f.regions[b.loop].work)
	b.imm(wasm.OpBlock, i.A)
	b.keep(i)
	b.imm(wasm.OpBlock, b.w.unchanged(i.A))
	b.take(work)
	b.op(wasm.OpBrIf, 0)
	b.imm(wasm.OpBlock, i.A)
	b.labels.open(openLabel{loop: true, work: work})
	b.w.result.Report.FuelLoops++
}

// endLoop follows the end of the loop's innermost block.
func (b *body) endLoop(work uint64) {
	b.op(wasm.OpBr, 2) // $out
	b.ops(wasm.OpEnd)
	b.imm(wasm.OpI64Const, work)
	b.op(wasm.OpCall, b.w.refill)
	b.op(wasm.OpBr, 0) // $again
	b.ops(wasm.OpEnd, wasm.OpEnd)
}

// unchanged returns the type of a block whose results are the parameters of block type t.
func (w *writer) unchanged(t uint64) uint64 {
	if int64(t) < 0 || len(w.m.Types[t].Params) == 0 {
		return wasm.Empty
	}
	p := w.m.Types[t].Params
	return uint64(w.typeOf(wasm.FuncType{Params: p, Results: p}))
}

// take takes a fixed amount of fuel and leaves whether that was too much.
func (b *body) take(n uint64) {
	b.op(wasm.OpGlobalGet, b.w.fuel)
	b.imm(wasm.OpI64Const, n)
	b.subtract(b.w, b.left)
}

// stub is the function that the head of another one calls when the fuel is spent.
type stub struct {
	of   uint32 // index of the defined function
	code []byte
}

// stubFrame is an estimate of a stub's own frame in bytes; it has as much again for each parameter
// as a parameter takes.
const stubFrame = 128

// entries is the number of functions that count fuel at their entry.
func (w *writer) entries() (n uint32) {
	for i := range w.functions {
		if w.functions[i].entry > 0 {
			n++
		}
	}
	return n
}

// enter writes the head of a function, and its stub. Nothing of the function is alive when it calls
// the stub, except its parameters.
func (b *body) enter(index uint32) {
	params := len(b.w.m.Types[b.w.m.Functions[index]].Params)
	work := b.w.ahead(b.f.entry)
	b.take(work)
	b.imm(wasm.OpIf, wasm.Empty)
	b.callWith(params, b.w.firstStub+uint32(len(b.w.stubs)))
	b.ops(wasm.OpReturn, wasm.OpEnd)

	// The frame of the function that waits is charged to the stub, since the function
	// itself may not count any stack.
	frame := int32(min(b.f.cost+stubFrame+int64(bytesOf(wasm.V128, uint32(params))), 1<<30))
	var e emitter
	e.imm(wasm.OpI32Const, uint64(frame))
	e.imm(wasm.OpI64Const, work)
	e.op(wasm.OpCall, b.w.hold)
	e.callWith(params, b.w.imported+added+index)
	e.imm(wasm.OpI32Const, uint64(frame))
	e.op(wasm.OpCall, b.w.release)
	e.ops(wasm.OpEnd)
	b.w.stubs = append(b.w.stubs, stub{index, e.code})
	b.stub = len(e.code)
	b.w.result.Report.FuelEntries++
}

// callWith calls a function with the caller's own parameters.
func (e *emitter) callWith(params int, function uint32) {
	for i := range params {
		e.op(wasm.OpLocalGet, uint32(i))
	}
	e.op(wasm.OpCall, function)
}

// Again is the name of all stubs. In a stack trace, the frame below one of a stub is that of the
// function that waits for it, which is also the frame above.
const Again = Reserved + "/again"

// addStubs appends the stubs, after the functions that do for all of them what comes before and
// after the call.
func (w *writer) addStubs() {
	var hold, release emitter
	hold.takeStack(w, func() { hold.op(wasm.OpLocalGet, 0) })
	hold.op(wasm.OpLocalGet, 1)
	hold.op(wasm.OpCall, w.refill)
	hold.ops(wasm.OpEnd)
	w.addFunction(Reserved+"/hold", wasm.FuncType{Params: []wasm.ValueType{wasm.I32, wasm.I64}}, hold.code)
	release.giveStack(w, func() { release.op(wasm.OpLocalGet, 0) })
	release.ops(wasm.OpEnd)
	w.addFunction(Reserved+"/release", wasm.FuncType{Params: []wasm.ValueType{wasm.I32}}, release.code)
	for _, s := range w.stubs {
		w.addFunction(Again, w.m.Types[w.m.Functions[s.of]], s.code)
	}
}
