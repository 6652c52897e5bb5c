package server

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// gitopsReads are the reads of the gitops plugin, with the status of a request that names
// nothing, for everybody who may read.
var gitopsReads = map[string]int{
	"/helm-releases": 200, "/helm-releases/stream": 200, "/helm-history": 200,
	"/helm-values": 400, "/helm-notes": 400, "/helm-manifest": 400, "/helm-diff": 400, "/helm-operation": 400, "/helm-operation/stream": 400,
	"/argocd/applications": 200, "/argocd/applications/stream": 200, "/argocd/application": 400, "/argocd/resource-tree": 400,
	"/argocd/applicationsets": 200, "/argocd/health": 200, "/argocd/sync": 200, "/argocd/status": 200,
	"/kustomizations": 200, "/kustomizations/stream": 200, "/flux/objects": 200, "/flux/objects/stream": 200, "/flux/object": 400,
	"/operators": 200, "/operators/stream": 200, "/operator-subscriptions": 200, "/operator-subscriptions/stream": 200,
	"/drifts": 200, "/drifts/stream": 200,
}

// gitopsChanges are the changes, with the required fields that a body without any is told.
var gitopsChanges = map[string]string{
	"/helm-upgrade":           "release, namespace, and chart are required",
	"/helm-rollback":          "release and namespace are required",
	"/helm-uninstall":         "release and namespace are required",
	"/helm-test":              "release and namespace are required",
	"/helm-cancel":            "release, namespace, and id are required",
	"/sync":                   "repoUrl is required",
	"/argocd/sync":            "appName and cluster are required",
	"/argocd/rollback":        "appName and cluster are required",
	"/argocd/terminate":       "appName and cluster are required",
	"/argocd/refresh":         "appName and cluster are required",
	"/argocd/automation":      "appName, cluster and enabled are required",
	"/argocd/resource-action": "appName and cluster are required",
	"/flux/reconcile":         "kind, name, namespace and cluster are required",
	"/flux/suspend":           "kind, name, namespace and cluster are required",
	"/flux/resume":            "kind, name, namespace and cluster are required",
}

// Every route of the plugin, for every role: policy comes first, then the body, then its
// fields. A viewer may read, and compare, which is a POST.
func TestEveryGitOpsRouteForEveryRole(t *testing.T) {
	w, _ := onCluster(t)
	text, err := os.ReadFile("../../plugins/gitops/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Routes []struct {
			Method, Path string
			Mutates      bool
		}
	}
	if err := json.Unmarshal(text, &manifest); err != nil {
		t.Fatal(err)
	}
	roles := map[string]*actor{"anonymous": w.anonymous(t), "viewer": w.as(t, "wes"), "editor": w.as(t, "ed3"), "admin": w.as(t, "ada")}
	for _, route := range manifest.Routes {
		read, isRead := gitopsReads[route.Path]
		fields, isChange := gitopsChanges[route.Path]
		switch {
		case route.Method == "GET" && !isRead, route.Mutates && !isChange:
			t.Errorf("%s %s is not in the table of this test", route.Method, route.Path)
			continue
		case route.Path == "/detect-drift":
			isChange, fields = true, "repoUrl is required"
		}
		for role, a := range roles {
			path := "/api/gitops" + route.Path
			refused := map[bool]int{true: 401, false: 403}[role == "anonymous"]
			permitted := role == "editor" || role == "admin" || role == "viewer" && !route.Mutates
			if route.Method == "GET" {
				want := read
				if !permitted {
					want = refused
				}
				expect(t, a.get(path), want, role, route.Path)
				continue
			}
			for body, told := range map[string]string{`{}`: fields, `{not json`: "invalid request body", `{"unknown":1}`: "invalid request body"} {
				got := a.post(path, body)
				if !permitted {
					expect(t, got, refused, role, route.Path, body)
					continue
				}
				if expect(t, got, 400, role, route.Path, body); !strings.Contains(got.body, told) {
					t.Errorf("%s %s %s: %v, want %q", role, route.Path, body, got, told)
				}
			}
		}
	}
}
