package gateway

import (
	"net/http"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// ownRoute is a plugin's route that somebody may use.
type ownRoute struct {
	Plugin  string      `json:"plugin"`
	Name    string      `json:"name"`
	Kind    string      `json:"kind"` // unary, events, socket
	Method  string      `json:"method"`
	Path    string      `json:"path"` // with {params}
	Action  host.Action `json:"action"`
	Mutates bool        `json:"mutates"`
	// Resource is where a request names what it is about: {"cluster": "query:cluster"}.
	Resource host.Resource `json:"resource,omitempty"`
	// ReasonRequired is set if a request has to state a reason.
	ReasonRequired bool `json:"reasonRequired,omitempty"`
}

// ownRoutes handles GET /auth/routes: what the caller may use of the plugins, as
// far as that is known before a request names what it is about; then it is
// decided again, and so is each thing that the plugin reaches for. Other routes
// are not told of.
func (g *Gateway) ownRoutes(w http.ResponseWriter, r *http.Request) error {
	p, list := infoOf(r.Context()).principal, []ownRoute{}
	for _, info := range g.Plugins.List() {
		for i := range info.Routes {
			m := &info.Routes[i]
			d := g.Policy.Would(r.Context(), &host.Question{Principal: p, Route: m.Route})
			reason := d.Reason.Code == "reason_required"
			if !d.Allow && !reason {
				continue
			}
			door := "/api/"
			if m.Kind == manifest.Socket {
				door = "/ws/"
			}
			list = append(list, ownRoute{
				info.Name, m.Route.Name, string(m.Kind), m.Route.Method, door + info.Name + strings.TrimSuffix(m.Route.Path, "/"),
				m.Route.Action, m.Route.Mutates, m.Resource, reason,
			})
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{"routes": list})
	return nil
}
