package git

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of names, in bytes and parts.
const (
	maxRef   = 255
	maxPath  = 1024
	maxDepth = 32
)

var commitRE = regexp.MustCompile(`^[0-9a-f]{40}$`)

// validRef reports whether s is HEAD, the digits of a commit, or a full ref by the rules
// of git-check-ref-format(1). A part that begins with "-" is refused as well, because it
// would be an option for programs that read the name.
func validRef(s string) bool {
	if s == "HEAD" || commitRE.MatchString(s) {
		return true
	}
	rest, ok := strings.CutPrefix(s, "refs/")
	if !ok || len(s) > maxRef || !utf8.ValidString(s) || !strings.Contains(rest, "/") ||
		strings.Contains(s, "..") || strings.Contains(s, "@{") || strings.HasSuffix(s, ".") ||
		strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || strings.ContainsRune(" ~^:?*[\\", r) }) {
		return false
	}
	for part := range strings.SplitSeq(rest, "/") {
		if part == "" || part[0] == '.' || part[0] == '-' || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	return true
}

// validPath reports whether s is a path below a repository's root in its one spelling, or
// empty for the root.
func validPath(s string) bool {
	if s == "" {
		return true
	}
	if len(s) > maxPath || !utf8.ValidString(s) || strings.Count(s, "/") >= maxDepth ||
		strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == '\\' }) {
		return false
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || part == "." || part == ".." || strings.EqualFold(part, ".git") {
			return false
		}
	}
	return true
}
