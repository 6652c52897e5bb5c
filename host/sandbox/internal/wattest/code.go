package wattest

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host/sandbox/internal/wasm"
)

// opcodes by name; numeric instructions and memory accesses are in the order of the binary format.
var opcodes = map[string]wasm.Op{
	"unreachable": 0, "nop": 1, "br": 0x0c, "br_if": 0x0d, "br_table": 0x0e, "return": 0x0f,
	"call": 0x10, "call_indirect": 0x11, "drop": 0x1a, "select": 0x1b,
	"local.get": 0x20, "local.set": 0x21, "local.tee": 0x22, "global.get": 0x23, "global.set": 0x24,
	"table.get": 0x25, "table.set": 0x26, "memory.size": 0x3f, "memory.grow": 0x40,
	"i32.const": 0x41, "i64.const": 0x42, "f32.const": 0x43, "f64.const": 0x44,
	"ref.null": 0xd0, "ref.is_null": 0xd1, "ref.func": 0xd2,
	"memory.init": 0xfc08, "data.drop": 0xfc09, "memory.copy": 0xfc0a, "memory.fill": 0xfc0b,
	"table.init": 0xfc0c, "elem.drop": 0xfc0d, "table.copy": 0xfc0e, "table.grow": 0xfc0f,
	"table.size": 0xfc10, "table.fill": 0xfc11, "i32x4.splat": 0xfd11, "i32x4.add": 0xfdae, "v128.any_true": 0xfd53,
}

func init() {
	order := func(from wasm.Op, names string) {
		for i, name := range strings.Fields(names) {
			opcodes[name] = from + wasm.Op(i)
		}
	}
	order(0x28, `i32.load i64.load f32.load f64.load i32.load8_s i32.load8_u i32.load16_s i32.load16_u
		i64.load8_s i64.load8_u i64.load16_s i64.load16_u i64.load32_s i64.load32_u
		i32.store i64.store f32.store f64.store i32.store8 i32.store16 i64.store8 i64.store16 i64.store32`)
	order(0x45, `i32.eqz i32.eq i32.ne i32.lt_s i32.lt_u i32.gt_s i32.gt_u i32.le_s i32.le_u i32.ge_s i32.ge_u
		i64.eqz i64.eq i64.ne i64.lt_s i64.lt_u i64.gt_s i64.gt_u i64.le_s i64.le_u i64.ge_s i64.ge_u`)
	order(0x67, `i32.clz i32.ctz i32.popcnt i32.add i32.sub i32.mul i32.div_s i32.div_u i32.rem_s i32.rem_u
		i32.and i32.or i32.xor i32.shl i32.shr_s i32.shr_u i32.rotl i32.rotr
		i64.clz i64.ctz i64.popcnt i64.add i64.sub i64.mul i64.div_s i64.div_u i64.rem_s i64.rem_u
		i64.and i64.or i64.xor i64.shl i64.shr_s i64.shr_u i64.rotl i64.rotr
		f32.abs f32.neg f32.ceil f32.floor f32.trunc f32.nearest f32.sqrt f32.add f32.sub f32.mul f32.div f32.min f32.max f32.copysign
		f64.abs f64.neg f64.ceil f64.floor f64.trunc f64.nearest f64.sqrt f64.add f64.sub f64.mul f64.div f64.min f64.max f64.copysign`)
	order(0xa7, "i32.wrap_i64 i32.trunc_f32_s i32.trunc_f32_u i32.trunc_f64_s i32.trunc_f64_u i64.extend_i32_s i64.extend_i32_u")
}

// indexed are the instructions whose only immediate is an index, with its index space.
var indexed = map[wasm.Op]int{
	0x10: int(wasm.KindFunction), 0xd2: int(wasm.KindFunction), 0x23: int(wasm.KindGlobal), 0x24: int(wasm.KindGlobal),
	0x25: int(wasm.KindTable), 0x26: int(wasm.KindTable), 0xfc0f: int(wasm.KindTable), 0xfc10: int(wasm.KindTable),
	0xfc11: int(wasm.KindTable), 0xfc08: data, 0xfc09: data, 0xfc0d: elements,
}

// body assembles one function.
type body struct {
	*assembler
	locals map[string]uint32
	labels []string // open blocks, the innermost last
	code   []byte
}

func (a *assembler) function(rest []node) {
	index := uint32(a.m.Imported(wasm.KindFunction) + len(a.m.Functions))
	rest = a.exports(rest, wasm.KindFunction, index)
	params, results, names, rest := signature(rest)
	b := &body{assembler: a, locals: names}
	var locals []wasm.Locals
	next := uint32(len(params))
	for ; len(rest) > 0 && (rest[0].head() == "local" || rest[0].head() == "locals"); rest = rest[1:] {
		of := rest[0].rest()
		if rest[0].head() == "locals" {
			l := wasm.Locals{Count: uint32(integer(of[0])), Type: valueType(of[1])}
			locals, next = append(locals, l), next+l.Count
			continue
		}
		if isName(of[0]) {
			names[of[0].atom] = next
		}
		for _, t := range unnamed(of) {
			locals, next = append(locals, wasm.Locals{Count: 1, Type: valueType(t)}), next+1
		}
	}
	b.sequence(rest)
	b.emit(wasm.Instr{Op: wasm.OpEnd})
	a.m.Functions = append(a.m.Functions, a.typeOf(params, results))
	a.m.Code = append(a.m.Code, wasm.Body{Locals: locals, Code: b.code})
}

