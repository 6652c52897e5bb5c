package admin

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
	"github.com/seed-a3fb47d6/bulkhead/host/policytool"
)

// maxCandidate bounds a bundle in a request, in bytes.
const maxCandidate = 4 << 20

// policies handles GET /api/admin/policies: the published revision, and the state of the
// decision log and the shadow.
func (a *admin) policies(w http.ResponseWriter, _ *http.Request) error {
	gateway.WriteJSON(w, http.StatusOK, a.Policy.Status())
	return nil
}

// explainKeys are the keys of a question; the value is whether a key may be repeated.
var explainKeys = map[string]bool{
	"user": false, "action": false, "resource": false, "capability": false, "verb": false, "reason": false,
	"role": true, "team": true, "unlisted": false,
}

// explain handles GET /api/admin/policies/explain?user=&action=&resource=: why policy
// allows or denies an action. The keys are the fields of policytool.Ask; role and team,
// which an identity provider asserts, may be repeated, and unlisted is true or false.
func (a *admin) explain(w http.ResponseWriter, r *http.Request) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return host.E(host.Invalid, "", "the query is not encoded properly")
	}
	for key, values := range query {
		repeatable, known := explainKeys[key]
		if !known {
			return host.E(host.Invalid, "", "%q is not a key of a question; the keys are %s", key, strings.Join(slices.Sorted(maps.Keys(explainKeys)), ", "))
		}
		if len(values) > 1 && !repeatable {
			return host.E(host.Invalid, "", "%s is given more than once", key)
		}
	}
	ask := policytool.Ask{
		User: query.Get("user"), Action: query.Get("action"), Resource: query.Get("resource"),
		Capability: query.Get("capability"), Verb: query.Get("verb"), Reason: query.Get("reason"),
		Roles: query["role"], Teams: query["team"], Unlisted: query.Get("unlisted") == "true",
	}
	if !slices.Contains([]string{"", "true", "false"}, query.Get("unlisted")) {
		return host.E(host.Invalid, "", "unlisted must be true or false")
	}
	q, err := ask.Question(a.Kinds)
	if err != nil {
		return host.E(host.Invalid, "", "%w", err)
	}
	x := a.Policy.Explain(r.Context(), q)
	x.Against(a.HostView(q.Route.Plugin), q)
	gateway.WriteJSON(w, http.StatusOK, x)
	return nil
}

// diff handles POST /api/admin/policies/diff: which decisions in the decision log the
// bundle in the body, or without one the shadow, would have changed.
func (a *admin) diff(w http.ResponseWriter, r *http.Request) error {
	packed, err := a.gateway.ReadBody(r.Context(), w, r, maxCandidate)
	if err != nil {
		return err
	}
	report, err := a.Policy.Compare(r.Context(), packed)
	if err != nil {
		return err
	}
	gateway.WriteJSON(w, http.StatusOK, report)
	return nil
}
