package capability

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/dnsname"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/text"
)

// Target is a capability URL in its parts: SCHEME://CLUSTER/SEGMENT/…?QUERY.
type Target struct {
	Cluster  string
	Segments []string
	Query    url.Values // at most one value per key, except for repeatable keys
}

const maxSegments = 32

// A segment cannot begin with a dot, so none is "." or ".."; it cannot contain "%", so
// what is compared is what is sent.
var segmentRE = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._:@+=,~-]{0,252}$`)

// ParseTarget parses a guest's URL strictly: a target has exactly one spelling, and a
// URL that two parsers could read differently is an error of kind Invalid. repeatable
// are the query keys that may occur more than once.
func ParseTarget(scheme, raw string, repeatable ...string) (*Target, error) {
	return ParseNamed(scheme, raw, func(string) bool { return false }, repeatable...)
}

// ParseNamed is ParseTarget for paths whose segments may also be other names that named
// accepts, unescaped. named must not accept a name that contains "/", "?", "#" or "%",
// or is "." or "..".
func ParseNamed(scheme, raw string, named func(string) bool, repeatable ...string) (*Target, error) {
	rest, ok := strings.CutPrefix(raw, scheme+"://")
	if !ok {
		return nil, host.E(host.Invalid, scheme, "the URL does not begin with %s://", scheme)
	}
	path, query, _ := strings.Cut(rest, "?")
	parts := strings.Split(path, "/")
	if len(parts) > maxSegments {
		return nil, host.E(host.Invalid, scheme, "the URL's path has over %d segments", maxSegments)
	}
	if len(parts[0]) > dnsname.MaxLabel || !dnsname.IsSubdomain(parts[0]) {
		return nil, host.E(host.Invalid, scheme, "the URL's cluster is not a DNS name")
	}
	for _, s := range parts[1:] {
		if !segmentRE.MatchString(s) && !named(s) {
			return nil, host.E(host.Invalid, scheme, "the URL's path segment %q has an invalid character", text.Short(s))
		}
	}
	values, err := parseQuery(scheme, query, repeatable)
	if err != nil {
		return nil, err
	}
	return &Target{Cluster: parts[0], Segments: parts[1:], Query: values}, nil
}

func parseQuery(scheme, query string, repeatable []string) (url.Values, error) {
	if strings.Contains(query, "#") {
		return nil, host.E(host.Invalid, scheme, "the URL has a fragment")
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, host.E(host.Invalid, scheme, "the URL's query is malformed")
	}
	for key, list := range values {
		if len(list) > 1 && !slices.Contains(repeatable, key) {
			return nil, host.E(host.Invalid, scheme, "the URL's query contains %q twice", text.Short(key))
		}
	}
	return values, nil
}

// Only returns an error of kind Invalid if the query has a key other than keys.
func (t *Target) Only(scheme string, keys ...string) error {
	for key := range t.Query {
		if !slices.Contains(keys, key) {
			return host.E(host.Invalid, scheme, "the URL's query has the unknown key %q", text.Short(key))
		}
	}
	return nil
}
