// Package text shortens and cleans texts of others before they appear in errors, logs
// and answers.
package text

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxShort bounds a name that an error quotes, in bytes.
const maxShort = 80

// Cut returns at most the first most bytes of s. It cuts between characters, and
// changes nothing else. A negative most counts as 0.
func Cut(s string, most int) string {
	most = max(most, 0)
	if len(s) <= most {
		return s
	}
	for n := most; n > most-utf8.UTFMax && n >= 0; n-- {
		if utf8.RuneStart(s[n]) {
			return s[:n]
		}
	}
	return s[:most] // not UTF-8
}

// Clip is Cut with "…" behind what it shortened. The mark is not part of most.
func Clip(s string, most int) string {
	if cut := Cut(s, most); len(cut) < len(s) {
		return cut + "…"
	}
	return s
}

// Short returns the first 80 bytes of s, clipped, for an error that quotes s.
func Short(s string) string { return Clip(s, maxShort) }

// Printable puts s on one line that cannot move a terminal or reorder text: it writes a
// space for each white-space character, "?" for each other character that is not
// printable (unicode.IsPrint), nothing for the joiners that some scripts need, and
// U+FFFD for a byte that is not UTF-8.
func Printable(s string) string { return strings.Map(printable, s) }

// Line is Printable, then Clip, without white space at both ends.
func Line(s string, most int) string { return line(s, most, printable, "…") }

// ASCII is Line with "?" for each character beyond ASCII, and "..." for what was cut.
// OAuth 2.0 allows nothing else in an error's description (RFC 6749, section 4.1.2.1).
func ASCII(s string, most int) string {
	return line(s, most, func(r rune) rune {
		if r = printable(r); r >= utf8.RuneSelf {
			return '?'
		}
		return r
	}, "...")
}

func line(s string, most int, mapping func(rune) rune, mark string) string {
	out := strings.Map(mapping, Cut(s, most))
	if len(s) <= most && len(out) <= most {
		return strings.TrimSpace(out)
	}
	return strings.TrimSpace(Cut(out, most)) + mark
}

func printable(r rune) rune {
	const nonJoiner, joiner = '\u200c', '\u200d'
	switch {
	case unicode.IsPrint(r):
		return r
	case unicode.IsSpace(r):
		return ' '
	case r == nonJoiner || r == joiner:
		return -1
	}
	return '?'
}
