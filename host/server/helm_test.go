package server

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
)

// helmRoutes are the routes and what an editor gets for an empty request:
// past authorization, at the check of the fields.
var helmRoutes = []struct {
	method, path string
	mutates      bool
}{
	{"GET", "/api/gitops/helm-releases?cluster=dev", false},
	{"GET", "/api/gitops/helm-history?cluster=dev&namespace=shop&release=none", false},
	{"GET", "/api/gitops/helm-values?cluster=dev&namespace=shop&release=none", false},
	{"GET", "/api/gitops/helm-notes?cluster=dev&namespace=shop&release=none", false},
	{"GET", "/api/gitops/helm-manifest?cluster=dev&namespace=shop&release=none", false},
	{"GET", "/api/gitops/helm-diff?cluster=dev&namespace=shop&release=none", false},
	{"POST", "/api/gitops/helm-upgrade", true},
	{"POST", "/api/gitops/helm-rollback", true},
	{"POST", "/api/gitops/helm-uninstall", true},
	{"POST", "/api/gitops/helm-test", true},
	{"GET", "/api/gitops/helm-operation?cluster=dev&namespace=shop&release=none&id=upgrade.AAAAAAAAAAAAAAAAAAAAAAAAAA", false},
	{"POST", "/api/gitops/helm-cancel", true},
}

func TestViewerMayReadEditorMayUpgrade(t *testing.T) {
	w, _ := onCluster(t)
	who := map[string]*actor{"anonymous": w.anonymous(t), "viewer": w.as(t, "vic"), "editor": w.as(t, "eve"), "admin": w.as(t, "ada")}
	for _, r := range helmRoutes {
		for role, a := range who {
			for _, body := range []string{"{}", "{not json"} {
				var got answer
				if r.mutates {
					got = a.post(r.path, body)
				} else {
					got = a.get(r.path)
				}
				switch {
				case role == "anonymous":
					expect(t, got, 401, role, r.path)
				case r.mutates && role == "viewer":
					expect(t, got, 403, role, r.path) // whatever the body
				case r.mutates:
					expect(t, got, 400, role, r.path)
				case got.status == 401 || got.status == 403 || got.status >= 500:
					t.Errorf("%s %s: %v", role, r.path, got)
				}
			}
		}
	}
}

func expect(t *testing.T, got answer, want int, what ...string) {
	t.Helper()
	if got.status != want {
		t.Errorf("%s: %v, want %d", strings.Join(what, " "), got, want)
	}
	if want >= 400 {
		var e struct{ Error, RequestID string }
		got.json(t, &e)
		if e.Error == "" || e.RequestID == "" || got.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %v is not the uniform error", strings.Join(what, " "), got)
		}
	}
}

func TestBadRequestsSayWhatIsWrong(t *testing.T) {
	w := withoutCluster(t)
	eve := w.as(t, "eve")
	for _, c := range []struct{ path, body, want string }{
		{"helm-upgrade", `{"release":`, "invalid request body"},
		{"helm-upgrade", `{}`, "release, namespace, and chart are required"},
		{"helm-upgrade", `{"release":"-x","namespace":"shop","chart":"demo/hello"}`, "release"},
		{"helm-uninstall", `{"release":"web"}`, "release and namespace are required"},
		{"helm-rollback", `{"release":"web","namespace":"shop","revision":0}`, "revision must be a positive integer"},
	} {
		got := eve.post("/api/gitops/"+c.path, c.body)
		expect(t, got, 400, c.path, c.body)
		if !strings.Contains(got.body, c.want) {
			t.Errorf("%s %s: %v, want %q", c.path, c.body, got, c.want)
		}
	}
}

func TestAClusterThatIsStartingIs503(t *testing.T) {
	w := withoutCluster(t)
	vic := w.as(t, "vic")
	got := vic.get("/api/gitops/helm-releases?cluster=dev")
	expect(t, got, http.StatusServiceUnavailable, "helm-releases")
	if !strings.Contains(got.body, `cluster \"dev\" is starting`) || got.header.Get("Retry-After") == "" {
		t.Errorf("%v, Retry-After %q", got, got.header.Get("Retry-After"))
	}
	if got := vic.get("/api/echo/echo"); got.status != 200 {
		t.Errorf("a route that needs no cluster: %v", got)
	}
}

