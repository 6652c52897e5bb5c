package kube_test

import (
	"fmt"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/kube"
)

// Segments from a request are escaped, so that they stay segments.
func ExamplePath() {
	fmt.Println(kube.Path("api", "v1", "namespaces", "shop", "pods", "web"))
	fmt.Println(kube.Path("api", "v1", "namespaces", "../secrets"))
	// Output:
	// /api/v1/namespaces/shop/pods/web
	// /api/v1/namespaces/..%2Fsecrets
}

func ExampleCluster_List() {
	sdk.Handle("pods", func(r *sdk.Request) (*sdk.Response, error) {
		var pods struct {
			Items []struct {
				Metadata struct {
					Name string `json:"name"`
				} `json:"metadata"`
			} `json:"items"`
		}
		path := kube.Path("api", "v1", "namespaces", r.Query("namespace"), "pods")
		if err := kube.Cluster(r.Query("cluster")).List(path, kube.ListOptions{LabelSelector: "app=web"}, &pods); err != nil {
			return nil, err // says who refused: grant, policy, the cluster
		}
		return sdk.JSON(200, pods.Items)
	})
}

func ExampleCluster_Patch() {
	sdk.Handle("pause", func(r *sdk.Request) (*sdk.Response, error) {
		path := kube.Path("apis", "apps", "v1", "namespaces", r.Query("namespace"), "deployments", r.Query("name"))
		patch := map[string]any{"spec": map[string]any{"paused": true}}
		if err := kube.Cluster(r.Query("cluster")).Patch(path, kube.MergePatch, patch, nil); err != nil {
			return nil, err
		}
		return sdk.NoContent(), nil
	})
}
