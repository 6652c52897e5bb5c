package main

import (
	"strings"
	"testing"
)

func TestAnEscapeSequenceHidesNoMoreThanItsBound(t *testing.T) {
	long := strings.Repeat("x", maxString)
	for name, c := range map[string]struct{ in, want string }{
		"colours":               {"\x1b[1;31mred\x1b[0m.", "red."},
		"a title":               {"\x1b]0;title\x07a\x1b]0;title\x1b\\b", "ab"},
		"one character":         {"\x1bca\x1b7b", "ab"},
		"control characters":    {"a\bb\rc\td\n\x00", "abc\td\n"},
		"a title without end":   {"a\x1b]0;" + long + "\nrm -rf /\n", "a[removed: an escape sequence without an end, 4096 characters]xxxx\nrm -rf /\n"},
		"a CSI without end":     {"\x1b[" + strings.Repeat("1", maxCSI) + " after", "[removed: an escape sequence without an end, 64 characters]11 after"},
		"cut by the end":        {"a\x1b]0;title", "a[removed: an escape sequence without an end, 9 characters]"},
		"a long string":         {"a\x1bPq" + long[:400] + "\x1b\\b", "a[removed: a control string, 405 characters]b"},
		"cancelled":             {"\x1b]0;title\x18a\x1b[12\x1ab", "ab"},
		"another begins":        {"\x1b]0;title\x1b[31mred\x1b[1\x1b[2mtwo\x1b\x1b[0m.", "redtwo."},
		"an escape at the end":  {"a\x1b", "a"},
		"a string begins again": {strings.Repeat("\x1b]"+long[:maxString-2], 2) + "seen", strings.Repeat("[removed: an escape sequence without an end, 4096 characters]", 2) + "seen"},
	} {
		if got := withoutEscapes(c.in); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func FuzzWithoutEscapes(f *testing.F) {
	f.Add("\x1b[1mx\x1b]0;t\x07\x1b")
	f.Fuzz(func(t *testing.T, s string) {
		if out := withoutEscapes(s); strings.ContainsAny(out, "\x1b\x07\r\x00\u009b") {
			t.Errorf("%q became %q", s, out)
		}
	})
}
