package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"strconv"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/helm"
)

const historyLimit = 20

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

type valuesBody struct {
	*helm.Values
	Format string `json:"format"`
}

// values answers {"values": {…}, "format": "json"}, and with "redacted" if some of them
// are secret.
func values(r *sdk.Request) (*sdk.Response, error) {
	return ofRevision(r, func(c helm.Cluster, namespace, release string, revision int) (*valuesBody, error) {
		set, err := c.Values(namespace, release, revision, r.Query("all") == "true")
		if err == nil && (len(set.Values) == 0 || string(set.Values) == "null") {
			set.Values = json.RawMessage("{}")
		}
		return &valuesBody{set, "json"}, err
	})
}

// notes answers the notes of a revision, manifestOf its manifest.
func notes(r *sdk.Request) (*sdk.Response, error) { return ofRevision(r, helm.Cluster.Notes) }

func manifestOf(r *sdk.Request) (*sdk.Response, error) { return ofRevision(r, helm.Cluster.Manifest) }

// ofRevision answers what read returns of the release and the revision that a query names.
func ofRevision[T any](r *sdk.Request, read func(c helm.Cluster, namespace, release string, revision int) (*T, error)) (*sdk.Response, error) {
	cluster, namespace, release, err := oneRelease(r)
	if err != nil {
		return nil, err
	}
	revision, err := revisionOf(r, "revision")
	if err != nil {
		return nil, err
	}
	return shown(read(cluster, namespace, release, revision))
}

// diff answers how the manifests of two revisions differ.
func diff(r *sdk.Request) (*sdk.Response, error) {
	cluster, namespace, release, err := oneRelease(r)
	if err != nil {
		return nil, err
	}
	from, err := revisionOf(r, "from")
	if err != nil {
		return nil, err
	}
	to, err := revisionOf(r, "to")
	if err != nil {
		return nil, err
	}
	return shown(cluster.Diff(namespace, release, from, to))
}

func shown[T any](what *T, err error) (*sdk.Response, error) {
	if err != nil {
		return nil, err
	}
	return sdk.JSON(200, what)
}

// oneRelease reads the release that a query must name.
func oneRelease(r *sdk.Request) (cluster helm.Cluster, namespace, release string, err error) {
	if release = r.Query("release"); release == "" {
		return "", "", "", sdk.Errorf(400, "release is required")
	}
	cluster, namespace, err = releaseOf(r, release)
	return cluster, namespace, release, err
}

// revisionOf reads a revision of a query; 0 if it names none.
func revisionOf(r *sdk.Request, key string) (int, error) {
	text := r.Query(key)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 {
		return 0, sdk.Errorf(400, "%s must be a positive integer", key)
	}
	return n, nil
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
