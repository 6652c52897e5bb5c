package helm

import (
	"context"
	"fmt"
	"log/slog"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/storage"
	"helm.sh/helm/v3/pkg/storage/driver"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/strictyaml"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

const maxValues = 1 << 20 // bytes; a release's Secret holds no more anyway

// valuesLimits let values use aliases, as helm does.
var valuesLimits = strictyaml.Limits{Bytes: maxValues, Nodes: strictyaml.Small.Nodes, Depth: strictyaml.Small.Depth}

// run is one action under way.
type run struct {
	*request
	client *cluster.Client
	charts *charts
	within capability.Within
	logger *slog.Logger
}

// readBody reads and checks what the action takes.
func (q *request) readBody(body []byte) error {
	switch q.action {
	case actUpgrade:
		if err := decode(body, &q.upgrade); err != nil {
			return err
		}
		return q.readValues()
	case actRollback:
		var b rollbackBody
		if err := decode(body, &b); err != nil {
			return err
		}
		if q.revision = b.Revision; b.Revision <= 0 {
			return host.E(host.Invalid, name, "revision must be a positive integer")
		}
	default:
		if len(body) > 0 {
			return host.E(host.Invalid, name, "%s takes no body", q.action)
		}
	}
	return nil
}

func (q *request) readValues() error {
	if q.upgrade.ReuseValues && q.upgrade.ResetThenReuseValues {
		return host.E(host.Invalid, name, "reuseValues and resetThenReuseValues exclude each other")
	}
	if len(q.upgrade.Values) > maxValues {
		return host.E(host.TooLarge, name, "values are over %d bytes", maxValues)
	}
	v, err := strictyaml.Value([]byte(q.upgrade.Values), valuesLimits)
	if err != nil {
		return &host.Error{Kind: host.Unprocessable, Op: name, Message: "the values cannot be used", Detail: err.Error(), Err: err}
	}
	switch v := plain(v).(type) {
	case nil:
		q.values = map[string]any{}
	case map[string]any:
		q.values = v
	default:
		return host.E(host.Unprocessable, name, "the values are not a YAML mapping")
	}
	return nil
}

// detached runs the action where the caller need not wait for it: helm does not
// look at contexts. Once ctx ends or authority is lost, every request that the
// action still makes is refused by the client's transport; hooks that helm
// waits for keep it busy for writeTimeout at most.
func (h *Helm) detached(ctx context.Context, user host.UserID, r *run) (*abi.Response, error) {
	if err := h.slots.acquire(ctx, user); err != nil {
		return nil, r.client.Failure(name, "", err)
	}
	type result struct {
		resp *abi.Response
		err  error
	}
	done := make(chan result, 1)
	go func() {
		defer h.slots.release(user)
		resp, err := r.contained(ctx)
		done <- result{resp, err}
	}()
	select {
	case res := <-done:
		return res.resp, res.err
	case <-ctx.Done():
		return nil, r.client.Failure(name+"."+r.action, "", context.Cause(ctx))
	}
}

// contained turns a panic of helm or of a template into an error; it runs in a
// goroutine of its own, where nobody else would. Goroutines that helm starts
// cannot be contained: records keeps from helm what makes those panic.
func (r *run) contained(ctx context.Context) (resp *abi.Response, err error) {
	defer capability.Contain(r.logger, name, &err)
	switch r.action {
	case actList:
		return r.list(ctx)
	case actHistory:
		return r.history(ctx)
	case actValues:
		return r.showValues(ctx)
	case actUpgrade:
		return r.upgradeOrInstall(ctx)
	case actRollback:
		return r.rollback(ctx)
	case actUninstall:
		return r.uninstall()
	}
	return nil, host.E(host.Invalid, name, "there is no action %q", r.action)
}

// configuration is helm's for the namespace, with bounded storage.
func (r *run) configuration() (*action.Configuration, *records, error) {
	c := new(action.Configuration)
	log := func(format string, args ...any) {
		r.logger.Debug("helm: "+fmt.Sprintf(format, args...), "release", r.release)
	}
	if err := c.Init(r.client.Getter(r.namespace), r.namespace, "secret", log); err != nil {
		return nil, nil, err
	}
	s := r.records(c.Releases.Driver)
	c.Releases = storage.Init(s)
	c.Releases.Log = log
	return c, s, nil
}

// records reads releases; writes need helm's own driver.
func (r *run) records(writes driver.Driver) *records {
	return &records{Driver: writes, client: r.client, namespace: r.namespace, logger: r.logger}
}
