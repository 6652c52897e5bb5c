package gateway

import (
	"net/http"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/directory"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
)

// adminPlugin is the plugin name under which policy knows the host's own
// administration. No plugin can have it.
const adminPlugin = "admin"

// administer is the door of the host's own administration: a session, the
// decision about the route's action, the handler.
func (g *Gateway) administer(rt route) handler {
	_, name, _ := rt.action.Split()
	return func(w http.ResponseWriter, r *http.Request) error {
		info := infoOf(r.Context())
		reason, query, err := g.reason(r)
		if err != nil {
			return err
		}
		if r.URL.RawQuery = query; reason != "" {
			info.log = info.log.With("reason", reason)
		}
		s, err := g.Sessions.Open(r.Context(), info.principal, session.Info{
			Kind: session.Call, Plugin: adminPlugin, Route: name, RequestID: info.id, RemoteAddr: g.Authn.RemoteAddr(r),
		})
		if err != nil {
			return err
		}
		defer s.Close()
		question := &host.Question{Principal: info.principal, Reason: reason, Route: host.Route{
			Plugin: adminPlugin, Name: name, Action: rt.action, Method: rt.method, Path: rt.path, Mutates: rt.method != http.MethodGet,
		}}
		if user := r.URL.Query().Get("user"); user != "" {
			question.Resource = host.Resource{"user": user}
		}
		d := g.Decide(s.Context(), question)
		if !d.Allow {
			info.log.Info("refused by policy", "action", string(rt.action), "reason", d.Reason.Code, "decision", d.ID, "revision", d.Revision)
			return &host.Error{Kind: host.Forbidden, Message: "you may not do this", Detail: d.Reason.Code}
		}
		if o := d.Obligations; !o.MetBy(false, false) || o.Confines() {
			info.log.Error("policy obliges to what nothing here enforces", "action", string(rt.action), "decision", d.ID)
			return &host.Error{Kind: host.Forbidden, Message: "you may not do this", Detail: "obligation_not_supported"}
		}
		s.Limit(d.Obligations.MaxSession, d.Obligations.Idle)
		return rt.handle(w, r.WithContext(s.Context()))
	}
}

// Directory is what administrators may see of the directory; *directory.Directory
// is one.
type Directory interface {
	Revision() uint64
	Problems() []directory.Problem
	Sources() []directory.SourceStatus
}

// adminDirectory handles GET /api/admin/directory: what the directory leaves out
// and how the clusters that it reads do.
func (g *Gateway) adminDirectory(w http.ResponseWriter, _ *http.Request) error {
	type source struct {
		Cluster string     `json:"cluster"`
		Known   bool       `json:"known"`
		Entries int        `json:"entries"`
		Problem string     `json:"problem,omitempty"`
		Since   *time.Time `json:"since,omitempty"`
	}
	sources := []source{}
	for _, s := range g.Directory.Sources() {
		x := source{Cluster: s.Cluster, Known: s.Known, Entries: s.Objects, Problem: s.Problem}
		if s.Problem != "" {
			x.Since = &s.Since
		}
		sources = append(sources, x)
	}
	problems := append([]directory.Problem{}, g.Directory.Problems()...)
	writeJSON(w, http.StatusOK, map[string]any{"revision": g.Directory.Revision(), "clusters": sources, "problems": problems})
	return nil
}
