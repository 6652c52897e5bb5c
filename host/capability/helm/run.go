package helm

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"time"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/kube"
	"helm.sh/helm/v3/pkg/storage"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/strictyaml"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

const maxValues = 1 << 20 // bytes; a release's Secret cannot contain more

// valuesLimits allow aliases in values, as in helm.
var valuesLimits = strictyaml.Limits{Bytes: maxValues, Nodes: strictyaml.Small.Nodes, Depth: strictyaml.Small.Depth}

// run is one action in progress: a read in this process, a change in a child.
type run struct {
	*request
	client *cluster.Client // for the releases' records
	within capability.Narrowing
	logger *slog.Logger
	// reveal reports whether the user may see Secrets in what a release shows; nil in a
	// child, which leaves it to the host: see choose.
	reveal    func() bool
	concealed json.RawMessage

	// The other fields are for changes.
	objects, lookup *cluster.Client // for the chart's objects, and for reads by its templates
	chart           *chart.Chart    // to upgrade to
	claim           *claim
	stop            func(error) // see records.stop
	repaired        string      // what this operation found unfinished and closed; "" if nothing
	end             time.Time   // when the child is killed
	store           *records    // once there is a configuration
}

// readBody parses and checks the body of the action.
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
		if q.revision, q.wait = b.Revision, b.Wait; b.Revision <= 0 {
			return host.E(host.Invalid, name, "revision must be a positive integer")
		}
	default:
		if len(body) > 0 {
			return host.E(host.Invalid, name, "%s must have no body", q.action)
		}
	}
	return nil
}

func (q *request) readValues() error {
	if q.upgrade.ReuseValues && q.upgrade.ResetThenReuseValues {
		return host.E(host.Invalid, name, "reuseValues and resetThenReuseValues exclude each other")
	}
	if q.upgrade.DryRun && (q.upgrade.Wait || q.upgrade.Atomic) {
		return host.E(host.Invalid, name, "dryRun excludes wait and atomic")
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

// detached runs do with a slot, in its own goroutine, so that the caller need not wait
// for its end: a read ends with ctx or authority, and the release of a change is settled
// within closingTime after that. It calls done when do has ended, or is not run.
func (h *Helm) detached(ctx context.Context, user host.UserID, q *request, client *cluster.Client, done func(), do func() (*abi.Response, error)) (*abi.Response, error) {
	op := name + "." + q.action
	if err := h.slots.acquire(ctx, user); err != nil {
		done()
		return nil, client.Failure(op, "", err)
	}
	type result struct {
		resp *abi.Response
		err  error
	}
	results := make(chan result, 1)
	h.running.Go(func() {
		defer h.slots.release(user)
		var res result
		defer func() {
			done() // first: who has the answer may begin the next operation
			results <- res
		}()
		defer capability.Recover(h.logger, name, &res.err)
		res.resp, res.err = do()
	})
	select {
	case res := <-results:
		return res.resp, res.err
	case <-ctx.Done():
	}
	return nil, client.Failure(op, "", context.Cause(ctx))
}

// recovered runs the action and turns a panic of helm or of a template into an error.
func (r *run) recovered(ctx context.Context) (resp *abi.Response, err error) {
	defer capability.Recover(r.logger, name, &err)
	switch r.action {
	case actList:
		return r.list(ctx)
	case actHistory:
		return r.history(ctx)
	case actValues:
		return r.showValues(ctx)
	case actNotes:
		return r.showNotes(ctx)
	case actManifest:
		if r.diff {
			return r.showDiff(ctx)
		}
		return r.showManifest(ctx)
	case actUpgrade:
		return r.upgradeOrInstall(ctx)
	case actRollback:
		return r.rollback(ctx)
	case actUninstall:
		return r.uninstall(ctx)
	case actTest:
		return r.test(ctx)
	}
	return nil, host.E(host.Invalid, name, "the action %q does not exist", r.action)
}

// configuration returns helm's configuration for the namespace, with bounded storage, one
// client for the chart's objects and another for reads by its templates.
func (r *run) configuration() (*action.Configuration, *records) {
	c := new(action.Configuration)
	log := func(format string, args ...any) {
		r.logger.Debug("helm: "+fmt.Sprintf(format, args...), "release", r.release)
	}
	objects := kube.New(r.objects.Getter(r.namespace))
	objects.Log = log
	r.store = r.records()
	c.KubeClient, c.RESTClientGetter, c.Log = objects, r.lookup.Getter(r.namespace), log
	c.HookOutputFunc = func(string, string, string) io.Writer { return io.Discard }
	c.Releases = storage.Init(r.store)
	c.Releases.Log = log
	return c, r.store
}

func (r *run) records() *records {
	return &records{client: r.client, namespace: r.namespace, logger: r.logger, claim: r.claim, stop: r.stop}
}
