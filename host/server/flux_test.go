package server

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
)

var helmRepositories = schema.GroupVersionResource{Group: "source.toolkit.fluxcd.io", Version: "v1", Resource: "helmrepositories"}

// runSourceController runs Flux's source-controller on the dev cluster, for one namespace,
// until the test or its process ends.
func runSourceController(t *testing.T, c *clustertest.Cluster, namespace string) {
	t.Helper()
	program := os.Getenv("BULKHEAD_FLUXSOURCE")
	if program == "" {
		t.Skip("`make flux` builds the controller and runs this test")
	}
	dir := t.TempDir()
	// The shell reads until this process is gone and then ends the controller.
	cmd := exec.Command("sh", "-c", `"$0" "$@" & p=$!; cat >/dev/null; kill -9 $p`, program,
		"--storage-path="+dir, "--storage-addr=127.0.0.1:0", "--storage-adv-addr=127.0.0.1:1", "--metrics-addr=0", "--health-addr=127.0.0.1:0",
		"--watch-all-namespaces=false", "--log-level=error", "--concurrent=1")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig, "RUNTIME_NAMESPACE="+namespace, "HOME="+dir)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	hold, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = hold.Close()
		_ = cmd.Wait()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("the controller said:\n%s", text)
		}
	})
}

// defineSources makes the dev cluster know all kinds that the controller watches.
func defineSources(t *testing.T, c *clustertest.Cluster) {
	t.Helper()
	const module = "github.com/fluxcd/source-controller@v1.9.2"
	for _, kind := range []string{"buckets", "externalartifacts", "gitrepositories", "helmcharts", "helmrepositories", "ocirepositories"} {
		if err := c.Apply(t, moduleFile(t, module, "config/crd/bases/source.toolkit.fluxcd.io_"+kind+".yaml")); err != nil {
			t.Fatal(err)
		}
	}
}

// Flux's own controller carries out what the routes ask for, and its status says so.
func TestFluxSourceControllerReconcilesAndIsSuspended(t *testing.T) {
	w, c := onCluster(t)
	defineSources(t, c)
	if err := c.Apply(t, []byte(`
{apiVersion: v1, kind: Namespace, metadata: {name: fluxed}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: bulkhead-editor, namespace: fluxed}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: bulkhead-editor}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "bulkhead:role:editor"}]
`)); err != nil {
		t.Fatal(err)
	}
	var served, version atomic.Int64
	shelf := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		fmt.Fprintf(w, "apiVersion: v1\nentries:\n  demo:\n    - {name: demo, version: 1.0.%d, urls: [demo.tgz], digest: x}\n", version.Load())
	}))
	defer shelf.Close()
	if err := c.Apply(t, fmt.Appendf(nil, "{apiVersion: source.toolkit.fluxcd.io/v1, kind: HelmRepository, metadata: {name: charts, namespace: fluxed}, spec: {url: %q, interval: 10h}}", shelf.URL)); err != nil {
		t.Fatal(err)
	}
	d := administer(t, c)
	t.Cleanup(func() { // the controller holds it by a finalizer, and is gone then
		o := d.Resource(helmRepositories).Namespace("fluxed")
		_, _ = o.Patch(t.Context(), "charts", "application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	})
	runSourceController(t, c, "fluxed")

	vic, eve := w.as(t, "vic"), w.as(t, "eve")
	type shown struct {
		Ready, Revision string
		Current         bool
		Suspended       *struct{ By, Reason string }
	}
	list := func() (s shown) {
		t.Helper()
		var list struct{ Items []shown }
		got := vic.get("/api/gitops/flux/objects?kind=HelmRepository&namespace=fluxed")
		got.json(t, &list)
		if len(list.Items) != 1 {
			t.Fatalf("the list: %v", got)
		}
		return list.Items[0]
	}
	change := func(route, more string, want int) answer {
		t.Helper()
		got := eve.post("/api/gitops/flux/"+route, `{"kind":"HelmRepository","name":"charts","namespace":"fluxed"`+more+`}`)
		expect(t, got, want, route)
		return got
	}
	eventually(t, "the controller to fetch the index", func() bool { s := list(); return s.Ready == "True" && s.Revision != "" })
	first := list()

	version.Store(1)
	before := served.Load()
	change("reconcile", "", 200)
	eventually(t, "the controller to handle the request", func() bool { return list().Current })
	if s := list(); served.Load() == before || s.Revision == first.Revision || s.Ready != "True" {
		t.Errorf("reconciled: %+v, after %d requests", s, served.Load()-before)
	}

	change("suspend", `,"reason":"INC-9"`, 200)
	if s := list(); s.Suspended == nil || s.Suspended.By != "eve@example.com" || s.Suspended.Reason != "INC-9" {
		t.Errorf("suspended: %+v", s)
	}
	if got := change("reconcile", "", 409); !strings.Contains(got.body, "is suspended; resume it first") {
		t.Errorf("%v", got)
	}
	// The controller heeds nothing else, either.
	version.Store(2)
	suspended := list().Revision
	if _, err := d.Resource(helmRepositories).Namespace("fluxed").Patch(t.Context(), "charts", "application/merge-patch+json",
		[]byte(`{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"by hand"}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the request to be seen", func() bool { return !list().Current })
	if s := list(); s.Revision != suspended {
		t.Errorf("suspended, and asked by hand: %+v", s)
	}
	change("resume", "", 200)
	eventually(t, "the controller to go on", func() bool { s := list(); return s.Current && s.Revision != suspended && s.Suspended == nil })
}
