package abi

import (
	"fmt"
	"slices"
	"strings"
)

// InboundHeaders are the headers of a request that reach a plugin, in canonical form. The
// host keeps every other header: a plugin does not see credentials, headers that name a
// user, or headers that control the connection. Values longer than MaxString are left out.
var InboundHeaders = []string{
	"Accept", "Accept-Language", "Content-Type", "Idempotency-Key",
	"If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since",
	"Last-Event-Id", "Prefer", "Range",
}

// OutboundHeaders are the headers of a plugin's response that reach the client, in
// canonical form. The host itself sets Content-Length, Cache-Control and
// Content-Security-Policy. Location and Link must refer to this host; see CheckOutbound.
var OutboundHeaders = []string{
	"Accept-Ranges", "Allow", "Content-Disposition", "Content-Language", "Content-Range", "Content-Type",
	"Deprecation", "Etag", "Last-Modified", "Link", "Location", "Preference-Applied", "Retry-After", "Sunset",
	"X-Total-Count",
}

// CheckOutbound returns why a header of a plugin's response does not reach the client, nil
// if it does. The name is not case-sensitive. Location and every target of Link (RFC 8288)
// must be references to the same host, without scheme and authority.
func CheckOutbound(name, value string) error {
	known := func(x string) bool { return strings.EqualFold(x, name) }
	switch {
	case !slices.ContainsFunc(OutboundHeaders, known):
		return fmt.Errorf("header %q of a response does not reach the client", name)
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
		return fmt.Errorf("header %q of a response contains a control character", name)
	case strings.EqualFold(name, "Location") && !isLocal(value):
		return fmt.Errorf("Location %q leads to another host; it must be a path or relative, without scheme and host", value)
	case strings.EqualFold(name, "Link"):
		return checkLink(value)
	}
	return nil
}

// checkLink checks every <target> outside of quotes.
func checkLink(value string) error {
	targets := 0
	for rest := value; ; targets++ {
		at := strings.IndexAny(rest, `<"`)
		if at < 0 {
			break
		}
		closer := byte('>')
		if rest[at] == '"' {
			closer = '"'
		}
		target, after, closed := strings.Cut(rest[at+1:], string(closer))
		if rest = after; !closed || closer == '>' && !isLocal(target) {
			return fmt.Errorf("Link %q leads to another host; its targets must be paths or relative, without scheme and host", value)
		}
	}
	if targets == 0 {
		return fmt.Errorf("Link %q has no <target>", value)
	}
	return nil
}

// isLocal reports whether a URI reference (RFC 3986, section 4.2) always refers to the host
// that it comes from. Browsers treat a backslash as a slash.
func isLocal(ref string) bool {
	if ref == "" || strings.HasPrefix(ref, "//") ||
		strings.ContainsFunc(ref, func(r rune) bool { return r <= ' ' || r == '\\' || r >= 0x7f }) {
		return false
	}
	first, _, _ := strings.Cut(ref, "/")
	first, _, _ = strings.Cut(first, "?")
	first, _, _ = strings.Cut(first, "#")
	return !strings.Contains(first, ":")
}
