package rewrite

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/text"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wasm"
)

// Reserved is the prefix of names that the rewriter adds, and the module of its imports. A guest
// that uses it for an import or export is refused.
const Reserved = "bulkhead:sandbox"

// Names in every rewritten module.
const (
	pauseName   = "pause"
	deepenName  = "deepen"
	fuelExport  = Reserved + "/fuel"
	stackExport = Reserved + "/stack"
	startExport = Reserved + "/start"
	globalPath  = Reserved + "/global/"
)

// Options tune the additions. The zero value has the defaults.
type Options struct {
	// Free is the largest number of instructions of a function without loops that counts
	// no fuel itself, so that its callers pay; default 64. If it is negative, every
	// function counts.
	Free int
	// Stack is the initial value of the stack global in bytes, and how much of the stack, by
	// estimate, a recursion takes or gives back between two calls of the host; default
	// 64 KiB, less than 1 GiB.
	Stack int32
	// Piece is the number of bytes that memory.fill, copy and init process at a time;
	// default 64 KiB.
	Piece int
	// Ahead is the most work that is paid for at once; default 4,096. A guest that has
	// paid cannot be stopped until it has done the work, and a megabyte of stores that each
	// fault two pages takes most of a second.
	Ahead int
}

func (o Options) withDefaults() Options {
	if o.Free == 0 {
		o.Free = 64
	}
	if o.Stack <= 0 {
		o.Stack = 64 << 10
	}
	if o.Piece <= 0 {
		o.Piece = 64 << 10
	}
	if o.Ahead <= 0 {
		o.Ahead = 4096
	}
	return o
}

// Result is a rewritten module with the data that the host needs.
type Result struct {
	// Wasm is the module to compile: the same bytes for the same input.
	Wasm []byte `json:"-"`
	// Stub replaces Wasm if its machine code exists (see wasm.EncodeStub).
	Stub []byte `json:"-"`
	// Globals are the module's own mutable globals.
	Globals []Global
	// Start is the export name of the start function, or "". The host calls it once, after
	// it has written Data.
	Start string
	// Data are the active data segments in order. The host writes them once; a segment
	// that does not fit into the memory is a trap, after the segments before it were
	// written (spec 4.5.4).
	Data []Segment
	// Fuel is the export name of the fuel global, a mutable i64, initially 0. One unit is
	// about one instruction.
	Fuel string
	// Stack is the export name of the stack global, a mutable i32, which the host sets
	// before each call.
	Stack string
	// Pause is an import to link, of type (i64) -> (i64). It gets the remaining fuel,
	// which is negative unless a deep recursion returns, and returns the fuel to continue with. The used fuel is the
	// previous value minus the argument.
	Pause Import
	// Deepen is an import to link, of type (i32) -> (i32), which the guest calls when the
	// stack global is below zero. It gets the global and returns its new value.
	Deepen Import
	// TableEntries is the number of entries of all tables of an instance; a table that the
	// module's code grows counts with its maximum.
	TableEntries int
	// Elements is the number of references that the element segments make in an instance.
	Elements int
	// Segments, of data and of elements, and GlobalCount are the numbers of other objects
	// that the engine keeps in an instance.
	Segments, GlobalCount int
	// Fresh has the reasons for which an instance of this module cannot be restored; empty
	// if it can.
	Fresh  []string
	Report Report
}

// Global is a mutable global of the module.
type Global struct {
	Export string
	Type   wasm.ValueType
}

// Segment is an active data segment. Its offset is Offset or, if Global is not empty, the value
// of the exported i32 global with that name.
type Segment struct {
	Offset uint32
	Global string
	Bytes  []byte `json:"-"`
}

// Import names an imported function.
type Import struct{ Module, Name string }

// Report describes the module and the additions.
type Report struct {
	Bytes, RewrittenBytes                int
	FunctionBytes                        int // of rewritten functions
	Types, Imports, Exports              int
	Functions, Instructions, Loops       int
	Globals, Tables, Elements            int
	DataSegments, DataBytes, MemoryPages int // pages at start
	MemoryMaxPages                       int // 0: none declared
	BranchTargets, Nesting               int
	FuelEntries, FuelLoops               int // points that count fuel
	StackFunctions, StackCalls           int // points that count stack
}

