package server

import (
	"bufio"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
)

// sharing is a host that watches Applications for its users, and may.
func sharing(t *testing.T) (*world, *clustertest.Cluster) {
	t.Helper()
	c := clustertest.Start(t)
	if err := c.Apply(t, []byte(`
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: bulkhead-shared-watches}
rules: [{apiGroups: [argoproj.io], resources: [applications], verbs: [list, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: bulkhead-shared-watches}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: bulkhead-shared-watches}
subjects: [{kind: ServiceAccount, name: bulkhead, namespace: bulkhead-system}]
`)); err != nil {
		t.Fatal(err)
	}
	w := prepare(t, c.HostKubeconfig)
	text, err := os.ReadFile(filepath.Join(w.dir, "bulkhead.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	w.write(t, "bulkhead.yaml", strings.Replace(string(text), "waitForKubeconfig: true", "waitForKubeconfig: true, sharedWatches: [applications.argoproj.io]", 1))
	w.open(t)
	eventually(t, "the cluster to be ready", func() bool {
		up, _ := w.server.countClusters()
		return up == 1
	})
	return w, c
}

// follower reads an event stream.
type follower struct {
	t      *testing.T
	events chan string // NAME DATA
	ids    chan string
	leave  context.CancelFunc
}

func (a *actor) follow(t *testing.T, path, lastID string) *follower {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	t.Cleanup(leave)
	req, err := http.NewRequestWithContext(ctx, "GET", a.w.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := a.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 200 {
		t.Fatalf("%s: %s", path, resp.Status)
	}
	f := &follower{t, make(chan string, 100), make(chan string, 100), leave}
	go func() {
		defer close(f.events)
		defer resp.Body.Close()
		name, id := "", ""
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 8<<20)
		for lines.Scan() {
			key, value, _ := strings.Cut(lines.Text(), ": ")
			switch key {
			case "event":
				name = value
			case "id":
				id = value
			case "data":
				f.ids <- id
				f.events <- name + " " + value
			}
		}
	}()
	return f
}

// next returns the next event that contains text, and its id.
func (f *follower) next(text string) (event, id string) {
	f.t.Helper()
	for e := range f.events {
		if id = <-f.ids; strings.Contains(e, text) {
			return e, id
		}
	}
	f.t.Fatalf("the stream ended without %q", text)
	return "", ""
}

func till(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": map[string]any{"name": name, "namespace": "shop"},
		"spec": map[string]any{
			"project": "default", "destination": map[string]any{"server": "https://kubernetes.default.svc", "namespace": "shop"},
			"source": map[string]any{"repoURL": "https://git.invalid/till.git", "path": "base"},
		},
	}}
}

func TestStreamsOfManyViewersShareAWatchAndEndWithTheLogout(t *testing.T) {
	w, c := sharing(t)
	d := administer(t, c)
	define(t, d, "github.com/argoproj/argo-cd/v3@v3.4.13", "manifests/crds/application-crd.yaml")
	apps := d.Resource(applications).Namespace("shop")
	const path = "/api/gitops/argocd/applications/stream?follow=true"
	viewers := map[string]*actor{}
	streams := map[string]*follower{}
	for _, name := range []string{"vic", "wes", "eve", "ed1", "ada"} {
		viewers[name] = w.as(t, name)
		streams[name] = viewers[name].follow(t, path, "")
		streams[name].next(`"complete":true`)
	}
	if n := w.server.watches(); n != 1 {
		t.Errorf("%d watches are open for %d viewers", n, len(streams))
	}
	remove := func(name string) { _ = apps.Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{}) }
	for _, name := range []string{"streamed", "later"} {
		t.Cleanup(func() { remove(name) })
	}
	if _, err := apps.Create(t.Context(), till("streamed"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	known := ""
	for _, s := range streams {
		_, known = s.next(`"name":"streamed"`)
	}

	// A logout ends the stream, and nothing says that it was complete.
	if got := viewers["vic"].post("/auth/logout", "{}"); got.status != 200 {
		t.Fatalf("logout: %v", got)
	}
	for e := range streams["vic"].events {
		if strings.HasPrefix(e, "done") {
			t.Error("a stream that was cut is done")
		}
		if strings.HasPrefix(e, "end") && !strings.Contains(e, "4401") {
			t.Errorf("it ended with %s", e)
		}
	}
	// A client that leaves ends its session.
	streams["wes"].leave()
	eventually(t, "the session of the client that left to end", func() bool { return len(w.server.sessions.List("wes@example.com")) == 0 })

	// One that comes back gets what it missed, and no more.
	if _, err := apps.Create(t.Context(), till("later"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	streams["eve"].next(`"name":"later"`)
	event, _ := viewers["wes"].follow(t, path, known).next("cluster_data")
	if !strings.Contains(event, `"name":"later"`) || strings.Contains(event, `"name":"streamed"`) || !strings.Contains(event, `"complete":false`) {
		t.Errorf("after it came back: %s", event)
	}
	remove("later")
	streams["eve"].next(`"removed":[{"namespace":"shop","name":"later"}]`)

	// Without follow, a stream tells every cluster and is done.
	got := viewers["ada"].get("/api/gitops/argocd/applications/stream")
	if !strings.Contains(got.body, "event: cluster_data\n") || !strings.Contains(got.body, "event: done\n") || !strings.HasSuffix(got.body, "data: {\"code\":1000,\"reason\":\"\"}\n\n") {
		t.Errorf("a complete stream: %v", got)
	}
}

func TestEveryStreamAnswersAndIsTheViewersToSee(t *testing.T) {
	w, _ := onCluster(t)
	for _, path := range []string{
		"helm-releases", "argocd/applications", "kustomizations", "flux/objects", "operators", "operator-subscriptions", "drifts",
	} {
		expect(t, w.anonymous(t).get("/api/gitops/"+path+"/stream"), 401, "anonymous", path)
		got := w.as(t, "ed2").get("/api/gitops/" + path + "/stream?namespace=shop")
		if got.status != 200 || !strings.Contains(got.body, "event: done\n") || strings.Contains(got.body, "cluster_error") {
			t.Errorf("%s: %v", path, got)
		}
	}
}
