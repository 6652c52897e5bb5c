package main

import (
	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/helm"
)

// done is the body of every successful change.
type done struct {
	Success bool   `json:"success"`
	Message string `json:"message"`
	Output  string `json:"output"`
}

type upgradeBody struct {
	Release   string `json:"release"`
	Namespace string `json:"namespace"`
	Cluster   string `json:"cluster"`
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
	result, err := cluster.Upgrade(b.Namespace, b.Release, b.Upgrade)
	return outcome("upgraded", b.Release, result, err)
}

type rollbackBody struct {
	Release   string `json:"release"`
	Namespace string `json:"namespace"`
	Cluster   string `json:"cluster"`
	Revision  int    `json:"revision"`
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
	result, err := cluster.Rollback(b.Namespace, b.Release, b.Revision)
	return outcome("rolled back", b.Release, result, err)
}

type uninstallBody struct {
	Release   string `json:"release"`
	Namespace string `json:"namespace"`
	Cluster   string `json:"cluster"`
}

// uninstall removes a release.
func uninstall(r *sdk.Request) (*sdk.Response, error) {
	var b uninstallBody
	if err := r.JSON(&b); err != nil {
		return nil, err
	}
	if b.Release == "" || b.Namespace == "" {
		return nil, sdk.Errorf(400, "release and namespace are required")
	}
	cluster, err := target(b.Cluster, b.Namespace, b.Release)
	if err != nil {
		return nil, err
	}
	result, err := cluster.Uninstall(b.Namespace, b.Release)
	return outcome("uninstalled", b.Release, result, err)
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
	return sdk.JSON(200, done{Success: true, Message: "release " + release + " " + what, Output: result.Output})
}
