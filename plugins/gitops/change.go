package main

import (
	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/helm"
)

// done is the body of every successful change.
type done struct {
	Success  bool   `json:"success"`
	Message  string `json:"message"`
	Output   string `json:"output"`
	Redacted bool   `json:"redacted,omitempty"` // a secret in the output or a difference is hidden
	Repaired string `json:"repaired,omitempty"` // which interrupted operation was found and closed
}

// planned is the body of a dry run.
type planned struct {
	done
	DryRun  bool              `json:"dryRun"`
	Release helm.Release      `json:"release"` // as it would be
	Objects []helm.ObjectDiff `json:"objects"` // how the manifest would differ
}

type upgradeBody struct {
	Release   string `json:"release"`
	Namespace string `json:"namespace"`
	Cluster   string `json:"cluster"`
	Async     bool   `json:"async"`
	helm.Upgrade
}

// upgrade installs a release or upgrades it.
func upgrade(r *sdk.Request) (*sdk.Response, error) {
	var b upgradeBody
	if err := r.JSON(&b); err != nil {
		return nil, err
	}
	if b.Release == "" || b.Namespace == "" || b.Chart == "" {
		return nil, sdk.Errorf(400, "release, namespace, and chart are required")
	}
	if err := checkNames("release", b.Release, "namespace", b.Namespace); err != nil {
		return nil, err
	}
	if err := checkChart(b.Chart, b.Version); err != nil {
		return nil, err
	}
	cluster, err := clusterOf(b.Cluster)
	if err != nil {
		return nil, err
	}
	if b.ReuseValues && b.ResetThenReuseValues {
		return nil, sdk.Errorf(400, "reuseValues and resetThenReuseValues exclude each other")
	}
	if b.DryRun && (b.Wait || b.Atomic) {
		return nil, sdk.Errorf(400, "dryRun excludes wait and atomic")
	}
	if b.DryRun && b.Async {
		return nil, sdk.Errorf(400, "dryRun excludes async")
	}
	if background(r, b.Async) && !b.DryRun { // a dry run does not heed the preference
		return started(r, b.Cluster, b.Namespace, b.Release)(cluster.BeginUpgrade(b.Namespace, b.Release, b.Upgrade))
	}
	result, err := cluster.Upgrade(b.Namespace, b.Release, b.Upgrade)
	if err == nil && b.DryRun {
		return sdk.JSON(200, planned{
			done{Success: true, Message: "release " + b.Release + " would be upgraded", Output: result.Output, Redacted: result.Redacted},
			true, result.Release, orEmpty(result.Objects),
		})
	}
	return outcome("upgraded", b.Release, result, err)
}

type rollbackBody struct {
	Release   string `json:"release"`
	Namespace string `json:"namespace"`
	Cluster   string `json:"cluster"`
	Async     bool   `json:"async"`
	helm.Rollback
}

// rollback returns a release to an earlier revision.
func rollback(r *sdk.Request) (*sdk.Response, error) {
	var b rollbackBody
	if err := r.JSON(&b); err != nil {
		return nil, err
	}
	if b.Release == "" || b.Namespace == "" {
		return nil, sdk.Errorf(400, "release and namespace are required")
	}
	if b.Revision <= 0 {
		return nil, sdk.Errorf(400, "revision must be a positive integer")
	}
	cluster, err := target(b.Cluster, b.Namespace, b.Release)
	if err != nil {
		return nil, err
	}
	if background(r, b.Async) {
		return started(r, b.Cluster, b.Namespace, b.Release)(cluster.BeginRollback(b.Namespace, b.Release, b.Rollback))
	}
	result, err := cluster.Rollback(b.Namespace, b.Release, b.Rollback)
	return outcome("rolled back", b.Release, result, err)
}

type releaseBody struct {
	Release   string `json:"release"`
	Namespace string `json:"namespace"`
	Cluster   string `json:"cluster"`
	Async     bool   `json:"async"`
}

// uninstall removes a release.
func uninstall(r *sdk.Request) (*sdk.Response, error) {
	b, cluster, err := readRelease(r)
	if err != nil {
		return nil, err
	}
	if background(r, b.Async) {
		return started(r, b.Cluster, b.Namespace, b.Release)(cluster.BeginUninstall(b.Namespace, b.Release))
	}
	result, err := cluster.Uninstall(b.Namespace, b.Release)
	return outcome("uninstalled", b.Release, result, err)
}

// testedBody is the body of a test. Success is false if a test failed.
type testedBody struct {
	done
	Failure string      `json:"failure,omitempty"`
	Tests   []helm.Test `json:"tests"`
}

// test runs the tests of a release's chart.
func test(r *sdk.Request) (*sdk.Response, error) {
	b, cluster, err := readRelease(r)
	if err != nil {
		return nil, err
	}
	if background(r, b.Async) {
		return started(r, b.Cluster, b.Namespace, b.Release)(cluster.BeginTest(b.Namespace, b.Release))
	}
	result, err := cluster.Test(b.Namespace, b.Release)
	if err != nil {
		return nil, err
	}
	message := "release " + b.Release + " tested"
	return sdk.JSON(200, testedBody{done{Success: result.Passed, Message: message, Output: result.Output}, result.Failure, orEmpty(result.Tests)})
}

// readRelease reads a body that names a release and nothing else.
func readRelease(r *sdk.Request) (b releaseBody, cluster helm.Cluster, err error) {
	if err := r.JSON(&b); err != nil {
		return b, "", err
	}
	if b.Release == "" || b.Namespace == "" {
		return b, "", sdk.Errorf(400, "release and namespace are required")
	}
	cluster, err = target(b.Cluster, b.Namespace, b.Release)
	return b, cluster, err
}

func target(cluster, namespace, release string) (helm.Cluster, error) {
	if err := checkNames("release", release, "namespace", namespace); err != nil {
		return "", err
	}
	return clusterOf(cluster)
}

func outcome(what, release string, result *helm.Result, err error) (*sdk.Response, error) {
	if err != nil {
		return nil, err
	}
	return sdk.JSON(200, done{Success: true, Message: "release " + release + " " + what, Output: result.Output, Redacted: result.Redacted, Repaired: result.Repaired})
}
