package server

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/seed-a3fb47d6/bulkhead/host/authz"
	"github.com/seed-a3fb47d6/bulkhead/host/policytool"
)

// roleFor is the data by which an operator takes uninstalling from editors,
// and echo with it, so that a live session is affected.
const roleFor = `apiVersion: bulkhead.internal/v1
kind: Role
metadata: {name: editor}
spec:
  permissions:
    actions: ["*:read", "*:*.read", "gitops:helm.upgrade", "gitops:helm.rollback"]
    plugins: [{name: gitops}]
    resources: [{clusters: ["*"], namespaces: ["*"], resources: [releases.helm.sh], verbs: ["*"]}]
`

// Changing who may uninstall is a change of data: no restart, no Rego, and what
// is open already ends.
func TestOnlyAdminsMayUninstallOnceTheDataSaysSo(t *testing.T) {
	w := ownHost(t)
	eve, ada := w.as(t, "eve"), w.as(t, "ada")
	uninstall := func(a *actor) int { return a.post("/api/gitops/helm-uninstall", "{}").status }
	if got := uninstall(eve); got != 400 { // permitted; the body is empty
		t.Fatalf("an editor: %d", got)
	}
	conn, refused := eve.dial("/ws/echo")
	if conn == nil {
		t.Fatalf("dial: %v", refused)
	}
	saved := time.Now()
	w.write(t, "directory/editor.yaml", roleFor)
	eventually(t, "refusing an editor", func() bool { return uninstall(eve) == 403 })
	took := time.Since(saved)
	if _, _, err := conn.ReadMessage(); err == nil || !strings.Contains(err.Error(), "no longer permitted") {
		t.Errorf("the socket ended with %v", err)
	}
	if got := uninstall(ada); got != 400 {
		t.Errorf("an admin: %d", got)
	}
	// The aim is 1 s; the bound leaves room for a busy machine.
	if took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	t.Logf("enforced after %v", took)
}

// A role that is lent ends by itself: nobody touches a file, and what is open
// ends with it.
func TestALiveSessionEndsWithTheRoleItWasOpenedBy(t *testing.T) {
	w := prepare(t, "")
	lend := func(role string) {
		w.write(t, "directory/lent.yaml", `apiVersion: bulkhead.internal/v1
kind: Role
metadata: {name: lent}
spec: {permissions: {actions: ["echo:*"], plugins: [{name: echo}]}}
---
apiVersion: bulkhead.internal/v1
kind: User
metadata: {name: lea}
spec: {id: lea@example.com, roles: [`+role+`]}
`)
	}
	lend("lent")
	w.open(t)
	lea, eve := w.as(t, "lea"), w.as(t, "eve")
	conn, refused := lea.dial("/ws/echo")
	if conn == nil {
		t.Fatalf("dial: %v", refused)
	}
	others, refused := eve.dial("/ws/echo")
	if others == nil {
		t.Fatalf("dial: %v", refused)
	}
	until := time.Now().Add(2 * time.Second)
	lend("{name: lent, until: " + until.Format(time.RFC3339Nano) + "}")
	eventually(t, "the limit to be read", func() bool { return w.server.current.Load().people.Revision() > 1 })
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	_, _, err := conn.ReadMessage()
	took := time.Since(until)
	if err == nil || !strings.Contains(err.Error(), "no longer permitted") || took < 0 {
		t.Errorf("%v after its time the socket ended with %v", took, err)
	}
	t.Logf("ended %v after its time", took)
	expect(t, lea.get("/api/echo/echo"), 403, "once the role has ended")
	expect(t, lea.get("/auth/me"), 200, "who has no role is still somebody")
	if err := others.WriteMessage(websocket.TextMessage, []byte("still here?")); err != nil {
		t.Error(err)
	}
	if _, _, err := others.ReadMessage(); err != nil {
		t.Errorf("somebody else's socket: %v", err)
	}
}

const frozen = `package bulkhead.authz

decision := {"allow": false, "reason": {"code": "frozen"}} if {
	input.route.action == "gitops:helm.upgrade"
} else := data.bulkhead.default.decision

test_others_are_left_to_the_shipped_rules if decision.reason.code == "nobody" with input as {}
`

