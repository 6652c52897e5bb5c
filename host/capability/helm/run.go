package helm

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chartutil"
	"sigs.k8s.io/yaml"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

const maxValues = 1 << 20 // a release's Secret holds no more anyway

// run is one action under way.
type run struct {
	*request
	client *cluster.Client
	charts *charts
	within capability.Namespaces
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
	if len(q.upgrade.Values) > maxValues {
		return host.E(host.TooLarge, name, "values are over %d bytes", maxValues)
	}
	q.values = chartutil.Values{}
	if err := yaml.Unmarshal([]byte(q.upgrade.Values), &q.values); err != nil {
		return &host.Error{Kind: host.Unprocessable, Op: name, Message: "values are no YAML object", Detail: err.Error(), Err: err}
	}
	if q.values == nil {
		q.values = chartutil.Values{}
	}
	return nil
}

// detached runs the action where the caller need not wait for it: helm does not
// look at contexts. Once ctx ends or authority is lost, every request that the
// action still makes is refused by the client's transport; hooks that helm
// waits for keep it busy for writeTimeout at most.
func (h *Helm) detached(ctx context.Context, r *run) (*abi.Response, error) {
	select {
	case h.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, host.E(host.Limited, name, "over %d helm actions are under way", maxActions)
	}
	type result struct {
		resp *abi.Response
		err  error
	}
	done := make(chan result, 1)
	go func() {
		defer func() { <-h.slots }()
		resp, err := r.contained(ctx)
		done <- result{resp, err}
	}()
	select {
	case res := <-done:
		return res.resp, res.err
	case <-ctx.Done():
		return nil, cluster.Failure(name+"."+r.action, "", context.Cause(ctx))
	}
}

// contained turns a panic of helm or of a template into an error; it runs in a
// goroutine of its own, where nobody else would.
func (r *run) contained(ctx context.Context) (resp *abi.Response, err error) {
	defer func() {
		if p := recover(); p != nil {
			r.logger.Error("helm panicked", "action", r.action, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = &host.Error{Kind: host.Internal, Op: name, Err: fmt.Errorf("panic: %v", p)}
		}
	}()
	switch r.action {
	case actList:
		return r.list(ctx)
	case actHistory:
		return r.history()
	case actValues:
		return r.showValues()
	case actUpgrade:
		return r.upgradeOrInstall(ctx)
	case actRollback:
		return r.rollback()
	case actUninstall:
		return r.uninstall()
	}
	return nil, host.E(host.Invalid, name, "there is no action %q", r.action)
}

// configuration is helm's for one namespace; empty means all.
func (r *run) configuration(namespace string) (*action.Configuration, error) {
	c := new(action.Configuration)
	log := func(format string, args ...any) {
		r.logger.Debug("helm: "+fmt.Sprintf(format, args...), "release", r.release)
	}
	return c, c.Init(r.client.Getter(namespace), namespace, "secret", log)
}
