package authn

import (
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/netaddr"
)

var errForm = &host.Error{Kind: host.Forbidden, Op: "authn",
	Message: "CSRF header required: send X-Requested-With: XMLHttpRequest, or a JSON body"}

// crossSite returns the error for a request from a page of another site. It names
// both origins, for operators whose proxy or publicURL is wrong.
func (s *Service) crossSite(r *http.Request) error {
	page := "a page of another site"
	if origin := r.Header["Origin"]; len(origin) > 0 {
		page = fmt.Sprintf("a page of %.100q", strings.Join(origin, ", "))
	}
	return &host.Error{Kind: host.Forbidden, Op: "authn", Message: "cross-site request refused",
		Detail: fmt.Sprintf("it comes from %s; the console's origin is %q, from publicURL in the host's configuration", page, originOf(s.PublicURL))}
}

// CheckOrigin refuses, with kind Forbidden, a request that a page of another site
// may have caused: an upgrade with another Origin, and an unsafe request whose
// credential the browser adds by itself, if it comes from another site or an HTML
// form could have sent it. Programs send neither Origin nor Sec-Fetch-Site and pass.
func (s *Service) CheckOrigin(r *http.Request) error {
	if r.Header.Get("Upgrade") != "" {
		return s.CheckSite(r)
	}
	if isSafe(r.Method) || !s.ambient(r) {
		return nil
	}
	if err := s.CheckSite(r); err != nil {
		return err
	}
	if r.Header.Get("X-Requested-With") != "XMLHttpRequest" && !isJSON(r) {
		return errForm
	}
	return nil
}

// ambient reports whether a browser may have added the credential by itself: the
// host's cookie, or that of the trusted proxy.
func (s *Service) ambient(r *http.Request) bool {
	return s.cookie.read(r) != "" || s.proxy != nil && s.proxy.trusts(r)
}

// CheckSite refuses, with kind Forbidden, any request, also a safe one, that a
// browser marks as cross-site (Sec-Fetch-Site, W3C Fetch Metadata; Origin, RFC
// 6454, section 7).
func (s *Service) CheckSite(r *http.Request) error {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
	default:
		return s.crossSite(r)
	}
	for _, origin := range r.Header["Origin"] {
		if !s.origins[strings.ToLower(origin)] {
			return s.crossSite(r)
		}
	}
	return nil
}

func isSafe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

func isJSON(r *http.Request) bool {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && media == "application/json"
}

// originOf returns the origin of u as browsers write it: lower case, no default
// port.
func originOf(u *url.URL) string {
	authority := strings.ToLower(u.Host)
	if port := u.Port(); u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		authority = strings.TrimSuffix(authority, ":"+port)
	}
	return u.Scheme + "://" + authority
}

// originsOf returns the origins of the console's pages. A loopback host has several
// names, all of which count.
func originsOf(public *url.URL) map[string]bool {
	origins := map[string]bool{originOf(public): true}
	if !netaddr.IsLoopback(public.Hostname()) {
		return origins
	}
	for _, name := range []string{"localhost", "127.0.0.1", "[::1]"} {
		alias := *public
		alias.Host = name
		if port := public.Port(); port != "" {
			alias.Host = net.JoinHostPort(strings.Trim(name, "[]"), port)
		}
		origins[originOf(&alias)] = true
	}
	return origins
}
