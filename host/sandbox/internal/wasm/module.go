package wasm

// ValueType is a type of the binary format (spec 5.3).
type ValueType byte

const (
	I32       ValueType = 0x7f
	I64       ValueType = 0x7e
	F32       ValueType = 0x7d
	F64       ValueType = 0x7c
	V128      ValueType = 0x7b
	FuncRef   ValueType = 0x70
	ExternRef ValueType = 0x6f
)

// Reference reports whether t is funcref or externref.
func (t ValueType) Reference() bool { return t == FuncRef || t == ExternRef }

func (t ValueType) String() string {
	switch t {
	case I32:
		return "i32"
	case I64:
		return "i64"
	case F32:
		return "f32"
	case F64:
		return "f64"
	case V128:
		return "v128"
	case FuncRef:
		return "funcref"
	case ExternRef:
		return "externref"
	}
	return "unknown"
}

// Kind is the kind of an import or export.
type Kind byte

const (
	KindFunction Kind = 0
	KindTable    Kind = 1
	KindMemory   Kind = 2
	KindGlobal   Kind = 3
)

func (k Kind) String() string { return [...]string{"function", "table", "memory", "global"}[k&3] }

// FuncType is a function's type.
type FuncType struct{ Params, Results []ValueType }

// Range is the size of a table in entries, or of a memory in pages.
type Range struct {
	Min, Max uint32
	HasMax   bool
}

// TableType is a table's type.
type TableType struct {
	Type ValueType
	Range
}

// GlobalType is a global's type.
type GlobalType struct {
	Type    ValueType
	Mutable bool
}

// Import is one import; the field of its kind is set.
type Import struct {
	Module, Name string
	Kind         Kind
	Function     uint32 // type index
	Table        TableType
	Memory       Range
	Global       GlobalType
}

// Global is a defined global.
type Global struct {
	GlobalType
	Init Instr
}

// Export is an export; it refers to an index in the index space of its kind.
type Export struct {
	Name  string
	Kind  Kind
	Index uint32
}

// Mode is when a segment is applied.
type Mode byte

const (
	Active Mode = iota
	Passive
	Declarative
)

// Element is an element segment. Entries are either constant expressions, or,
// when Exprs is nil, function indices.
type Element struct {
	Mode      Mode
	Table     uint32
	Offset    Instr
	Type      ValueType
	Functions []uint32
	Exprs     []Instr
}

// Data is a data segment.
type Data struct {
	Mode   Mode
	Offset Instr
	Bytes  []byte
}

// Locals is a run of locals of one type.
type Locals struct {
	Count uint32
	Type  ValueType
}

// Body is a defined function's locals and instructions, including the final end. Code has passed
// Decode or was written with Instr.Append.
type Body struct {
	Locals []Locals
	Code   []byte
}

// Custom is a custom section; Bytes is a view of the input.
type Custom struct {
	Name  string
	Bytes []byte
}

// FuncName is the debug name of a function.
type FuncName struct {
	Function uint32
	Name     string
}

// Module is a decoded module. It shares memory with the decoded bytes.
type Module struct {
	Types     []FuncType
	Imports   []Import
	Functions []uint32 // type indices of the defined ones
	Tables    []TableType
	Memories  []Range
	Globals   []Global
	Exports   []Export
	Start     *uint32
	Elements  []Element
	Code      []Body
	Data      []Data
	DataCount bool // whether the data count section exists
	Customs   []Custom
	// Name and FuncNames come from the name section, in ascending order of functions. A
	// malformed name section counts as absent.
	Name      string
	FuncNames []FuncName
	// BranchTargets is the number of targets of all br_tables, MaxNesting the
	// deepest nesting of blocks.
	BranchTargets, MaxNesting int
}

// Imported counts the imports of a kind; they come first in its index space.
func (m *Module) Imported(k Kind) int {
	n := 0
	for i := range m.Imports {
		if m.Imports[i].Kind == k {
			n++
		}
	}
	return n
}

// FunctionType returns the type index of a function, given its index in the function index space.
func (m *Module) FunctionType(index uint32) uint32 {
	for i := range m.Imports {
		if m.Imports[i].Kind != KindFunction {
			continue
		}
		if index == 0 {
			return m.Imports[i].Function
		}
		index--
	}
	return m.Functions[index]
}
