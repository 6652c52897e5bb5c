package server

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
)

// hookChart waits in a hook that never ends, if its value hook says so.
const hookChart = `{{ if .Values.hook }}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-hook
  annotations: {"helm.sh/hook": {{ .Values.hook | quote }}, "helm.sh/hook-delete-policy": before-hook-creation}
spec:
  suspend: true
  template: {spec: {restartPolicy: Never, containers: [{name: m, image: example.invalid/m:1}]}}
{{ end }}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}}
`

// An upgrade that a logout or the host's end cuts short leaves a failed revision,
// which the host writes after the session's end, and the next upgrade goes on.
func TestALogoutOrTheHostsEndLeavesNoReleasePending(t *testing.T) {
	c := clustertest.Start(t)
	w := prepare(t, c.HostKubeconfig)
	w.write(t, "charts/hooked/Chart.yaml", "apiVersion: v2\nname: hooked\nversion: 1.0.0\n")
	w.write(t, "charts/hooked/templates/all.yaml", hookChart)
	config := read(t, w.dir+"/bulkhead.yaml")
	from := strings.Index(config, "helm: {repositories")
	to := strings.Index(config, "plugins:\n")
	w.write(t, "bulkhead.yaml", config[:from]+"helm: {repositories: [{name: demo, path: ./charts}]}\n"+config[to:])
	opened := func() (end func() error) {
		t.Helper()
		loaded, err := Load(filepath.Join(w.dir, "bulkhead.yaml"), nil)
		if err != nil {
			t.Fatal(err)
		}
		unbound(loaded)
		shareCompiled(t, loaded.Data)
		if end, err = w.serve(loaded, slog.New(slog.NewTextHandler(t.Output(), nil))); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the cluster", func() bool { up, _ := w.server.countClusters(); return up == 1 })
		return end
	}
	upgrade := func(a *actor, hook string) answer {
		return a.post("/api/gitops/helm-upgrade", map[string]any{
			"cluster": "dev", "namespace": "shop", "release": "cut", "chart": "demo/hooked", "values": fmt.Sprintf("hook: %q", hook),
		})
	}
	statuses := func(a *actor) string {
		t.Helper()
		var h struct{ History []struct{ Status string } }
		a.get("/api/gitops/helm-history?cluster=dev&namespace=shop&release=cut").json(t, &h)
		var list []string
		for _, r := range h.History {
			list = append(list, r.Status)
		}
		return strings.Join(list, " ")
	}
	end := opened()
	ada := w.as(t, "ada")
	if got := upgrade(ada, ""); got.status != 200 {
		t.Fatalf("an installation: %v", got)
	}

	eve := w.as(t, "eve")
	cut := make(chan answer, 1)
	go func() { cut <- upgrade(eve, "pre-upgrade") }()
	eventually(t, "the hook", func() bool { return strings.HasPrefix(statuses(ada), "pending-upgrade") })
	if got := upgrade(ada, ""); got.status != 409 || !strings.Contains(got.body, "another operation on the release is in progress") {
		t.Errorf("beside it: %v", got)
	}
	eve.post("/auth/logout", map[string]string{"scope": "user"})
	if got := <-cut; got.status != 401 {
		t.Errorf("after a logout: %v", got)
	}
	eventually(t, "the record", func() bool { return statuses(ada) == "failed deployed" })

	go func() { cut <- upgrade(w.as(t, "ed1"), "pre-upgrade") }()
	eventually(t, "the hook", func() bool { return strings.HasPrefix(statuses(ada), "pending-upgrade") })
	if err := end(); err != nil {
		t.Error(err)
	}
	if got := <-cut; got.status != 503 {
		t.Errorf("at the host's end: %v", got)
	}

	end = opened()
	ada = w.as(t, "ada")
	if got := statuses(ada); got != "failed failed deployed" {
		t.Errorf("after the host's end the revisions are %q", got)
	}
	if got := upgrade(ada, ""); got.status != 200 {
		t.Errorf("the next upgrade: %v", got)
	}
	ada.post("/api/gitops/helm-uninstall", map[string]string{"cluster": "dev", "namespace": "shop", "release": "cut"})
	if err := end(); err != nil {
		t.Error(err)
	}
}

// A chart may not do what the person who installs it may not.
func TestAChartIsHeldByThePersonsPermissions(t *testing.T) {
	c := clustertest.Start(t)
	w := prepare(t, c.HostKubeconfig)
	w.write(t, "charts/reads/Chart.yaml", "apiVersion: v2\nname: reads\nversion: 1.0.0\n")
	w.write(t, "charts/reads/templates/NOTES.txt", `{{ lookup "v1" "Secret" "kube-system" "" }}`)
	w.write(t, "charts/strays/Chart.yaml", "apiVersion: v2\nname: strays\nversion: 1.0.0\n")
	w.write(t, "charts/strays/templates/x.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: strays, namespace: bank}\n")
	w.write(t, "charts/keeps/Chart.yaml", "apiVersion: v2\nname: keeps\nversion: 1.0.0\n")
	w.write(t, "charts/keeps/templates/x.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: keeps}\nstringData: {a: b}\n")
	// The cluster lets an editor write everywhere; this host does not.
	w.write(t, "directory/editor.yaml", `apiVersion: bulkhead.internal/v1
kind: Role
metadata: {name: editor}
spec:
  permissions:
    actions: ["gitops:*"]
    plugins: [{name: gitops}]
    resources: [{clusters: [dev], namespaces: [shop], resources: ["*"], verbs: ["*"]}]
`)
	config := read(t, w.dir+"/bulkhead.yaml")
	from := strings.Index(config, "helm: {repositories")
	to := strings.Index(config, "plugins:\n")
	w.write(t, "bulkhead.yaml", config[:from]+"helm: {repositories: [{name: demo, path: ./charts}]}\n"+config[to:])
	w.open(t)
	eventually(t, "the cluster", func() bool { up, _ := w.server.countClusters(); return up == 1 })
	ed, ada := w.as(t, "ed1"), w.as(t, "ada")
	for _, x := range []struct {
		who   *actor
		chart string
		says  string // "": it is installed
	}{
		{ada, "reads", "kube list secrets dev/kube-system/ via helm.lookup"},
		{ed, "strays", "configmaps dev/bank/strays via helm"},
		{ed, "keeps", ""},
	} {
		got := x.who.post("/api/gitops/helm-upgrade", map[string]any{"cluster": "dev", "namespace": "shop", "release": "held", "chart": "demo/" + x.chart})
		if x.says == "" && got.status != 200 || x.says != "" && (got.status != 403 || !strings.Contains(got.body, x.says)) {
			t.Errorf("%s: %v", x.chart, got)
		}
	}
	ada.post("/api/gitops/helm-uninstall", map[string]string{"cluster": "dev", "namespace": "shop", "release": "held"})
}
