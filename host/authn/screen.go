package authn

import "net/http"

// identityHeaders are headers by which proxies say who somebody is, or Kubernetes
// clients who they want to be. None of them reaches a handler unless a trusted
// hop sent it.
var identityHeaders = []string{
	"x-auth-request-", "x-forwarded-user", "x-forwarded-email", "x-forwarded-groups", "x-forwarded-preferred-username",
	"x-forwarded-access-token", "x-remote-", "remote-user", "remote-groups", "remote-email", "x-kobs-user", "x-webauth-",
	"impersonate-",
}

// Screen removes the headers that say who somebody is, in every spelling that
// some server reads as the same name, unless a trusted hop sent them; of those,
// what is spelt differently from the configured name goes as well. It must come
// before anything that reads headers.
func (s *Service) Screen(r *http.Request) {
	trusted, asked := false, false
	for name := range r.Header {
		if !s.identifies(name) {
			continue
		}
		if s.hop != nil && !asked {
			trusted, asked = s.hop.trusts(r), true
		}
		if !trusted || name != s.hop.user && name != s.hop.teams {
			delete(r.Header, name)
		}
	}
}

func (s *Service) identifies(name string) bool {
	if s.hop != nil && (sameHeader(name, s.hop.user) || sameHeader(name, s.hop.teams)) {
		return true
	}
	for _, known := range identityHeaders {
		if len(name) >= len(known) && sameHeader(name[:len(known)], known) {
			return true
		}
	}
	return false
}

// sameHeader compares names as servers do that fold case and take "_" for "-"
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
