package gateway

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// The header and the query parameter that state a reason. Browsers cannot set headers of
// websockets and event streams, so the query can state it too. Plugins do not see that
// parameter.
const (
	reasonHeader = "X-Bulkhead-Reason"
	reasonKey    = "bulkhead-reason"
)

// Reason returns the reason that r states, or "", and the query without the host's own
// parameters. A reason in a link of another site's page is refused, because it would break
// glass in the user's name. The reason is logged.
func (g *Gateway) Reason(r *http.Request) (reason, query string, err error) {
	reason, query, err = statedReason(r)
	if err != nil || reason == "" {
		return "", query, err
	}
	if err := g.Authn.CheckSite(r); err != nil {
		return "", "", err
	}
	req := RequestOf(r.Context())
	req.Log = req.Log.With("reason", reason)
	return reason, query, nil
}

// statedReason returns the reason that r states, or "", and the query without the host's
// own parameters.
func statedReason(r *http.Request) (reason, query string, err error) {
	own, query := ownQuery(r.URL.RawQuery)
	if err := checkRefusal(own[refusalKey]); err != nil {
		return "", "", err
	}
	var stated []string
	for _, value := range r.Header.Values(reasonHeader) {
		stated = append(stated, fieldText(value))
	}
	for _, value := range own[reasonKey] {
		if value, err = url.QueryUnescape(value); err != nil {
			return "", "", host.E(host.Invalid, "", "the stated reason is not encoded properly")
		}
		stated = append(stated, value)
	}
	if len(stated) == 0 {
		return "", query, nil
	}
	if len(stated) > 1 {
		return "", "", host.E(host.Invalid, "", "a reason is stated more than once")
	}
	if reason, err = host.ParseReason(stated[0]); err != nil {
		return "", "", err
	}
	return reason, query, nil
}

// fieldText reads a header's value as UTF-8 or, if it is not valid UTF-8, as
// ISO-8859-1 (RFC 9110, section 5.5), which browsers send.
func fieldText(value string) string {
	if utf8.ValidString(value) {
		return value
	}
	var text strings.Builder
	for _, b := range []byte(value) {
		text.WriteRune(rune(b))
	}
	return text.String()
}

// ownQuery removes the host's own parameters from a query. It returns their values, still
// encoded, and the rest of the query.
func ownQuery(query string) (own map[string][]string, rest string) {
	if !strings.Contains(query, "bulkhead") && !strings.Contains(query, "%") {
		return nil, query
	}
	var pairs []string
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if key, err := url.QueryUnescape(name); err == nil && (key == reasonKey || key == refusalKey) {
			if own == nil {
				own = map[string][]string{}
			}
			own[key] = append(own[key], value)
			continue
		}
		pairs = append(pairs, pair)
	}
	return own, strings.Join(pairs, "&")
}
