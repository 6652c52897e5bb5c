package text

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestCutEndsBetweenCharacters(t *testing.T) {
	for _, c := range []struct {
		s    string
		most int
		want string
	}{
		{"", 0, ""},
		{"abc", 3, "abc"},
		{"abc", 2, "ab"},
		{"abc", 0, ""},
		{"abc", -1, ""},
		{"aü", 2, "a"},
		{"aü", 3, "aü"},
		{"a€b", 3, "a"},
		{"a€b", 4, "a€"},
		{"😀😀", 7, "😀"},
		{"😀", 3, ""},
		{"a\xff\xfeb", 2, "a\xff"}, // of what is no UTF-8, bytes
		{"\x80\x80\x80\x80\x80\x80", 5, "\x80\x80\x80\x80\x80"}, // and no more than is needed
	} {
		if got := Cut(c.s, c.most); got != c.want {
			t.Errorf("Cut(%q, %d) = %q, want %q", c.s, c.most, got, c.want)
		}
	}
}

func TestClipMarksWhatItShortened(t *testing.T) {
	for s, want := range map[string]string{
		"four": "four", "five5": "five…", "üüü": "üü…", "aüüü": "aü…", "": "",
	} {
		if got := Clip(s, 4); got != want {
			t.Errorf("Clip(%q) = %q, want %q", s, got, want)
		}
	}
	if got := Short(strings.Repeat("ü", 41)); got != strings.Repeat("ü", 40)+"…" {
		t.Errorf("Short is %q", got)
	}
	if s := strings.Repeat("x", 80); Short(s) != s {
		t.Error("Short shortens 80 bytes")
	}
}

func TestALineCannotForgeAnotherOrMoveATerminal(t *testing.T) {
	for s, want := range map[string]string{
		"plain text":                     "plain text",
		" \tends \r\n":                   "ends",
		"two\r\nlines":                   "two  lines",
		"tab\there":                      "tab here",
		"next\u0085line\u2028sep\u00a0":  "next line sep",
		"\x1b[31mred\x07\x00\x7f\u009b1": "?[31mred????1",
		"abc\u202edcba\u2066":            "abc?dcba?", // reorders text
		"\u200bhidden\ufeff":             "?hidden?",
		"علی\u200cرضا":                   "علیرضا", // a name as people write it
		"Jürgen 😀":                       "Jürgen 😀",
		"\xff\xfe":                       "\ufffd\ufffd",
	} {
		if got := Line(s, 200); got != want {
			t.Errorf("Line(%q) = %q, want %q", s, got, want)
		}
	}
	for s, want := range map[string]string{
		"1234567890":                "1234567890",
		"1234567890a":               "1234567890…",
		"123456789ü":                "123456789…",
		"123456789 a":               "123456789 a"[:9] + "…",
		"\xff\xff\xff\xff":          "\ufffd\ufffd\ufffd…", // grows by being cleaned
		"\u2028\u2028\u2028\u2028a": "…",
	} {
		if got := Line(s, 10); got != want {
			t.Errorf("Line(%q, 10) = %q, want %q", s, got, want)
		}
	}
}

func TestASCIIHasNothingElse(t *testing.T) {
	for s, want := range map[string]string{
		"AADSTS50011: no\r\nTrace": "AADSTS50011: no  Trace",
		"Jürgen\u202e\xff":         "J?rgen??",
		"\x00":                     "?",
		strings.Repeat("a", 31):    strings.Repeat("a", 30) + "...",
	} {
		if got := ASCII(s, 30); got != want {
			t.Errorf("ASCII(%q) = %q, want %q", s, got, want)
		}
	}
}

func FuzzBounds(f *testing.F) {
	f.Add("a\u2028\xffü", 3)
	f.Add(strings.Repeat("\x80", 9), 5)
	f.Fuzz(func(t *testing.T, s string, most int) {
		most = most & 0xff
		cut := Cut(s, most)
		if len(cut) > most || !strings.HasPrefix(s, cut) || utf8.ValidString(s) && (!utf8.ValidString(cut) || len(s) > most && len(cut) <= most-utf8.UTFMax) {
			t.Errorf("Cut(%q, %d) = %q", s, most, cut)
		}
		line, ascii := Line(s, most), ASCII(s, most)
		if len(line) > most+len("…") || !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("Line(%q, %d) = %q", s, most, line)
		}
		if len(ascii) > most+len("...") || strings.ContainsFunc(ascii, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("ASCII(%q, %d) = %q", s, most, ascii)
		}
	})
}
