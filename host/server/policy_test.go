package server

import (
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
	"github.com/seed-a3fb47d6/bulkhead/host/recording"
)

// What the world of these tests has more: viewers who may see the releases of
// one namespace; an editor's permissions that need a reason; a policy that takes
// parts out of answers. The groups of both roles are bound in the dev cluster.
const (
	narrowRoles = `
apiVersion: bulkhead.internal/v1
kind: Role
metadata: {name: viewer}
spec:
  permissions:
    actions: ["*:*.read"]
    plugins: [{name: "*"}]
    resources: [{clusters: [dev], namespaces: [shop], resources: [releases.helm.sh], verbs: [list, values]}]
---
apiVersion: bulkhead.internal/v1
kind: Role
metadata: {name: editor}
spec:
  breakGlass: {maxSession: 1h, record: all}
  permissions:
    actions: ["gitops:helm.*", "exec:*"]
    plugins: [{name: gitops}, {name: exec}]
    resources: [{clusters: [dev], namespaces: [shop], resources: ["*"], verbs: ["*"]}]
---
apiVersion: bulkhead.internal/v1
kind: User
metadata: {name: gus}
spec: {id: gus@example.com, roles: [viewer, editor]}
`
	redacting = `package bulkhead.authz

import data.bulkhead.default as shipped

decision := object.union(shipped.decision, {"obligations": {"redact": hidden}}) if {
	shipped.decision.allow
	not "admin" in input.principal.roles
} else := shipped.decision

default hidden := []

hidden := ["/values/colour"] if {
	input.capability.name == "helm"
	input.capability.verb == "values"
} else := ["/values/owner"] if {
	not input.capability
	input.route.name == "helm-values"
} else := ["/secret"] if input.route.plugin == "echo"
`
)

func TestPolicyNarrowsRedactsAndBreaksGlass(t *testing.T) {
	c := clustertest.Start(t)
	w := prepare(t, c.HostKubeconfig)
	w.write(t, "directory/roles.yaml", narrowRoles)
	w.write(t, "policy/redact.rego", redacting)
	w.write(t, "bulkhead.yaml", read(t, filepath.Join(w.dir, "bulkhead.yaml"))+"\npolicy: {dir: ./policy}\nrecordings: {input: true}\n")
	w.open(t)
	eventually(t, "the cluster to be ready", func() bool { up, _ := w.server.countClusters(); return up == 1 })
	ada, vic, gus := w.as(t, "ada"), w.as(t, "vic"), w.as(t, "gus")
	for _, namespace := range []string{"shop", "bank"} {
		target := map[string]any{"cluster": "dev", "namespace": namespace, "release": "policy-" + namespace, "chart": "demo/hello",
			"values": "replicas: 0\ncolour: hunter2\nowner: ann\n"}
		if got := ada.post("/api/gitops/helm-upgrade", target); got.status != 200 {
			t.Fatal(got)
		}
		defer func() {
			delete(target, "chart")
			delete(target, "values")
			if got := ada.post("/api/gitops/helm-uninstall", target); got.status != 200 {
				t.Error(got)
			}
		}()
	}

	t.Run("a list shows what the person's permissions name", func(t *testing.T) {
		const list = "/api/gitops/helm-releases?cluster=dev"
		if got := ada.get(list); got.status != 200 || !strings.Contains(got.body, "policy-shop") || !strings.Contains(got.body, "policy-bank") {
			t.Errorf("an admin sees %v", got)
		}
		if got := vic.get(list); got.status != 200 || !strings.Contains(got.body, "policy-shop") || strings.Contains(got.body, "policy-bank") {
			t.Errorf("who may see shop sees %v", got)
		}
		expect(t, vic.get(list+"&namespace=bank"), 403, "another namespace")
	})
	t.Run("answers are redacted, the call's and the route's", func(t *testing.T) {
		const values = "/api/gitops/helm-values?cluster=dev&namespace=shop&release=policy-shop"
		if got := ada.get(values); !strings.Contains(got.body, "hunter2") || !strings.Contains(got.body, "ann") {
			t.Errorf("an admin sees %v", got)
		}
		if got := vic.get(values); got.status != 200 || strings.Contains(got.body, "hunter2") || strings.Contains(got.body, "ann") || !strings.Contains(got.body, "replicas") {
			t.Errorf("a viewer sees %v", got)
		}
	})
	t.Run("what cannot be redacted is not shown", func(t *testing.T) {
		if got := vic.get("/api/echo/echo"); got.status != 403 || !strings.Contains(got.body, "not_redactable") {
			t.Errorf("an answer that is no JSON: %v", got)
		}
		if _, got := vic.dial("/ws/echo"); got.status != 403 || !strings.Contains(got.body, "obligation_not_supported") {
			t.Errorf("a socket: %v", got)
		}
	})
	t.Run("a session is its owner's", func(t *testing.T) {
		if conn, refused := ada.dial("/ws/echo"); conn == nil {
			t.Fatal(refused)
		} else if err := conn.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the session to be listed", func() bool { return len(ada.sessions("/api/admin/sessions?user=ada@example.com").Sessions) == 1 })
		id := ada.sessions("/api/admin/sessions?user=ada@example.com").Sessions[0].ID
		expect(t, gus.get("/api/admin/sessions?user=gus@example.com"), 200, "one's own")
		for query, want := range map[string]int{"": 403, "?user=ada@example.com": 403, "?user=gus@example.com": 404,
			"?user=gus@example.com&user=ada@example.com": 400, "?user=gus@example.com&all=true": 400} {
			expect(t, gus.end("/api/admin/sessions/"+id+query), want, "somebody else's", query)
		}
		expect(t, gus.end("/api/admin/sessions?user=gus@example.com&all=true"), 400, "everybody's")
		expect(t, ada.end("/api/admin/sessions/"+id+"?user=ada@example.com"), 200, "one's own, ended")
	})
	t.Run("changes need a reason", func(t *testing.T) {
		if got := gus.post("/api/gitops/helm-upgrade", "{}"); got.status != 403 || !strings.Contains(got.body, "reason_required") {
			t.Errorf("without a reason: %v", got)
		}
		stated := func(reason ...string) answer {
			return gus.do("POST", "/api/gitops/helm-upgrade", strings.NewReader("{}"), http.Header{"Content-Type": {"application/json"}, "X-Bulkhead-Reason": reason})
		}
		expect(t, stated("INC-1"), 400, "past policy, at the check of the fields")
		expect(t, stated(""), 400, "an empty reason")
		if got := vic.do("POST", "/api/gitops/helm-upgrade", strings.NewReader("{}"), http.Header{"Content-Type": {"application/json"}, "X-Bulkhead-Reason": {"please"}}); got.status != 403 || !strings.Contains(got.body, "no_action") {
			t.Errorf("a viewer with a reason: %v", got)
		}
	})
	t.Run("a terminal with a reason is recorded", func(t *testing.T) {
		target := "/ws/exec?cluster=dev&namespace=shop&pod=" + pod(t, c, "shop") + "&command=cat"
		if conn, got := gus.dial(target, execProtocol); conn != nil || got.status != 403 || !strings.Contains(got.body, "reason_required") {
			t.Fatalf("without a reason: %v", got)
		}
		if got := gus.refusedWith(target+"&bulkhead-refusal=close", execProtocol); got.Code != 4403 || got.Text != "reason_required" {
			t.Fatalf("without a reason: %v", &got)
		}
		conn, refused := gus.dial(target+"&bulkhead-reason="+url.QueryEscape("INC-1: shop is down"), execProtocol)
		if conn == nil {
			t.Fatalf("with a reason: %v", refused)
		}
		x := &terminal{t: t, conn: conn, done: make(chan struct{})}
		go x.read()
		x.typed("who is there?")
		if err := conn.WriteMessage(websocket.TextMessage, []byte(`{"type":"eof"}`)); err != nil {
			t.Fatal(err)
		}
		if exit, _ := x.ended(); exit == nil || *exit != 0 {
			t.Fatalf("it ended with %v, %s", exit, x.errors)
		}
		var e recording.Entry
		eventually(t, "the recording to be closed", func() bool {
			list, err := recording.List(filepath.Join(w.dir, "data", "recordings"))
			if err != nil || len(list) > 1 {
				t.Fatalf("%+v, %v", list, err)
			}
			if len(list) == 0 {
				return false
			}
			e = list[0]
			return e.Ended != ""
		})
		if e.User != "gus@example.com" || e.Reason != "INC-1: shop is down" || e.Record != "all" || e.Decision == "" || e.RequestID == "" {
			t.Errorf("the recording is of %+v", e)
		}
	})
}

