package helm_test

import (
	"fmt"

	"github.com/seed-a3fb47d6/bulkhead/sdk/helm"
	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/guesttest"
)

func ExampleCluster_Releases() {
	defer guesttest.Answer(`{"releases": [{"name": "web", "namespace": "shop", "revision": 3, "status": "deployed"}]}`)()

	list, err := helm.Cluster("dev").Releases("shop", helm.Page{Limit: 100})
	if err != nil {
		fmt.Println(err) // a handler returns it as it is
		return
	}
	for _, r := range list.Releases {
		fmt.Println(r.Name, r.Revision, r.Status)
	}
	for _, e := range list.Errors {
		fmt.Println("not complete:", e.Namespace)
	}
	// Output: web 3 deployed
}