// Rewrite decodes a module, refuses it if it exceeds l, and rewrites it. Time and memory are
// proportional to the module and the result. An error of decoding, or about a limit, is a
// *wasm.Error. The result shares memory with module.
func Rewrite(module []byte, l wasm.Limits, o Options) (*Result, error) {
	m, err := wasm.Decode(module, l)
	if err != nil {
		return nil, err
	}
	if err := checkReserved(m); err != nil {
		return nil, err
	}
	w := &writer{m: m, o: o.withDefaults(), imported: uint32(m.Imported(wasm.KindFunction))}
	w.result = &Result{
		Fuel: fuelExport, Stack: stackExport, Pause: Import{Reserved, pauseName}, Deepen: Import{Reserved, deepenName},
		Fresh: freshReasons(m), Report: report(m, len(module)),
	}
	w.functions = analyse(m, w.o.Free)
	chargeFuel(w.functions, w.o.Free)
	w.indirect = chargeStack(w.functions)
	if err := w.rewrite(l.WithDefaults()); err != nil {
		return nil, err
	}
	w.result.Wasm = m.Encode()
	sum := sha256.Sum256(w.result.Wasm)
	w.result.Stub = m.EncodeStub(sum[:])
	w.result.Report.RewrittenBytes = len(w.result.Wasm)
	return w.result, nil
}

func checkReserved(m *wasm.Module) error {
	for _, i := range m.Imports {
		if strings.HasPrefix(i.Module, Reserved) {
			return fmt.Errorf("rewrite: import %s.%s: the module name is reserved for the host", text.Short(i.Module), text.Short(i.Name))
		}
	}
	for _, e := range m.Exports {
		if strings.HasPrefix(e.Name, Reserved) {
			return fmt.Errorf("rewrite: export %s: the name is reserved for the host", text.Short(e.Name))
		}
	}
	return nil
}

func report(m *wasm.Module, size int) Report {
	r := Report{
		Bytes: size, Types: len(m.Types), Imports: len(m.Imports), Exports: len(m.Exports),
		Functions: len(m.Functions), Globals: len(m.Globals), Tables: len(m.Tables),
		Elements: len(m.Elements), DataSegments: len(m.Data),
		BranchTargets: m.BranchTargets, Nesting: m.MaxNesting,
	}
	for _, d := range m.Data {
		r.DataBytes += len(d.Bytes)
	}
	for _, p := range m.Memories {
		r.MemoryPages, r.MemoryMaxPages = int(p.Min), int(p.Max)
	}
	return r
}

// writer changes a module in place.
type writer struct {
	m         *wasm.Module
	o         Options
	result    *Result
	functions []function
	indirect  int32  // stack charge of a call_indirect
	imported  uint32 // imported functions, without those that are added

	fuel, stack   uint32 // global indices
	refill        uint32 // index of the first added function
	deeper        uint32 // of the second
	shallower     uint32 // of the third
	hold, release uint32 // of the fourth and the fifth
	firstStub     uint32 // of the stubs, which follow
	firstPiece    uint32 // of the functions for pieces, which are the last
	stubs         []stub
	pieces        []pieceKey
	pieceIndex    map[pieceKey]uint32
	types         map[string]uint32 // the first type of each kind
	refs          refs
	maxPages      uint32
	maxEntries    uint32
}

func (w *writer) rewrite(l wasm.Limits) error {
	w.maxPages, w.maxEntries = uint32(l.MemoryPages), uint32(max(l.TableEntries, 0))
	addStart, err := w.extractStart()
	if err != nil {
		return err
	}
	if err := w.extractData(); err != nil {
		return err
	}
	w.addImports()
	w.addGlobals()
	w.boundTables()
	w.countEntries()
	w.refs.declare(w.m)
	if err := w.rewriteBodies(l.RewrittenBytes); err != nil {
		return err
	}
	w.addRefTable()
	w.addRefill()
	w.addDeeper()
	w.addShallower()
	w.addStubs()
	w.addPieceFunctions()
	addStart()
	return nil
}

// added is the number of imported functions of the host.
const added = 2

// function returns the index of a function after the imports were added.
func (w *writer) function(old uint32) uint32 {
	if old >= w.imported {
		return old + added
	}
	return old
}

func (w *writer) export(name string, kind wasm.Kind, index uint32) {
	w.m.Exports = append(w.m.Exports, wasm.Export{Name: name, Kind: kind, Index: index})
}

// extractStart removes the start section.
func (w *writer) extractStart() (start func(), err error) {
	if w.m.Start == nil {
		return func() {}, nil
	}
	old := *w.m.Start
	if t := w.m.Types[w.m.FunctionType(old)]; len(t.Params)+len(t.Results) > 0 {
		return nil, errors.New("rewrite: start section: the function takes parameters or has results")
	}
	w.m.Start = nil
	return func() { w.addStart(old) }, nil
}

