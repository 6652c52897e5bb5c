package gateway

import (
	"net/http"
	"time"
)

// Health is where the health routes read the host's state. Its functions are safe
// for concurrent use and return quickly.
type Health struct {
	Version string
	Started time.Time
	// Checks returns what must work for the host to serve, by name, each with
	// its error or nil.
	Checks func() map[string]error
	// Degraded returns what the host can serve without, by name, each with what
	// is wrong with it or nil.
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

// healthz answers whether the process lives.
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

// readyz answers whether requests should be sent here, and names what fails or is
// degraded. A degraded part takes no replica out of service, since one invalid
// entry of the directory would take out all of them. The route is public: reasons
// and the names of clusters stay in the log.
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

// health tells a sign-in page what it needs to know. It always answers 200.
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
		"status": g.status(status), "version": g.Health.Version, "uptime": time.Since(g.Health.Started).Round(time.Second).String(),
		"login_methods": g.Health.Methods, "oauth_configured": g.Health.OAuthConfigured,
	})
	return nil
}
