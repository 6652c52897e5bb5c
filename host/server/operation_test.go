package server

import (
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
)

// A change in the background outlives its request, but neither its login nor its
// permission; what it leaves can be changed again.
func TestAChangeInTheBackgroundEndsWithLoginAndPermission(t *testing.T) {
	c := clustertest.Start(t)
	w := prepare(t, c.HostKubeconfig)
	w.write(t, "charts/hooked/Chart.yaml", "apiVersion: v2\nname: hooked\nversion: 1.0.0\n")
	w.write(t, "charts/hooked/templates/all.yaml", hookChart)
	config := read(t, w.dir+"/bulkhead.yaml")
	from, to := strings.Index(config, "helm: {repositories"), strings.Index(config, "plugins:\n")
	w.write(t, "bulkhead.yaml", config[:from]+"helm: {repositories: [{name: demo, path: ./charts}]}\n"+config[to:])
	w.open(t)
	eventually(t, "the cluster", func() bool { up, _ := w.server.countClusters(); return up == 1 })
	ada, roles := w.as(t, "ada"), read(t, w.dir+"/directory/people.yaml")
	request := func(more map[string]any) map[string]any {
		m := map[string]any{"cluster": "dev", "namespace": "shop", "release": "background", "chart": "demo/hooked"}
		for k, v := range more {
			m[k] = v
		}
		return m
	}
	follow := func(a *actor, id string) (answer, string) {
		t.Helper()
		got := a.get("/api/gitops/helm-operation?cluster=dev&namespace=shop&release=background&wait=1&id=" + id)
		var o struct{ Status string }
		got.json(t, &o)
		return got, o.Status
	}
	if got := ada.post("/api/gitops/helm-upgrade", request(nil)); got.status != 200 {
		t.Fatalf("an installation: %v", got)
	}
	for how, end := range map[string]func(a *actor){
		"logout": func(a *actor) { a.post("/auth/logout", map[string]string{"scope": "user"}) },
		"demotion": func(*actor) {
			w.write(t, "directory/people.yaml", strings.Replace(roles, "spec: {id: ed1@example.com, roles: [editor]}", "spec: {id: ed1@example.com, roles: [viewer]}", 1))
		},
	} {
		ed := w.as(t, "ed1")
		got := ed.post("/api/gitops/helm-upgrade", request(map[string]any{"values": `hook: "pre-upgrade"`, "async": true}))
		var begun struct{ ID string }
		if got.json(t, &begun); got.status != 202 || begun.ID == "" {
			t.Fatalf("%s: begun with %v", how, got)
		}
		if got, status := follow(ada, begun.ID); got.status != 202 || status != "InProgress" {
			t.Errorf("%s: it runs after its request was answered: %v", how, got)
		}
		if got := ada.post("/api/gitops/helm-cancel", map[string]any{"cluster": "dev", "namespace": "shop", "release": "background", "id": begun.ID}); got.status != 403 {
			t.Errorf("%s: cancelled by another user: %v", how, got)
		}
		end(ed)
		var last answer
		eventually(t, "its end by "+how, func() bool {
			got, status := follow(ada, begun.ID)
			last = got
			return status == "Failed"
		})
		if last.status != 200 {
			t.Errorf("%s: %v", how, last)
		}
		if got := ada.post("/api/gitops/helm-upgrade", request(nil)); got.status != 200 {
			t.Errorf("%s: the next upgrade: %v", how, got)
		}
		w.write(t, "directory/people.yaml", roles)
		eventually(t, "the role", func() bool { return w.as(t, "ed1").post("/api/gitops/helm-cancel", "{}").status == 400 })
	}
	ada.post("/api/gitops/helm-uninstall", map[string]string{"cluster": "dev", "namespace": "shop", "release": "background"})
}
