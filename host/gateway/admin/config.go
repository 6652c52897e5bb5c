package admin

import (
	"context"
	"net/http"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
)

// Configuration is the host's configuration; *server.Server is one and says what the
// methods promise.
type Configuration interface {
	ConfigStatus() config.Status
	Reload(ctx context.Context, dryRun bool) (*config.Report, error)
}

// configStatus handles GET /api/admin/config: which configuration serves, and why
// a later one does not.
func (a *admin) configStatus(w http.ResponseWriter, _ *http.Request) error {
	gateway.WriteJSON(w, http.StatusOK, a.Configuration.ConfigStatus())
	return nil
}

// reload handles POST /api/admin/config/reload: the host reads its configuration
// again. With ?dryRun=true the answer is what would change. A reload that has begun is
// completed although the client goes away.
func (a *admin) reload(w http.ResponseWriter, r *http.Request) error {
	dry, err := dryRun(r)
	if err != nil {
		return err
	}
	report, err := a.Configuration.Reload(context.WithoutCancel(r.Context()), dry)
	if err != nil {
		return err
	}
	gateway.WriteJSON(w, http.StatusOK, report)
	return nil
}

// dryRun reads ?dryRun=true, the only key that the query may have.
func dryRun(r *http.Request) (bool, error) {
	for key, values := range r.URL.Query() {
		if key != "dryRun" || len(values) != 1 || values[0] != "true" && values[0] != "false" {
			return false, host.E(host.Invalid, "", "the query may have dryRun=true or dryRun=false, and nothing else")
		}
	}
	return r.URL.Query().Get("dryRun") == "true", nil
}
