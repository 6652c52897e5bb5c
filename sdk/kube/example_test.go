package kube_test

import (
	"errors"
	"fmt"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/kube"
	"github.com/seed-a3fb47d6/bulkhead/sdk/session"
)

// Segments from a request are escaped, so that they stay segments.
func ExamplePath() {
	fmt.Println(kube.Path("api", "v1", "namespaces", "shop", "pods", "web"))
	fmt.Println(kube.Path("api", "v1", "namespaces", "../secrets"))
	// Output:
	// /api/v1/namespaces/shop/pods/web
	// /api/v1/namespaces/..%2Fsecrets
}

// Pod has the fields that the plugin needs.
type Pod struct {
	Metadata kube.Metadata          `json:"metadata"`
	Status   struct{ Phase string } `json:"status"`
}

// Pages are followed, and one object is decoded at a time.
func ExampleEach() {
	sdk.Handle("pods", func(r *sdk.Request) (*sdk.Response, error) {
		pods := kube.Objects("v1", r.Query("namespace"), "pods")
		phases := map[string]string{}
		for pod, err := range kube.Each[Pod](kube.Cluster(r.Query("cluster")), pods, kube.ListOptions{LabelSelector: "app=web"}) {
			if err != nil {
				return nil, err // says who refused: grant, policy, the cluster
			}
			phases[pod.Metadata.Name] = pod.Status.Phase
		}
		return sdk.JSON(200, phases)
	})
}

// A route of kind events: what exists, and then every change.
func ExampleWatch() {
	session.Handle("watch", func(r *sdk.Request, s *session.Session) error {
		pods := kube.Objects("v1", r.Query("namespace"), "pods")
		return session.SendEach(s, kube.Watch[Pod](kube.Cluster(r.Query("cluster")), pods, kube.WatchOptions{}))
	})
}

func ExampleCluster_Apply() {
	sdk.Handle("scale", func(r *sdk.Request) (*sdk.Response, error) {
		at := kube.Objects("apps/v1", r.Query("namespace"), "deployments", r.Query("name"))
		object := map[string]any{
			"apiVersion": "apps/v1", "kind": "Deployment",
			"metadata": map[string]string{"name": r.Query("name")}, "spec": map[string]int{"replicas": 3},
		}
		err := kube.Cluster(r.Query("cluster")).Apply(at, object, kube.ApplyOptions{Manager: "scaler"}, nil)
		if conflict, ok := errors.AsType[*kube.ConflictError](err); ok {
			return nil, sdk.Errorf(409, "%s belongs to another: %s", conflict.Fields[0].Field, conflict.Fields[0].Message)
		}
		return sdk.NoContent(), err
	})
}

func ExampleCluster_Patch() {
	sdk.Handle("pause", func(r *sdk.Request) (*sdk.Response, error) {
		path := kube.Objects("apps/v1", r.Query("namespace"), "deployments", r.Query("name"))
		patch := map[string]any{"spec": map[string]any{"paused": true}}
		if err := kube.Cluster(r.Query("cluster")).Patch(path, kube.MergePatch, patch, nil); err != nil {
			return nil, err
		}
		return sdk.NoContent(), nil
	})
}