// extractData removes the bytes of the active segments. The empty segments behave like dropped
// ones, as active segments do after they were written.
func (w *writer) extractData() error {
	exported := make(map[uint32]string)
	for i := range w.m.Data {
		d := &w.m.Data[i]
		if d.Mode != wasm.Active {
			continue
		}
		s := Segment{Bytes: d.Bytes}
		switch d.Offset.Op {
		case wasm.OpI32Const:
			s.Offset = uint32(d.Offset.A)
		case wasm.OpGlobalGet:
			g := w.importedGlobal(uint32(d.Offset.A))
			if g != (wasm.GlobalType{Type: wasm.I32}) {
				return fmt.Errorf("rewrite: data segment %d: the global of its offset is not a constant i32", i)
			}
			s.Global = w.exportGlobal(uint32(d.Offset.A), exported)
		default:
			return fmt.Errorf("rewrite: data segment %d: its offset is not an i32", i)
		}
		w.result.Data = append(w.result.Data, s)
		*d = wasm.Data{Mode: wasm.Passive}
	}
	if !w.m.DataCount {
		w.m.Data = nil // no instruction can refer to them
	}
	return nil
}

func (w *writer) importedGlobal(index uint32) wasm.GlobalType {
	for _, i := range w.m.Imports {
		if i.Kind != wasm.KindGlobal {
			continue
		}
		if index == 0 {
			return i.Global
		}
		index--
	}
	return wasm.GlobalType{}
}

func (w *writer) exportGlobal(index uint32, exported map[uint32]string) string {
	name, ok := exported[index]
	if !ok {
		name = fmt.Sprint(globalPath, index)
		exported[index] = name
		w.export(name, wasm.KindGlobal, index)
	}
	return name
}

// addImports appends the host's functions to the imports and changes the indices of the
// functions after them, outside of bodies.
func (w *writer) addImports() {
	m := w.m
	like := func(t wasm.ValueType) uint32 {
		return w.typeOf(wasm.FuncType{Params: []wasm.ValueType{t}, Results: []wasm.ValueType{t}})
	}
	m.Imports = append(m.Imports,
		wasm.Import{Module: Reserved, Name: pauseName, Function: like(wasm.I64)},
		wasm.Import{Module: Reserved, Name: deepenName, Function: like(wasm.I32)})
	for i := range m.Exports {
		if e := &m.Exports[i]; e.Kind == wasm.KindFunction {
			e.Index = w.function(e.Index)
		}
	}
	for i := range m.Elements {
		e := &m.Elements[i]
		for k := range e.Functions {
			e.Functions[k] = w.function(e.Functions[k])
		}
		for k := range e.Exprs {
			w.moveConstant(&e.Exprs[k])
		}
	}
	for i := range m.Globals {
		w.moveConstant(&m.Globals[i].Init)
	}
	w.moveNames()
}

// moveNames also drops the names of functions that do not exist.
func (w *writer) moveNames() {
	total := w.imported + uint32(len(w.m.Functions))
	names := w.m.FuncNames[:0]
	for _, n := range w.m.FuncNames {
		if n.Function < total {
			names = append(names, wasm.FuncName{Function: w.function(n.Function), Name: n.Name})
		}
	}
	w.m.FuncNames = names
}

func (w *writer) moveConstant(i *wasm.Instr) {
	if i.Op == wasm.OpRefFunc {
		i.A = uint64(w.function(uint32(i.A)))
	}
}

// typeOf returns the index of the first type equal to t, and appends one if necessary.
func (w *writer) typeOf(t wasm.FuncType) uint32 {
	if w.types == nil {
		w.types = make(map[string]uint32, len(w.m.Types))
		for i := range w.m.Types {
			if k := typeKey(w.m.Types[i]); !has(w.types, k) {
				w.types[k] = uint32(i)
			}
		}
	}
	k := typeKey(t)
	if !has(w.types, k) {
		w.types[k] = uint32(len(w.m.Types))
		w.m.Types = append(w.m.Types, t)
	}
	return w.types[k]
}

func has[K comparable, V any](m map[K]V, k K) bool { _, ok := m[k]; return ok }

// typeKey returns equal keys for equal types only, since no value type is zero.
func typeKey(t wasm.FuncType) string {
	return string(slices.Concat(t.Params, []wasm.ValueType{0}, t.Results))
}

