package main

import (
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/kube"
)

const (
	pageSize   = 100             // objects of a list that are read at once
	maxObjects = 5000            // of one type in one cluster; the rest is left out
	reserve    = 2 * time.Second // of a request's time, for its answer
)

// eachCluster calls read for the cluster that a request names, or for those that are
// configured. A failure of the only one is the request's; of several it is in the result.
// A type of object that a cluster does not have counts as none.
func eachCluster(r *sdk.Request, read func(kube.Cluster) error) (failed []listError, err error) {
	clusters, _, err := scopeOf(r)
	if err != nil {
		return nil, err
	}
	for _, cluster := range clusters {
		if len(clusters) > 1 && short(r, reserve) {
			failed = append(failed, listError{Type: "cluster_skipped", Cluster: string(cluster), Status: 504, Message: "there was no time left"})
			continue
		}
		err := read(kube.Cluster(cluster))
		if err == nil || absent(err) {
			continue
		}
		e, ok := errors.AsType[*sdk.Error](err)
		if !ok || len(clusters) == 1 || e.Status == 401 {
			return nil, err
		}
		failed = append(failed, listError{"cluster_error", string(cluster), "", e.Status, e.Message, e.Detail})
	}
	return failed, nil
}

// short reports whether a request has less time left than d. A stream has no deadline.
func short(r *sdk.Request, d time.Duration) bool {
	return !strings.HasSuffix(r.Route(), "-stream") && r.Remaining() < d
}

// absent reports whether the API server does not know the type of object.
func absent(err error) bool {
	e, ok := errors.AsType[*sdk.Error](err)
	return ok && e.Status == 404 && e.Origin == abi.OriginUpstream
}

// collection is the path of the objects of a type, in one namespace or in all.
func collection(api, namespace, plural string) string {
	if namespace == "" {
		return api + kube.Path(plural)
	}
	return api + kube.Path("namespaces", namespace, plural)
}

// listObjects calls use for the objects of a type in the namespace that the request
// names, or in all. It reads them in pages, at most maxObjects.
func listObjects[T any](r *sdk.Request, cluster kube.Cluster, api, plural string, truncated *bool, use func(*T)) error {
	namespace := r.Query("namespace")
	options := kube.ListOptions{Limit: pageSize}
	for n := 0; ; {
		var page struct {
			Metadata struct{ Continue string }
			Items    []json.RawMessage
		}
		if err := cluster.List(collection(api, namespace, plural), options, &page); err != nil {
			return err
		}
		for _, text := range page.Items {
			var object T
			if err := json.Unmarshal(text, &object); err != nil {
				return sdk.Errorf(502, "cluster %s: %s: the answer cannot be read: %v", cluster, plural, err)
			}
			use(&object)
		}
		n += len(page.Items)
		if page.Metadata.Continue == "" {
			return nil
		}
		if n >= maxObjects || short(r, reserve) {
			*truncated = true
			return nil
		}
		options.Continue = page.Metadata.Continue
	}
}

// object is one object of a cluster that a route reads or patches.
type object struct {
	cluster kube.Cluster
	api     string
	plural  string
	kind    string // for messages
	ns      string
	name    string
}

func (o *object) path() string { return o.api + kube.Path("namespaces", o.ns, o.plural, o.name) }

// read reads the object into out.
func (o *object) read(out any) error {
	err := o.cluster.Get(o.path(), out)
	if absent(err) {
		return sdk.Errorf(404, "no %s %s in namespace %s of cluster %s", o.kind, o.name, o.ns, o.cluster)
	}
	return err
}

// patch changes the object as it was read at the resource version, so that a change that
// came in between is a conflict and not overwritten.
func (o *object) patch(version string, change map[string]any) error {
	meta, _ := change["metadata"].(map[string]any)
	if meta == nil {
		meta = map[string]any{}
	}
	meta["resourceVersion"] = version
	change["metadata"] = meta
	err := o.cluster.Patch(o.path(), kube.MergePatch, change, nil)
	if sdk.StatusOf(err) == 409 {
		return sdk.Errorf(409, "%s %s was changed by somebody else meanwhile; try again", o.kind, o.name)
	}
	return err
}
