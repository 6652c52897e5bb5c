package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/helm"
)

// Bounds of one list of releases.
const (
	maxPage     = 500
	listSeconds = 40 // of all clusters, one after the other
	mostSeconds = 15 // of one of several
)

// releaseItem is a release in a list over clusters.
type releaseItem struct {
	Cluster string `json:"cluster"`
	helm.Release
}

// listError is why something is missing from a list. Type is "cluster_error",
// "cluster_skipped" (there was no time left), "namespace_forbidden" or "kind_forbidden".
type listError struct {
	Type      string `json:"type"`
	Cluster   string `json:"cluster"`
	Namespace string `json:"namespace,omitempty"`
	Status    int    `json:"status"`
	Message   string `json:"message"`
	Detail    string `json:"detail,omitempty"`
}

type releasesBody struct {
	Releases []releaseItem `json:"releases"`
	Errors   []listError   `json:"errors,omitempty"`
	Continue string        `json:"continue,omitempty"` // for the next request; empty at the end
}

// releases lists the releases of the cluster that the query names, or of all that are
// configured. A cluster or namespace that cannot be read is in "errors", and does not
// hide the others; if the query names the cluster, its failure is the answer's.
func releases(r *sdk.Request) (*sdk.Response, error) {
	clusters, namespace, err := scopeOf(r)
	if err != nil {
		return nil, err
	}
	limit, err := r.Int("limit", 0, 1, maxPage)
	if err != nil {
		return nil, err
	}
	first, after, err := startOf(clusters, r.Query("continue"))
	if err != nil {
		return nil, err
	}
	out := releasesBody{Releases: []releaseItem{}}
	for i, cluster := range clusters[first:] {
		page := helm.Page{After: after}
		after = ""
		if limit > 0 {
			if page.Limit = limit - len(out.Releases); page.Limit == 0 {
				out.Continue = string(cluster) + "/"
				break
			}
		}
		if len(clusters) > 1 {
			page.Within = max(1, min(mostSeconds, listSeconds/len(clusters[first:])))
		}
		list, err := cluster.Releases(namespace, page)
		if err != nil {
			failed, ok := errors.AsType[*sdk.Error](err)
			if !ok || len(clusters) == 1 || failed.Status == 401 {
				return nil, err
			}
			out.Errors = append(out.Errors, listError{"cluster_error", string(cluster), "", failed.Status, failed.Message, failed.Detail})
			continue
		}
		for _, release := range list.Releases {
			out.Releases = append(out.Releases, releaseItem{string(cluster), release})
		}
		for _, e := range list.Errors {
			out.Errors = append(out.Errors, listError{"namespace_forbidden", string(cluster), e.Namespace, e.Status, e.Message, e.Detail})
		}
		if list.Next != "" {
			out.Continue = string(clusters[first+i]) + "/" + list.Next
			break
		}
	}
	return sdk.JSON(200, out)
}

// clustersOf returns the cluster that a request names, or those that are configured.
func clustersOf(name string) ([]helm.Cluster, error) {
	if name != "" || len(settings.Clusters) == 0 {
		c, err := clusterOf(name)
		return []helm.Cluster{c}, err
	}
	list := make([]helm.Cluster, len(settings.Clusters))
	for i, c := range settings.Clusters {
		list[i] = helm.Cluster(c)
	}
	return list, nil
}

// startOf reads where a list continues: CLUSTER/NAMESPACE/RELEASE, the last release of the
// part before, or CLUSTER/, whose first part it is.
func startOf(clusters []helm.Cluster, text string) (first int, after string, err error) {
	if text == "" {
		return 0, "", nil
	}
	cluster, after, _ := strings.Cut(text, "/")
	first = slices.Index(clusters, helm.Cluster(cluster))
	namespace, release, two := strings.Cut(after, "/")
	if first < 0 || after != "" && (!two || !validName(namespace) || !validName(release)) {
		return 0, "", sdk.Errorf(400, "invalid continue")
	}
	return first, after, nil
}
