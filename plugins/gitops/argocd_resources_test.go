package main

import (
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/sdktest"
)

// api is a kube capability with an answer for each METHOD URL; others do not exist.
type api struct {
	answers map[string]string
	asked   []string // METHOD URL BODY of changes
}

func (a *api) answer(r *abi.Request) (*abi.Response, error) {
	if r.Method != "GET" {
		a.asked = append(a.asked, r.Method+" "+r.URL+" "+string(r.Body))
		return &abi.Response{Status: 200, Body: []byte("{}")}, nil
	}
	path, _, _ := strings.Cut(strings.TrimPrefix(r.URL, "kube://dev"), "?")
	body, ok := a.answers[path]
	switch {
	case !ok:
		return nil, &abi.Error{Status: 404, Origin: abi.OriginUpstream, Code: abi.CodeNotFound, Message: path + " not found"}
	case body == "forbidden":
		return nil, &abi.Error{Status: 403, Origin: abi.OriginUpstream, Code: abi.CodeForbidden, Message: "no"}
	}
	return &abi.Response{Status: 200, Body: []byte(body)}, nil
}

func (a *api) serve(t *testing.T) *sdktest.Harness {
	h := sdktest.New(t, manifest)
	h.Config(map[string]string{"defaultCluster": "dev"})
	h.Capability("kube", a.answer)
	return h
}

const (
	appPath = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/web"
	appHere = `{"metadata":{"name":"web","namespace":"argocd","resourceVersion":"1"},"spec":{"project":"shop","destination":{"name":"in-cluster","namespace":"shop"}},
		"status":{"resources":[{"group":"apps","version":"v1","kind":"Deployment","namespace":"shop","name":"web"},{"group":"argoproj.io","version":"v1alpha1","kind":"Rollout","namespace":"shop","name":"canary"}]}}`
)

func TestTheResourceTreeHasWhatControllersMade(t *testing.T) {
	a := &api{answers: map[string]string{
		appPath: appHere,
		"/apis/apps/v1/namespaces/shop/replicasets": `{"items":[{"metadata":{"name":"web-1","ownerReferences":[{"kind":"Deployment","name":"web"}]}},{"metadata":{"name":"x-1","ownerReferences":[{"kind":"Deployment","name":"x"}]}}]}`,
		"/apis/batch/v1/namespaces/shop/jobs":       "forbidden",
		"/api/v1/namespaces/shop/pods":              `{"items":[{"metadata":{"name":"web-1-a","ownerReferences":[{"kind":"ReplicaSet","name":"web-1"}]}},{"metadata":{"name":"alone"}}]}`,
	}}
	var tree treeAnswer
	resp := a.serve(t).Do(sdktest.Request{Path: "/argocd/resource-tree?appName=web"})
	if err := resp.JSON(&tree); err != nil || resp.Status != 200 {
		t.Fatalf("%d %s", resp.Status, resp.Text())
	}
	var got []string
	for _, n := range tree.Nodes {
		parent := ""
		if n.Parent != nil {
			parent = n.Parent.Kind + "/" + n.Parent.Name
		}
		got = append(got, n.Group+"/"+n.Version+" "+n.Kind+"/"+n.Name+" "+parent)
	}
	expect(t, got, "apps/v1 Deployment/web ", "argoproj.io/v1alpha1 Rollout/canary ", "apps/v1 ReplicaSet/web-1 Deployment/web", "/v1 Pod/web-1-a ReplicaSet/web-1")
	if len(tree.Errors) != 1 || tree.Errors[0].Type != "kind_forbidden" || tree.Elsewhere {
		t.Errorf("%s", resp.Text())
	}
}

func TestAResourceActionIsOnePatchOfTheObject(t *testing.T) {
	body := func(group, kind, name, action string) string {
		return `{"appName":"web","cluster":"dev","resource":{"group":"` + group + `","kind":"` + kind + `","name":"` + name + `","namespace":"shop"},"action":"` + action + `"}`
	}
	for _, c := range []struct {
		body   string
		status int
		asked  string // the beginning of each change
	}{
		{body("apps", "Deployment", "web", "restart"), 200, `PATCH kube://dev/apis/apps/v1/namespaces/shop/deployments/web {"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"`},
		{body("apps", "Deployment", "web", "pause"), 200, `PATCH kube://dev/apis/apps/v1/namespaces/shop/deployments/web {"spec":{"paused":true}}`},
		{body("argoproj.io", "Rollout", "canary", "resume"), 200, `PATCH kube://dev/apis/argoproj.io/v1alpha1/namespaces/shop/rollouts/canary {"spec":{"paused":null}}
PATCH kube://dev/apis/argoproj.io/v1alpha1/namespaces/shop/rollouts/canary/status {"status":{"pauseConditions":null}}`},
		{body("apps", "Deployment", "other", "restart"), 404, ""},
		{body("apps", "Deployment", "web", "explode"), 400, ""},
		{body("", "Secret", "web", "restart"), 400, ""},
		{`{"appName":"web","cluster":"dev","action":"restart"}`, 400, ""},
		{`{"action":"restart"}`, 400, ""},
		{`{"appName":"web","deep":1}`, 400, ""},
	} {
		a := &api{answers: map[string]string{appPath: appHere}}
		resp := a.serve(t).Do(post("/argocd/resource-action", c.body))
		if got := strings.Join(a.asked, "\n"); resp.Status != c.status || !strings.HasPrefix(got, c.asked) || c.asked == "" && got != "" {
			t.Errorf("%s: %d %s, asked %s", c.body, resp.Status, resp.Text(), got)
		}
	}
	elsewhere := &api{answers: map[string]string{appPath: strings.Replace(appHere, "in-cluster", "prod", 1)}}
	if resp := elsewhere.serve(t).Do(post("/argocd/resource-action", body("apps", "Deployment", "web", "restart"))); resp.Status != 422 || len(elsewhere.asked) > 0 {
		t.Errorf("in another cluster: %d %s", resp.Status, resp.Text())
	}
}

func TestASyncWindowThatRefusesIsNamed(t *testing.T) {
	const project = "/apis/argoproj.io/v1alpha1/namespaces/argocd/appprojects/shop"
	always := `{"spec":{"syncWindows":[{"kind":"deny","schedule":"* * * * *","duration":"1h","applications":["*"]}]}}`
	for name, c := range map[string]struct {
		project string
		status  int
	}{
		"a window that denies": {always, 409}, "a window that cannot be read": {strings.Replace(always, "1h", "soon", 1), 409},
		"a project that may not be read": {"forbidden", 200}, "no windows": {`{"spec":{}}`, 200},
		"a window for others": {strings.Replace(always, `"*"]`, `"bank-*"]`, 1), 200},
	} {
		for _, route := range []string{"/argocd/sync", "/argocd/rollback"} {
			app := strings.Replace(appHere, `"status":{`, `"status":{"history":[{"id":1,"revision":"a"},{"id":2,"revision":"b"}],`, 1)
			a := &api{answers: map[string]string{appPath: app, project: c.project}}
			resp := a.serve(t).Do(post(route, `{"appName":"web","cluster":"dev"}`))
			if resp.Status != c.status || (c.status == 409) != (len(a.asked) == 0) || c.status == 409 && !strings.Contains(resp.Text(), "project shop") {
				t.Errorf("%s of an Application with %s: %d %s", route, name, resp.Status, resp.Text())
			}
		}
	}
}
