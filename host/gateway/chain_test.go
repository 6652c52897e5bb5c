package gateway

import (
	"net/url"
	"path"
	"strings"
	"testing"
)

func TestAmbiguousPathsAreRefused(t *testing.T) {
	for _, good := range []string{"/", "/api/echo/echo", "/api/echo/", "/ws/exec", "/api/echo/a%20b", "/api/echo/%C3%A9", "/api/echo/a.b..c"} {
		if err := checkPath(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "api", "//", "//api", "/api//echo", "/api/echo//", "/api/../x", "/api/..", "/./api", "/api/.",
		"/api/%2e%2e/x", "/api/%2E%2e", "/api/a%2Fb", "/api/a%2fb", "/api/a%5cb", `/api/a\b`, "/api/a;b", "/api/a%3Bb",
		"/api/%00", "/api/a%0d%0ab", "/api/a%7f", "/api/%252e%252e", "/api/a\x00b", "/api/a\nb",
	} {
		if err := checkPath(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// FuzzCheckPath: what is accepted reads the same to every parser: it is clean,
// before and after decoding, and decoding it once more changes nothing.
func FuzzCheckPath(f *testing.F) {
	for _, seed := range []string{"/", "/api/echo/echo", "/api/a%20b", "/a/%2e%2e/b", "/a//b", "/a;b", "/%25", "/a/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, escaped string) {
		if checkPath(escaped) != nil {
			return
		}
		decoded, err := url.PathUnescape(escaped)
		if err != nil {
			return // net/http refuses it before us
		}
		for _, p := range []string{escaped, decoded} {
			if clean := path.Clean(p); clean != p && clean+"/" != p {
				t.Errorf("%q is accepted, but %q cleans to %q", escaped, p, clean)
			}
			if strings.ContainsAny(p, ";\\\x00\r\n") {
				t.Errorf("%q is accepted and reads as %q", escaped, p)
			}
		}
		if strings.Count(decoded, "/") != strings.Count(escaped, "/") {
			t.Errorf("%q is accepted and decoding adds segments: %q", escaped, decoded)
		}
		if again, err := url.PathUnescape(decoded); err == nil && again != decoded {
			t.Errorf("%q is accepted and decodes twice: %q, %q", escaped, decoded, again)
		}
	})
}
