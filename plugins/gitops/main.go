// Gitops is the console's GitOps feature: Helm releases, the Applications of Argo CD, the
// objects of Flux, and the operators of OLM. It checks what was asked and shapes answers;
// Helm itself, the clusters' credentials and the user's rights are the host's.
package main

import (
	"cmp"
	"slices"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/helm"
)

// config is what the operator may set.
type config struct {
	DefaultCluster   string `json:"defaultCluster"`   // when a request names none
	DefaultNamespace string `json:"defaultNamespace"` // the same, for reading one release
	// Clusters are those that a list covers when its request names none; empty: the
	// default cluster.
	Clusters []string `json:"clusters"`
	// ArgoCDNamespace is that of Applications when a request names none; argocd, if empty.
	ArgoCDNamespace string `json:"argocdNamespace"`
}

var settings config

func init() {
	sdk.OnStart(start)
	sdk.Handle("helm-releases", releases)
	sdk.Handle("helm-history", history)
	sdk.Handle("helm-values", values)
	sdk.Handle("helm-notes", notes)
	sdk.Handle("helm-manifest", manifestOf)
	sdk.Handle("helm-diff", diff)
	sdk.Handle("helm-upgrade", upgrade)
	sdk.Handle("helm-rollback", rollback)
	sdk.Handle("helm-uninstall", uninstall)
	sdk.Handle("helm-test", test)
	sdk.Handle("helm-operation", operation)
	sdk.Handle("helm-cancel", cancel)
}

func main() {}

func start(s *sdk.Start) error {
	settings = config{DefaultNamespace: "default"}
	if err := s.Config(&settings); err != nil {
		return err
	}
	if settings.DefaultCluster != "" && !validName(settings.DefaultCluster) {
		return sdk.Errorf(500, "config: defaultCluster %q is not a cluster's name", settings.DefaultCluster)
	}
	if n := settings.ArgoCDNamespace; n != "" && !validName(n) {
		return sdk.Errorf(500, "config: argocdNamespace %q is not a namespace's name", n)
	}
	warmLists()
	for i, name := range settings.Clusters {
		if !validName(name) || slices.Contains(settings.Clusters[:i], name) {
			return sdk.Errorf(500, "config: clusters[%d]: %q is not a cluster's name, or is there twice", i, name)
		}
	}
	return nil
}

// clusterOf returns the cluster that a request names, or the default one.
func clusterOf(name string) (helm.Cluster, error) {
	name = cmp.Or(name, settings.DefaultCluster)
	if name == "" {
		return "", sdk.Errorf(400, "cluster is required")
	}
	return helm.Cluster(name), checkName("cluster", name)
}
