package gateway

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

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

// explainKeys are what a question has, those that may be repeated with true.
var explainKeys = map[string]bool{
	"user": false, "action": false, "resource": false, "capability": false, "verb": false, "reason": false,
	"role": true, "team": true, "unlisted": false,
}

// adminExplain handles GET /api/admin/policies/explain?user=&action=&resource=:
// why somebody may or may not do something. The keys are authz.Ask's; role and
// team, which an identity provider asserts, may be repeated, and unlisted is true
// or false.
func (g *Gateway) adminExplain(w http.ResponseWriter, r *http.Request) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return host.E(host.Invalid, "", "the query is not encoded properly")
	}
	for key, values := range query {
		repeatable, known := explainKeys[key]
		if !known {
			return host.E(host.Invalid, "", "%q is not one of %s", key, strings.Join(slices.Sorted(maps.Keys(explainKeys)), ", "))
		}
		if len(values) > 1 && !repeatable {
			return host.E(host.Invalid, "", "%s is there twice", key)
		}
	}
	ask := authz.Ask{
		User: query.Get("user"), Action: query.Get("action"), Resource: query.Get("resource"),
		Capability: query.Get("capability"), Verb: query.Get("verb"), Reason: query.Get("reason"),
		Roles: query["role"], Teams: query["team"], Unlisted: query.Get("unlisted") == "true",
	}
	if !slices.Contains([]string{"", "true", "false"}, query.Get("unlisted")) {
		return host.E(host.Invalid, "", "unlisted is neither true nor false")
	}
	q, err := ask.Question()
	if err != nil {
		return host.E(host.Invalid, "", "%w", err)
	}
	x := g.Policy.Explain(r.Context(), q)
	s := &authz.Setting{}
	if generation := g.Plugins.Get(q.Route.Plugin); generation != nil {
		s = generation.Setting()
	}
	for _, p := range g.Plugins.List() {
		s.Plugins = append(s.Plugins, p.Name)
	}
	s.Clusters, s.Instances = g.Clusters, g.Catalog.Configured()
	x.Within(s, q)
	writeJSON(w, http.StatusOK, x)
	return nil
}

// adminDiff handles POST /api/admin/policies/diff: what the bundle in the body,
// or without one the shadow policy, would have decided differently, by the
// decision log.
func (g *Gateway) adminDiff(w http.ResponseWriter, r *http.Request) error {
	packed, err := g.readBody(r.Context(), w, r, maxCandidate)
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
