package helm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage/driver"
	helmtime "helm.sh/helm/v3/pkg/time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

const keepRevisions = 20

func (r *run) upgradeOrInstall(ctx context.Context) (*abi.Response, error) {
	if err := selfContained(r.chart); err != nil {
		return nil, err
	}
	c, records := r.configuration()
	last, err := r.ready(ctx, records)
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
	if r.upgrade.DryRun {
		return r.plan(ctx, c, rel)
	}
	return r.done(rel, fmt.Sprintf("release %q is at revision %d", rel.Name, rel.Version))
}

// done answers a change with the notes of the new revision, or otherwise.
func (r *run) done(rel *release.Release, otherwise string) (*abi.Response, error) {
	plain := changed{Release: describe(rel), Output: notes(rel, otherwise), Repaired: r.repaired}
	c, err := newConcealer(rel)
	if err != nil {
		return r.choose(plain, changed{plain.Release, otherwise, true, r.repaired})
	}
	if hidden := c.text(plain.Output); c.hidden {
		return r.choose(plain, changed{plain.Release, hidden, true, r.repaired})
	}
	return answer(plain)
}

// plan answers a dry run with how the manifest of rel differs from the present one.
func (r *run) plan(ctx context.Context, cfg *action.Configuration, rel *release.Release) (*abi.Response, error) {
	present, err := cfg.Releases.Deployed(r.release)
	if errors.Is(err, driver.ErrNoDeployedReleases) || errors.Is(err, driver.ErrReleaseNotFound) {
		present, err = &release.Release{}, nil
	}
	if err != nil {
		return nil, r.failure(err)
	}
	c, err := newConcealer(present, rel)
	if err != nil {
		return nil, err
	}
	of := func(c *concealer) (p planned, err error) {
		p.Release, p.Output, p.DryRun = describe(rel), notes(rel, fmt.Sprintf("release %q would be at revision %d", rel.Name, rel.Version)), true
		if p.Objects, err = diff(ctx, present.Manifest, rel.Manifest, c); c != nil {
			p.Output = c.text(p.Output)
			p.Redacted = c.hidden
		}
		return p, err
	}
	plain, err := of(nil)
	if err != nil {
		return nil, err
	}
	concealed, err := of(c)
	if err != nil {
		return nil, err
	}
	if c.hidden {
		return r.choose(plain, concealed)
	}
	return answer(plain)
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

// waits returns how long helm may wait for a hook. It is shorter than the child's time, so
// that helm itself can record how the operation failed.
func (r *run) waits() time.Duration {
	left := time.Until(r.end)
	return max(left-min(2*time.Second, left/8), time.Second)
}

// timeout returns how long helm may wait in one step of an upgrade or installation. One
// that is atomic needs as much again to undo it.
func (r *run) timeout() time.Duration {
	if r.upgrade.Atomic {
		return r.waits() / 2
	}
	return r.waits()
}

func (r *run) install(c *action.Configuration, ch *chart.Chart, replace bool) (*release.Release, error) {
	a := action.NewInstall(c)
	a.ReleaseName, a.Namespace, a.Replace, a.Timeout = r.release, r.namespace, replace, r.timeout()
	a.Wait, a.WaitForJobs, a.Atomic = r.upgrade.waits(), r.upgrade.waits(), r.upgrade.Atomic
	if r.upgrade.DryRun {
		a.DryRun, a.DryRunOption = true, "server"
	}
	return a.RunWithContext(context.Background(), ch, r.values)
}

func (r *run) change(c *action.Configuration, ch *chart.Chart) (*release.Release, error) {
	a := action.NewUpgrade(c)
	a.Namespace, a.Timeout, a.MaxHistory = r.namespace, r.timeout(), keepRevisions
	a.Wait, a.WaitForJobs, a.Atomic = r.upgrade.waits(), r.upgrade.waits(), r.upgrade.Atomic
	if r.upgrade.DryRun {
		a.DryRun, a.DryRunOption = true, "server"
	}
	r.upgrade.keep(a)
	return a.RunWithContext(context.Background(), r.release, ch, r.values)
}

func (r *run) rollback(ctx context.Context) (*abi.Response, error) {
	c, records := r.configuration()
	if _, err := r.ready(ctx, records); err != nil {
		return nil, r.failure(err)
	}
	if _, err := c.Releases.Get(r.release, r.revision); err != nil {
		return nil, r.failure(records.missing(ctx, r.request, r.revision, err))
	}
	a := action.NewRollback(c)
	a.Version, a.Timeout, a.MaxHistory = r.revision, r.waits(), keepRevisions
	a.Wait, a.WaitForJobs = r.wait, r.wait
	if err := a.Run(r.release); err != nil {
		return nil, r.failure(err)
	}
	rel, err := records.newest(ctx, r.release)
	if err != nil {
		return nil, r.failure(err)
	}
	return answer(changed{Release: describe(rel), Repaired: r.repaired,
		Output: fmt.Sprintf("release %q was rolled back to revision %d", r.release, r.revision)})
}

func (r *run) uninstall(ctx context.Context) (*abi.Response, error) {
	c, records := r.configuration()
	if _, err := r.ready(ctx, records); err != nil {
		return nil, r.failure(err)
	}
	a := action.NewUninstall(c)
	a.Timeout = r.waits()
	gone, err := a.Run(r.release)
	if err != nil {
		return nil, r.failure(err)
	}
	output := fmt.Sprintf("release %q was uninstalled", r.release)
	if gone != nil && gone.Info != "" {
		output += "\n" + gone.Info
	}
	return answer(uninstalled{output, r.repaired})
}

// test runs the chart's tests. A test that fails is an outcome and not an error.
func (r *run) test(ctx context.Context) (*abi.Response, error) {
	c, records := r.configuration()
	switch last, err := r.ready(ctx, records); {
	case err != nil:
		return nil, r.failure(err)
	case last == nil:
		return nil, r.failure(driver.ErrReleaseNotFound)
	case last.Info.Status != release.StatusDeployed:
		return nil, host.E(host.Conflict, name, "revision %d of the release is %s; only a deployed one can be tested", last.Version, last.Info.Status)
	}
	a := action.NewReleaseTesting(c)
	a.Namespace, a.Timeout = r.namespace, r.waits()
	rel, failed := a.Run(r.release)
	if rel == nil {
		return nil, r.failure(failed)
	}
	out := tested{Release: describe(rel), Tests: []testInfo{}, Passed: failed == nil}
	broken := false
	for _, h := range rel.Hooks {
		if !slices.Contains(h.Events, release.HookTest) {
			continue
		}
		out.Tests = append(out.Tests, testInfo{
			Name: h.Name, Kind: h.Kind, Phase: h.LastRun.Phase.String(), Started: stamp(h.LastRun.StartedAt), Completed: stamp(h.LastRun.CompletedAt),
		})
		broken = broken || h.LastRun.Phase == release.HookPhaseFailed
	}
	switch {
	case failed != nil && (!broken || !testFailed.MatchString(failed.Error())):
		return nil, r.failure(failed)
	case failed != nil:
		out.Failure, out.Output = failed.Error(), fmt.Sprintf("a test of release %q failed", r.release)
	case len(out.Tests) == 0:
		out.Output = fmt.Sprintf("release %q has no tests", r.release)
	default:
		out.Output = fmt.Sprintf("release %q passed its tests", r.release)
	}
	return answer(out)
}

func stamp(t helmtime.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
