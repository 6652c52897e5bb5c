package server

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/capability/git/gittest"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
)

// gitWorld is a host on the dev cluster whose gitops plugin may read a repository of a git
// server on loopback and apply what it declares.
func gitWorld(t *testing.T) (*world, *gittest.Repository, *clustertest.Cluster) {
	t.Helper()
	repo := gittest.New(t, "shop.git")
	web := gittest.Serve(t, repo.Root)
	c := clustertest.Start(t)
	w := prepare(t, c.HostKubeconfig)
	w.rewrite(t, "plugins:\n", fmt.Sprintf("git: [{name: shop, url: %q, user: %s, tokenFile: %q, caFile: %q}]\nplugins:\n",
		web.URL+"/shop.git", gittest.User, web.TokenFile, web.CAFile))
	w.rewrite(t, "      kube:\n", "      git: [{repositories: [\"*/shop\"], verbs: [get]}]\n      kube:\n        - {clusters: [dev], namespaces: [\"*\"], resources: [\"*\"], verbs: [\"*\"]}\n")
	w.open(t)
	eventually(t, "the cluster to be ready", func() bool {
		up, _ := w.server.countClusters()
		return up == 1
	})
	return w, repo, c
}

type synced struct {
	Success bool
	Message string
	Applied []struct{ Kind, Namespace, Name, Action string }
	Errors  []struct {
		Kind, Name, Source, Message, Detail string
		Status                              int
	}
	Prune struct {
		Inventory, Confirm string
		All                bool
		Objects, Pruned    []struct{ Kind, Name string }
	}
}

func (s *synced) actions() string {
	var all []string
	for _, a := range s.Applied {
		all = append(all, a.Kind+"/"+a.Name+" "+a.Action)
	}
	return strings.Join(all, ", ")
}

type drifts struct {
	Drifted   bool
	Compared  int
	Resources []struct{ Kind, Name, Field, GitValue, ClusterValue, Method string }
	Errors    []json.RawMessage
}

func (d *drifts) shown() string {
	var all []string
	for _, r := range d.Resources {
		all = append(all, fmt.Sprintf("%s/%s %s git=%s cluster=%s %s", r.Kind, r.Name, r.Field, r.GitValue, r.ClusterValue, r.Method))
	}
	return strings.Join(all, "\n")
}

func settingsMap(name, color string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + ", namespace: shop}\ndata: {color: " + color + "}\n"
}

const syncedWeb = `apiVersion: apps/v1
kind: Deployment
metadata: {name: synced}
spec:
  replicas: 1
  selector: {matchLabels: {app: synced}}
  template:
    metadata: {labels: {app: synced}}
    spec: {containers: [{name: web, image: "example.com/web:1", resources: {limits: {cpu: 1000m}}}]}
`

