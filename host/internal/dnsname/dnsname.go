// Package dnsname says what Kubernetes accepts as a DNS name, without its libraries.
package dnsname

import "strings"

// Longest names, in bytes.
const (
	MaxLabel     = 63
	MaxSubdomain = 253
)

// IsLabel reports whether s is a DNS label (RFC 1123): at most MaxLabel lower-case
// letters, digits and hyphens, with a letter or digit at both ends. Namespaces and
// containers have such names.
func IsLabel(s string) bool { return len(s) <= MaxLabel && isPart(s) }

// IsSubdomain reports whether s is a DNS subdomain (RFC 1123) as Kubernetes reads it:
// at most MaxSubdomain bytes, of parts like labels with dots between them; only the
// whole is bounded. Most objects, such as pods, have such names.
func IsSubdomain(s string) bool {
	if len(s) > MaxSubdomain {
		return false
	}
	for part := range strings.SplitSeq(s, ".") {
		if !isPart(part) {
			return false
		}
	}
	return true
}

func isPart(s string) bool {
	if s == "" || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
