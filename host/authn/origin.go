package authn

import (
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

var errForm = &host.Error{Kind: host.Forbidden, Op: "authn",
	Message: "CSRF header required: send X-Requested-With: XMLHttpRequest, or a JSON body"}

// foreign refuses a request of a foreign page. Whoever put something in front of
// the host has to see what differs.
func (s *Service) foreign(r *http.Request) error {
	page := "a page of another site"
	if origin := r.Header["Origin"]; len(origin) > 0 {
		page = fmt.Sprintf("a page of %.100q", strings.Join(origin, ", "))
	}
	return &host.Error{Kind: host.Forbidden, Op: "authn", Message: "cross-site request refused",
		Detail: fmt.Sprintf("it comes from %s; the console's pages are of %q, by publicURL in the host's configuration", page, originOf(s.PublicURL))}
}

// CheckOrigin refuses, with kind Forbidden, a request that a foreign page may
// have made a browser send: an upgrade whose Origin is not ours, and an unsafe
// request with a credential that browsers add by themselves, that does not come from our own pages or could come
// from an HTML form. Programs send neither Origin nor Sec-Fetch-Site and pass.
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

// ambient reports whether a browser may have added the credential by itself:
// our cookie, or the one that the proxy in front turns into headers.
func (s *Service) ambient(r *http.Request) bool {
	return s.cookie.read(r) != "" || s.hop != nil && s.hop.trusts(r)
}

// CheckSite refuses, with kind Forbidden, what a browser says comes from a
// foreign page, reading too. It trusts what browsers say about that (Fetch
// Metadata, Sec-Fetch-Site; RFC 6454, section 7, Origin).
func (s *Service) CheckSite(r *http.Request) error {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
	default:
		return s.foreign(r)
	}
	for _, origin := range r.Header["Origin"] {
		if !s.origins[strings.ToLower(origin)] {
			return s.foreign(r)
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

// originOf writes an origin as browsers do: lower case, no default port.
func originOf(u *url.URL) string {
	authority := strings.ToLower(u.Host)
	if port := u.Port(); u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		authority = strings.TrimSuffix(authority, ":"+port)
	}
	return u.Scheme + "://" + authority
}

// originsOf are the origins of our own pages. A loopback host is known by
// several names, which all mean this machine and this port.
func originsOf(public *url.URL) map[string]bool {
	origins := map[string]bool{originOf(public): true}
	if !isLoopback(public.Hostname()) {
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
