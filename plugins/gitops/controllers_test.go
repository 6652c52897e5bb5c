package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/sdktest"
)

// onKube is the plugin with two clusters, whose API servers answer with answer. How real
// ones take its requests is tested in host/server.
func onKube(t *testing.T, answer func(*abi.Request) (*abi.Response, error)) *sdktest.Harness {
	h := sdktest.New(t, manifest)
	h.Config(map[string]any{"defaultCluster": "dev", "clusters": []string{"dev", "prod"}})
	h.Capability("kube", answer)
	return h
}

func TestChangesOfControllersCheckTheirInputInOrder(t *testing.T) {
	asked := 0
	h := onKube(t, func(*abi.Request) (*abi.Response, error) {
		asked++
		return &abi.Response{Status: 200, Body: []byte("{}")}, nil
	})
	long := strings.Repeat("a", 1025)
	for _, c := range []struct{ path, body, want string }{
		{"/argocd/sync", ``, "invalid request body"},
		{"/argocd/sync", `{"appname2":"web"}`, "invalid request body"},
		{"/argocd/sync", `{"cluster":"-x","strategy":"odd"}`, "appName and cluster are required"},
		{"/argocd/sync", `{"appName":"web","reason":"` + long + `"}`, "reason must not be longer than 1024 bytes"},
		{"/argocd/sync", `{"appName":"-x","strategy":"odd"}`, "invalid appName"},
		{"/argocd/sync", `{"appName":"web","namespace":"a/b"}`, "invalid namespace"},
		{"/argocd/sync", `{"appName":"web","cluster":"a/b"}`, "invalid cluster"},
		{"/argocd/sync", `{"appName":"web","strategy":"odd"}`, "strategy must be hook or apply"},
		{"/argocd/sync", `{"appName":"web","resources":[{"kind":"Pod"}]}`, "resources: kind and name are required"},
		{"/argocd/sync", `{"appName":"web","retry":{"backoff":{"maxDuration":"soon"}}}`, "retry.backoff.maxDuration must be a duration such as 5s"},
		{"/argocd/rollback", `{"appName":""}`, "appName and cluster are required"},
		{"/argocd/rollback", `{"appName":"web","id":"4"}`, "invalid request body"},
		{"/argocd/terminate", `{}`, "appName and cluster are required"},
		{"/argocd/refresh", `{}`, "appName and cluster are required"},
		{"/argocd/automation", `{"appName":"web"}`, "appName, cluster and enabled are required"},
		{"/flux/reconcile", `{}`, "kind, name, namespace and cluster are required"},
		{"/flux/reconcile", `{"kind":"Pod","name":"a","namespace":"b"}`, "kind must be one of Flux's, such as Kustomization, HelmRelease or GitRepository"},
		{"/flux/suspend", `{"kind":"HelmRelease","name":"..","namespace":"-"}`, "invalid namespace"},
		{"/flux/resume", `{"kind":"HelmRelease","name":"a","namespace":"b","reason":"` + long + `"}`, "reason must not be longer than 1024 bytes"},
	} {
		resp := h.Do(post(c.path, c.body))
		if resp.Status != 400 || resp.Err == nil || resp.Err.Message != c.want {
			t.Errorf("%s %.80s: got %d %s, want 400 %q", c.path, c.body, resp.Status, resp.Text(), c.want)
		}
	}
	if asked != 0 {
		t.Errorf("the cluster was asked %d times", asked)
	}
}

func TestOneClusterDoesNotHideTheOthers(t *testing.T) {
	failure := &abi.Error{Code: abi.CodeUpstream, Origin: abi.OriginUpstream, Status: 503, Message: "cluster prod is away"}
	h := onKube(t, func(r *abi.Request) (*abi.Response, error) {
		if strings.HasPrefix(r.URL, "kube://prod/") {
			return nil, failure
		}
		return &abi.Response{Status: 200, Body: []byte(`{"items":[{"metadata":{"name":"web","namespace":"argocd"}}]}`)}, nil
	})
	for _, path := range []string{"/argocd/applications", "/argocd/applicationsets", "/kustomizations", "/operators", "/operator-subscriptions"} {
		resp := h.Do(sdktest.Request{Path: path})
		if resp.Status != 200 || !strings.Contains(resp.Text(), `"name":"web"`) ||
			!strings.Contains(resp.Text(), `"errors":[{"type":"cluster_error","cluster":"prod","status":503,"message":"cluster prod is away"}]`) {
			t.Errorf("%s: got %d %s", path, resp.Status, resp.Text())
		}
		if resp := h.Do(sdktest.Request{Path: path + "?cluster=prod"}); resp.Status != 503 {
			t.Errorf("%s of the cluster alone: got %d %s", path, resp.Status, resp.Text())
		}
	}
	failure.Status = 404 // no such type of object there
	if resp := h.Do(sdktest.Request{Path: "/argocd/status"}); resp.Text() != `{"detected":true,"clusters":["dev"]}` {
		t.Errorf("the status: %s", resp.Text())
	}
}

func TestAListIsReadInPagesAndBounded(t *testing.T) {
	pages := 0
	h := onKube(t, func(r *abi.Request) (*abi.Response, error) {
		pages++
		items := strings.Repeat(`{"metadata":{"name":"web"}},`, 99) + `{"metadata":{"name":"web"}}`
		return &abi.Response{Status: 200, Body: []byte(`{"metadata":{"continue":"more"},"items":[` + items + `]}`)}, nil
	})
	var list struct {
		TotalCount int
		Truncated  bool
	}
	resp := h.Do(sdktest.Request{Path: "/argocd/applications?cluster=dev"})
	if err := json.Unmarshal([]byte(resp.Text()), &list); err != nil || list.TotalCount != maxObjects || !list.Truncated || pages != maxObjects/pageSize {
		t.Errorf("%+v in %d pages, %v", list, pages, err)
	}
}

func TestAnInventorysEntriesAreRead(t *testing.T) {
	for id, want := range map[string]inventoryItem{
		"shop_web_apps_Deployment": {"apps", "v1", "Deployment", "shop", "web"},
		"_shop__Namespace":         {"", "v1", "Namespace", "", "shop"},
		"_system__controller__x_rbac.authorization.k8s.io_ClusterRole": {"rbac.authorization.k8s.io", "v1", "ClusterRole", "", "system:controller:x"},
		"shop_a.b-c_monitoring.coreos.com_ServiceMonitor":              {"monitoring.coreos.com", "v1", "ServiceMonitor", "shop", "a.b-c"},
		"": {}, "shop": {}, "shop_web": {}, "shop_web_apps": {},
	} {
		got, ok := parseInventory(id, "v1")
		if ok != (want.Kind != "") || ok && got != want {
			t.Errorf("%q: %+v, %v; want %+v", id, got, ok, want)
		}
	}
}
