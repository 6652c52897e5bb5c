package helm

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage/driver"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

const keepRevisions = 20

func (r *run) upgradeOrInstall(ctx context.Context) (*abi.Response, error) {
	ch, err := r.charts.load(ctx, r.upgrade.Chart, r.upgrade.Version)
	if err != nil {
		return nil, err
	}
	if err := installable(ch); err != nil {
		return nil, err
	}
	c, records, err := r.configuration()
	if err != nil {
		return nil, r.failure(err)
	}
	last, err := records.newest(ctx, r.release)
	var rel *release.Release
	switch {
	case errors.Is(err, driver.ErrReleaseNotFound):
		rel, err = r.install(c, ch, false)
	case err != nil:
		return nil, r.failure(err)
	case last.Info.Status == release.StatusUninstalled:
		rel, err = r.install(c, ch, true)
	default:
		rel, err = r.change(c, ch)
	}
	if err != nil {
		return nil, r.failure(err)
	}
	return answer(changed{describe(rel), notes(rel, fmt.Sprintf("release %q is at revision %d", rel.Name, rel.Version))})
}

// installable refuses what helm would only find out after it had begun.
func installable(ch *chart.Chart) error {
	if t := ch.Metadata.Type; t != "" && t != "application" {
		return host.E(host.Unprocessable, name, "chart %q is of type %q and cannot be installed", ch.Name(), t)
	}
	if err := action.CheckDependencies(ch, ch.Metadata.Dependencies); err != nil {
		return &host.Error{Kind: host.Unprocessable, Op: name, Message: "the chart's dependencies are incomplete", Detail: err.Error(), Err: err}
	}
	return nil
}

// install and change leave the context to the transport: helm, told of a
// cancellation, leaves a goroutine behind for good.

func (r *run) install(c *action.Configuration, ch *chart.Chart, replace bool) (*release.Release, error) {
	a := action.NewInstall(c)
	a.ReleaseName, a.Namespace, a.Replace, a.Timeout = r.release, r.namespace, replace, writeTimeout
	return a.RunWithContext(context.Background(), ch, r.values)
}

func (r *run) change(c *action.Configuration, ch *chart.Chart) (*release.Release, error) {
	a := action.NewUpgrade(c)
	a.Namespace, a.Timeout, a.MaxHistory = r.namespace, writeTimeout, keepRevisions
	r.upgrade.keep(a)
	return a.RunWithContext(context.Background(), r.release, ch, r.values)
}

func (r *run) rollback(ctx context.Context) (*abi.Response, error) {
	c, records, err := r.configuration()
	if err != nil {
		return nil, r.failure(err)
	}
	if _, err := c.Releases.Get(r.release, r.revision); err != nil {
		return nil, r.failure(records.missing(ctx, r.request, err))
	}
	a := action.NewRollback(c)
	a.Version, a.Timeout, a.MaxHistory = r.revision, writeTimeout, keepRevisions
	if err := a.Run(r.release); err != nil {
		return nil, r.failure(err)
	}
	rel, err := records.newest(ctx, r.release)
	if err != nil {
		return nil, r.failure(err)
	}
	return answer(changed{describe(rel), fmt.Sprintf("release %q was rolled back to revision %d", r.release, r.revision)})
}

func (r *run) uninstall() (*abi.Response, error) {
	c, _, err := r.configuration()
	if err != nil {
		return nil, r.failure(err)
	}
	a := action.NewUninstall(c)
	a.Timeout = writeTimeout
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

// pending reports helm's refusal of a release that is being changed; its error
// is not exported.
func pending(err error) bool {
	return strings.Contains(err.Error(), "another operation (install/upgrade/rollback) is in progress")
}