func TestSyncAppliesDriftIsFoundAndPruned(t *testing.T) {
	w, repo, c := gitWorld(t)
	vic, eve := w.as(t, "vic"), w.as(t, "eve")
	body := func(more map[string]any) map[string]any {
		m := map[string]any{"repository": "shop", "path": "deploy", "branch": "main", "cluster": "dev", "namespace": "shop"}
		for k, v := range more {
			m[k] = v
		}
		return m
	}
	sync := func(more map[string]any, status int) (s synced) {
		t.Helper()
		got := eve.post("/api/gitops/sync", body(more))
		if got.status != status {
			t.Fatalf("sync %v: %v", more, got)
		}
		got.json(t, &s)
		return s
	}
	drift := func(a *actor) (d drifts) {
		t.Helper()
		got := a.post("/api/gitops/detect-drift", body(nil))
		if got.status != 200 {
			t.Fatalf("drift: %v", got)
		}
		got.json(t, &d)
		return d
	}
	repo.Commit(map[string]string{"deploy/web.yaml": syncedWeb, "deploy/a.yaml": settingsMap("synced-a", "red") + "---\n" + settingsMap("synced-b", "red")})

	// A viewer sees that nothing is there, and may not change that.
	if d := drift(vic); len(d.Resources) != 3 || d.Resources[0].ClusterValue != "(absent)" {
		t.Errorf("before: %s", d.shown())
	}
	expect(t, vic.post("/api/gitops/sync", body(nil)), 403, "viewer")
	if s := sync(map[string]any{"dryRun": true}, 200); !s.Success || s.Message != "3 of 3 objects would be applied" {
		t.Errorf("dry run: %+v", s)
	}
	if s := sync(nil, 200); !s.Success || s.actions() != "ConfigMap/synced-a created, ConfigMap/synced-b created, Deployment/synced created" {
		t.Errorf("sync: %+v", s)
	}
	c.Audited(t, "apply by eve", func(e clustertest.Event) bool {
		return e.Verb == "patch" && e.ObjectRef.Resource == "deployments" && e.ObjectRef.Name == "synced" && e.ImpersonatedUser != nil && e.ImpersonatedUser.Username == "eve@example.com"
	})
	if d := drift(eve); d.Drifted || d.Compared != 3 {
		t.Errorf("after the sync: %+v", d)
	}

	// Somebody changes the cluster by hand; defaults and equal quantities are no drift.
	if err := c.Apply(t, []byte(settingsMap("synced-a", "blue"))); err != nil {
		t.Fatal(err)
	}
	if d := drift(eve); d.shown() != "ConfigMap/synced-a data.color git=red cluster=blue server" {
		t.Errorf("an editor finds %s", d.shown())
	}
	if d := drift(vic); !strings.Contains(d.shown(), "ConfigMap/synced-a data.color git=red cluster=blue fields") || strings.Contains(d.shown(), "synced-b") {
		t.Errorf("a viewer finds %s", d.shown())
	}
	var known struct {
		Drifts []struct {
			Repository, Path, Branch, CheckedAt, SyncedCommit string
			Drift                                             drifts
		}
	}
	got := vic.get("/api/gitops/drifts?cluster=dev&namespace=shop")
	got.json(t, &known)
	if len(known.Drifts) != 1 || known.Drifts[0].Repository != "shop" || known.Drifts[0].Path != "deploy" || len(known.Drifts[0].SyncedCommit) != 40 || known.Drifts[0].CheckedAt == "" || !known.Drifts[0].Drift.Drifted {
		t.Errorf("drifts: %v", got)
	}
	if s := sync(nil, 200); s.actions() != "ConfigMap/synced-a applied, ConfigMap/synced-b applied, Deployment/synced applied" {
		t.Errorf("heal: %+v", s)
	}
	if d := drift(eve); d.Drifted {
		t.Errorf("after the heal: %s", d.shown())
	}

	// A bad manifest in the middle: nothing is applied.
	repo.Commit(map[string]string{"deploy/a.yaml": settingsMap("synced-a", "green") + "---\n" + settingsMap("synced-b", "green") + "  x: [\n"})
	for _, path := range []string{"sync", "detect-drift"} {
		var bad struct {
			Error, ErrorType, File string
			Line                   int
		}
		got := eve.post("/api/gitops/"+path, body(nil))
		expect(t, got, 422, path)
		if got.json(t, &bad); bad.ErrorType != "yaml_parse" || bad.File != "deploy/a.yaml" || bad.Line < 5 {
			t.Errorf("%s: %v", path, got)
		}
	}
	repo.Commit(map[string]string{"deploy/a.yaml": settingsMap("synced-a", "red")})
	if d := drift(eve); d.Drifted {
		t.Errorf("a refused sync changed something: %s", d.shown())
	}

	// What git no longer declares goes only once its list was confirmed.
	left := sync(map[string]any{"prune": true}, 200)
	if len(left.Prune.Pruned) != 0 || len(left.Prune.Objects) != 1 || left.Prune.Objects[0].Name != "synced-b" || left.Prune.All {
		t.Fatalf("prune: %+v", left)
	}
	sync(map[string]any{"prune": true, "confirm": "0000000000000000"}, 409)
	if s := sync(map[string]any{"prune": true, "confirm": left.Prune.Confirm}, 200); !s.Success || len(s.Prune.Pruned) != 1 {
		t.Errorf("confirmed: %+v", s)
	}
	if s := sync(map[string]any{"prune": true}, 200); len(s.Prune.Objects) != 0 {
		t.Errorf("after the prune: %+v", s)
	}
	repo.Commit(map[string]string{"deploy/a.yaml": "", "deploy/web.yaml": "", "deploy/empty.yaml": "# nothing\n"})
	sync(nil, 422)
	all := sync(map[string]any{"prune": true}, 200)
	if !all.Prune.All || len(all.Prune.Objects) != 2 {
		t.Fatalf("prune of everything: %+v", all)
	}
	sync(map[string]any{"prune": true, "confirm": all.Prune.Confirm}, 409)
	if s := sync(map[string]any{"prune": true, "confirm": all.Prune.Confirm, "confirmAll": all.Prune.Inventory}, 200); len(s.Prune.Pruned) != 2 || len(s.Errors) != 0 {
		t.Errorf("prune of everything: %+v", s)
	}
}

