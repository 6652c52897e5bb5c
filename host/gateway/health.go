package gateway

import (
	"net/http"
	"time"
)

// Health is the source of the host's state for the health routes. Its functions are safe
// for concurrent use and return quickly.
type Health struct {
	Version string
	Commit  string // "" if it is not known
	Started time.Time
	// Checks returns the parts that the host needs to serve, by name, each with its
	// error or nil.
	Checks func() map[string]error
	// Degraded returns the parts without which the host can serve, by name, each with
	// its problem or nil.
	Degraded func() map[string]error
	// Clusters counts the clusters that answer, and all of them. A cluster that
	// does not answer does not make the host unready.
	Clusters func() (up, all int)
	// Stopping reports whether the host is shutting down.
	Stopping func() bool
	// Methods are the login methods; OAuthConfigured is whether one of them is
	// OAuth with id and secret.
	Methods         []string
	OAuthConfigured bool
}

// healthz answers while the process runs.
func (g *Gateway) healthz(w http.ResponseWriter, _ *http.Request) error {
	WriteJSON(w, http.StatusOK, map[string]string{"status": g.status("ok")})
	return nil
}

func (g *Gateway) status(otherwise string) string {
	if g.Health.Stopping() {
		return "shutting_down"
	}
	return otherwise
}

// readyz answers whether this replica should get requests, and names the parts that fail or
// are degraded. A degraded part does not take a replica out of service, since one invalid
// entry of the directory would take out all of them. The route is public, so reasons and
// the names of clusters are in the log only.
func (g *Gateway) readyz(w http.ResponseWriter, r *http.Request) error {
	checks, ready := map[string]string{}, !g.Health.Stopping()
	for name, err := range g.Health.Checks() {
		checks[name] = "ok"
		if err != nil {
			checks[name], ready = "failing", false
			RequestOf(r.Context()).Log.Debug("not ready", "check", name, "error", err)
		}
	}
	for name, err := range g.Health.Degraded() {
		checks[name] = "ok"
		if err != nil {
			checks[name] = "degraded"
			RequestOf(r.Context()).Log.Debug("degraded", "check", name, "error", err)
		}
	}
	status, code := "ready", http.StatusOK
	if !ready {
		status, code = g.status("not_ready"), http.StatusServiceUnavailable
	}
	up, all := g.Health.Clusters()
	WriteJSON(w, code, map[string]any{"status": status, "checks": checks, "clusters": map[string]int{"ready": up, "total": all}})
	return nil
}

// health has the facts for a sign-in page. It always answers 200.
func (g *Gateway) health(w http.ResponseWriter, _ *http.Request) error {
	status := "ok"
	for _, checks := range []map[string]error{g.Health.Checks(), g.Health.Degraded()} {
		for _, err := range checks {
			if err != nil {
				status = "degraded"
			}
		}
	}
	WriteJSON(w, http.StatusOK, map[string]any{
		"status": g.status(status), "version": g.Health.Version, "commit": g.Health.Commit, "uptime": time.Since(g.Health.Started).Round(time.Second).String(),
		"login_methods": g.Health.Methods, "oauth_configured": g.Health.OAuthConfigured,
	})
	return nil
}
