package main

import (
	"fmt"
	"strings"
	"unicode"
)

// Bounds on a control sequence in a recorded terminal's output, in characters.
const (
	maxCSI       = 64      // ESC [ … final byte
	maxString    = 4 << 10 // ESC ] … BEL, and the other control strings
	maxUnnoticed = 256     // a longer string that ends is replaced by a note
)

// withoutEscapes returns the readable part of a terminal's output: it removes
// control sequences (ECMA-48) and all control characters except line ends and tabs.
// A sequence that does not end within its bound is cut there, so that it cannot hide
// the rest. A note replaces such a sequence, and a long control string.
func withoutEscapes(s string) string {
	var b strings.Builder
	for r := []rune(s); len(r) > 0; {
		c := r[0]
		if c == '\x1b' {
			n, ended := sequence(r)
			switch {
			case !ended:
				fmt.Fprintf(&b, "[removed: an escape sequence without an end, %d characters]", n)
			case n > maxUnnoticed:
				fmt.Fprintf(&b, "[removed: a control string, %d characters]", n)
			}
			r = r[n:]
			continue
		}
		if c == '\n' || c == '\t' || unicode.IsPrint(c) {
			b.WriteRune(c)
		}
		r = r[1:]
	}
	return b.String()
}

// sequence returns the length of the control sequence at the beginning of r, and
// whether it ends. CAN, SUB and the start of another sequence end it too.
func sequence(r []rune) (n int, ended bool) {
	if len(r) < 2 {
		return len(r), true
	}
	bound, final := 0, func(rune) bool { return false }
	switch {
	case r[1] == '[':
		bound, final = maxCSI, func(c rune) bool { return c >= 0x40 && c <= 0x7e }
	case strings.ContainsRune("]PX^_", r[1]):
		bound, final = maxString, func(c rune) bool { return c == '\a' }
	case r[1] == '\x1b':
		return 1, true
	default:
		return 2, true
	}
	for n = 2; n < min(len(r), bound); n++ {
		switch c := r[n]; {
		case c == '\x1b' && n+1 < len(r) && r[n+1] == '\\': // ST
			return n + 2, true
		case c == '\x1b':
			return n, true
		case c == 0x18 || c == 0x1a || final(c):
			return n + 1, true
		}
	}
	return n, false
}
