package cluster

import (
	"net/url"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

func TestClassifyReadsAsTheAPIServerDoes(t *testing.T) {
	for request, want := range map[string]Access{
		"GET /api/v1/namespaces/shop/pods":                          {"list", "", "v1", "pods", "", "shop", ""},
		"GET /api/v1/namespaces/shop/pods?watch=true":               {"watch", "", "v1", "pods", "", "shop", ""},
		"GET /api/v1/watch/namespaces/shop/pods":                    {"watch", "", "v1", "pods", "", "shop", ""},
		"GET /api/v1/namespaces/shop/pods/web":                      {"get", "", "v1", "pods", "", "shop", "web"},
		"GET /api/v1/namespaces/shop/pods/web/exec":                 {"get", "", "v1", "pods", "exec", "shop", "web"},
		"POST /api/v1/namespaces/shop/serviceaccounts/a/token":      {"create", "", "v1", "serviceaccounts", "token", "shop", "a"},
		"DELETE /apis/apps/v1/namespaces/shop/deployments":          {"deletecollection", "apps", "v1", "deployments", "", "shop", ""},
		"PATCH /apis/apps/v1/namespaces/shop/deployments/web/scale": {"patch", "apps", "v1", "deployments", "scale", "shop", "web"},
		"PUT /apis/rbac.authorization.k8s.io/v1/clusterroles/x":     {"update", "rbac.authorization.k8s.io", "v1", "clusterroles", "", "", "x"},
		"GET /api/v1/namespaces/shop":                               {"get", "", "v1", "namespaces", "", "shop", "shop"},
		"GET /api/v1/secrets?fieldSelector=metadata.name%3Dx":       {"list", "", "v1", "secrets", "", "", "x"},
	} {
		method, rest, _ := strings.Cut(request, " ")
		path, query, _ := strings.Cut(rest, "?")
		values, _ := url.ParseQuery(query)
		got, err := Classify(method, path, values)
		if err != nil || got != want {
			t.Errorf("%s: got %+v, %v", request, got, err)
		}
	}
}

func TestWhatIsNoResourceIsRefused(t *testing.T) {
	for _, request := range []string{
		"GET /", "GET /healthz", "GET /metrics", "GET /api", "GET /api/v1", "GET /apis/apps/v1", "GET /openapi/v3",
		"GET /logs/kube-apiserver.log", "GET /api/v1/proxy/nodes/n", "HEAD2 /api/v1/pods", "GET /apis/apps",
	} {
		method, path, _ := strings.Cut(request, " ")
		if got, err := Classify(method, path, nil); host.KindOf(err) != host.Invalid {
			t.Errorf("%s: got %+v, %v", request, got, err)
		}
	}
}
