package rewrite_test

import "strings"

// The helpers write modules by hand.

func u(n int) string {
	s := ""
	for ; n >= 0x80; n >>= 7 {
		s += string([]byte{byte(n) | 0x80})
	}
	return s + string([]byte{byte(n)})
}

func vec(items ...string) string { return u(len(items)) + strings.Join(items, "") }
func sized(s string) string      { return u(len(s)) + s }

func section(id byte, body string) string { return string([]byte{id}) + sized(body) }

// module joins sections, which must be in order.
func module(sections ...string) []byte {
	return []byte("\x00asm\x01\x00\x00\x00" + strings.Join(sections, ""))
}

func types(list ...string) string { return section(1, vec(list...)) }

func functions(list ...int) string {
	s := u(len(list))
	for _, t := range list {
		s += u(t)
	}
	return section(3, s)
}

// exports takes pairs of name and function index.
func exports(pairs ...any) string {
	s := u(len(pairs) / 2)
	for i := 0; i < len(pairs); i += 2 {
		s += sized(pairs[i].(string)) + "\x00" + u(pairs[i+1].(int))
	}
	return section(7, s)
}

// code takes bodies: locals and instructions.
func code(bodies ...string) string {
	list := make([]string, len(bodies))
	for i, b := range bodies {
		list[i] = sized(b)
	}
	return section(10, vec(list...))
}
