package authn

import "net/http"

// identityHeaders are the headers in which proxies assert a user, and those with
// which Kubernetes clients impersonate one. They reach a handler only if a trusted
// proxy sent them.
var identityHeaders = []string{
	"x-auth-request-", "x-forwarded-user", "x-forwarded-email", "x-forwarded-groups", "x-forwarded-preferred-username",
	"x-forwarded-access-token", "x-remote-", "remote-user", "remote-groups", "remote-email", "x-kobs-user", "x-webauth-",
	"impersonate-",
}

// Screen removes identity headers, in every spelling that some server reads as the
// same name. From a trusted proxy the configured headers stay, in their configured
// spelling only. Call it before anything reads headers.
func (s *Service) Screen(r *http.Request) {
	trusted, asked := false, false
	for name := range r.Header {
		if !s.identifies(name) {
			continue
		}
		if s.proxy != nil && !asked {
			trusted, asked = s.proxy.trusts(r), true
		}
		if !trusted || name != s.proxy.user && name != s.proxy.teams {
			delete(r.Header, name)
		}
	}
}

func (s *Service) identifies(name string) bool {
	if s.proxy != nil && (sameHeader(name, s.proxy.user) || sameHeader(name, s.proxy.teams)) {
		return true
	}
	for _, known := range identityHeaders {
		if len(name) >= len(known) && sameHeader(name[:len(known)], known) {
			return true
		}
	}
	return false
}

// sameHeader compares names like servers that fold case and read "_" as "-"
// (CVE-2025-64484).
func sameHeader(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if foldHeader(a[i]) != foldHeader(b[i]) {
			return false
		}
	}
	return true
}

func foldHeader(c byte) byte {
	switch {
	case c >= 'A' && c <= 'Z':
		return c + 'a' - 'A'
	case c == '_':
		return '-'
	}
	return c
}
