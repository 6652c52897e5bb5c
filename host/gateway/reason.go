package gateway

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Where a request states its reason. Browsers give no headers to websockets and
// event streams, so the query can state it too; it is the host's and no plugin
// sees it.
const (
	reasonHeader = "X-Bulkhead-Reason"
	reasonKey    = "bulkhead-reason"
)

// reason is statedReason for somebody who states it themselves: a foreign page
// that links here must not break glass in their name.
func (g *Gateway) reason(r *http.Request) (reason, query string, err error) {
	if reason, query, err = statedReason(r); err == nil && reason != "" {
		err = g.Authn.CheckSite(r)
	}
	return reason, query, err
}

// statedReason returns the reason that r states, "" if it states none, and the
// query without it.
func statedReason(r *http.Request) (reason, query string, err error) {
	stated := r.Header.Values(reasonHeader)
	query = r.URL.RawQuery
	if strings.Contains(query, "reason") || strings.Contains(query, "%") {
		var rest []string
		for pair := range strings.SplitSeq(query, "&") {
			name, value, _ := strings.Cut(pair, "=")
			if key, err := url.QueryUnescape(name); err != nil || key != reasonKey {
				rest = append(rest, pair)
				continue
			}
			value, err := url.QueryUnescape(value)
			if err != nil {
				return "", "", host.E(host.Invalid, "", "the stated reason is not encoded properly")
			}
			stated = append(stated, value)
		}
		query = strings.Join(rest, "&")
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
