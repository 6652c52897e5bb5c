package helm

import (
	"context"
	"fmt"
	"time"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/release"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

const keepRevisions = 20

func (r *run) upgradeOrInstall(ctx context.Context) (*abi.Response, error) {
	if err := selfContained(r.chart); err != nil {
		return nil, err
	}
	c, records := r.configuration()
	last, err := records.ready(ctx, r.request)
	var rel *release.Release
	switch {
	case err != nil:
		return nil, r.failure(err)
	case last == nil:
		rel, err = r.install(c, r.chart, false)
	case last.Info.Status == release.StatusUninstalled:
		rel, err = r.install(c, r.chart, true)
	case last.Info.Status == release.StatusFailed:
		// If no revision was ever deployed, the installation begins again, with
		// its hooks: an upgrade would run other hooks.
		var good int
		if good, err = records.lastGood(ctx, r.release, last.Version); err != nil {
			return nil, r.failure(err)
		}
		if good == 0 {
			rel, err = r.install(c, r.chart, true)
			break
		}
		rel, err = r.change(c, r.chart)
	default:
		rel, err = r.change(c, r.chart)
	}
	if err != nil {
		return nil, r.failure(err)
	}
	return answer(changed{describe(rel), notes(rel, fmt.Sprintf("release %q is at revision %d", rel.Name, rel.Version))})
}

// installable refuses charts that helm would refuse only after it had begun.
func installable(ch *chart.Chart) error {
	if t := ch.Metadata.Type; t != "" && t != "application" {
		return host.E(host.Unprocessable, name, "chart %q is of type %q and cannot be installed", ch.Name(), t)
	}
	if err := action.CheckDependencies(ch, ch.Metadata.Dependencies); err != nil {
		return &host.Error{Kind: host.Unprocessable, Op: name, Message: "the chart's dependencies are incomplete", Detail: err.Error(), Err: err}
	}
	return nil
}

// wait returns how long helm may wait for a hook. It is shorter than the child's time, so
// that helm itself can record how the operation failed.
func (r *run) wait() time.Duration {
	left := time.Until(r.end)
	return max(left-min(2*time.Second, left/8), time.Second)
}

func (r *run) install(c *action.Configuration, ch *chart.Chart, replace bool) (*release.Release, error) {
	a := action.NewInstall(c)
	a.ReleaseName, a.Namespace, a.Replace, a.Timeout = r.release, r.namespace, replace, r.wait()
	return a.RunWithContext(context.Background(), ch, r.values)
}

func (r *run) change(c *action.Configuration, ch *chart.Chart) (*release.Release, error) {
	a := action.NewUpgrade(c)
	a.Namespace, a.Timeout, a.MaxHistory = r.namespace, r.wait(), keepRevisions
	r.upgrade.keep(a)
	return a.RunWithContext(context.Background(), r.release, ch, r.values)
}

func (r *run) rollback(ctx context.Context) (*abi.Response, error) {
	c, records := r.configuration()
	if _, err := records.ready(ctx, r.request); err != nil {
		return nil, r.failure(err)
	}
	if _, err := c.Releases.Get(r.release, r.revision); err != nil {
		return nil, r.failure(records.missing(ctx, r.request, r.revision, err))
	}
	a := action.NewRollback(c)
	a.Version, a.Timeout, a.MaxHistory = r.revision, r.wait(), keepRevisions
	if err := a.Run(r.release); err != nil {
		return nil, r.failure(err)
	}
	rel, err := records.newest(ctx, r.release)
	if err != nil {
		return nil, r.failure(err)
	}
	return answer(changed{describe(rel), fmt.Sprintf("release %q was rolled back to revision %d", r.release, r.revision)})
}

func (r *run) uninstall(ctx context.Context) (*abi.Response, error) {
	c, records := r.configuration()
	if _, err := records.ready(ctx, r.request); err != nil {
		return nil, r.failure(err)
	}
	a := action.NewUninstall(c)
	a.Timeout = r.wait()
	gone, err := a.Run(r.release)
	if err != nil {
		return nil, r.failure(err)
	}
	output := fmt.Sprintf("release %q was uninstalled", r.release)
	if gone != nil && gone.Info != "" {
		output += "\n" + gone.Info
	}
	return answer(map[string]string{"output": output})
}
