package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/helm"
)

const historyLimit = 20

type releasesBody struct {
	Releases []helm.Release        `json:"releases"`
	Errors   []helm.NamespaceError `json:"errors,omitempty"`
}

// releases answers {"releases": […]}, and with "errors" if the cluster does not
// let the person read some of the namespaces.
func releases(r *sdk.Request) (*sdk.Response, error) {
	cluster, err := clusterOf(r.Query("cluster"))
	if err != nil {
		return nil, err
	}
	namespace := r.Query("namespace")
	if namespace != "" {
		if err := checkName("namespace", namespace); err != nil {
			return nil, err
		}
	}
	list, err := cluster.Releases(namespace)
	if err != nil {
		return nil, err
	}
	return sdk.JSON(200, releasesBody{orEmpty(list.Releases), list.Errors})
}

type historyBody struct {
	History []helm.Revision `json:"history"`
	Error   string          `json:"error,omitempty"`
}

// history answers {"history": […]}, empty when no release is named. A failure
// of Helm is 200 with "error", so that a page showing many releases stays
// whole; who may not look, or should ask again later, is told by the status.
func history(r *sdk.Request) (*sdk.Response, error) {
	release := r.Query("release")
	if release == "" {
		return sdk.JSON(200, historyBody{History: []helm.Revision{}})
	}
	cluster, namespace, err := releaseOf(r, release)
	if err != nil {
		return nil, err
	}
	list, err := cluster.History(namespace, release, historyLimit)
	if err == nil {
		return sdk.JSON(200, historyBody{History: orEmpty(list)})
	}
	failed, ok := errors.AsType[*sdk.Error](err)
	if !ok || slices.Contains([]int{401, 403, 429, 503, 504}, failed.Status) {
		return nil, err
	}
	text := failed.Message
	if failed.Detail != "" {
		text += ": " + failed.Detail
	}
	return sdk.JSON(200, historyBody{History: []helm.Revision{}, Error: text})
}

// values answers {"values": {…}, "format": "json"}.
func values(r *sdk.Request) (*sdk.Response, error) {
	release := r.Query("release")
	if release == "" {
		return nil, sdk.Errorf(400, "release is required")
	}
	cluster, namespace, err := releaseOf(r, release)
	if err != nil {
		return nil, err
	}
	set, err := cluster.Values(namespace, release, 0, false)
	if err != nil {
		return nil, err
	}
	if len(set) == 0 || string(set) == "null" {
		set = json.RawMessage("{}")
	}
	return sdk.JSON(200, map[string]any{"values": set, "format": "json"})
}

// releaseOf reads where the release that a query names is.
func releaseOf(r *sdk.Request, release string) (helm.Cluster, string, error) {
	namespace := cmp.Or(r.Query("namespace"), settings.DefaultNamespace)
	if err := checkNames("release", release, "namespace", namespace); err != nil {
		return "", "", err
	}
	cluster, err := clusterOf(r.Query("cluster"))
	return cluster, namespace, err
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
