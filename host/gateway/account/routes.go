package account

import (
	"context"
	"net/http"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// route is a route that the caller may use.
type route struct {
	Plugin  string      `json:"plugin,omitempty"` // empty for administration
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

// page is what a plugin shows in the console to who may use one of its routes.
type page struct {
	Plugin string `json:"plugin"`
	Title  string `json:"title"`
	Icon   string `json:"icon,omitempty"` // its path
	Path   string `json:"path"`           // of the document; another for another version
	// Routes names those of the plugin that the page may use.
	Routes []string `json:"routes"`
}

// routes handles GET /auth/routes: the plugins' routes that the caller may use, the pages
// of these plugins, and the routes of administration, as far as that is known before a request names its target. Policy
// decides the request itself again, and each call that the plugin makes. Other routes are
// not listed.
func (a *account) routes(w http.ResponseWriter, r *http.Request) error {
	p, list, admin, pages := gateway.RequestOf(r.Context()).Principal, []route{}, []route{}, []page{}
	for _, info := range a.Plugins(p) {
		before := len(list)
		for i := range info.Routes {
			m := &info.Routes[i]
			usable, reason := a.usable(r.Context(), p, m.Route)
			if !usable {
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
		if info.UI != nil && len(list) > before {
			pages = append(pages, pageOf(&info))
		}
	}
	for _, m := range a.administration() {
		if usable, reason := a.usable(r.Context(), p, m); usable {
			admin = append(admin, route{"", m.Name, string(manifest.Unary), m.Method, m.Path, m.Action, m.Mutates, nil, reason})
		}
	}
	gateway.WriteJSON(w, http.StatusOK, map[string]any{"routes": list, "admin": admin, "pages": pages})
	return nil
}

func pageOf(info *plugin.Info) page {
	p := page{Plugin: info.Name, Title: info.UI.Title, Path: "/ui/" + info.Name + "/" + strings.TrimPrefix(info.Digest, "sha256:") + "/", Routes: info.UI.Routes}
	if info.UI.Icon != "" {
		p.Icon = p.Path + info.UI.Icon
	}
	if p.Routes == nil {
		p.Routes = []string{}
	}
	return p
}

// usable reports whether p may use the route, and whether only with a reason.
func (a *account) usable(ctx context.Context, p *host.Principal, r host.Route) (usable, reason bool) {
	d := a.Would(ctx, &host.Question{Principal: p, Route: r})
	reason = d.Reason.Code == "reason_required"
	return d.Allow || reason, reason
}

// administration returns the routes of administration as policy is asked about them.
func administration(g *gateway.Gateway) (list []host.Route) {
	surface, err := g.Surface()
	if err != nil {
		return nil // a test holds that every route is mounted
	}
	for _, e := range surface {
		owner, name, _ := e.Action.Split()
		if strings.HasPrefix(e.Path, "/api/"+owner+"/") && !strings.Contains(e.Path, ":") {
			list = append(list, host.Route{Plugin: owner, Name: name, Action: e.Action, Method: e.Method, Path: e.Path, Mutates: e.Method != http.MethodGet})
		}
	}
	return list
}
