package gateway

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/authz"
)

// maxCandidate bounds a bundle in a request, in bytes.
const maxCandidate = 4 << 20

// adminPolicies handles GET /api/admin/policies: what serves, and how decision
// log and shadow do.
func (g *Gateway) adminPolicies(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, g.Policy.Status())
	return nil
}

// adminExplain handles GET /api/admin/policies/explain?user=&action=&resource=:
// why somebody may or may not do something.
func (g *Gateway) adminExplain(w http.ResponseWriter, r *http.Request) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return host.E(host.Invalid, "", "the query is not encoded properly")
	}
	known := []string{"user", "action", "resource", "capability", "verb", "reason"}
	for key := range query {
		if !slices.Contains(known, key) {
			return host.E(host.Invalid, "", "%q is not one of user, action, resource, capability, verb and reason", key)
		}
	}
	ask := authz.Ask{
		User: query.Get("user"), Action: query.Get("action"), Resource: query.Get("resource"),
		Capability: query.Get("capability"), Verb: query.Get("verb"), Reason: query.Get("reason"),
	}
	q, err := ask.Question()
	if err != nil {
		return host.E(host.Invalid, "", "%w", err)
	}
	writeJSON(w, http.StatusOK, g.Policy.Explain(r.Context(), q))
	return nil
}

// adminDiff handles POST /api/admin/policies/diff: what the bundle in the body,
// or without one the shadow policy, would have decided differently, by the
// decision log.
func (g *Gateway) adminDiff(w http.ResponseWriter, r *http.Request) error {
	packed, err := readBody(w, r, maxCandidate)
	if err != nil {
		return err
	}
	report, err := g.Policy.Compare(r.Context(), packed)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, report)
	return nil
}
