package server

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	utilnet "k8s.io/apimachinery/pkg/util/net"
)

var (
	crds         = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	applications = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "applications"}
	repositories = schema.GroupVersionResource{Group: "source.toolkit.fluxcd.io", Version: "v1", Resource: "gitrepositories"}
	kustomized   = schema.GroupVersionResource{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Resource: "kustomizations"}
)

// administer is a client with all rights on the dev cluster.
func administer(t *testing.T, c *clustertest.Cluster) dynamic.Interface {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { utilnet.CloseIdleConnectionsFor(client.Transport) })
	d, err := dynamic.NewForConfigAndClient(config, client)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// define replaces a definition of the dev cluster by the one that a release of the
// controller has, a file in its Go module.
func define(t *testing.T, d dynamic.Interface, module, file string) {
	t.Helper()
	var crd unstructured.Unstructured
	if err := yaml.Unmarshal(moduleFile(t, module, file), &crd.Object); err != nil {
		t.Fatal(err)
	}
	old, err := d.Resource(crds).Get(t.Context(), crd.GetName(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	crd.SetResourceVersion(old.GetResourceVersion())
	if _, err := d.Resource(crds).Update(t.Context(), &crd, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// moduleFile reads a file of a Go module.
func moduleFile(t *testing.T, module, file string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", module)
	cmd.Dir = t.TempDir() // outside this module, whose go.mod does not list it
	out, err := cmd.Output()
	var at struct{ Dir string }
	if err != nil || json.Unmarshal(out, &at) != nil {
		t.Fatalf("%s: %v: %s", module, err, out)
	}
	text, err := os.ReadFile(filepath.Join(at.Dir, filepath.FromSlash(file)))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// field returns what is at a path of an object, as JSON.
func field(t *testing.T, d dynamic.Interface, of schema.GroupVersionResource, namespace, name string, path ...string) string {
	t.Helper()
	o, err := d.Resource(of).Namespace(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	v, _, err := unstructured.NestedFieldNoCopy(o.Object, path...)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// controllerRoutes change objects of Argo CD and Flux.
var controllerRoutes = []string{
	"argocd/sync", "argocd/rollback", "argocd/terminate", "argocd/refresh", "argocd/automation",
	"flux/reconcile", "flux/suspend", "flux/resume",
}

func TestViewerMaySeeControllersEditorMayUseThem(t *testing.T) {
	w, _ := onCluster(t)
	for role, a := range map[string]*actor{"anonymous": w.anonymous(t), "viewer": w.as(t, "vic"), "editor": w.as(t, "eve"), "admin": w.as(t, "ada")} {
		for _, route := range controllerRoutes {
			want := map[string]int{"anonymous": 401, "viewer": 403}[role]
			if want == 0 {
				want = 400
			}
			expect(t, a.post("/api/gitops/"+route, `{}`), want, role, route)
			expect(t, a.post("/api/gitops/"+route, `{not json`), want, role, route)
		}
		for _, route := range []string{
			"argocd/applications", "argocd/applicationsets", "argocd/health", "argocd/sync", "argocd/status",
			"flux/objects", "kustomizations", "operators", "operator-subscriptions",
		} {
			want := 200
			if role == "anonymous" {
				want = 401
			}
			expect(t, a.get("/api/gitops/"+route), want, role, route)
		}
	}
}

// Argo CD's controller acts on an Application's field "operation". It is not here; the
// test reads what it would, on the definition that it ships, and answers in its place.
func TestArgoCDIsAskedByTheApplicationsOperation(t *testing.T) {
	w, c := onCluster(t)
	d := administer(t, c)
	define(t, d, "github.com/argoproj/argo-cd/v3@v3.4.13", "manifests/crds/application-crd.yaml")
	apps := d.Resource(applications).Namespace("shop")
	app := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": map[string]any{"name": "till", "namespace": "shop"},
		"spec": map[string]any{
			"project": "default", "destination": map[string]any{"server": "https://kubernetes.default.svc", "namespace": "shop"},
			"source": map[string]any{"repoURL": "https://git.invalid/till.git", "path": "base", "targetRevision": "main"},
			"syncPolicy": map[string]any{
				"automated": map[string]any{"prune": true, "selfHeal": true}, "syncOptions": []any{"CreateNamespace=true"},
			},
		},
	}}
	if _, err := apps.Create(t.Context(), app, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// controller does what Argo CD's would: it takes the operation and writes its state.
	controller := func(patch string) {
		t.Helper()
		if _, err := apps.Patch(t.Context(), "till", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	controller(`{"status":{"sync":{"status":"OutOfSync","comparedTo":{"destination":{},"source":{"repoURL":"https://git.invalid/till.git"}}},
		"health":{"status":"Degraded"},"resources":[{"kind":"Service","version":"v1","namespace":"shop","name":"till","status":"OutOfSync"}],
		"history":[
			{"id":4,"revision":"aaa","deployedAt":"2026-01-02T03:04:05Z","source":{"repoURL":"https://git.invalid/till.git","path":"old"}},
			{"id":5,"revision":"bbb","deployedAt":"2026-01-03T03:04:05Z","source":{"repoURL":"https://git.invalid/till.git","path":"base"}}]}}`)

	eve := w.as(t, "eve")
	change := func(route, body string, want int) answer {
		t.Helper()
		got := eve.post("/api/gitops/argocd/"+route, `{"appName":"till","namespace":"shop"`+body+`}`)
		expect(t, got, want, route, body)
		return got
	}
	at := func(path ...string) string { t.Helper(); return field(t, d, applications, "shop", "till", path...) }
	holds := func(what, got string, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if !strings.Contains(got, part) {
				t.Errorf("%s: %s lacks %s", what, got, part)
			}
		}
	}

	t.Run("reads", func(t *testing.T) {
		vic := w.as(t, "vic")
		holds("the list", vic.get("/api/gitops/argocd/applications?namespace=shop").body, `"name":"till"`, `"syncStatus":"OutOfSync"`,
			`"repoURL":"https://git.invalid/till.git"`, `"automated":true`, `"isDemoData":false`)
		holds("one", vic.get("/api/gitops/argocd/application?namespace=shop&appName=till").body,
			`"resources":[{"version":"v1","kind":"Service","namespace":"shop","name":"till","status":"OutOfSync"}]`, `"id":4`, `"syncOptions":["CreateNamespace=true"]`)
		holds("the health", vic.get("/api/gitops/argocd/health?namespace=shop").body, `"degraded":1`)
		holds("the sync", vic.get("/api/gitops/argocd/sync?namespace=shop").body, `"outOfSync":1`)
		holds("the status", vic.get("/api/gitops/argocd/status").body, `"detected":true`, `"clusters":["dev"]`)
		expect(t, vic.get("/api/gitops/argocd/application?namespace=shop&appName=none"), 404, "an unknown Application")
	})
	t.Run("sync", func(t *testing.T) {
		got := change("sync", `,"revision":"ccc","prune":true,"strategy":"apply","force":true,"reason":"INC-7",
			"resources":[{"group":"apps","kind":"Deployment","name":"till"}],"retry":{"limit":3,"backoff":{"duration":"5s","factor":2,"maxDuration":"1m"}}`, 200)
		holds("the answer", got.body, `"success":true`, `"method":"operation"`)
		holds("the operation", at("operation"), `"username":"eve@example.com"`, `"revision":"ccc"`, `"prune":true`, `"apply":{"force":true}`,
			`{"group":"apps","kind":"Deployment","name":"till"}`, `"limit":3`, `"duration":"5s"`, `"syncOptions":["CreateNamespace=true"]`, `{"name":"Reason","value":"INC-7"}`)
		holds("a second one", change("sync", ``, 409).body, "an operation by eve@example.com is in progress")
		expect(t, change("terminate", ``, 409), 409, "before the controller has begun")
		controller(`{"operation":null,"status":{"operationState":{"phase":"Running","startedAt":"2026-01-04T03:04:05Z",
			"operation":{"initiatedBy":{"username":"eve@example.com"},"sync":{"revision":"ccc"}}}}}`)
		holds("while it runs", change("sync", ``, 409).body, "by eve@example.com is in progress since 2026-01-04T03:04:05Z")
		change("terminate", ``, 200)
		holds("the phase", at("status", "operationState", "phase"), `"Terminating"`)
		controller(`{"status":{"operationState":{"phase":"Failed","finishedAt":"2026-01-04T03:04:06Z"}}}`)
	})
	t.Run("a rollback does not fight automated sync", func(t *testing.T) {
		holds("without pausing it", change("rollback", `,"id":4`, 409).body, "pauseAutomatedSync")
		if at("operation") != "null" {
			t.Error("a refused rollback left an operation")
		}
		change("rollback", `,"id":9,"pauseAutomatedSync":true`, 404)
		holds("the answer", change("rollback", `,"pauseAutomatedSync":true,"reason":"INC-8"`, 200).body, "rollback of till to aaa", "automated sync is paused")
		holds("the operation", at("operation"), `"revision":"aaa"`, `"path":"old"`)
		if at("spec", "syncPolicy", "automated") != "null" {
			t.Errorf("automated sync is %s", at("spec", "syncPolicy", "automated"))
		}
		holds("who paused it", eve.get("/api/gitops/argocd/application?namespace=shop&appName=till").body, `"by":"eve@example.com"`, `"reason":"INC-8"`)
		change("automation", `,"enabled":true`, 200)
		holds("automated sync, as it was", at("spec", "syncPolicy", "automated"), `"prune":true`, `"selfHeal":true`)
		controller(`{"operation":null}`)
	})
	t.Run("refresh", func(t *testing.T) {
		change("refresh", `,"hard":true`, 200)
		holds("the annotation", at("metadata", "annotations"), `"argocd.argoproj.io/refresh":"hard"`)
	})
	t.Run("what RBAC denies is the cluster's refusal", func(t *testing.T) {
		app.SetNamespace("bulkhead-system") // where editors are not bound
		app.SetResourceVersion("")
		if _, err := d.Resource(applications).Namespace("bulkhead-system").Create(t.Context(), app, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		got := eve.post("/api/gitops/argocd/sync", `{"appName":"till","namespace":"bulkhead-system"}`)
		expect(t, got, 403, "in another namespace")
		holds("it", got.body, "eve@example.com", "cannot patch")
	})
	t.Run("the user acted, not the host", func(t *testing.T) { audited(t, c) })
}

func TestFluxIsAskedByAnnotations(t *testing.T) {
	w, c := onCluster(t)
	d := administer(t, c)
	define(t, d, "github.com/fluxcd/source-controller@v1.9.2", "config/crd/bases/source.toolkit.fluxcd.io_gitrepositories.yaml")
	eve := w.as(t, "eve")
	change := func(route, body string, want int) answer {
		t.Helper()
		got := eve.post("/api/gitops/flux/"+route, `{"kind":"Kustomization","name":"ledger","namespace":"bank"`+body+`}`)
		expect(t, got, want, route, body)
		return got
	}
	list := func() string {
		t.Helper()
		return w.as(t, "vic").get("/api/gitops/kustomizations?namespace=bank").body
	}
	if got := list(); !strings.Contains(got, `"source":{"kind":"GitRepository","name":"bank","namespace":"bank"}`) {
		t.Errorf("the list: %s", got)
	}

	var done struct{ RequestedAt string }
	change("reconcile", `,"withSource":true`, 200).json(t, &done)
	for _, o := range []struct {
		of   schema.GroupVersionResource
		name string
	}{{kustomized, "ledger"}, {repositories, "bank"}} {
		if got := field(t, d, o.of, "bank", o.name, "metadata", "annotations"); done.RequestedAt == "" || !strings.Contains(got, `"reconcile.fluxcd.io/requestedAt":"`+done.RequestedAt+`"`) {
			t.Errorf("%s: %s, want %s", o.name, got, done.RequestedAt)
		}
	}
	if got := list(); !strings.Contains(got, `"current":false`) {
		t.Errorf("before its controller has handled the request: %s", got)
	}
	expect(t, change("reconcile", `,"force":true`, 400), 400, "force is for a HelmRelease")

	change("suspend", `,"reason":"INC-9"`, 200)
	if got := list(); !strings.Contains(got, `"suspended":{"by":"eve@example.com"`) || !strings.Contains(got, `"reason":"INC-9"`) {
		t.Errorf("suspended: %s", got)
	}
	if got := change("reconcile", ``, 409); !strings.Contains(got.body, "is suspended; resume it first") {
		t.Errorf("%v", got)
	}
	change("suspend", `,"reason":"another"`, 200) // by somebody who did not see it
	if got := list(); !strings.Contains(got, `INC-9`) {
		t.Errorf("suspended twice: %s", got)
	}
	change("resume", ``, 200)
	if got := list(); strings.Contains(got, `"suspended"`) {
		t.Errorf("resumed: %s", got)
	}
	got := w.as(t, "vic").get("/api/gitops/flux/object?kind=Kustomization&namespace=bank&name=ledger")
	if expect(t, got, 200, "one"); !strings.Contains(got.body, `"events":[`) || !strings.Contains(got.body, `"inventory":[]`) {
		t.Errorf("one: %v", got)
	}
	expect(t, w.as(t, "vic").get("/api/gitops/flux/object?kind=Pod&namespace=bank&name=ledger"), 400, "not of Flux")
}
