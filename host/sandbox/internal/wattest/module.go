package wattest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"slices"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wasm"
)

// File assembles the module in a file; it panics if it cannot.
func File(path string) []byte {
	src, err := os.ReadFile(path)
	if err != nil {
		panic(err)
	}
	return Must(string(src))
}

// Must assembles a module and panics if it cannot.
func Must(src string) []byte {
	out, err := Assemble(src)
	if err != nil {
		panic(err)
	}
	return out
}

// Assemble converts a module's text to its binary form.
func Assemble(src string) (out []byte, err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case failure:
			err = r
		default:
			panic(r)
		}
	}()
	list := parse(src)
	if len(list) != 1 || list[0].head() != "module" {
		return nil, errors.New("wattest: want one (module …)")
	}
	fields := list[0].rest()
	if len(fields) > 0 && fields[0].atom == "binary" {
		return raw(expand(fields[1:], -1)), nil
	}
	a := &assembler{m: &wasm.Module{}}
	fields = expand(fields, -1)
	for k := range a.names {
		a.names[k] = map[string]uint32{}
	}
	a.declare(fields)
	for _, f := range fields {
		a.define(f)
	}
	return a.m.Encode(), nil
}

// raw is the content of (module binary …).
func raw(list []node) (out []byte) {
	for _, n := range list {
		switch n.head() {
		case "section":
			body := raw(n.list[2:])
			out = append(append(out, byte(integer(n.list[1]))), sized(body)...)
		case "sized":
			out = append(out, sized(raw(n.rest()))...)
		case "u32":
			out = binary.AppendUvarint(out, integer(n.list[1]))
		case "times":
			out = append(out, bytes.Repeat(raw(n.list[2:]), int(integer(n.list[1])))...)
		case "numbered":
			before, after := raw(n.list[2:3]), raw(n.list[3:])
			for i := range integer(n.list[1]) {
				out = append(binary.AppendUvarint(append(out, before...), i), after...)
			}
		case "":
			out = append(out, n.text...)
		default:
			fail("(%s …) in a binary module", n.head())
		}
	}
	return out
}

func sized(b []byte) []byte { return append(binary.AppendUvarint(nil, uint64(len(b))), b...) }

// Index spaces beside those of wasm.Kind.
const (
	types = iota + 4
	elements
	data
	spaces
)

type assembler struct {
	m     *wasm.Module
	names [spaces]map[string]uint32
	count [spaces]uint32
}

var spaceOf = map[string]int{
	"func": int(wasm.KindFunction), "table": int(wasm.KindTable), "memory": int(wasm.KindMemory),
	"global": int(wasm.KindGlobal), "type": types, "elem": elements, "data": data,
}

// declare assigns all indices, so that fields may refer to later ones. Imports come before
// definitions, as in the binary format.
func (a *assembler) declare(fields []node) {
	add := func(n node) {
		space, ok := spaceOf[n.head()]
		if !ok {
			return
		}
		if rest := n.rest(); len(rest) > 0 && isName(rest[0]) {
			a.names[space][rest[0].atom] = a.count[space]
		}
		a.count[space]++
	}
	for _, f := range fields {
		if f.head() == "import" {
			add(f.list[3])
		}
	}
	for _, f := range fields {
		add(f)
	}
}

func isName(n node) bool { return len(n.atom) > 1 && n.atom[0] == '$' }

// index resolves a name or a number.
func (a *assembler) index(space int, n node) uint32 {
	if !isName(n) {
		return uint32(integer(n))
	}
	i, ok := a.names[space][n.atom]
	if !ok {
		fail("%s is not defined", n.atom)
	}
	return i
}

func unnamed(list []node) []node {
	if len(list) > 0 && isName(list[0]) {
		return list[1:]
	}
	return list
}

func (a *assembler) define(f node) {
	m, rest := a.m, unnamed(f.rest())
	switch f.head() {
	case "type":
		params, results, _, _ := signature(rest[0].rest())
		m.Types = append(m.Types, wasm.FuncType{Params: params, Results: results})
	case "import":
		a.imported(rest)
	case "func":
		a.function(rest)
	case "table":
		rest = a.exports(rest, wasm.KindTable, uint32(m.Imported(wasm.KindTable)+len(m.Tables)))
		last := len(rest) - 1
		m.Tables = append(m.Tables, wasm.TableType{Type: valueType(rest[last]), Range: span(rest[:last])})
	case "memory":
		rest = a.exports(rest, wasm.KindMemory, uint32(len(m.Memories)))
		m.Memories = append(m.Memories, span(rest))
	case "global":
		rest = a.exports(rest, wasm.KindGlobal, uint32(len(m.Globals)))
		m.Globals = append(m.Globals, wasm.Global{GlobalType: globalType(rest[0]), Init: a.constant(rest[1])})
	case "export":
		kind := spaceOf[rest[1].head()]
		m.Exports = append(m.Exports, wasm.Export{Name: string(rest[0].text), Kind: wasm.Kind(kind), Index: a.index(kind, rest[1].list[1])})
	case "start":
		i := a.index(int(wasm.KindFunction), f.list[1])
		m.Start = &i
	case "elem":
		a.element(rest)
	case "data":
		a.segment(rest)
	default:
		fail("unknown field (%s …)", f.head())
	}
}

