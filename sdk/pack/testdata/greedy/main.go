// Greedy uses a capability that its manifest does not ask for.
package main

import (
	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/kube"
)

func init() {
	sdk.Handle("pods", func(*sdk.Request) (*sdk.Response, error) {
		return kube.Cluster("dev").Fetch("GET", "/api/v1/pods", nil, nil)
	})
}

func main() {}
