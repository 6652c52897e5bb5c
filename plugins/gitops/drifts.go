package main

import (
	"errors"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/kube"
)

func init() { sdk.Handle("drifts", listDrifts) }

const (
	maxInventories = 100             // of one cluster
	driftTime      = 5 * time.Second // of a request's time that comparing one path needs
)

// syncedPath is a path in git that was synced, and its present drift.
type syncedPath struct {
	Cluster      string `json:"cluster"`
	Namespace    string `json:"namespace"`  // of the inventory
	Repository   string `json:"repository"` // as the sync named it
	Path         string `json:"path"`
	Branch       string `json:"branch,omitempty"`
	SyncedCommit string `json:"syncedCommit"` // the last one that was synced
	CheckedAt    string `json:"checkedAt"`    // RFC 3339
	// Error is why the path could not be compared; Drift is absent then.
	Error  string       `json:"error,omitempty"`
	Status int          `json:"status,omitempty"`
	Drift  *driftAnswer `json:"drift,omitempty"`
}

type driftsAnswer struct {
	Drifts    []syncedPath `json:"drifts"`
	Errors    []listError  `json:"errors,omitempty"`
	Truncated bool         `json:"truncated,omitempty"` // there are more paths
}

// listDrifts compares every path that was synced with its cluster, as the user. Plugins
// keep no results, so each is as old as the answer.
func listDrifts(r *sdk.Request) (*sdk.Response, error) {
	out := driftsAnswer{Drifts: []syncedPath{}}
	var err error
	out.Errors, err = eachCluster(r, func(cluster kube.Cluster) error {
		var list struct {
			Metadata struct{ Continue string }
			Items    []configMap
		}
		if err := cluster.List(collection("/api/v1", r.Query("namespace"), "configmaps"), kube.ListOptions{LabelSelector: inventoryLabel + "=true", Limit: maxInventories}, &list); err != nil {
			return err
		}
		out.Truncated = out.Truncated || list.Metadata.Continue != ""
		for i := range list.Items {
			p, err := comparePath(r, cluster, &list.Items[i].Metadata)
			if err != nil {
				return err
			}
			out.Drifts = append(out.Drifts, *p)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return sdk.JSON(200, out)
}

// comparePath compares the path of one inventory. Its annotations are data of whoever may
// write the ConfigMap; they are checked like a request's.
func comparePath(r *sdk.Request, cluster kube.Cluster, inventory *inventoryMeta) (*syncedPath, error) {
	a := inventory.Annotations
	p := &syncedPath{
		Cluster: string(cluster), Namespace: inventory.Namespace, Repository: a[annotationFrom], Path: a[annotationPath],
		Branch: a[annotationBranch], SyncedCommit: a[annotationCommit], CheckedAt: time.Now().UTC().Format(time.RFC3339),
	}
	if short(r, driftTime) {
		p.Error, p.Status = "there was no time left; name a namespace or the path", 504
		return p, nil
	}
	d := declaration{Path: p.Path, Branch: p.Branch, Cluster: p.Cluster, Namespace: p.Namespace}
	if strings.Contains(p.Repository, ":") {
		d.RepoURL = p.Repository
	} else {
		d.Repository = p.Repository
	}
	drift, err := d.drift(r)
	if err == nil {
		p.Drift = drift
		return p, nil
	}
	e, ok := errors.AsType[*sdk.Error](err)
	if !ok || e.Status == 401 {
		return nil, err
	}
	p.Error, p.Status = e.Message, e.Status
	return p, nil
}

// drift compares what d declares with its cluster.
func (d *declaration) drift(r *sdk.Request) (*driftAnswer, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	m, items, problems, err := d.read()
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		return nil, sdk.Errorf(422, "invalid manifest: %s", textOf(&problems[0]))
	}
	return compareAll(r, kube.Cluster(d.Cluster), m.Where, items)
}