// The operator's loop through the host: a candidate beside what serves, what it
// would change, why, rolling it out, a mistake, undoing it.
func TestTheOperatorsLoop(t *testing.T) {
	w := prepare(t, "")
	var works atomic.Bool
	collector := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		if !works.Load() {
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(collector.Close)
	w.write(t, "bulkhead.yaml", read(t, w.dir+"/bulkhead.yaml")+`
policy:
  dir: ./policies
  shadow: {dir: ./next}
  log: {file: {path: ./data/decisions.jsonl}, http: {url: "`+collector.URL+`"}, whenFull: deny}
`)
	w.write(t, "policies/site.rego", "package bulkhead.authz\n\ndecision := data.bulkhead.default.decision\n")
	w.write(t, "next/site.rego", frozen)
	w.open(t)
	ada, eve := w.as(t, "ada"), w.as(t, "eve")
	upgrade := func() int { return eve.post("/api/gitops/helm-upgrade", "{}").status }
	if got := upgrade(); got != 400 {
		t.Fatalf("the candidate decided: %d", got)
	}
	status := func() (s authz.Status) {
		ada.get("/api/admin/policies").json(t, &s)
		return s
	}
	eventually(t, "the difference", func() bool { return status().Shadow.Differ["denies"] == 1 })
	eventually(t, "the decision log", func() bool { return status().Log.Destinations["file"].Written > 0 })
	eventually(t, "the trouble of a destination to show", func() bool {
		return strings.Contains(ada.get("/readyz").body, `"decisionLog":"degraded"`) && status().Log.Destinations["http"].Problem == "the server answers 503 Service Unavailable"
	})
	works.Store(true)
	eventually(t, "the destination to have everything", func() bool {
		return strings.Contains(ada.get("/readyz").body, `"decisionLog":"ok"`) && status().Log.Destinations["http"].Written > 0
	})

	var diff policytool.DiffReport
	ada.do("POST", "/api/admin/policies/diff", nil, http.Header{"X-Requested-With": {"XMLHttpRequest"}}).json(t, &diff)
	if diff.Changed != 1 || diff.Changes[0].User != "eve@example.com" || diff.Changes[0].New != "frozen" {
		t.Errorf("against the shadow: %+v", diff)
	}
	next, err := authz.ReadPolicy(t.Context(), filepath.Join(w.dir, "next"))
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	if err := next.Pack(&packed, "v2", nil); err != nil {
		t.Fatal(err)
	}
	diff = policytool.DiffReport{}
	ada.do("POST", "/api/admin/policies/diff", &packed, http.Header{"Content-Type": {"application/gzip"}, "X-Requested-With": {"XMLHttpRequest"}}).json(t, &diff)
	if diff.Changed != 1 {
		t.Errorf("against a bundle: %+v", diff)
	}

	w.write(t, "policies/site.rego", frozen)
	eventually(t, "rolling out", func() bool { return upgrade() == 403 })
	var why policytool.Explanation
	ada.get("/api/admin/policies/explain?user=eve@example.com&action=gitops:helm.upgrade").json(t, &why)
	if why.Allow || why.Reason.Code != "frozen" || len(why.Rules) == 0 || why.Rules[0].At != "site.rego:3" {
		t.Errorf("%+v", why)
	}

	serving := status().Revision
	w.write(t, "policies/site.rego", strings.Replace(frozen, `"nobody"`, `"somebody"`, 1))
	eventually(t, "the mistake to show", func() bool { return strings.Contains(ada.get("/readyz").body, `"policy":"degraded"`) })
	expect(t, ada.get("/readyz"), 200, "readiness while the policy before goes on serving")
	if s := status(); s.Revision != serving || !strings.Contains(s.Problem, "site.rego:7") || upgrade() != 403 {
		t.Errorf("%+v", s)
	}
	w.write(t, "policies/site.rego", "# METADATA\n# description: thawed\n"+strings.Replace(frozen, `"gitops:helm.upgrade"`, `"gitops:nothing"`, 1))
	eventually(t, "undoing", func() bool { return upgrade() == 400 && strings.Contains(ada.get("/readyz").body, `"policy":"ok"`) })

	for site, want := range map[string]int{"cross-site": 403, "same-site": 403, "same-origin": 200} {
		got := ada.do("GET", "/api/admin/policies?bulkhead-reason=forged", nil, http.Header{"Sec-Fetch-Site": {site}})
		expect(t, got, want, "a reason stated by a link of "+site)
	}
	for _, path := range []string{"/api/admin/policies", "/api/admin/policies/explain?user=ada@example.com&action=gitops:helm.read"} {
		expect(t, eve.get(path), 403, "an editor: "+path)
	}
	expect(t, eve.post("/api/admin/policies/diff", ""), 403, "an editor: diff")
	expect(t, ada.get("/api/admin/policies/explain?user=eve@example.com"), 400, "without an action")
	expect(t, ada.get("/api/admin/policies/explain?user=a&user=b&action=gitops:helm.read"), 400, "a key twice")
	expect(t, ada.get("/api/admin/policies/explain?user=a&action=gitops:helm.read&unlisted=yes"), 400, "unlisted is no boolean")
	expect(t, ada.get("/api/admin/policies/explain?user=a&action=gitops:helm.read&role="), 400, "a role without name")
	why = policytool.Explanation{}
	ada.get("/api/admin/policies/explain?user=new&action=azure:monitor.read&resource=prod//monitor&role=viewer&role=admin&unlisted=true").json(t, &why)
	if !why.Allow || strings.Join(why.Roles, " ") != "admin viewer" {
		t.Errorf("of somebody whom the identity provider vouches for: %+v", why)
	}
	expect(t, ada.get("/api/admin/policies/explain?usr=eve@example.com"), 400, "an unknown key")
	why = policytool.Explanation{}
	ada.get("/api/admin/policies/explain?user=ada@example.com&action=gitops:helm.upgrad&resource=nowhere/shop/pods").json(t, &why)
	if said := strings.Join(why.Warnings, "\n") + strings.Join(why.Refused, "\n"); len(why.Warnings) != 2 || !strings.Contains(said, "gitops:helm.upgrade") ||
		!strings.Contains(said, `no cluster "nowhere"`) || !strings.Contains(said, `"gitops" is not granted kube list`) {
		t.Errorf("%+v", why)
	}
	expect(t, ada.do("POST", "/api/admin/policies/diff", strings.NewReader("no bundle"), http.Header{"X-Requested-With": {"XMLHttpRequest"}}), 422, "no bundle")
	if text := read(t, w.dir+"/data/decisions.jsonl"); !strings.Contains(text, `"plugin":{"digest":"sha256:`) {
		t.Errorf("the decision log: %.300s", text)
	}
}