// A logout in the middle of a sync ends it. The same sync, repeated, completes it.
func TestASyncThatALogoutCutShortCanBeRepeated(t *testing.T) {
	w, repo, c := gitWorld(t)
	var text strings.Builder
	const n = 60
	for i := range n {
		text.WriteString("---\n" + settingsMap(fmt.Sprintf("many-%02d", i), "red"))
	}
	repo.Commit(map[string]string{"many.yaml": text.String()})
	body := map[string]any{"repository": "shop", "namespace": "shop"}
	eve := w.as(t, "eve")
	done := make(chan answer, 1)
	go func() { done <- eve.post("/api/gitops/sync", body) }()
	c.Audited(t, "the first objects", func(e clustertest.Event) bool { return e.Verb == "patch" && e.ObjectRef.Name == "many-00" })
	expect(t, w.as(t, "eve").post("/auth/logout", `{"scope":"user"}`), 200, "logout")
	if got := <-done; got.status != 401 && got.status != 200 { // 200: it was faster
		t.Errorf("the sync was answered %v", got)
	}
	var s synced
	got := w.as(t, "eve").post("/api/gitops/sync", body)
	got.json(t, &s)
	if !s.Success || len(s.Applied) != n {
		t.Errorf("the second sync: %v", got)
	}
	plan := synced{}
	repo.Commit(map[string]string{"many.yaml": settingsMap("many-00", "red")})
	w.as(t, "eve").post("/api/gitops/sync", map[string]any{"repository": "shop", "namespace": "shop", "prune": true}).json(t, &plan)
	if len(plan.Prune.Objects) != n-1 {
		t.Errorf("%d objects to prune, want %d", len(plan.Prune.Objects), n-1)
	}
	body["prune"], body["confirm"] = true, plan.Prune.Confirm
	if w.as(t, "eve").post("/api/gitops/sync", body).json(t, &plan); len(plan.Prune.Pruned) != n-1 {
		t.Errorf("pruned %d of %d", len(plan.Prune.Pruned), n-1)
	}
}

