package http

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/dnsname"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/netaddr"
)

// Config is one site of the key "http" of the host's configuration: an HTTP service that
// plugins may send requests to, with the host's credentials for it.
type Config struct {
	Name string `json:"name"` // a DNS label, which policy and grants use
	// URL is https://SERVER/PATH, without query; the site is every path below it.
	URL       string `json:"url"`
	User      string `json:"user,omitempty"`      // user name, with the token as the password; without it the token is a bearer token
	TokenFile string `json:"tokenFile,omitempty"` // contains the token
	CAFile    string `json:"caFile,omitempty"`    // PEM; certificate authorities, instead of the system's
}

// Paths are the fields that name files.
func (c *Config) Paths() []*string { return []*string{&c.TokenFile, &c.CAFile} }

// CheckConfigs adds everything that is wrong to bad, which is at the list. Nothing is
// opened.
func CheckConfigs(bad *config.Problems, list []Config) {
	names, addresses := map[string]bool{}, map[string]bool{}
	for i := range list {
		c := &list[i]
		bad := bad.Index("", i)
		if !dnsname.IsLabel(c.Name) || names[c.Name] {
			bad.Add("name", "%q is not a lower-case DNS label, or is used twice", c.Name)
		}
		names[c.Name] = true
		a, problem := parse(c.URL)
		switch {
		case problem != "":
			bad.Add("url", "%s", problem)
		case a.query != "":
			bad.Add("url", "must have no query")
		case a.scheme == "http" && !netaddr.IsLoopback(netaddr.Host(a.host)):
			bad.Add("url", "must begin with https://, because the server is not on this machine")
		case addresses[a.base()]:
			bad.Add("url", "another site has the same address")
		}
		addresses[a.base()] = true
		if c.User != "" && c.TokenFile == "" {
			bad.Add("tokenFile", "is required with a user")
		}
		if strings.Contains(c.User, ":") {
			bad.Add("user", "must not contain a colon")
		}
	}
}

// address is a URL in the one spelling that is sent. The zero value is no address.
type address struct {
	scheme string
	host   string // with the port, if it is not the scheme's own; in lower case
	path   string // escaped; begins with "/", or is empty
	query  string
}

func (a address) String() string {
	s := a.scheme + "://" + a.host + a.path
	if a.query != "" {
		s += "?" + a.query
	}
	return s
}

// base is the address without a slash at its end.
func (a address) base() string { return a.scheme + "://" + a.host + strings.TrimSuffix(a.path, "/") }

// below reports whether a is base's address or below it.
func (a address) below(base address) bool {
	b := base.base()
	full := a.scheme + "://" + a.host + a.path
	return full == b || strings.HasPrefix(full, b+"/")
}

const maxURL = 8 << 10

// parse parses an absolute URL strictly. problem is what is wrong with it.
func parse(raw string) (a address, problem string) {
	u, err := url.Parse(raw)
	switch {
	case len(raw) > maxURL:
		return a, "is too long"
	case err != nil:
		return a, "is not a URL"
	case u.Scheme != "https" && u.Scheme != "http" || u.Opaque != "":
		return a, "must begin with https://"
	case u.User != nil:
		return a, "must have no user"
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return a, "must have no fragment"
	case u.Host == "" || !dnsname.IsSubdomain(strings.ToLower(u.Hostname())) && netaddr.Host(u.Host) == "":
		return a, "must name a server"
	}
	a = address{scheme: u.Scheme, host: strings.ToLower(u.Host), path: u.EscapedPath(), query: u.RawQuery}
	a.host = strings.TrimSuffix(a.host, map[string]string{"https": ":443", "http": ":80"}[a.scheme])
	if problem := pathProblem(a.path); problem != "" {
		return address{}, problem
	}
	if strings.ContainsFunc(a.query, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return address{}, "must have no space or control character in its query"
	}
	return a, ""
}

// pathProblem returns what servers could read in two ways.
func pathProblem(path string) string {
	lower := strings.ToLower(path)
	for _, bad := range []string{"%2f", "%5c", "%2e", "%00", "\\", ";"} {
		if strings.Contains(lower, bad) {
			return "must not contain " + bad + " in its path"
		}
	}
	for i := 0; i+2 < len(path); i++ { // %61dmin is admin to a server, and not to policy
		if b, err := strconv.ParseUint(path[i+1:i+3], 16, 8); path[i] == '%' && err == nil && unreserved(byte(b)) {
			return "must not contain " + path[i:i+3] + " in its path"
		}
	}
	segments := strings.Split(path, "/")
	for i, s := range segments {
		switch {
		case s == "." || s == "..":
			return `must have no "." or ".." in its path`
		case s == "" && i > 0 && i < len(segments)-1:
			return "must have no empty part in its path"
		}
	}
	return ""
}

// unreserved reports whether b means the same with and without escaping (RFC 3986, section 2.3).
func unreserved(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || strings.IndexByte("-._~", b) >= 0
}
