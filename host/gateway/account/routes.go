package account

import (
	"net/http"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// route is a plugin's route that the caller may use.
type route struct {
	Plugin  string      `json:"plugin"`
	Name    string      `json:"name"`
	Kind    string      `json:"kind"` // unary, events, socket
	Method  string      `json:"method"`
	Path    string      `json:"path"` // with {params}
	Action  host.Action `json:"action"`
	Mutates bool        `json:"mutates"`
	// Resource is the parts of a request that name its target: {"cluster": "query:cluster"}.
	Resource host.Resource `json:"resource,omitempty"`
	// ReasonRequired is set if a request must state a reason.
	ReasonRequired bool `json:"reasonRequired,omitempty"`
}

// routes handles GET /auth/routes: the plugins' routes that the caller may use, as far as
// that is known before a request names its target. Policy decides the request itself
// again, and each call that the plugin makes. Other routes are not listed.
func (a *account) routes(w http.ResponseWriter, r *http.Request) error {
	p, list := gateway.RequestOf(r.Context()).Principal, []route{}
	for _, info := range a.Plugins() {
		for i := range info.Routes {
			m := &info.Routes[i]
			d := a.Would(r.Context(), &host.Question{Principal: p, Route: m.Route})
			reason := d.Reason.Code == "reason_required"
			if !d.Allow && !reason {
				continue
			}
			door := "/api/"
			if m.Kind == manifest.Socket {
				door = "/ws/"
			}
			list = append(list, route{
				info.Name, m.Route.Name, string(m.Kind), m.Route.Method, door + info.Name + strings.TrimSuffix(m.Route.Path, "/"),
				m.Route.Action, m.Route.Mutates, m.Resource, reason,
			})
		}
	}
	gateway.WriteJSON(w, http.StatusOK, map[string]any{"routes": list})
	return nil
}