// exports reads leading (export "name") forms.
func (a *assembler) exports(list []node, kind wasm.Kind, index uint32) []node {
	for len(list) > 0 && list[0].head() == "export" {
		a.m.Exports = append(a.m.Exports, wasm.Export{Name: string(list[0].list[1].text), Kind: kind, Index: index})
		list = list[1:]
	}
	return list
}

func (a *assembler) imported(rest []node) {
	i := wasm.Import{Module: string(rest[0].text), Name: string(rest[1].text), Kind: wasm.Kind(spaceOf[rest[2].head()])}
	body := unnamed(rest[2].rest())
	switch i.Kind {
	case wasm.KindFunction:
		params, results, _, _ := signature(body)
		i.Function = a.typeOf(params, results)
	case wasm.KindTable:
		last := len(body) - 1
		i.Table = wasm.TableType{Type: valueType(body[last]), Range: span(body[:last])}
	case wasm.KindMemory:
		i.Memory = span(body)
	case wasm.KindGlobal:
		i.Global = globalType(body[0])
	}
	a.m.Imports = append(a.m.Imports, i)
}

func span(list []node) (r wasm.Range) {
	r.Min = uint32(integer(list[0]))
	if len(list) > 1 {
		r.Max, r.HasMax = uint32(integer(list[1])), true
	}
	return r
}

func globalType(n node) wasm.GlobalType {
	if n.head() == "mut" {
		return wasm.GlobalType{Type: valueType(n.list[1]), Mutable: true}
	}
	return wasm.GlobalType{Type: valueType(n)}
}

var valueTypes = map[string]wasm.ValueType{
	"i32": wasm.I32, "i64": wasm.I64, "f32": wasm.F32, "f64": wasm.F64, "v128": wasm.V128,
	"funcref": wasm.FuncRef, "externref": wasm.ExternRef, "func": wasm.FuncRef, "extern": wasm.ExternRef,
}

func valueType(n node) wasm.ValueType {
	t, ok := valueTypes[n.atom]
	if !ok {
		fail("%q is not a type", n.atom)
	}
	return t
}

// signature reads leading (param …) and (result …) forms; names are those of parameters.
func signature(list []node) (params, results []wasm.ValueType, names map[string]uint32, rest []node) {
	names = map[string]uint32{}
	for ; len(list) > 0; list = list[1:] {
		switch list[0].head() {
		case "param":
			of := list[0].rest()
			if len(of) > 0 && isName(of[0]) {
				names[of[0].atom] = uint32(len(params))
			}
			for _, t := range unnamed(of) {
				params = append(params, valueType(t))
			}
		case "result":
			for _, t := range list[0].rest() {
				results = append(results, valueType(t))
			}
		default:
			return params, results, names, list
		}
	}
	return params, results, names, list
}

func (a *assembler) typeOf(params, results []wasm.ValueType) uint32 {
	i := slices.IndexFunc(a.m.Types, func(t wasm.FuncType) bool {
		return slices.Equal(t.Params, params) && slices.Equal(t.Results, results)
	})
	if i < 0 {
		i = len(a.m.Types)
		a.m.Types = append(a.m.Types, wasm.FuncType{Params: params, Results: results})
	}
	return uint32(i)
}

func (a *assembler) element(rest []node) {
	e := wasm.Element{Mode: wasm.Passive, Type: wasm.FuncRef}
	switch {
	case rest[0].atom == "declare":
		e.Mode, rest = wasm.Declarative, rest[1:]
	case rest[0].kind == 'l':
		e.Mode, e.Offset, rest = wasm.Active, a.constant(rest[0]), rest[1:]
	}
	if len(rest) > 0 && rest[0].atom == "func" {
		rest = rest[1:]
	}
	e.Functions = []uint32{}
	for _, f := range rest {
		e.Functions = append(e.Functions, a.index(int(wasm.KindFunction), f))
	}
	a.m.Elements = append(a.m.Elements, e)
}

func (a *assembler) segment(rest []node) {
	d := wasm.Data{Mode: wasm.Passive}
	if len(rest) > 0 && rest[0].kind == 'l' {
		d.Mode, d.Offset, rest = wasm.Active, a.constant(rest[0]), rest[1:]
	} else {
		a.m.DataCount = true
	}
	for _, s := range rest {
		d.Bytes = append(d.Bytes, s.text...)
	}
	a.m.Data = append(a.m.Data, d)
}
