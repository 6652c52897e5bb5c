package rewrite_test

import "strings"

// generator makes a valid module out of arbitrary bytes: a few functions from
// i32 to i32 that branch, loop, call each other, also through a table, and use
// memory and globals. It reaches what mutating the bytes of a module rarely does.
type generator struct {
	input []byte
	bare  []bool // for each open block: its label takes no value
	size  int    // instructions of this function
}

const generated = 4 // functions

func (g *generator) pick(n int) int {
	if len(g.input) == 0 {
		return 0
	}
	b := g.input[0]
	g.input = g.input[1:]
	return int(b) % n
}

func (g *generator) module() []byte {
	bodies := make([]string, generated)
	for i := range bodies {
		g.size, g.bare = 0, nil
		bodies[i] = "\x01\x02\x7f" + g.expression(0) + "\x0b"
	}
	return module(
		types("\x60\x01\x7f\x01\x7f"), functions(0, 0, 0, 0),
		section(4, "\x01\x70\x01\x04\x08"), section(5, "\x01\x01\x01\x04"),
		section(6, vec("\x7f\x01\x41\x05\x0b", "\x7e\x01\x42\x07\x0b")),
		exports("f0", 0, "f1", 1, "f2", 2, "f3", 3),
		section(9, "\x01\x00\x41\x00\x0b\x04\x00\x01\x02\x03"),
		section(12, "\x02"), code(bodies...),
		section(11, vec("\x00\x41\x08\x0b\x05hello", "\x01\x05world")))
}

// expression leaves one i32.
func (g *generator) expression(nested int) string {
	if g.size++; nested > 8 || g.size > 200 || len(g.input) == 0 {
		return "\x41" + string([]byte{byte(g.pick(64))})
	}
	n := nested + 1
	e := func() string { return g.expression(n) }
	switch g.pick(16) {
	case 0:
		return "\x20" + string([]byte{byte(g.pick(3))})
	case 1, 2:
		return e() + e() + string([]byte{0x6a + byte(g.pick(15))}) // arithmetic, traps included
	case 3:
		return e() + "\x22" + string([]byte{byte(g.pick(3))})
	case 4:
		return e() + "\x10" + string([]byte{byte(g.pick(generated))})
	case 5:
		return e() + e() + "\x11\x00\x00"
	case 6:
		return g.open("\x02\x7f", false) + g.statement(n) + e() + g.close()
	case 7:
		return g.open("\x03\x7f", true) + g.statement(n) + e() + g.close()
	case 8:
		s := e() + g.open("\x04\x7f", false)
		return s + e() + "\x05" + e() + g.close()
	case 9:
		return e() + "\x28\x02" + u(g.pick(256))
	case 10:
		return e() + "\x40\x00"
	case 11:
		return g.statement(n) + "\x23\x00"
	case 12:
		return "\x23\x01\xa7"
	case 13:
		return "\xd0\x70" + e() + "\xfc\x0f\x00"
	case 14:
		return e() + "\x0f" + e() // return, then dead code
	default:
		return e() + "\xfd\x11\xfd\x1b" + string([]byte{byte(g.pick(4))})
	}
}

// statement leaves nothing.
func (g *generator) statement(nested int) string {
	if nested > 8 || len(g.input) == 0 {
		return ""
	}
	n := nested + 1
	e := func() string { return g.expression(n) }
	switch g.pick(10) {
	case 0:
		return e() + "\x24\x00"
	case 1:
		return e() + "\xac\x24\x01"
	case 2:
		return e() + e() + "\x36\x02" + u(g.pick(256))
	case 3:
		return e() + e() + e() + "\xfc\x0b\x00"
	case 4:
		return e() + e() + e() + "\xfc\x0a\x00\x00"
	case 5:
		return e() + e() + e() + "\xfc\x08\x01\x00"
	case 6:
		return g.branch(n)
	case 7:
		return e() + "\x04\x40" + "\x00" + "\x0b" // trap if
	case 8:
		return e() + "\x1a" + g.statement(n)
	default:
		return e() + e() + e() + "\xfc\x0e\x00\x00"
	}
}

// branch leaves by br_if or br_table, with a value if the label takes one.
func (g *generator) branch(nested int) string {
	to := g.pick(len(g.bare) + 1)
	if to < len(g.bare) && g.bare[len(g.bare)-1-to] {
		return g.expression(nested) + "\x0d" + u(to)
	}
	if g.pick(2) == 0 {
		return g.expression(nested) + g.expression(nested) + "\x0d" + u(to) + "\x1a"
	}
	s := g.open("\x02\x40", true) + g.expression(nested) + g.expression(nested)
	return s + "\x0e\x01" + strings.Repeat(u(to+1), 2) + g.close()
}

func (g *generator) open(code string, bare bool) string {
	g.bare = append(g.bare, bare)
	return code
}

func (g *generator) close() string {
	g.bare = g.bare[:len(g.bare)-1]
	return "\x0b"
}
