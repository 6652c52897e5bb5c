package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
	"github.com/seed-a3fb47d6/bulkhead/host/fleet"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
)

// Plugins is what administrators may do about plugins on all replicas; *fleet.Fleet is
// one and says what the methods promise.
type Plugins interface {
	Plugins(context.Context) ([]fleet.Plugin, error)
	Plugin(ctx context.Context, name, tag string) (*fleet.Plugin, error)
	Catalogs(context.Context) []*artifact.Catalog
	Check(ctx context.Context, name string, q *fleet.Request) (*plugin.Report, error)
	Put(ctx context.Context, who *host.Principal, name string, q *fleet.Request) (*plugin.Report, error)
	Approve(ctx context.Context, who *host.Principal, name, consent string) error
	Promote(ctx context.Context, who *host.Principal, name string, revision int64) error
	Rollback(ctx context.Context, who *host.Principal, name, digest string, revision int64) error
	Remove(ctx context.Context, who *host.Principal, name string, revision int64) error
}

// Uploads keeps modules for all replicas; *state.Store does.
type Uploads interface {
	Upload(ctx context.Context, r io.Reader, bytes, most int64, by host.UserID) (state.Upload, error)
}

const (
	// maxPluginBody bounds the description of a plugin in a request, in bytes.
	maxPluginBody = 256 << 10
	// swapTimeout bounds fetching, compiling and trying a plugin.
	swapTimeout = 3 * time.Minute
)

// pluginRoutes are the routes below /api/admin/plugins. Each change has an action of
// its own.
func (a *admin) pluginRoutes() []gateway.Route {
	const one = "/api/admin/plugins/{name}"
	return []gateway.Route{
		{Method: "GET", Path: "/api/admin/plugins", Action: "admin:plugins.read", Handle: a.plugins},
		{Method: "GET", Path: one, Action: "admin:plugins.read", Handle: a.plugin},
		{Method: "PUT", Path: one, Action: "admin:plugins.install", Handle: a.putPlugin},
		{Method: "DELETE", Path: one, Action: "admin:plugins.remove", Handle: a.removePlugin},
		{Method: "POST", Path: one + "/approve", Action: "admin:plugins.approve", Handle: a.approvePlugin},
		{Method: "POST", Path: one + "/promote", Action: "admin:plugins.promote", Handle: a.promotePlugin},
		{Method: "POST", Path: one + "/rollback", Action: "admin:plugins.rollback", Handle: a.rollBackPlugin},
		{Method: "GET", Path: "/api/admin/catalog", Action: "admin:plugins.catalog.read", Handle: a.catalog},
		{Method: "POST", Path: "/api/admin/uploads", Action: "admin:plugins.upload", Handle: a.upload},
	}
}

// plugins handles GET /api/admin/plugins: every plugin, and what each replica runs.
func (a *admin) plugins(w http.ResponseWriter, r *http.Request) error {
	list, err := a.Plugins.Plugins(r.Context())
	if err != nil {
		return err
	}
	if list == nil {
		list = []fleet.Plugin{}
	}
	gateway.WriteJSON(w, http.StatusOK, map[string]any{"plugins": list})
	return nil
}

// plugin handles GET /api/admin/plugins/{name}?after=TAG: one plugin. With the tag of
// an earlier answer it answers when something has changed since, or after 20 s.
func (a *admin) plugin(w http.ResponseWriter, r *http.Request) error {
	q, err := only(r, "after")
	if err != nil {
		return err
	}
	p, err := a.Plugins.Plugin(r.Context(), gateway.Vars(r)["name"], q["after"])
	if err != nil {
		return err
	}
	gateway.WriteJSON(w, http.StatusOK, p)
	return nil
}

// catalog handles GET /api/admin/catalog: the plugins of each catalogue that the
// configuration names, verified now.
func (a *admin) catalog(w http.ResponseWriter, r *http.Request) error {
	if _, err := only(r); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), swapTimeout)
	defer cancel()
	list := a.Plugins.Catalogs(ctx)
	if list == nil {
		list = []*artifact.Catalog{}
	}
	gateway.WriteJSON(w, http.StatusOK, map[string]any{"catalogs": list})
	return nil
}

// putPlugin handles PUT /api/admin/plugins/{name}?dryRun=true with a fleet.Request: it
// installs or replaces a plugin on all replicas, or says what would come of it.
func (a *admin) putPlugin(w http.ResponseWriter, r *http.Request) error {
	query, err := only(r, "dryRun")
	if err != nil {
		return err
	}
	dry, err := boolean("dryRun", query["dryRun"])
	if err != nil {
		return err
	}
	var q fleet.Request
	if err := a.readStrict(w, r, &q); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), swapTimeout)
	defer cancel()
	name := gateway.Vars(r)["name"]
	var report *plugin.Report
	if dry {
		report, err = a.Plugins.Check(ctx, name, &q)
	} else {
		report, err = a.Plugins.Put(ctx, gateway.RequestOf(r.Context()).Principal, name, &q)
	}
	if err != nil {
		return err
	}
	gateway.WriteJSON(w, http.StatusOK, map[string]any{"report": report})
	return nil
}