func (w *writer) addGlobals() {
	imported := uint32(w.m.Imported(wasm.KindGlobal))
	for i, g := range w.m.Globals {
		if g.Mutable {
			name := fmt.Sprint(globalPath, imported+uint32(i))
			w.export(name, wasm.KindGlobal, imported+uint32(i))
			w.result.Globals = append(w.result.Globals, Global{name, g.Type})
		}
	}
	w.fuel = imported + uint32(len(w.m.Globals))
	w.stack = w.fuel + 1
	w.m.Globals = append(w.m.Globals,
		wasm.Global{
			GlobalType: wasm.GlobalType{Type: wasm.I64, Mutable: true},
			Init:       wasm.Instr{Op: wasm.OpI64Const},
		},
		wasm.Global{
			GlobalType: wasm.GlobalType{Type: wasm.I32, Mutable: true},
			Init:       wasm.Instr{Op: wasm.OpI32Const, A: uint64(w.o.Stack)},
		})
	w.export(fuelExport, wasm.KindGlobal, w.fuel)
	w.export(stackExport, wasm.KindGlobal, w.stack)
}

// boundTables gives every table a maximum: the engine bounds memories only.
func (w *writer) boundTables() {
	for i := range w.m.Tables {
		if t := &w.m.Tables[i]; !t.HasMax || t.Max > w.maxEntries {
			t.Max, t.HasMax = w.maxEntries, true
		}
	}
}

// countEntries counts the objects of an instance in the engine. It must run after boundTables
// and before the bodies are rewritten.
func (w *writer) countEntries() {
	grown := make(map[uint64]bool)
	for k := range w.m.Code {
		for i := range w.m.Code[k].Instrs() {
			if i.Op == wasm.OpTableGrow {
				grown[i.A] = true
			}
		}
	}
	first := w.m.Imported(wasm.KindTable)
	for k, t := range w.m.Tables {
		n := t.Min
		if grown[uint64(first+k)] {
			n = max(n, t.Max)
		}
		w.result.TableEntries += int(n)
	}
	for _, e := range w.m.Elements {
		if e.Mode != wasm.Declarative {
			w.result.Elements += len(e.Functions) + len(e.Exprs)
		}
	}
	w.result.Segments = len(w.m.Data) + len(w.m.Elements)
	w.result.GlobalCount = len(w.m.Globals)
}

// addFunction appends a function and returns its index.
func (w *writer) addFunction(name string, t wasm.FuncType, code []byte, locals ...wasm.Locals) uint32 {
	m := w.m
	index := w.imported + added + uint32(len(m.Functions))
	m.Functions = append(m.Functions, w.typeOf(t))
	m.Code = append(m.Code, wasm.Body{Locals: locals, Code: code})
	m.FuncNames = append(m.FuncNames, wasm.FuncName{Function: index, Name: name})
	return index
}

// addRefill appends the function that asks the host for more fuel. Its parameter is what the caller
// has taken and will take again, because it repeats its check: it is added to what the host gives.
func (w *writer) addRefill() {
	var e emitter
	e.op(wasm.OpGlobalGet, w.fuel)
	e.op(wasm.OpCall, w.imported)
	e.op(wasm.OpLocalGet, 0)
	e.ops(wasm.OpI64Add)
	e.op(wasm.OpGlobalSet, w.fuel)
	e.op(wasm.OpEnd, 0)
	w.addFunction(Reserved+"/refill", wasm.FuncType{Params: []wasm.ValueType{wasm.I64}}, e.code)
}

// addDeeper appends the function that asks the host for a deeper stack.
func (w *writer) addDeeper() {
	var e emitter
	e.op(wasm.OpGlobalGet, w.stack)
	e.op(wasm.OpCall, w.imported+1)
	e.op(wasm.OpGlobalSet, w.stack)
	e.op(wasm.OpEnd, 0)
	w.addFunction(Reserved+"/deeper", wasm.FuncType{}, e.code)
}

// addShallower appends the function that gives the host the opportunity to stop the guest, and takes
// back a part of the stack that the host has permitted.
func (w *writer) addShallower() {
	var e emitter
	e.imm(wasm.OpI64Const, 0)
	e.op(wasm.OpCall, w.refill)
	e.op(wasm.OpGlobalGet, w.stack)
	e.imm(wasm.OpI32Const, uint64(w.o.Stack))
	e.ops(wasm.OpI32Sub)
	e.op(wasm.OpGlobalSet, w.stack)
	e.op(wasm.OpEnd, 0)
	w.addFunction(Reserved+"/shallower", wasm.FuncType{}, e.code)
}

// addStart exports a function that calls the start function. Exporting the start function itself
// would allow guest code to take a reference to it (spec 3.4.10), and so make an invalid module
// valid.
func (w *writer) addStart(old uint32) {
	var e emitter
	e.op(wasm.OpCall, w.function(old))
	e.op(wasm.OpEnd, 0)
	w.export(startExport, wasm.KindFunction, w.addFunction(startExport, wasm.FuncType{}, e.code))
	w.result.Start = startExport
}