// A console shows what people may use, and nothing tells them of the rest.
func TestPeopleLearnWhatTheyMayUse(t *testing.T) {
	w := prepare(t, "")
	w.write(t, "directory/oncall.yaml", `apiVersion: bulkhead.internal/v1
kind: User
metadata: {name: ola}
spec: {id: ola@example.com, roles: [viewer, breakglass]}
---
apiVersion: bulkhead.internal/v1
kind: User
metadata: {name: nia}
spec: {id: nia@example.com}
`)
	w.open(t)
	type route struct {
		Plugin, Name, Kind, Method, Path, Action string
		ReasonRequired                           bool
		Resource                                 map[string]string
	}
	of := func(a *actor) (list []route) {
		var got struct{ Routes []route }
		a.get("/auth/routes").json(t, &got)
		return got.Routes
	}
	ada, vic := w.as(t, "ada"), w.as(t, "vic")
	all, may := of(ada), map[string]bool{}
	for _, r := range of(vic) {
		may[r.Plugin+" "+r.Name] = true
		if r.ReasonRequired || !strings.HasSuffix(r.Action, "read") {
			t.Errorf("a viewer is told of %+v", r)
		}
	}
	for _, r := range all {
		got := vic.do(r.Method, strings.NewReplacer("{", "", "}", "").Replace(r.Path), strings.NewReader("{}"), asJSON)
		if refused := got.status == 403; refused == may[r.Plugin+" "+r.Name] {
			t.Errorf("%s %s: told of is %t, and the answer %v", r.Plugin, r.Name, may[r.Plugin+" "+r.Name], got)
		}
	}
	if len(may) == 0 || len(may) == len(all) {
		t.Errorf("a viewer is told of %d of %d routes", len(may), len(all))
	}
	stating := 0
	for _, r := range of(w.as(t, "ola")) {
		if r.ReasonRequired == may[r.Plugin+" "+r.Name] {
			t.Errorf("on call: %+v", r)
		}
		if r.ReasonRequired {
			stating++
		}
		if r.Plugin == "exec" && (r.Kind != "socket" || r.Path != "/ws/exec" || r.Resource["cluster"] != "query:cluster") {
			t.Errorf("%+v", r)
		}
	}
	if len(may)+stating != len(all) {
		t.Errorf("on call: %d by stating a reason, of %d", stating, len(all))
	}
	if got := of(w.as(t, "nia")); len(got) != 0 {
		t.Errorf("without rights: %+v", got)
	}
}
