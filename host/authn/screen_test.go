package authn

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// FuzzScreen checks that no header of an untrusted client passes if any server
// could read its name as that of an identity header.
func FuzzScreen(f *testing.F) {
	service := &Service{proxy: &trustedProxy{user: email, teams: "X-Auth-Request-Groups"}}
	for _, name := range []string{email, "x_auth_request_email", "X-Auth_Request-Email", "Remote-User", "IMPERSONATE-USER", "X-Forwarded-For", "", "İmpersonate-User"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		r := &http.Request{Header: http.Header{name: {"ann@example.com"}}, RemoteAddr: "192.0.2.1:1"}
		service.Screen(r)
		if strings.ContainsFunc(name, func(c rune) bool { return c > 0x7e }) {
			return // net/http accepts no such name
		}
		read := strings.ReplaceAll(strings.ToLower(name), "_", "-")
		if _, there := r.Header[name]; !there {
			return
		}
		for _, forbidden := range []string{"x-auth-request-email", "x-auth-request-groups", "x-forwarded-user", "x-remote-user", "remote-user", "impersonate-user", "impersonate-group"} {
			if read == forbidden || strings.HasPrefix(read, "impersonate-extra-") {
				t.Fatalf("%q gets through", name)
			}
		}
	})
}

// Screen removes all identity headers of a client, and keeps the two configured
// headers of a trusted proxy.
func TestScreenKeepsTheHeadersOfATrustedProxy(t *testing.T) {
	f := behindProxy(t, func(p *Proxy) { p.User = "X-My-User" })
	all := []string{"X-My-User", "a", "X_my_user", "b", "X-Auth-Request-Groups", "c", "X-Auth-Request-User", "d", "X-Forwarded-User", "e",
		"Remote-User", "f", "Impersonate-User", "g", "Impersonate-Extra-Scopes", "h", "X-Webauth-User", "i", "X-Forwarded-For", "j", "Accept", "k"}
	for from, want := range map[string][]string{
		proxyAddr:     {"Accept", "X-Auth-Request-Groups", "X-Forwarded-For", "X-My-User"},
		"192.0.2.7:1": {"Accept", "X-Forwarded-For"},
	} {
		if got := slices.Sorted(maps.Keys(f.via(from, all...).Header)); !slices.Equal(got, want) {
			t.Errorf("from %s stay %q, want %q", from, got, want)
		}
	}
	// Without a trusted proxy they are removed too.
	none := setUp(t)
	if got := slices.Sorted(maps.Keys(none.via(proxyAddr, all...).Header)); slices.Contains(got, "Remote-User") || slices.Contains(got, "Impersonate-User") {
		t.Errorf("without a proxy stay %q", got)
	}
}