type change struct {
	Success bool
	Message string
	Output  string
}

func TestHelmLifecycle(t *testing.T) {
	w, c := onCluster(t)
	eve := w.as(t, "eve")
	target := map[string]any{"cluster": "dev", "namespace": "shop", "release": "greeting"}
	with := func(more map[string]any) map[string]any {
		m := map[string]any{}
		for _, from := range []map[string]any{target, more} {
			for k, v := range from {
				m[k] = v
			}
		}
		return m
	}
	do := func(route string, body map[string]any) change {
		t.Helper()
		got := eve.post("/api/gitops/"+route, body)
		if got.status != 200 {
			t.Fatalf("%s: %v", route, got)
		}
		var ch change
		got.json(t, &ch)
		if !ch.Success || ch.Output == "" {
			t.Fatalf("%s: %v", route, got)
		}
		return ch
	}
	query := "?cluster=dev&namespace=shop&release=greeting"
	values := func() string { t.Helper(); return eve.get("/api/gitops/helm-values" + query).body }

	do("helm-upgrade", with(map[string]any{"chart": "demo/hello", "values": "replicas: 1\n"})) // installs
	do("helm-upgrade", with(map[string]any{"chart": "demo/hello", "values": "replicas: 2\n"}))
	if got := values(); !strings.Contains(got, `"replicas":2`) && !strings.Contains(got, "replicas: 2") {
		t.Fatalf("values after the upgrade: %s", got)
	}
	do("helm-rollback", with(map[string]any{"revision": 1}))
	if got := values(); !strings.Contains(got, `"replicas":1`) && !strings.Contains(got, "replicas: 1") {
		t.Fatalf("values after the rollback: %s", got)
	}
	var history struct{ History []struct{ Revision int } }
	eve.get("/api/gitops/helm-history"+query).json(t, &history)
	if len(history.History) != 3 {
		t.Fatalf("history has %d revisions, want 3", len(history.History))
	}
	if got := w.as(t, "vic").get("/api/gitops/helm-releases?cluster=dev"); !strings.Contains(got.body, `"greeting"`) {
		t.Fatalf("a viewer does not see the release: %v", got)
	}
	do("helm-uninstall", target)
	if got := eve.get("/api/gitops/helm-releases?cluster=dev"); strings.Contains(got.body, `"greeting"`) {
		t.Fatalf("the release is still there: %v", got)
	}
	if got := eve.post("/api/gitops/helm-uninstall", target); got.status != 404 {
		t.Errorf("uninstalling it again: %v", got)
	}
	if got := eve.post("/api/gitops/helm-upgrade", with(map[string]any{"chart": "demo/no-such-chart"})); got.status < 400 || got.status >= 500 {
		t.Errorf("an unknown chart: %v", got)
	}
	if got := eve.post("/api/gitops/helm-upgrade", with(map[string]any{"chart": "demo/hello", "values": "a: ["})); got.status < 400 || got.status >= 500 {
		t.Errorf("values that are no YAML: %v", got)
	}

	t.Run("the user acted, not the host", func(t *testing.T) { audited(t, c) })
}

// audited reads the API server's own log.
func audited(t *testing.T, c *clustertest.Cluster) {
	f, err := os.Open(c.AuditLog)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	writes := 0
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var e clustertest.Event
		if json.Unmarshal(lines.Bytes(), &e) != nil || !strings.Contains(e.User.Username, "system:serviceaccount:bulkhead") {
			continue
		}
		own := e.ObjectRef.APIGroup == "bulkhead.internal"                                             // people, teams and roles, which the host follows for itself
		own = own || e.ObjectRef.Resource == "applications" && (e.Verb == "list" || e.Verb == "watch") // shared between users; see sharing
		if e.ImpersonatedUser == nil && e.ObjectRef.Resource != "" && !own {
			t.Errorf("the host itself did %s %s", e.Verb, e.RequestURI)
		}
		if e.ImpersonatedUser != nil && e.ImpersonatedUser.Username == "eve@example.com" &&
			e.ObjectRef.Namespace == "shop" && (e.Verb == "create" || e.Verb == "patch" || e.Verb == "update" || e.Verb == "delete") {
			writes++
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if writes < 4 {
		t.Errorf("the audit log has %d writes by eve in shop", writes)
	}
}