func (b *body) emit(i wasm.Instr) { b.code = i.Append(b.code) }

// sequence assembles folded instructions, and flat ones between them.
func (b *body) sequence(list []node) {
	for len(list) > 0 {
		if list[0].kind == 'l' {
			b.folded(list[0])
			list = list[1:]
			continue
		}
		i, rest := b.plain(list)
		b.emit(i)
		list = rest
	}
}

func (b *body) folded(n node) {
	switch n.head() {
	case "block", "loop":
		op := map[string]wasm.Op{"block": wasm.OpBlock, "loop": wasm.OpLoop}[n.head()]
		inner := b.open(op, n.rest())
		b.sequence(inner)
		b.close()
	case "if":
		b.choice(n.rest())
	default:
		i, operands := b.plain(n.list)
		b.sequence(operands)
		b.emit(i)
	}
}

// open begins a block and returns its content.
func (b *body) open(op wasm.Op, rest []node) []node {
	label := ""
	if len(rest) > 0 && isName(rest[0]) {
		label = rest[0].atom
	}
	b.labels = append(b.labels, label)
	i := wasm.Instr{Op: op, A: wasm.Empty}
	rest = unnamed(rest)
	if len(rest) > 0 && rest[0].head() == "result" {
		i.A, rest = uint64(int64(valueType(rest[0].list[1]))-128), rest[1:]
	}
	b.emit(i)
	return rest
}

func (b *body) close() {
	b.labels = b.labels[:len(b.labels)-1]
	b.emit(wasm.Instr{Op: wasm.OpEnd})
}

// choice is (if $label? (result t)? condition… (then …) (else …)?).
func (b *body) choice(rest []node) {
	then := slices.IndexFunc(rest, func(n node) bool { return n.head() == "then" })
	if then < 0 {
		fail("if without then")
	}
	var head []node
	for _, n := range rest[:then] {
		if isName(n) || n.head() == "result" {
			head = append(head, n)
		} else {
			b.folded(n)
		}
	}
	b.open(wasm.OpIf, head)
	b.sequence(rest[then].rest())
	if len(rest) > then+1 {
		b.emit(wasm.Instr{Op: wasm.OpElse})
		b.sequence(rest[then+1].rest())
	}
	b.close()
}

// plain reads an instruction's name and immediates; operands are the rest.
func (b *body) plain(list []node) (i wasm.Instr, operands []node) {
	op, ok := opcodes[list[0].atom]
	if !ok {
		fail("unknown instruction %q", list[0].atom)
	}
	i.Op = op
	end := 1
	for end < len(list) && list[end].kind == 'a' && !known(list[end].atom) {
		end++
	}
	b.immediates(&i, list[1:end], &list, &end)
	return i, list[end:]
}

func known(atom string) bool { _, ok := opcodes[atom]; return ok }

func (b *body) immediates(i *wasm.Instr, imm []node, list *[]node, end *int) {
	space, isIndexed := indexed[i.Op]
	switch {
	case i.Op >= 0x28 && i.Op <= 0x3e:
		for _, n := range imm {
			if v, ok := strings.CutPrefix(n.atom, "offset="); ok {
				i.B = integer(node{atom: v})
			}
		}
	case i.Op == 0x41:
		i.A = uint64(int64(int32(uint32(integer(imm[0])))))
	case i.Op == 0x42:
		i.A = integer(imm[0])
	case i.Op == 0x43 || i.Op == 0x44:
		v, err := strconv.ParseFloat(imm[0].atom, 64)
		if err != nil {
			fail("%q is not a number", imm[0].atom)
		}
		i.A = math.Float64bits(v)
		if i.Op == 0x43 {
			i.A = uint64(math.Float32bits(float32(v)))
		}
	case i.Op == 0x0c || i.Op == 0x0d:
		i.A = uint64(b.label(imm[0]))
	case i.Op == 0x0e:
		for _, n := range imm {
			i.Targets = append(i.Targets, b.label(n))
		}
	case i.Op >= 0x20 && i.Op <= 0x22:
		i.A = uint64(b.local(imm[0]))
	case i.Op == 0x11:
		params, results, _, rest := signature((*list)[*end:])
		i.A = uint64(b.typeOf(params, results))
		*list, *end = rest, 0
	case i.Op == 0xd0:
		i.A = uint64(valueType(imm[0]))
	case i.Op == 0xfc0c: // the binary format has segment, table
		i.A = uint64(b.index(elements, imm[len(imm)-1]))
	case isIndexed && len(imm) > 0:
		i.A = uint64(b.index(space, imm[0]))
	}
}

func (b *body) label(n node) uint32 {
	if !isName(n) {
		return uint32(integer(n))
	}
	for depth := range b.labels {
		if b.labels[len(b.labels)-1-depth] == n.atom {
			return uint32(depth)
		}
	}
	fail("label %s is not open", n.atom)
	return 0
}

func (b *body) local(n node) uint32 {
	if !isName(n) {
		return uint32(integer(n))
	}
	i, ok := b.locals[n.atom]
	if !ok {
		fail("local %s is not defined", n.atom)
	}
	return i
}

// constant is one instruction of a constant expression.
func (a *assembler) constant(n node) wasm.Instr {
	if n.head() == "offset" {
		n = n.list[1]
	}
	b := &body{assembler: a}
	i, _ := b.plain(n.list)
	return i
}