func TestSyncOfAKustomizationSaysWhoRefuses(t *testing.T) {
	w, repo, _ := gitWorld(t)
	repo.Commit(map[string]string{
		"base/kustomization.yaml": "resources: [a.yaml, secret.yaml, far.yaml]\n",
		"base/a.yaml":             settingsMap("kustomized", "red"),
		"base/secret.yaml":        "apiVersion: v1\nkind: Secret\nmetadata: {name: kustomized, namespace: shop}\nstringData: {password: very-secret}\n",
		"base/far.yaml":           "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kustomized, namespace: kube-system}\n",
		"prod/kustomization.yaml": "resources: [../base]\nnameSuffix: -prod\n",
		"chart/Chart.yaml":        "name: x\nversion: 1.0.0\napiVersion: v2\n",
	})
	eve := w.as(t, "eve")
	got := eve.post("/api/gitops/sync", map[string]any{"repository": "shop", "path": "prod", "namespace": "shop"})
	var s synced
	got.json(t, &s)
	if got.status != 200 || s.Success || s.actions() != "ConfigMap/kustomized-prod created" || len(s.Errors) != 2 || s.Errors[0].Status != 403 || s.Errors[1].Status != 403 {
		t.Fatalf("got %v", got)
	}
	if s.Errors[0].Kind != "Secret" || s.Errors[0].Source != "policy" || s.Errors[0].Detail != "prohibited" || s.Errors[1].Source != "upstream" {
		t.Errorf("got %+v", s.Errors)
	}
	drift := eve.post("/api/gitops/detect-drift", map[string]any{"repository": "shop", "path": "prod", "namespace": "shop"})
	if strings.Contains(got.body+drift.body, "very-secret") {
		t.Errorf("the secret is shown: %v\n%v", got, drift)
	}
	got = eve.post("/api/gitops/sync", map[string]any{"repository": "shop", "path": "chart"})
	expect(t, got, 422, "a chart")
	got = eve.post("/api/gitops/sync", map[string]any{"repoUrl": "https://example.com/other.git"})
	expect(t, got, 400, "another repository")
	for _, log := range []string{"bulkhead.yaml"} { // the token is in its file only
		if text := read(t, filepath.Join(w.dir, log)); strings.Contains(text, gittest.Token) {
			t.Errorf("%s has the token", log)
		}
	}
}

func TestSyncWaitsForTheKindsThatItDefines(t *testing.T) {
	w, repo, c := gitWorld(t)
	crd := `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.sync.example.com}
spec:
  group: sync.example.com
  names: {kind: Widget, plural: widgets, singular: widget, listKind: WidgetList}
  scope: Namespaced
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}}]
`
	t.Cleanup(func() {
		if err := c.Delete(t, []byte(crd)); err != nil {
			t.Error(err)
		}
	})
	repo.Commit(map[string]string{"a.yaml": "apiVersion: sync.example.com/v1\nkind: Widget\nmetadata: {name: w}\nspec: {size: 3}\n", "crd.yaml": crd})
	ada := w.as(t, "ada")
	var s synced
	got := ada.post("/api/gitops/sync", map[string]any{"repository": "shop", "namespace": "shop", "dryRun": true})
	got.json(t, &s)
	if got.status != 200 || s.actions() != "CustomResourceDefinition/widgets.sync.example.com created, Widget/w pending" {
		t.Errorf("dry run: %v", got)
	}
	s = synced{}
	got = ada.post("/api/gitops/sync", map[string]any{"repository": "shop", "namespace": "shop"})
	got.json(t, &s)
	if got.status != 200 || s.actions() != "CustomResourceDefinition/widgets.sync.example.com created, Widget/w created" {
		t.Errorf("sync: %v", got)
	}
}

// The field checks come after policy: a viewer is refused a sync whatever its body, and
// may detect drift.
func TestTheRolesOfSyncAndDrift(t *testing.T) {
	w := withoutCluster(t)
	for role, want := range map[string][2]int{"vic": {403, 400}, "eve": {400, 400}, "ada": {400, 400}} {
		a := w.as(t, role)
		for n, path := range []string{"sync", "detect-drift"} {
			for _, body := range []string{"{}", "{not json"} {
				expect(t, a.post("/api/gitops/"+path, body), want[n], role, path, body)
			}
		}
	}
	for _, path := range []string{"sync", "detect-drift"} {
		expect(t, w.anonymous(t).post("/api/gitops/"+path, "{}"), 401, path)
	}
	expect(t, w.anonymous(t).get("/api/gitops/drifts"), 401, "drifts")
	for _, role := range []string{"vic", "eve", "ada"} {
		expect(t, w.as(t, role).get("/api/gitops/drifts?cluster=-"), 400, role, "drifts")
	}
}