// approvePlugin handles POST /api/admin/plugins/{name}/approve with {"consent":DIGEST}:
// the version of the configuration file that waits for this consent runs.
func (a *admin) approvePlugin(w http.ResponseWriter, r *http.Request) error {
	if _, err := only(r); err != nil {
		return err
	}
	var q struct {
		Consent string `json:"consent"`
	}
	if err := a.readStrict(w, r, &q); err != nil {
		return err
	}
	if err := a.Plugins.Approve(r.Context(), gateway.RequestOf(r.Context()).Principal, gateway.Vars(r)["name"], q.Consent); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// revised is the body of a change of a plugin that is installed.
type revised struct {
	// Revision is that of the plugin which the change was made from; 0: any.
	Revision int64 `json:"revision"`
	// Digest is the earlier version to roll back to; empty: the last one, or from the
	// canary to what serves.
	Digest string `json:"digest"`
}

// promotePlugin handles POST /api/admin/plugins/{name}/promote: the canary serves
// everybody.
func (a *admin) promotePlugin(w http.ResponseWriter, r *http.Request) error {
	return a.changePlugin(w, r, func(who *host.Principal, name string, q revised) error {
		if q.Digest != "" {
			return host.E(host.Unprocessable, "", "digest: is not a field of this request")
		}
		return a.Plugins.Promote(r.Context(), who, name, q.Revision)
	})
}

// rollBackPlugin handles POST /api/admin/plugins/{name}/rollback.
func (a *admin) rollBackPlugin(w http.ResponseWriter, r *http.Request) error {
	return a.changePlugin(w, r, func(who *host.Principal, name string, q revised) error {
		return a.Plugins.Rollback(r.Context(), who, name, q.Digest, q.Revision)
	})
}

func (a *admin) changePlugin(w http.ResponseWriter, r *http.Request, change func(*host.Principal, string, revised) error) error {
	if _, err := only(r); err != nil {
		return err
	}
	var q revised
	if err := a.readStrict(w, r, &q); err != nil {
		return err
	}
	if err := change(gateway.RequestOf(r.Context()).Principal, gateway.Vars(r)["name"], q); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// removePlugin handles DELETE /api/admin/plugins/{name}?revision=N.
func (a *admin) removePlugin(w http.ResponseWriter, r *http.Request) error {
	q, err := only(r, "revision")
	if err != nil {
		return err
	}
	var revision int64
	if text := q["revision"]; text != "" {
		if revision, err = strconv.ParseInt(text, 10, 64); err != nil || revision < 0 {
			return host.E(host.Invalid, "", "revision: %q is not a number", text)
		}
	}
	if err := a.Plugins.Remove(r.Context(), gateway.RequestOf(r.Context()).Principal, gateway.Vars(r)["name"], revision); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// upload handles POST /api/admin/uploads with the bytes of a module: every replica can
// read it by the digest in the answer. It is removed unless it is installed within an
// hour.
func (a *admin) upload(w http.ResponseWriter, r *http.Request) error {
	if _, err := only(r); err != nil {
		return err
	}
	body, done, err := a.gateway.StreamBody(r.Context(), w, r, state.MaxUpload)
	if err != nil {
		return err
	}
	defer done()
	u, err := a.Uploads.Upload(r.Context(), body, max(0, r.ContentLength), 0, gateway.RequestOf(r.Context()).Principal.User)
	if err != nil {
		return err
	}
	gateway.WriteJSON(w, http.StatusCreated, u)
	return nil
}

// only returns the query, which may have these keys, each once.
func only(r *http.Request, keys ...string) (map[string]string, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, host.E(host.Invalid, "", "the query is not encoded properly")
	}
	out := map[string]string{}
	for key, values := range query {
		if !slices.Contains(keys, key) {
			return nil, host.E(host.Invalid, "", "%q is not a parameter of this route", key)
		}
		if len(values) != 1 {
			return nil, host.E(host.Invalid, "", "%s is given more than once", key)
		}
		out[key] = values[0]
	}
	return out, nil
}

func boolean(name, text string) (bool, error) {
	switch text {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	}
	return false, host.E(host.Invalid, "", "%s must be true or false", name)
}

// readStrict reads a JSON body into v. An unknown field is an error; no body is {}.
func (a *admin) readStrict(w http.ResponseWriter, r *http.Request, v any) error {
	body, err := a.gateway.ReadBody(r.Context(), w, r, maxPluginBody)
	if err != nil || len(body) == 0 {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return host.E(host.Invalid, "", "body: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return host.E(host.Invalid, "", "body: there is more after the JSON value")
	}
	return nil
}
